"""How far the draws of the aggregate posterior are from the prior's, or from independent, by samples alone.

None of these asks for log q, so that the posterior may be a point. All compare the draws z `(batch, latents)` of
one level, one a datum, with as many draws of its prior.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nelbo.distributions import noise
from nelbo.errors import UserError
from nelbo.objectives.base import Term, only, prior_draws
from nelbo.vae import Trace

Kernel = Callable[[Tensor, int], Tensor]
"""(squared distances, dimensions) -> values in (0, 1], 1 at distance 0."""


def rbf(scales: Sequence[float] = (1.0,)) -> Kernel:
    """The mean over scales s of exp(-d^2 / h), h = 2 * dim * s, the mean d^2 of two standard Normals at s = 1."""
    return lambda d2, dim: torch.stack([torch.exp(-d2 / (2 * dim * s)) for s in scales]).mean(0)


def imq(scales: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)) -> Kernel:
    """The mean over scales s of h / (h + d^2), h = 2 * dim * s: an inverse multiquadratic, with heavier tails."""
    return lambda d2, dim: torch.stack([2 * dim * s / (2 * dim * s + d2) for s in scales]).mean(0)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return (x.unsqueeze(1) - y.unsqueeze(0)).square().sum(-1)


def discrepancy(x: Tensor, y: Tensor, kernel: Kernel, biased: bool = False) -> Tensor:
    """The squared maximum mean discrepancy E[k(x, x') + k(y, y') - 2 k(x, y)] of samples `(n, dim)` and `(m, dim)`.

    Unbiased it leaves out the pairs of a sample with itself, and may be below 0; biased it is 0 or more.

    Source: Gretton et al. (2012), A Kernel Two-Sample Test.
    """

    def within(a: Tensor) -> Tensor:
        k = kernel(_squared_distances(a, a), a.shape[-1])
        return k.mean() if biased or len(a) == 1 else (k.sum() - k.diagonal().sum()) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * kernel(_squared_distances(x, y), x.shape[-1]).mean()


def mmd(kernel: Kernel, biased: bool = False) -> Term:
    """The maximum mean discrepancy, squared, of the posteriors' draws and the prior's.

    Source: Zhao, Song, Ermon (2019), InfoVAE: Balancing Learning and Inference in Variational Autoencoders;
    Tolstikhin, Bousquet, Gelly, Schölkopf (2018), Wasserstein Auto-Encoders.
    """

    def mmd(trace: Trace) -> Tensor:
        level = only(trace, "mmd")
        return discrepancy(level.z.flatten(1), prior_draws(level).flatten(1), kernel, biased)

    return mmd


def sliced_wasserstein(projections: int = 50) -> Term:
    """The squared 2-Wasserstein distance of z and prior draws, mean over random directions.

        mean over directions u of mean_i (sort(z u)_i - sort(y u)_i)^2

    Source: Kolouri, Pope, Martin, Rohde (2019), Sliced Wasserstein Auto-Encoders.
    """

    def sliced_wasserstein(trace: Trace) -> Tensor:
        level = only(trace, "sliced_wasserstein")
        z, y = level.z.flatten(1), prior_draws(level).flatten(1)
        u = noise.normal(torch.Size((projections,)), torch.Size(), z.shape[1:], z)
        u = u / u.norm(dim=-1, keepdim=True)
        return ((z @ u.T).sort(0).values - (y @ u.T).sort(0).values).square().mean()

    return sliced_wasserstein


def independence(blocks: Sequence[Tensor], kernel: Kernel) -> Tensor:
    """dHSIC of the blocks `(n, dim_b)`, with their Gram matrices K_b: 0 in the limit just where they are independent.

        mean_ij prod_b K_b(i, j) + prod_b mean_ij K_b(i, j) - 2 mean_i prod_b mean_j K_b(i, j)

    Of two blocks it is HSIC, tr(K H L H) / n^2; biased, 0 or more. Source: Pfister, Bühlmann, Schölkopf, Peters
    (2018), Kernel-based Tests for Joint Independence.
    """
    grams = torch.stack([kernel(_squared_distances(b, b), b.shape[-1]) for b in blocks])
    rows = grams.mean(-1)
    return grams.prod(0).mean() + rows.mean(-1).prod() - 2 * rows.prod(0).mean()


def hsic(sizes: Sequence[int] = (), kernel: Kernel | None = None) -> Term:
    """The dependence of blocks of latents: `sizes` of consecutive blocks, by default each latent for itself.

    Source: Lopez, Regier, Jordan, Yosef (2018), Information Constraints on Auto-Encoding Variational Bayes.
    """
    chosen = kernel or rbf()

    def hsic(trace: Trace) -> Tensor:
        z = only(trace, "hsic").z.flatten(1)
        if sizes and sum(sizes) != z.shape[1]:
            raise UserError(f"hsic sizes={list(sizes)}: give sizes that sum to the {z.shape[1]} latents")
        return independence(z.split(list(sizes) or 1, 1), chosen)

    return hsic
