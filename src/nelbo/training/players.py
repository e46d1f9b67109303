"""The players of an objective: their parameters, the gradients of their losses, and their optimizers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nelbo.errors import UserError
from nelbo.objectives import Objective
from nelbo.training.engine import Engine
from nelbo.training.pieces import Piece
from nelbo.training.settings import Settings
from nelbo.vae import VAE


class Players:
    """Each player of an objective, with an optimizer over its own parameters.

    `module` is what to train through. A single player's loss goes backward through it, and its gradients are
    averaged over processes on the way; several players' gradients are taken one by one and summed here.

    Raises `UserError` for several players in 64 bit.
    """

    def __init__(self, vae: VAE, objective: Objective, settings: Settings, engine: Engine) -> None:
        self.objective, self.settings, self.engine = objective, settings, engine
        self.alone = len(objective.players(vae)) == 1
        if not self.alone and settings.precision == "64":
            raise UserError(f"precision='64': {type(objective).__name__} has several players: give '32' or 'bf16'")
        self.module = engine.wrap(vae) if self.alone else vae.to(engine.device)
        self.parameters = objective.players(vae)
        self.optimizers = {player: settings.optimizer.over(moved) for player, moved in self.parameters.items()}

    def backward(self, losses: Mapping[str, Tensor], piece: Piece) -> None:
        """Add the gradient of each player's loss on a piece to that player's parameters, and to no others."""
        e = self.engine
        if self.alone:
            share = piece.weight * e.world
            (loss,) = losses.values()
            e.backward(loss if share == 1 else loss * share)
            return
        for i, (player, moved) in enumerate(self.parameters.items(), 1):
            keep, loss = i < len(losses), losses[player] * piece.weight
            for p, g in zip(moved, torch.autograd.grad(loss, moved, retain_graph=keep, allow_unused=True), strict=True):
                g = torch.zeros_like(p) if g is None else g
                g = g if p.grad is None else p.grad + g
                p.grad = e.sum(g) if piece.last else g

    def step(self, lr: float) -> None:
        """Move each player's parameters at its pace, and forget the gradients."""
        for player, moved in self.parameters.items():
            if self.settings.clip:
                torch.nn.utils.clip_grad_norm_(moved, self.settings.clip)
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in moved]
            self.optimizers[player].step(gradients, lr * self.objective.pace(player))
            for parameter in moved:
                parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """The live tensors of the optimizers, by `player.name`."""
        return {f"{player}.{k}": v for player, o in self.optimizers.items() for k, v in o.state().items()}
