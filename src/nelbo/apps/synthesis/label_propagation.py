"""Label propagation: unlabelled data get the class of nearby embeddings.

A model is trained on all pictures, labelled or not. Embeddings of a class lie close together, so that ten labelled
pictures per class suffice for most of the others. The algorithm is Poisson learning; scikit-learn's label propagation
was weighed, and is a different algorithm.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from nelbo.apps.synthesis.neighbours import nearest_neighbors
from nelbo.data import Dataset, subset
from nelbo.data.dataset import sample_indices
from nelbo.model import Model
from nelbo.training.progress import track

MOST = 30_000  # the most unlabelled pictures that are used; of more, a random sample
NEAREST = 10  # neighbours of an embedding in the graph
AGREED = 0.7  # the share of neighbours that must agree with a class
ROUNDS = 300  # of the iteration


def propagate_labels(model: Model, rows: Dataset) -> Dataset:
    """The rows, where unlabelled ones (label -1) get the class on which most of their neighbours agree."""
    assert rows.labels is not None
    unknown = (rows.labels < 0).nonzero().flatten()
    if not len(unknown) or len(unknown) == len(rows):
        return rows
    chosen = torch.cat([(rows.labels >= 0).nonzero().flatten(), unknown[sample_indices(len(unknown), MOST)]])
    codes, known = torch.from_numpy(model.embed(subset(rows, chosen))), rows.labels[chosen]
    near = neighbor_graph(codes)
    found = propagate_over_graph(codes, near, known)
    sure = (known >= 0) | ((found[near] == found[:, None]).float().mean(1) >= AGREED)
    named = subset(rows, range(len(rows)))
    named.labels = rows.labels.index_copy(0, chosen[sure], found[sure])
    return named


def neighbor_graph(codes: Tensor) -> Tensor:
    """The indices of the nearest neighbours of each embedding, without itself, `(n, NEAREST)`."""
    found = nearest_neighbors(codes, codes, NEAREST + 1)
    itself = found == torch.arange(len(codes))[:, None]
    itself[~itself.any(1), -1] = True  # if more embeddings are equal to it than it has neighbours
    return found[~itself].view(len(codes), -1)


def propagate_over_graph(codes: Tensor, near: Tensor, labels: Tensor) -> Tensor:
    """The class of each embedding `(n, features)`, int64 `(n,)`, from labels `(n,)`, -1 where unknown.

    Each embedding is joined to its neighbours `near`, w_ij = exp(-4 |z_i - z_j|^2 / r_i^2), r_i the largest distance.
    On this graph, L = D - W, charges at the labelled embeddings diffuse until they converge:

        L u = sum over labelled i of (y_i - mean y) delta_i,   by u <- u + D^-1 (b - L u)

    with y_i the indicator of the class; an embedding gets the class argmax_c u_c, a labelled one keeps its own,
    and one that no charge reaches stays unknown.

    Source: Calder, Cook, Thorpe, Slepcev (2020), Poisson Learning: Graph Based Semi-Supervised Learning at Very Low
    Label Rates; Kingma, Rezende, Mohamed, Welling (2014), Semi-supervised Learning with Deep Generative Models, for
    embeddings learned from all data and classes from few.
    """
    n, given = len(codes), (labels >= 0).nonzero().flatten()
    squares = (codes[near] - codes[:, None]).square().sum(2)
    weights = torch.exp(-4 * squares / squares.max(1, keepdim=True).values.clamp_min(torch.finfo(codes.dtype).tiny))
    rows, columns = torch.arange(n).repeat_interleave(near.shape[1]), near.flatten()
    places = torch.stack([torch.cat([rows, columns]), torch.cat([columns, rows])])
    joined = torch.sparse_coo_tensor(places, weights.flatten().repeat(2), (n, n), check_invariants=False).coalesce()
    degrees = torch.sparse.mm(joined, torch.ones(n, 1))
    classes = one_hot(labels[given]).float()
    charges = torch.zeros(n, classes.shape[1]).index_copy(0, given, classes - classes.mean(0))
    u = torch.zeros_like(charges)
    for _ in track(range(ROUNDS), "spreading classes", ROUNDS):
        u = (charges + torch.sparse.mm(joined, u)) / degrees  # = u + D^-1 (b - L u)
    return torch.where(u.any(1), u.argmax(1), -1).index_copy(0, given, labels[given])
