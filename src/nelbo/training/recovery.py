"""Steps that must not be taken, and the way back from them.

A fault is a loss that is not finite, or one that explodes: both the loss and distortion + rate, which no schedule
weights, lie above

    highest accepted + margin,   margin = (first - lowest so far) + 1/2 nat for each element of a datum

where the first loss is accepted: the model is far worse than before its first step. A run keeps a copy of its whole
state in memory. It replaces the copy every `KEEP_STEPS` steps and after each epoch, once the weights are finite and the
loss of a batch under them is not a fault. At a fault the run returns to the copy and computes the loss of the same rows
there. Rows whose loss is not finite there are left out of the rest of the run. If the loss is nearly as high there, the
rows are unusual, and the loss is accepted. Otherwise the step was too long: the learning rate is divided by `CUT` until
the fault is passed, and stays so if faults follow one another. Skipping steps with large gradients, as very deep VAEs
do, was weighed: it needs a threshold for each model, and weights that are damaged stay so.

All depends on the number of steps and never on the time, so that the same seed gives the same run.

Source: Child (2021), Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images, section 3.3;
Chowdhery et al. (2022), PaLM: Scaling Language Modeling with Pathways, section 5.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nelbo.errors import UserError, listed

KEEP_STEPS = 100
MOST = 10  # returns of a run
CUT = 4.0  # divisor of the learning rate
NEAR = 10 * KEEP_STEPS  # steps between two faults with the same cause
PER_ELEMENT = 0.5  # nats
NAMED = 5  # rows in a message


class Fault(Exception):
    """A step whose result must not be kept.

    Args:
        words: what is wrong, as in "the loss is nan".
        step: the number of the step, from 1.
        index: the rows of the batch, as indices of the data; None if they are those of another process.
        split: the data they belong to, "training" or "test".
        values: the losses of the batch, if they are known.
        evaluated: whether they are of evaluation mode.
    """

    def __init__(
        self,
        words: str,
        step: int,
        index: Tensor | None = None,
        split: str = "training",
        values: Mapping[str, float] | None = None,
        evaluated: bool = False,
    ) -> None:
        super().__init__(words)
        self.words, self.step, self.index, self.split = words, step, index, split
        self.values, self.evaluated = values or {}, evaluated


Bounds = dict[str, list[float]]
"""Name of a measure of the loss -> its first, its lowest and its highest accepted value in a run."""


def measures(values: Mapping[str, float]) -> dict[str, float]:
    """The numbers of which all must be high in an explosion: the loss, and distortion + rate if there is one."""
    known = {"loss": values["loss"]}
    return known | ({"distortion + rate": values["distortion"] + values["rate"]} if "rate" in values else {})


def margin(bounds: Bounds, name: str, elements: int) -> float:
    """How far a measure may rise above its highest accepted value, the first one to begin with.

    >>> margin({"loss": [100.0, 90.0, 100.0]}, "loss", elements=4)
    12.0
    """
    first, lowest, _ = bounds[name]
    return first - lowest + PER_ELEMENT * elements


def what_is_wrong(values: Mapping[str, float], bounds: Bounds, elements: int) -> str:
    """Describe the fault in the losses of a batch; "" if there is none.

    >>> bounds = {"loss": [100.0, 90.0, 100.0], "distortion + rate": [100.0, 90.0, 100.0]}
    >>> what_is_wrong({"loss": math.nan, "distortion": math.nan, "rate": 1.0}, bounds, 4)
    'distortion is nan'
    >>> what_is_wrong({"loss": 113.0, "distortion": 100.0, "rate": 13.0}, bounds, 4)
    'the loss explodes (distortion 100, rate 13)'
    >>> what_is_wrong({"loss": 5.0, "distortion": 100.0, "rate": 13.0}, bounds, 4)
    ''
    """
    if bad := [name for name, value in values.items() if not math.isfinite(value)]:
        return f"{bad[-1]} is {values[bad[-1]]}"  # a term rather than the loss
    high = [
        name in bounds and value > bounds[name][2] + margin(bounds, name, elements)
        for name, value in measures(values).items()
    ]
    if not all(high):
        return ""
    parts = [name for name in ("distortion", "rate") if name in values] or ["loss"]
    return f"the loss explodes ({', '.join(f'{name} {values[name]:.4g}' for name in parts)})"


def observe(values: Mapping[str, float], bounds: Bounds) -> None:
    """Enter the losses of a batch without a fault into the bounds."""
    for name, value in measures(values).items():
        first, lowest, accepted = bounds.setdefault(name, [value, value, value])
        bounds[name] = [first, min(lowest, value), accepted]


def are_unusual(before: Mapping[str, float], after: Mapping[str, float], bounds: Bounds, elements: int) -> bool:
    """Whether rows had a loss nearly as high `before` the fault as `after` it, so that no step has done harm.

    >>> are_unusual({"loss": 200.0}, {"loss": 210.0}, {"loss": [100.0, 90.0, 100.0]}, 4)
    True
    >>> are_unusual({"loss": 95.0}, {"loss": 210.0}, {"loss": [100.0, 90.0, 100.0]}, 4)
    False
    """
    if not after or not all(map(math.isfinite, [*before.values(), *after.values()])):
        return False
    were, are = measures(before), measures(after)
    return any(are[name] - were[name] <= margin(bounds, name, elements) for name in bounds)


def raise_limit(values: Mapping[str, float], bounds: Bounds) -> None:
    """Accept the losses of unusual rows, so that as high a loss is not a fault from now on."""
    for name, value in measures(values).items():
        first, lowest, accepted = bounds[name]
        bounds[name] = [first, lowest, max(accepted, value)]


def are_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers of the tensors are finite; it reads each tensor once and waits for the device once."""
    floating = [tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if not floating:
        return True
    largest = torch._foreach_norm(floating, math.inf)
    return bool(torch.stack([value.double() for value in largest]).isfinite().all())


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a number that is not finite.

    >>> not_finite({"a": torch.ones(2), "b": torch.tensor([math.nan])})
    'b'
    """
    if are_finite(tensors.values()):
        return None
    return next(name for name, tensor in tensors.items() if not are_finite([tensor]))


def rows_in_words(index: Sequence[int], split: str = "training") -> str:
    """The rows of a split, at most `NAMED` of them.

    >>> rows_in_words([3, 1]), rows_in_words(range(9))
    ('training rows 3, 1', 'training rows 0, 1, 2, 3, 4 and 4 more')
    """
    return f"{split} row{'s' if len(index) > 1 else ''} {listed([str(row) for row in index], NAMED)}"


def bad_rows(value: Any, rows: int) -> list[int]:
    """The positions in a batch of `rows` at which a tensor has numbers that are not finite; [] for other values."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape[:1] != (rows,):
        return []
    return (
        (~value.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        if value.dim() > 1
        else ((~value.isfinite()).nonzero().flatten().tolist())
    )


def locate(module: nn.Module, forward: Callable[[], object], rows: int) -> tuple[str, list[int]]:
    """Where numbers that are not finite begin: a tensor of the module, or the output of a layer.

    Args:
        module: the module, whose weights are looked at first.
        forward: passes the batch through it; whatever it raises is ignored.
        rows: the length of the batch.

    Returns:
        the place, "" if all are finite, and the positions of the rows in the batch that show it.
    """
    if name := not_finite(dict(module.named_parameters())):
        return f"the tensor {name} is not finite", []
    places: list[tuple[str, list[int]]] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            if not places and isinstance(output, Tensor) and not are_finite([output]):
                places.append((f"the output of {name} ({type(layer).__name__}) is not finite", bad_rows(output, rows)))

        return hook

    leaves = [(name, layer) for name, layer in module.named_modules() if not any(True for _ in layer.children())]
    handles = [layer.register_forward_hook(watch(name)) for name, layer in leaves]
    try:
        forward()
    except (RuntimeError, ValueError, ArithmeticError):  # distributions and decompositions refuse such numbers
        pass
    finally:
        for handle in handles:
            handle.remove()
    return places[0] if places else ("", [])


@contextmanager
def as_fault(module: nn.Module, x: Tensor, step: int, index: Tensor, split: str = "training") -> Iterator[None]:
    """Within it, an error of a computation with numbers that are not finite is a `Fault`."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        usual = are_finite(module.parameters()) and not bool(x.isinf().any())
        if usual and not isinstance(error, torch.linalg.LinAlgError):
            raise
        raise Fault(f"a computation fails ({str(error).splitlines()[0]})", step, index, split) from None


def without(order: Tensor, left_out: Sequence[int]) -> Tensor:
    """The order of an epoch with other rows in place of those that are left out, so that its length stays.

    >>> without(torch.tensor([4, 1, 2, 3]), [1, 3]).tolist()
    [4, 4, 2, 2]
    """
    bad = torch.isin(order, torch.tensor(left_out, dtype=order.dtype))
    rest = order[~bad]
    if not len(rest):
        raise UserError("the loss of every training row is not finite: look for extreme values in the data")
    order = order.clone()
    order[bad] = rest[torch.arange(int(bad.sum())) % len(rest)]
    return order
