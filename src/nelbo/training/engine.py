"""The device and the processes that training runs on: one process, or those that `torchrun` started.

Several processes use torch's DistributedDataParallel, half precision uses torch.autocast. Lightning Fabric and
Accelerate are not used: they wrap these calls, and importing Fabric takes a second, longer than some trainings.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nelbo.errors import UserError


class Engine:
    """A device and a precision, in each of the processes.

    Args:
        device: the device.
        precision: "32", "bf16" (mixed precision) or "64".
        alone: use this process only, though others may run beside it.
    """

    def __init__(self, device: torch.device, precision: str = "32", alone: bool = False) -> None:
        among = {} if alone else os.environ
        self.rank, self.world = int(among.get("RANK", "0")), int(among.get("WORLD_SIZE", "1"))
        self.device, self.precision = device, precision
        if self.world > 1:
            if device.type == "cuda":
                self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
                torch.cuda.set_device(self.device)
            if not distributed.is_initialized():
                distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")

    def wrap(self, module: nn.Module) -> nn.Module:
        """Wrap a module for training: its backward pass averages the gradients of all processes."""
        module = module.to(self.device, torch.float64 if self.precision == "64" else None)
        return _Averaged(module) if self.world > 1 else module

    def place(self, x: Tensor) -> Tensor:
        """Move a batch to the device, in 64 bits if the model is."""
        return x.to(self.device, torch.float64 if self.precision == "64" else None, non_blocking=True)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of the forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def without_sync(self, module: nn.Module, enabled: bool) -> AbstractContextManager[Any]:
        """While `enabled`, gradients stay in this process, as in all but the last piece of an accumulated step."""
        return module.no_sync() if enabled and isinstance(module, _Averaged) else nullcontext()

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over processes."""
        if self.world > 1:
            value = value.to(self.device, copy=True)
            distributed.all_reduce(value)
        return value


class _Averaged(DistributedDataParallel):
    """A module in several processes that still has its own attributes (`latent`, `likelihood`)."""

    def __init__(self, module: nn.Module) -> None:
        on_gpu = next(module.parameters()).device.type == "cuda"
        super().__init__(module, [torch.cuda.current_device()] if on_gpu else None)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first accelerator, else the CPU.

    Raises:
        UserError: for a device that this machine does not have.

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


def engine(device: str, precision: str, alone: bool = False) -> Engine:
    """The engine for a device and precision, in the processes that `torchrun` started.

    Args:
        device: name of the device; see `choose_device`.
        precision: "32", "bf16" (mixed precision) or "64".
        alone: use this process only, though others may run beside it.
    """
    return Engine(choose_device(device), precision, alone)
