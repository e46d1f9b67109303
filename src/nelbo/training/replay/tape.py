"""A step that is recorded once and then replayed, wherever the replay is proved to be the same.

A pass through a model costs two things: the arithmetic, and the bookkeeping around each operation (modules, Python
objects, the graph for the gradients). On a processor the second takes a seventh of a perceptron's step, a twentieth of
a conv net's, and it is the same at each step; `nelbo.training.replay.recorder` does without it. torch.compile was
weighed: it imports and runs a compiler, which takes longer than some whole trainings. See docs/replay.md.

A tape is used only where it is proved to do what the model does: it is compared with a step of another batch, every
output and every changed buffer bit for bit, before it is trusted. Operations whose course depends on values (a branch
on a number of the data) cannot be recorded; such a model goes on as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from nelbo.training.replay.recorder import ReplayProgram, record_ops

Function = Callable[..., Sequence[Tensor | None]]


class ReplayedFunction:
    """`function(*inputs)`, from a tape where inputs of these shapes have been seen before and the tape is proved.

    `function` takes tensors, `None` or plain numbers, and returns tensors; it may change `state` (buffers) in
    place and draw from torch's generators. Nothing else may differ between two calls. Of inputs of one kind, the
    first are passed through, at the second a tape is made, and at the third it is proved.
    """

    def __init__(self, function: Function, state: Iterable[Tensor] = ()) -> None:
        self.function, self.state = function, list(state)
        self.seen: set[Any] = set()
        self.tapes: dict[Any, ReplayProgram | None] = {}
        self.proved: set[Any] = set()

    def __call__(self, *inputs: Any) -> Sequence[Tensor | None]:
        key = tuple((i.shape, i.dtype, i.device) if isinstance(i, Tensor) else i for i in inputs)
        tape = self.tapes.get(key)
        if tape and key in self.proved:
            return tape(*inputs)
        if key not in self.seen:
            self.seen.add(key)
        elif key not in self.tapes:
            outputs, self.tapes[key] = record_ops(self.function, inputs)
            return outputs
        elif tape:
            return self._prove(key, tape, inputs)
        return self.function(*inputs)

    def _prove(self, key: Any, tape: ReplayProgram, inputs: Sequence[Any]) -> Sequence[Tensor | None]:
        """Do the step both ways; from now on the tape's way if nothing differs."""
        before, states = [s.clone() for s in self.state], _generators()
        try:
            taped = [*tape(*inputs), *(s.clone() for s in self.state), *_generators()]
        except (RuntimeError, TypeError):  # a binding that takes its arguments in another way
            taped = []
        with torch.no_grad():
            for live, value in zip(self.state, before, strict=True):
                live.copy_(value)
        _restore(states)
        outputs = self.function(*inputs)
        wanted = [*outputs, *self.state, *_generators()]
        if len(taped) == len(wanted) and all(map(_same, taped, wanted)):
            self.proved.add(key)
        else:
            self.tapes[key] = None
        return outputs


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b if a is None or b is None else torch.equal(a, b)


def _generators() -> list[Tensor]:
    """The states of torch's generators."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]


def _restore(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])
