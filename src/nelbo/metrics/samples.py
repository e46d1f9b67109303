"""Comparison of samples with real data on the features of a network.

A distance on features is specific to that network: it is always named with its network and never called FID, which is
the distance on a network that nelbo does not ship. Two real sets are not at distance 0: pass as many real data to
`quality` as samples, and compare a model's distance with that between two sets of real data.

Sources: Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter (2017), GANs Trained by a Two Time-Scale Update Rule
Converge to a Local Nash Equilibrium (the Fréchet distance); Kynkäänniemi, Karras, Laine, Lehtinen, Aila (2019),
Improved Precision and Recall Metric for Assessing Generative Models; Naeem, Oh, Uh, Choi, Yoo (2020), Reliable
Fidelity and Diversity Metrics for Generative Models (density and coverage).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nelbo.errors import UserError
from nelbo.metrics.digits import NAME, look

NEIGHBOURS = 5
CHUNK = 2000
SURE = 0.9


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of features `(n, d)` and `(m, d)`: means and covariances.

    It is the squared 2-Wasserstein distance of two Normals with these moments.

    >>> round(frechet_distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]])), 6)
    9.0

    Raises `UserError` for features of different widths, or fewer than 2 rows.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise UserError(f"features {tuple(a.shape)} and {tuple(b.shape)}: give (n, d) and (m, d), n and m 2 or more")
    a, b = a.double(), b.double()
    s_a, s_b = (torch.cov(x.T).reshape(x.shape[1], -1) for x in (a, b))
    values, vectors = torch.linalg.eigh(s_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ s_b @ root).clamp_min(0).sqrt().sum()
    return ((a.mean(0) - b.mean(0)).square().sum() + s_a.trace() + s_b.trace() - 2 * cross).item()


def neighbourhoods(real: Tensor, samples: Tensor, k: int = NEIGHBOURS) -> dict[str, float]:
    """Precision, recall, density and coverage of features `samples` `(m, d)` against `real` `(n, d)`.

    A datum's ball reaches to its k-th nearest neighbour in its own set.

        precision   share of samples that lie in a real ball            recall     the reverse
        density     mean number of real balls that hold a sample, / k   coverage   share of real balls with a sample

    Args:
        real: features of real data, `(n, d)`.
        samples: features of samples, `(m, d)`.
        k: the neighbour that sets the radius of a ball; at least 1.

    Raises `UserError` if a set has k data or fewer.
    """
    if k < 1 or min(len(real), len(samples)) <= k:
        raise UserError(f"{len(real)} real data and {len(samples)} samples, k={k}: use k >= 1, and more than k of both")
    reach, reach_made = _radii(real, k), _radii(samples, k)
    inside, nearest, recalled = 0.0, torch.full_like(reach, torch.inf), torch.zeros(len(real), dtype=torch.bool)
    precise = 0.0
    for part, radius in zip(samples.split(CHUNK), reach_made.split(CHUNK), strict=True):
        distance = torch.cdist(real, part)
        within = distance <= reach.unsqueeze(1)
        inside += within.sum().item()
        precise += within.any(0).sum().item()
        nearest = torch.minimum(nearest, distance.amin(1))
        recalled |= (distance <= radius).any(1).cpu()
    return {
        "precision": precise / len(samples),
        "recall": recalled.float().mean().item(),
        "density": inside / (k * len(samples)),
        "coverage": (nearest <= reach).float().mean().item(),
    }


def _radii(features: Tensor, k: int) -> Tensor:
    """The distance of each datum to its k-th nearest neighbour, without itself."""
    return torch.cat([torch.cdist(part, features).kthvalue(k + 1, 1).values for part in features.split(CHUNK)])


def quality(samples: Tensor, real: Tensor) -> dict[str, float | str]:
    """Compare digits `(m, 1, 28, 28)` with real ones `(n, 1, 28, 28)`, in [0, 1], on the shipped digit classifier.

    Returns `frechet_distance`, `neighbourhoods`, the classifier's name, and `confident`: the share of `samples` that it
    classifies with a probability above 0.9. Raises `UserError` for pictures of another shape.
    """
    (features, chances), (features_real, _) = look(samples), look(real)
    sure = (chances.amax(1) > SURE).float().mean().item()
    distance = frechet_distance(features, features_real)
    return {"network": NAME, "frechet": distance, **neighbourhoods(features_real, features), "confident": sure}
