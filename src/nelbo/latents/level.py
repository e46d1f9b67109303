"""What is recorded of one level of latents when z is drawn."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor
from torch.distributions import Distribution

from nelbo.distributions import has_kl, kl_divergence


class Level:
    """One level: the draw z, the distributions q and p it is scored under, and terms of shape `(*sample, batch)`.

    `log_q` is given where only drawing knows it (a flow); otherwise it is computed when asked for.
    """

    def __init__(
        self, z: Tensor, q: Distribution, p: Distribution, log_q: Tensor | None = None, penalty: Tensor | None = None
    ) -> None:
        self.z, self.q = z, q
        self.p, self.penalty = p, penalty
        if log_q is not None:
            self.log_q = log_q

    @cached_property
    def log_q(self) -> Tensor:
        """log q(z | x), nats."""
        return self.q.log_prob(self.z)

    @cached_property
    def log_p(self) -> Tensor:
        """log p(z), nats."""
        return self.p.log_prob(self.z)

    @cached_property
    def kl(self) -> Tensor:
        """KL(q || p) in nats: the closed form if the table has one, else the estimate log q(z) - log p(z)."""
        if has_kl(self.q, self.p):
            sample = self.z.shape[: self.z.dim() - len(self.q.batch_shape) - len(self.q.event_shape)]
            kl = kl_divergence(self.q, self.p)
            return kl.expand(*sample, *kl.shape) if sample else kl
        return self.log_q - self.log_p
