"""Where the arithmetic runs: one process on one device, or several under Lightning Fabric.

The loop asks an engine for five things and never knows which it has. A single process in 32 or 64 bit needs no
Fabric, whose import takes longer than some whole trainings; anything more (a half-width precision, several
processes started by `torchrun`) is Fabric's.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from nelbo.errors import UserError


class Engine:
    """One process, one device."""

    rank = 0
    world = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module to train through: gradients of all processes are averaged in its backward pass."""
        return module.to(self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of the forward pass."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def without_sync(self, module: nn.Module, enabled: bool) -> AbstractContextManager[Any]:
        """While `enabled`, gradients stay in this process (all but the last piece of an accumulated step)."""
        return nullcontext()

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over processes."""
        return value


class FabricEngine(Engine):
    """Several processes or a half-width precision, by Lightning Fabric."""

    def __init__(self, device: torch.device, precision: str) -> None:
        from lightning_fabric import Fabric

        world = int(os.environ.get("WORLD_SIZE", "1"))
        nodes = world // int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
        self.fabric = Fabric(
            accelerator="cuda" if device.type == "cuda" else device.type,
            devices=world // nodes if world > 1 else [device.index or 0] if device.type == "cuda" else 1,
            num_nodes=nodes,
            strategy="ddp" if world > 1 else "auto",
            precision={"32": "32-true", "bf16": "bf16-mixed", "64": "64-true"}[precision],  # type: ignore[arg-type]
        )
        self.fabric.launch()
        super().__init__(self.fabric.device)
        self.rank, self.world = self.fabric.global_rank, self.fabric.world_size

    def wrap(self, module: nn.Module) -> nn.Module:
        return self.fabric.setup_module(module)

    def autocast(self) -> AbstractContextManager[Any]:
        return self.fabric.autocast()

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def without_sync(self, module: nn.Module, enabled: bool) -> AbstractContextManager[Any]:
        return self.fabric.no_backward_sync(module, enabled=enabled)  # type: ignore[arg-type]

    def sum(self, value: Tensor) -> Tensor:
        return self.fabric.all_reduce(value, reduce_op="sum")  # type: ignore[return-value]


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first accelerator, else the processor.

    Raises `UserError` for a device this machine does not have.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f'device={name!r}: give "cpu", "cuda", "cuda:1", "mps" or "auto"') from None
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "meta": 1}
    if (device.index or 0) >= here.get(device.type, 0):
        raise UserError(f'device={name!r} is not on this machine: give --device cpu, or "auto"')
    return device


def engine(device: str, precision: str) -> Engine:
    """The engine for this device, precision and the number of processes that `torchrun` started."""
    chosen = choose_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or precision != "32":
        return FabricEngine(chosen, precision)
    return Engine(chosen)
