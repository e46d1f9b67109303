"""The least rate at which the reconstruction is good enough: a constraint in place of a weight."""

from __future__ import annotations

import torch
from torch import Tensor

from nelbo.config.registry import NonNegative, Share, register
from nelbo.objectives.base import Losses, Objective, report
from nelbo.vae import VAE


@register("objective", "constrained", cite="rezende2018taming")
class GECO(Objective):
    """min KL(q(z | x) || p(z)) subject to mean distortion <= target, nats per datum (GECO).

        loss = rate + lambda * (distortion - target)
        log lambda <- log lambda + step * clip(average of (distortion - target) / max(|target|, 1), -1, 1)

    The multiplier lambda moves in training only and is saved with the run; it rises while the target is missed. The
    average has weight `momentum` on the past. The relative, clipped gap is ours: it makes one step suit all data.

    Source: Rezende, Viola (2018), Taming VAEs.

    Args:
        target: the distortion to reach, nats per datum.
        step: step of the multiplier.
        momentum: weight on the past in the average of the gap, below 1.
    """

    log_multiplier: Tensor
    gap: Tensor
    batches: Tensor

    def __init__(self, *, target: float = 100.0, step: NonNegative = 0.01, momentum: Share = 0.9) -> None:
        super().__init__()
        self.target, self.step, self.momentum = target, step, momentum
        for name in ("log_multiplier", "gap", "batches"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        trace = vae(x, c)
        gap = trace.distortion.mean() - self.target
        if self.training and torch.is_grad_enabled():
            self._observe(gap.detach().clone())
        multiplier = self.log_multiplier.exp()
        loss, parts = report(trace, trace.rate.mean() + multiplier * gap, multiplier=multiplier)
        return Losses({"vae": loss}, parts)

    def _observe(self, gap: Tensor) -> None:
        """Take in the gap, over all processes, and move the multiplier."""
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(gap)
            gap /= torch.distributed.get_world_size()
        self.batches += 1
        self.gap.lerp_(gap.to(self.gap.dtype), (1 / self.batches).clamp_min(1 - self.momentum))
        self.log_multiplier += self.step * (self.gap / max(abs(self.target), 1.0)).clamp(-1, 1)
