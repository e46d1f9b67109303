"""The players of an objective, their optimizers, and the part of each batch that a process computes.

The order of an epoch depends on the seed and the epoch alone. Each global batch is divided into one slice for each
process, and a slice into pieces whose gradients are accumulated. The loss of a piece is weighted by its share of the
batch, so that any division has the gradient of the whole batch's mean.
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
    """A piece of a global batch.

    Args:
        index: indices of its rows in the data.
        start: its first row in the batch.
        stop: the row after its last one.
        total: rows of the batch.
        weight: its share of the batch.
        last: whether it is the last piece of the batch in this process.
    """

    index: Tensor
    start: int
    stop: int
    total: int
    weight: float
    last: bool


def epoch_order(n: int, seed: int, epoch: int, rows: int = 0) -> Tensor:
    """The order of the rows of an epoch, a permutation that the seed and the epoch determine.

    Args:
        n: number of rows of the data.
        seed: seed of the run.
        epoch: epoch, from 1.
        rows: rows of the epoch: the first ones of the permutation, or several permutations if above n; 0 for n.

    >>> sorted(epoch_order(3, seed=1, epoch=1, rows=6).tolist())
    [0, 0, 1, 1, 2, 2]
    """
    rows, generator = rows or n, torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-rows // n))])[:rows]


def micro_batches(
    order: Tensor, batch_size: int, first: int = 0, rank: int = 0, world: int = 1, gradient_accumulation_steps: int = 1
) -> Iterator[MicroBatch]:
    """The pieces of a process.

    Args:
        order: the rows of the epoch, in order.
        batch_size: rows of a global batch.
        first: number of the first batch.
        rank: number of the process.
        world: number of processes.
        gradient_accumulation_steps: pieces of a process's slice of a batch.

    >>> [p.index.tolist() for p in micro_batches(torch.arange(5), 4, rank=1, world=2)]
    [[2, 3], [4]]
    """
    cuts = world * gradient_accumulation_steps
    for rows in order.split(batch_size)[first:]:
        total = len(rows)
        for cut in range(rank * gradient_accumulation_steps, (rank + 1) * gradient_accumulation_steps):
            start, stop = total * cut // cuts, total * (cut + 1) // cuts
            weight = (stop - start) / total
            if start == stop:  # an empty piece: a row of weight 0 keeps the processes synchronous
                start, stop = (start, start + 1) if start < total else (total - 1, total)
            yield MicroBatch(
                rows[start:stop], start, stop, total, weight, cut == (rank + 1) * gradient_accumulation_steps - 1
            )


@dataclass(frozen=True)
class OptimizerGroup:
    """An optimizer of some parameters of a player, at `lr_scale` times the player's learning rate."""

    name: str
    player: str
    params: list[nn.Parameter]
    optimizer: OptimizerState
    lr_scale: float


class OptimizerGroups:
    """The players of an objective, with optimizers of their parameters.

    The loss of a single player is differentiated through `module`, which averages the gradients over processes. The
    gradients of several players are computed one by one and summed here. In one process the step is replayed from a
    tape (see `nelbo.training.replay`) if a check proves it equal, unless `replay` is off.

    Raises:
        UserError: for several players in 64 bit.
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
        self.groups = [group for player in self.parameters for group in self._groups_of(player, vae)]

    def backward(self, x: Tensor, c: Tensor | None, piece: MicroBatch) -> Losses:
        """Add the gradient of each player's loss on a piece to the parameters of that player only."""
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
        """`backward` through hooks that average a gradient over processes while the next is computed."""
        e = self.engine
        with e.without_sync(self.module, not piece.last):
            with e.autocast():
                losses = self.objective(self.module, x, c)
            (loss,) = losses.losses.values()
            (loss * (piece.weight * e.world)).backward()
        return losses

    def _measure(self, x: Tensor, c: Tensor | None, weight: float) -> list[Tensor | None]:
        """The losses, their terms, and the gradients times `weight`, player by player."""
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
        """The optimizers of a player: one, or two if the encoder has its own learning rate."""
        params, scale = self.parameters[player], self.settings.encoder_lr_scale
        # In a hierarchy encoder and decoder share modules, so they have the same learning rate.
        encoder = set(vae.latent.encoder_parameters() or ()) if scale != 1 else set()
        groups = {
            player: [p for p in params if p not in encoder],
            f"{player}.encoder": [p for p in params if p in encoder],
        }
        return [
            OptimizerGroup(name, player, group, self.settings.optimizer.init(group), 1.0 if name == player else scale)
            for name, group in groups.items()
            if group
        ]

    def step(self, lr: float) -> None:
        """Update each player's parameters at its learning rate, and clear the gradients."""
        if self.settings.max_grad_norm:
            for moved in self.parameters.values():
                torch.nn.utils.clip_grad_norm_(moved, self.settings.max_grad_norm)
        for group in self.groups:
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in group.params]
            group.optimizer.step(gradients, lr * self.objective.lr_scale(group.player) * group.lr_scale)
        self.clear()

    def clear(self) -> None:
        """Forget the gradients since the last step."""
        for parameter in self.all:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """The live tensors of the optimizers, by `group.name`."""
        return {f"{group.name}.{k}": v for group in self.groups for k, v in group.optimizer.state().items()}
