"""A step that is recorded once and then replayed, wherever the replay is proved to be the same.

A pass through a model costs two things: the arithmetic, and the bookkeeping around each operation (modules, Python
objects, the graph for the gradients). On a processor the second takes a seventh of a perceptron's step, a twentieth of
a conv net's, and it is the same at each step; a replay does without it. torch.compile was weighed: it imports and runs a compiler, which takes longer than some whole trainings. See docs/replay.md.

A tape is used only where it is proved to do what the model does: it is compared with a step of another batch, every
output and every changed buffer bit for bit, before it is trusted. Operations whose course depends on values (a branch
on a number of the data) cannot be recorded; such a model goes on as before.

A tape is a flat list of the operations of one pass and its gradients.

Calls are recorded below the graph, those of the backward pass too. What has no effect on the outputs is dropped, and a
result may lie where an argument lay that is done with, so that little memory is touched.
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
from torch.utils._python_dispatch import TorchDispatchMode

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


Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]  # an operation, what it was given, what it returned
Step = tuple[Callable[..., Any], Callable[[list[Any]], Sequence[Any]], int, list[int]]
SCALED = {"aten::mul", "aten::div", "aten::add", "aten::sub"}
ALIASES = {"aten::detach", "aten::alias", "aten::lift_fresh"}
LARGEST = 2**29  # bytes of results: a step of more is not bound by its bookkeeping, and keeping them would cost memory


class ReplayProgram:
    """A list of operations on numbered values: call it with inputs like those it was recorded from.

    `values` holds the constants, and None where an input or a result goes. A step is (function, what picks its
    arguments out of the values, where its result goes, which values are done with).
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


class OpRecorder(TorchDispatchMode):
    """Keeps each operation done within it, as `calls`, and every tensor, so that identities stay unique.

    `calls` is None once the results take more than `LARGEST` bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] | None = []
        self.bytes = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: there is no compiler here to skip, and telling it so would import it, which takes a second."""
        return False

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
    """The outputs of `function(*inputs)`, and a tape of it; None where its course depends on values, or it is large."""
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
    """Whether what follows an operation may depend on the values in its result."""
    func, args, _, result = call
    masked = func._schema.name == "aten::index" and any(t.dtype in (torch.bool, torch.uint8) for t in _tensors(args[1]))
    plain = result is not None and not any(True for _ in _tensors(result))
    return plain or masked or torch.Tag.data_dependent_output in func.tags or func._schema.name == "aten::nonzero"


@dataclass
class _Op:
    """One operation before it becomes a step; `has_side_effects` be done whoever reads its result.

    `reuse` are its tensor arguments in whose place the result may lie, each as (value, function that writes there).
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
        self.free = len(inputs)  # numbers below are inputs, which are the caller's
        self.places = {id(t): i for i, t in enumerate(inputs) if isinstance(t, Tensor)}
        self.memory: dict[int, int] = {i: _memory(t) for i, t in enumerate(inputs) if isinstance(t, Tensor)}
        self.ops: list[_Op] = []
        self.made: set[int] = set()  # tensors first seen as a result; all others are inputs or constants
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
        """The number of an argument; a constant's is given it here, a list's by an operation that makes it."""
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
        """Write one call."""
        func, args, kwargs, result = call
        if func._schema.name in ALIASES:
            self.places[id(result)] = self.place(args[0])
            return
        holes = any(isinstance(a, list | tuple) and any(v is None for v in a) for a in args)
        function = func if holes else _callable(func)  # torch's own indexing takes no None
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
    """Which memory a tensor lies in."""
    return tensor.untyped_storage()._cdata


def _listed(*items: Any) -> list[Any]:
    return list(items)


def _picker(places: Sequence[int]) -> Callable[[list[Any]], Sequence[Any]]:
    """What takes the values of these numbers out of a list."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: [values[i] for i in places]


def _bound(function: Callable[..., Any], named: dict[str, Any], pushed: Sequence[str]) -> Callable[..., Any]:
    """`function` with some keywords given, and those of `pushed` taken as its last positional arguments."""
    bound = partial(function, **named) if named else function
    if not pushed:
        return bound
    return lambda *a: bound(*a[: -len(pushed)], **dict(zip(pushed, a[-len(pushed) :], strict=True)))


def _number(value: float, like: Any) -> Any:
    """A number as a tensor of the result's type, which spares each call the conversion; exact in these types."""
    exact = isinstance(like, Tensor) and like.dtype in (torch.float32, torch.float64)
    return torch.tensor(value, dtype=like.dtype) if exact else value


def _matching_rows(a: Tensor, b: Tensor) -> bool:
    """Whether b's values can lie where a's do."""
    whole = a.untyped_storage().nbytes() == a.numel() * a.element_size()
    return whole and (a.shape, a.dtype, a.stride(), a.device) == (b.shape, b.dtype, b.stride(), b.device)


def _into(func: Any, first: bool) -> tuple[Any, str]:
    """A form of an operation that writes to a tensor it is given, its `first` or any, and the keyword for that."""
    name = func._schema.name.removeprefix("aten::")
    if first and isinstance(found := getattr(torch.Tensor, f"{name}_", None), MethodDescriptorType):
        return found, ""
    forms = {k: getattr(func.overloadpacket, k, None) for k in ("out", "grad_input")}
    return next(((form, k) for k, form in forms.items() if form), (None, ""))


def _callable(func: Any) -> Callable[..., Any]:
    """The operation as torch's own binding, which costs less to call than the same looked up among all operations."""
    name = func._schema.name.removeprefix("aten::")
    for home in (torch, torch.Tensor):
        found = getattr(home, name, None)
        if isinstance(found, BuiltinFunctionType | MethodDescriptorType):
            return found
    return func
