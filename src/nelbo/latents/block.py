"""One block of a hierarchy: the prior and the posterior of one level, which share the top-down state.

With s_l the state that comes down (a function of z_>l) and d_l what the bottom-up pass says of x,

    p(z_l | z_>l) = N(mu_p(s_l), sigma_p(s_l)),   q(z_l | z_>l, x) = merge(p, m(s_l, d_l), v(s_l, d_l)),
    s_{l-1} = f(s_l + g(z_l)),

and how m and v make q is one object:

    DIRECT     q = N(m, exp(v))                                              (Child, 2021)
    RESIDUAL   q = N(mu_p + m, sigma_p exp(v))                               (Vahdat, Kautz, 2020)
    PRECISION  q proportional to p(z) N(z; m, exp(v)), m and v of d_l alone  (Sønderby et al., 2016)

Every log-scale a net gives is 5 tanh(v / 5): near v for small v, between -5 and 5, so that no density overflows.

Source: Sønderby, Raiko, Maaløe, Sønderby, Winther (2016), Ladder Variational Autoencoders; Vahdat, Kautz (2020), NVAE:
A Deep Hierarchical Variational Autoencoder; Child (2021), Very Deep VAEs Generalize Autoregressive Models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nelbo.distributions import DiagonalNormal
from nelbo.distributions.conditional import apply_over_sample_dims

LIMIT = 5.0  # of a log-scale


def bounded(log_scale: Tensor) -> Tensor:
    """5 tanh(v / 5), any shape: the identity near 0, never beyond 5 in size.

    >>> [round(v, 3) for v in bounded(torch.tensor([0.1, -1e9])).tolist()]
    [0.1, -5.0]
    """
    return LIMIT * torch.tanh(log_scale / LIMIT)


@dataclass(frozen=True)
class PosteriorParametrization:
    """How the prior p and what was inferred, (m, v), make q; `reads_state`: whether (m, v) depend on z_>l."""

    combine: Callable[[DiagonalNormal, Tensor, Tensor], DiagonalNormal]
    reads_state: bool = True


def _precision(p: DiagonalNormal, m: Tensor, v: Tensor) -> DiagonalNormal:
    share = torch.sigmoid(2 * (p.log_scale - v))  # of N(m, exp(v)) in the summed precision
    log_scale = -0.5 * torch.logaddexp(-2 * p.log_scale, -2 * v)
    return DiagonalNormal(torch.lerp(p.loc, m.expand_as(share), share), log_scale, len(p.event_shape))


DIRECT = PosteriorParametrization(lambda p, m, v: DiagonalNormal(m, v, len(p.event_shape)))
RESIDUAL = PosteriorParametrization(lambda p, m, v: DiagonalNormal(p.loc + m, p.log_scale + v, len(p.event_shape)))
PRECISION = PosteriorParametrization(_precision, reads_state=False)


class TopDownBlock(nn.Module):
    """p(z | s), q(z | s, d) and the next state, for a level of event `shape` (a vector, or channels x height x width).

    `prior(s, c)` and `posterior([s, d], c)` return mean and log-scale side by side in their channels; `lift(z)` has
    the shape of s; `block` makes the next state. With `markov` the next state forgets s: it is block(lift(z)).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        prior: nn.Module,
        posterior: nn.Module,
        lift: nn.Module,
        block: nn.Module,
        merge: PosteriorParametrization = DIRECT,
        markov: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.prior, self.posterior = shape, prior, posterior
        self.lift, self.block = lift, block
        self.merge, self.markov = merge, markov

    def forward(
        self, state: Tensor, features: Tensor | None, c: Tensor | None
    ) -> tuple[DiagonalNormal, DiagonalNormal | None]:
        """p and q (None without features), from s `(*sample, batch, *event)` and d `(batch, *event)`."""
        dims = len(self.shape)
        loc, log_scale = self._pair(self.prior, state, c)
        p = DiagonalNormal(loc, bounded(log_scale), dims)
        if features is None:
            return p, None
        if self.merge.reads_state:
            lead = state.shape[: state.dim() - dims]
            features = torch.cat([state, features.expand(*lead, *features.shape[-dims:])], -dims)
        m, v = self._pair(self.posterior, features, c)
        return p, self.merge.combine(p, m, bounded(v))

    def absorb(self, state: Tensor, z: Tensor) -> Tensor:
        """The state below, given z `(*sample, batch, *shape)`."""
        lifted = apply_over_sample_dims(self.lift, z, event_dims=len(self.shape))
        return apply_over_sample_dims(self.block, lifted if self.markov else state + lifted, event_dims=len(self.shape))

    def _pair(self, net: nn.Module, x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
        return apply_over_sample_dims(net, x, c, event_dims=len(self.shape)).chunk(2, -len(self.shape))
