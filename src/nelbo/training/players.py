"""The players of an objective: their parameters, the gradients of their losses, and their optimizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nelbo.errors import UserError
from nelbo.objectives import Losses, Objective
from nelbo.training.config import Settings
from nelbo.training.engine import Engine
from nelbo.training.microbatch import Piece
from nelbo.training.optim import Stepper
from nelbo.training.replay.tape import Taped


@dataclass(frozen=True)
class Mover:
    """An optimizer over parameters `moved` of a player, at `rate` times the player's learning rate."""

    name: str
    player: str
    moved: list[nn.Parameter]
    optimizer: Stepper
    rate: float


class Players:
    """Each player of an objective, with an optimizer over its own parameters.

    `module` is what to train through. A single player's loss goes backward through it, and its gradients are
    averaged over processes on the way; several players' gradients are taken one by one and summed here. In one process
    the step is replayed from a tape (see `nelbo.training.replay.tape`) wherever that is proved to be the same, unless
    `replay` is off.

    Raises `UserError` for several players in 64 bit.
    """

    def __init__(self, vae: Any, objective: Objective, settings: Settings, engine: Engine) -> None:
        self.objective, self.settings, self.engine = objective, settings, engine
        self.alone = len(objective.players(vae)) == 1
        if not self.alone and settings.precision == "64":
            raise UserError(f"precision='64': {type(objective).__name__} has several players: give '32' or 'bf16'")
        self.module = engine.wrap(vae) if self.alone else vae.to(engine.device)
        self.parameters = objective.players(vae)
        self.all = [p for moved in self.parameters.values() for p in moved]
        self.names: tuple[list[str], list[str]] = [], []
        state = [*self.module.buffers(), *self.objective.buffers()]
        self.measure = Taped(self._measure, state) if settings.replay and engine.world == 1 else self._measure
        self.movers = [mover for player in self.parameters for mover in self._movers(player, vae)]

    def learn(self, x: Tensor, c: Tensor | None, piece: Piece) -> Losses:
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

    def _backward(self, x: Tensor, c: Tensor | None, piece: Piece) -> Losses:
        """The same through the hooks that average a gradient over processes while the next is computed."""
        e = self.engine
        with e.without_sync(self.module, not piece.last):
            with e.autocast():
                losses = self.objective(self.module, x, c)
            (loss,) = losses.players.values()
            (loss * (piece.weight * e.world)).backward()
        return losses

    def _measure(self, x: Tensor, c: Tensor | None, weight: float) -> list[Tensor | None]:
        """The losses, their parts and, times `weight`, the gradients: those of each player in turn."""
        with self.engine.autocast():
            losses = self.objective(self.module, x, c)
        self.names = list(losses.players), list(losses.parts)
        gradients: list[Tensor | None] = []
        for i, (player, moved) in enumerate(self.parameters.items(), 1):
            loss = losses.players[player]
            loss = loss if weight == 1 else loss * weight
            gradients += torch.autograd.grad(loss, moved, retain_graph=i < len(self.parameters), allow_unused=True)
        return [*(loss.detach() for loss in losses.players.values()), *losses.parts.values(), *gradients]

    def _movers(self, player: str, vae: Any) -> list[Mover]:
        """The optimizers of a player: of what learns at its pace, and of an encoder that learns at another."""
        moved, rate = self.parameters[player], self.settings.encoder_rate
        # In a hierarchy encoder and decoder share a path, and learn at one pace.
        encoder = set(vae.latent.encoder_parameters() or ()) if rate != 1 else set()
        groups = {
            player: [p for p in moved if p not in encoder],
            f"{player}.encoder": [p for p in moved if p in encoder],
        }
        return [
            Mover(name, player, group, self.settings.optimizer.over(group), 1.0 if name == player else rate)
            for name, group in groups.items()
            if group
        ]

    def step(self, lr: float) -> None:
        """Move each player's parameters at its pace, and forget the gradients."""
        if self.settings.clip:
            for moved in self.parameters.values():
                torch.nn.utils.clip_grad_norm_(moved, self.settings.clip)
        for mover in self.movers:
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in mover.moved]
            mover.optimizer.step(gradients, lr * self.objective.pace(mover.player) * mover.rate)
        for parameter in self.all:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """The live tensors of the optimizers, by `mover.name`."""
        return {f"{mover.name}.{k}": v for mover in self.movers for k, v in mover.optimizer.state().items()}
