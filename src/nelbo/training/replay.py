"""A training step that is recorded once and then replayed, if a check proves the replay equal.

A pass through a model costs the arithmetic and the bookkeeping around each operation (modules, Python objects, the
autograd graph). On a CPU the bookkeeping takes a seventh of a perceptron's step and a twentieth of a convolutional
net's, and it is the same at each step; a replay avoids it. torch.compile is not used because it imports and runs a
compiler, which takes longer than some trainings. See docs/replay.md.

Before a tape is used, it is compared with the model on another batch: every output and every changed buffer, bit for
bit. A step whose control flow depends on values (a branch on a number of the data) cannot be recorded; such a model
trains without a tape.

A tape is a flat list of the operations of a pass and its gradients. Calls are recorded below autograd, those of the
backward pass included. Operations without effect on the outputs are dropped, and a result may reuse the memory of an
argument that is no longer needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import getitem, itemgetter
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any

import torch
from torch import Tensor

from nelbo.distributions import noise

Function = Callable[..., Sequence[Tensor | None]]


class ReplayedFunction:
    """Calls a function, from a tape if one exists for inputs of these shapes and has been checked.

    The first inputs of a shape are passed to the function, the second are recorded, and the third check the tape.

    Args:
        function: takes tensors, `None` or plain numbers, and returns tensors. It may change `state` in place and draw
            from the generators in use; nothing else may differ between two calls.
        state: buffers that the function may change.
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
        """Run the step with and without the tape, and keep the tape if nothing differs."""
        before, states = [s.clone() for s in self.state], _generators()
        try:
            taped = [*tape(*inputs), *(s.clone() for s in self.state), *_generators()]
        except (RuntimeError, TypeError):  # a binding with another argument order
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
    """The states of the generators in use."""
    return [generator.get_state() for generator in noise.generators()]


def _restore(states: list[Tensor]) -> None:
    for generator, state in zip(noise.generators(), states, strict=True):
        generator.set_state(state)


Call = tuple[
    Any, tuple[Any, ...], dict[str, Any], Any
]  # an operation, its arguments, its keyword arguments, its result
Step = tuple[Callable[..., Any], Callable[[list[Any]], Sequence[Any]], int, list[int]]
SCALED = {"aten::mul", "aten::div", "aten::add", "aten::sub"}
ALIASES = {"aten::detach", "aten::alias", "aten::lift_fresh"}
LARGEST = 2**29  # bytes of results: a larger step has little overhead to save, and would need too much memory


class ReplayProgram:
    """A list of operations on numbered values; it is called with inputs like those of the recording.

    Args:
        values: the constants, and None in place of inputs and results.
        steps: (function, function that selects its arguments from the values, index of its result, indices of values
            that are no longer needed).
        outputs: selects the outputs from the values.
    """

    def __init__(self, values: list[Any], steps: Sequence[Step], outputs: Callable[[list[Any]], Sequence[Any]]) -> None:
        self.values, self.steps, self.outputs = values, steps, outputs

    def __call__(self, *inputs: Any) -> Sequence[Tensor | None]:
        values = [*inputs, *self.values[len(inputs) :]]
        with torch.no_grad():
            for function, given, target, dead in self.steps:
                values[target] = function(*given(values))
                for i in dead:
                    values[i] = None
        return self.outputs(values)


class OpRecorder(noise.OperationMode):
    """Records the operations within it in `calls`, and keeps every tensor, so that identities stay unique.

    `calls` is None once the results take more than `LARGEST` bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] | None = []
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.bytes += sum(t.numel() * t.element_size() for t in _tensors(result))
        if self.bytes > LARGEST:
            self.calls = None
        if self.calls is not None:
            self.calls.append((func, args, kwargs or {}, result))
        return result


def record_ops(
    function: Callable[..., Any], inputs: Sequence[Any]
) -> tuple[Sequence[Tensor | None], ReplayProgram | None]:
    """Run a function and record it.

    Returns:
        its outputs, and the recording; None if its control flow depends on values, or if it is too large.
    """
    with OpRecorder() as recorder:
        outputs = function(*inputs)
    calls = [call for call in recorder.calls or () if any(True for _ in _tensors(call[1:]))]
    if recorder.calls is None or any(map(_reads_values, calls)):
        return outputs, None
    writer = _ProgramBuilder(inputs, calls)
    for call in calls:
        writer.add(call)
    return outputs, writer.program([writer.place(o) for o in outputs])


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors inside a value."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _reads_values(call: Call) -> bool:
    """Whether the control flow after an operation may depend on the values in its result."""
    func, args, _, result = call
    masked = func._schema.name == "aten::index" and any(t.dtype in (torch.bool, torch.uint8) for t in _tensors(args[1]))
    plain = result is not None and not any(True for _ in _tensors(result))
    return plain or masked or torch.Tag.data_dependent_output in func.tags or func._schema.name == "aten::nonzero"


@dataclass
class _Op:
    """An operation before it becomes a step.

    Args:
        function: the operation.
        reads: indices of its arguments.
        target: index of its result.
        has_side_effects: run it even if its result is not used.
        reuse: arguments whose memory the result may use, as (value, function that writes there, its arguments).
    """

    function: Callable[..., Any]
    reads: list[int]
    target: int
    has_side_effects: bool = False
    reuse: Sequence[tuple[int, Callable[..., Any], list[int]]] = ()


class _ProgramBuilder:
    """Numbers the values of recorded calls, and writes the calls as operations on them."""

    def __init__(self, inputs: Sequence[Any], calls: Sequence[Call]) -> None:
        self.values: list[Any] = [None] * len(inputs)
        self.free = len(inputs)  # smaller numbers are inputs, which belong to the caller
        self.places = {id(t): i for i, t in enumerate(inputs) if isinstance(t, Tensor)}
        self.memory: dict[int, int] = {i: _memory(t) for i, t in enumerate(inputs) if isinstance(t, Tensor)}
        self.ops: list[_Op] = []
        self.made: set[int] = set()  # tensors that are results; all others are inputs or constants
        seen = set(self.places)
        for _, args, kwargs, result in calls:
            seen |= {id(t) for t in _tensors((args, kwargs))}
            self.made |= {id(t) for t in _tensors(result)} - (seen - self.made)
            seen |= self.made
        self.constant: set[int] = set()

    def new(self, value: Any = None) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def place(self, value: Any) -> int:
        """The index of an argument; a constant is added here, a list by an operation that builds it."""
        if isinstance(value, list | tuple) and any(True for _ in _tensors(value)):
            self.ops.append(_Op(_listed, [self.place(v) for v in value], target := self.new()))
            return target
        if not isinstance(value, Tensor):
            self.constant.add(place := self.new(value))
            return place
        if id(value) not in self.places:
            made = id(value) in self.made
            self.places[id(value)] = place = self.new(None if made else value)
            self.memory[place] = _memory(value)
            self.constant |= set() if made else {place}
        return self.places[id(value)]

    def add(self, call: Call) -> None:
        """Add a call."""
        func, args, kwargs, result = call
        if func._schema.name in ALIASES:
            self.places[id(result)] = self.place(args[0])
            return
        holes = any(isinstance(a, list | tuple) and any(v is None for v in a) for a in args)
        function = func if holes else _callable(func)  # torch's own indexing does not accept None
        if func._schema.name in SCALED and function is not func and isinstance(args[1], int | float):
            args = (args[0], _number(args[1], result), *args[2:])
        named = {k: v for k, v in kwargs.items() if not isinstance(v, Tensor)}
        pushed = [k for k in kwargs if k not in named]
        reads = [self.place(a) for a in (*args, *(kwargs[k] for k in pushed))]
        must = func._schema.is_mutable or torch.Tag.nondeterministic_seeded in func.tags
        op = _Op(_bound(function, named, pushed), reads, -1, must)
        self.ops.append(op)
        if not isinstance(result, Tensor):
            op.target = self.new()
            for i, tensor in enumerate(result or ()):
                if tensor is not None:
                    self.ops.append(_Op(getitem, [op.target, self.place(i)], self.place(tensor)))
            return
        op.target = self.place(result)
        if torch.Tag.pointwise in func.tags and not must and not kwargs:
            forms = [(self.place(t), *_into(func, t is args[0])) for t in _tensors(args) if _matching_rows(t, result)]
            op.reuse = [
                (place, _bound(form, {}, [keyword] if keyword else []), [*reads, place] if keyword else reads)
                for place, form, keyword in forms
                if form
            ]

    def program(self, outputs: list[int]) -> ReplayProgram:
        """The operations that have an effect on `outputs`, each value dropped after its last use."""
        last, kept = dict.fromkeys(outputs, len(self.ops)), []
        for i in reversed(range(len(self.ops))):
            op = self.ops[i]
            if op.has_side_effects or op.target in last:
                kept.append(i)
                for value in (*op.reads, op.target):
                    last.setdefault(value, i)
        steps: list[Step] = []
        for i in reversed(kept):
            op = self.ops[i]
            for value, form, reads in op.reuse:
                together = [v for v, m in self.memory.items() if m == self.memory[value]]
                alone = all(v == value or v not in op.reads for v in together)
                if alone and all(v >= self.free and v not in self.constant and last.get(v, -1) <= i for v in together):
                    op = _Op(form, reads, op.target)
                    old = self.memory[op.target]
                    self.memory = {v: self.memory[value] if m == old else m for v, m in self.memory.items()}
                    break
            dead = [v for v in {*op.reads, op.target} if v >= self.free and v not in self.constant and last[v] == i]
            steps.append((op.function, _picker(op.reads), op.target, dead))
        return ReplayProgram(self.values, steps, _picker(outputs))


def _memory(tensor: Tensor) -> int:
    """The identity of a tensor's memory."""
    return tensor.untyped_storage()._cdata


def _listed(*items: Any) -> list[Any]:
    return list(items)


def _picker(places: Sequence[int]) -> Callable[[list[Any]], Sequence[Any]]:
    """The function that selects these indices from a list."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: [values[i] for i in places]


def _bound(function: Callable[..., Any], named: dict[str, Any], pushed: Sequence[str]) -> Callable[..., Any]:
    """`function` with keywords bound, and those in `pushed` passed as its last positional arguments."""
    bound = partial(function, **named) if named else function
    if not pushed:
        return bound
    return lambda *a: bound(*a[: -len(pushed)], **dict(zip(pushed, a[-len(pushed) :], strict=True)))


def _number(value: float, like: Any) -> Any:
    """A number as a tensor of the result's dtype, which saves the conversion in each call; exact in these dtypes."""
    exact = isinstance(like, Tensor) and like.dtype in (torch.float32, torch.float64)
    return torch.tensor(value, dtype=like.dtype) if exact else value


def _matching_rows(a: Tensor, b: Tensor) -> bool:
    """Whether the memory of a can hold b."""
    whole = a.untyped_storage().nbytes() == a.numel() * a.element_size()
    return whole and (a.shape, a.dtype, a.stride(), a.device) == (b.shape, b.dtype, b.stride(), b.device)


def _into(func: Any, first: bool) -> tuple[Any, str]:
    """The variant of an operation that writes to its first argument (`first`) or to any, and the keyword for it."""
    name = func._schema.name.removeprefix("aten::")
    if first and isinstance(found := getattr(torch.Tensor, f"{name}_", None), MethodDescriptorType):
        return found, ""
    forms = {k: getattr(func.overloadpacket, k, None) for k in ("out", "grad_input")}
    return next(((form, k) for k, form in forms.items() if form), (None, ""))


def _callable(func: Any) -> Callable[..., Any]:
    """The operation as torch's own binding, which is faster to call than the one in `torch.ops`."""
    name = func._schema.name.removeprefix("aten::")
    for home in (torch, torch.Tensor):
        found = getattr(home, name, None)
        if isinstance(found, BuiltinFunctionType | MethodDescriptorType):
            return found
    return func
