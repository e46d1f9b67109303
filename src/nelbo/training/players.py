"""The players of an objective, their optimizers, and the part of each batch that a process computes.

Which rows of which batch a process takes, and when.

The order of an epoch depends on the seed and the epoch alone. Each global batch is cut into one slice for each
process, and a slice into pieces whose gradients are accumulated. The loss of a piece is weighed by its share of
the batch, so that any cut gives the gradient of the whole batch's mean.

The players of an objective: their parameters, the gradients of their losses, and their optimizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nelbo.errors import UserError
from nelbo.objectives import Losses, Objective
from nelbo.training.config import TrainingConfig
from nelbo.training.engine import Engine
from nelbo.training.optim import OptimizerState
from nelbo.training.replay import ReplayedFunction


@dataclass(frozen=True)
class MicroBatch:
    """Rows `start:stop` of a global batch of `total`; `last` of its batch in this process."""

    index: Tensor
    start: int
    stop: int
    total: int
    weight: float
    last: bool


def epoch_order(n: int, seed: int, epoch: int, rows: int = 0) -> Tensor:
    """A permutation of n rows that the seed and the epoch determine; the first `rows` of it, or several in turn.

    >>> sorted(epoch_order(3, seed=1, epoch=1, rows=6).tolist())
    [0, 0, 1, 1, 2, 2]
    """
    rows, generator = rows or n, torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-rows // n))])[:rows]


def micro_batches(
    order: Tensor, batch_size: int, first: int = 0, rank: int = 0, world: int = 1, gradient_accumulation_steps: int = 1
) -> Iterator[MicroBatch]:
    """The pieces of this process, from batch number `first` on.

    >>> [p.index.tolist() for p in pieces(torch.arange(5), 4, rank=1, world=2)]
    [[2, 3], [4]]
    """
    cuts = world * gradient_accumulation_steps
    for rows in order.split(batch_size)[first:]:
        total = len(rows)
        for cut in range(rank * gradient_accumulation_steps, (rank + 1) * gradient_accumulation_steps):
            start, stop = total * cut // cuts, total * (cut + 1) // cuts
            weight = (stop - start) / total
            if start == stop:  # nothing left for this piece: a row of weight 0 keeps the processes in step
                start, stop = (start, start + 1) if start < total else (total - 1, total)
            yield MicroBatch(
                rows[start:stop], start, stop, total, weight, cut == (rank + 1) * gradient_accumulation_steps - 1
            )


@dataclass(frozen=True)
class OptimizerGroup:
    """An optimizer over parameters `params` of a player, at `lr_scale` times the player's learning rate."""

    name: str
    player: str
    params: list[nn.Parameter]
    optimizer: OptimizerState
    lr_scale: float


class OptimizerGroups:
    """Each player of an objective, with an optimizer over its own parameters.

    `module` is what to train through. A single player's loss goes backward through it, and its gradients are
    averaged over processes on the way; several players' gradients are taken one by one and summed here. In one process
    the step is replayed from a tape (see `nelbo.training.replay`) wherever that is proved to be the same, unless
    `replay` is off.

    Raises `UserError` for several players in 64 bit.
    """

    def __init__(self, vae: Any, objective: Objective, settings: TrainingConfig, engine: Engine) -> None:
        self.objective, self.settings, self.engine = objective, settings, engine
        self.alone = len(objective.param_groups(vae)) == 1
        if not self.alone and settings.precision == "64":
            raise UserError(f"precision='64': {type(objective).__name__} has several players: give '32' or 'bf16'")
        self.module = engine.wrap(vae) if self.alone else vae.to(engine.device)
        self.parameters = objective.param_groups(vae)
        self.all = [p for moved in self.parameters.values() for p in moved]
        self.names: tuple[list[str], list[str]] = [], []
        state = [*self.module.buffers(), *self.objective.buffers()]
        self.measure = (
            ReplayedFunction(self._measure, state) if settings.replay and engine.world == 1 else self._measure
        )
        self.groups = [mover for player in self.parameters for mover in self._groups_of(player, vae)]

    def backward(self, x: Tensor, c: Tensor | None, piece: MicroBatch) -> Losses:
        """Add the gradient of each player's loss on a piece to that player's parameters, and to no others."""
        if self.alone and self.engine.world > 1:
            return self._backward(x, c, piece)
        results: list[Any] = list(self.measure(x, c, piece.weight))
        players, parts = self.names
        first, second = len(players), len(players) + len(parts)
        losses = Losses(dict(zip(players, results, strict=False)), dict(zip(parts, results[first:], strict=False)))
        for parameter, gradient in zip(self.all, results[second:], strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
            if piece.last and self.engine.world > 1:
                rest = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self.engine.sum(rest)
        return losses

    def _backward(self, x: Tensor, c: Tensor | None, piece: MicroBatch) -> Losses:
        """The same through the hooks that average a gradient over processes while the next is computed."""
        e = self.engine
        with e.without_sync(self.module, not piece.last):
            with e.autocast():
                losses = self.objective(self.module, x, c)
            (loss,) = losses.losses.values()
            (loss * (piece.weight * e.world)).backward()
        return losses

    def _measure(self, x: Tensor, c: Tensor | None, weight: float) -> list[Tensor | None]:
        """The losses, their parts and, times `weight`, the gradients: those of each player in turn."""
        with self.engine.autocast():
            losses = self.objective(self.module, x, c)
        self.names = list(losses.losses), list(losses.terms)
        gradients: list[Tensor | None] = []
        for i, (player, moved) in enumerate(self.parameters.items(), 1):
            loss = losses.losses[player]
            loss = loss if weight == 1 else loss * weight
            gradients += torch.autograd.grad(loss, moved, retain_graph=i < len(self.parameters), allow_unused=True)
        return [*(loss.detach() for loss in losses.losses.values()), *losses.terms.values(), *gradients]

    def _groups_of(self, player: str, vae: Any) -> list[OptimizerGroup]:
        """The optimizers of a player: of what learns at its pace, and of an encoder that learns at another."""
        moved, rate = self.parameters[player], self.settings.encoder_lr_scale
        # In a hierarchy encoder and decoder share a path, and learn at one pace.
        encoder = set(vae.latent.encoder_parameters() or ()) if rate != 1 else set()
        groups = {
            player: [p for p in moved if p not in encoder],
            f"{player}.encoder": [p for p in moved if p in encoder],
        }
        return [
            OptimizerGroup(name, player, group, self.settings.optimizer.init(group), 1.0 if name == player else rate)
            for name, group in groups.items()
            if group
        ]

    def step(self, lr: float) -> None:
        """Move each player's parameters at its pace, and forget the gradients."""
        if self.settings.max_grad_norm:
            for moved in self.parameters.values():
                torch.nn.utils.clip_grad_norm_(moved, self.settings.max_grad_norm)
        for mover in self.groups:
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in mover.params]
            mover.optimizer.step(gradients, lr * self.objective.lr_scale(mover.player) * mover.lr_scale)
        for parameter in self.all:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """The live tensors of the optimizers, by `mover.name`."""
        return {f"{mover.name}.{k}": v for mover in self.groups for k, v in mover.optimizer.state().items()}
