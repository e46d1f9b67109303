"""The noise of all draws. Nothing else in nelbo draws random numbers without a generator of its own.

There are three sources, and the last context entered is the one in use:

- outside any context, torch's default generator, as in any program;
- within `seeded(seed)`, generators of this context alone, one for each device: they give the numbers that
  `torch.manual_seed(seed)` would, and torch's own are left as they are. Training uses them;
- within `for_rows(keys)`, a stream of numbers for each row of a batch, that the row's key determines. A row then has
  the same noise in any batch, at any place, in any process. Samples, scores and imputations use them.

Contexts belong to the thread that enters them: threads do not disturb one another.

A stream is a counter-based generator: its i-th 64 bits are

    mix(key xor mix(i * 0x9E3779B97F4A7C15)),

with mix the finaliser of SplitMix64, a bijection in which each bit of the input changes each bit of the output with
probability 1/2. A uniform number is the first bits; a Normal one is sqrt(-2 log u) cos(2 pi v), u and v the two halves.
NumPy's Philox was weighed: it makes one generator for each row, in a loop.

Inside `shard(start, stop, total)` each process draws the noise of the whole batch and keeps its own rows, so that two
processes compute the same as one. Inside `truncated(bound)` Normal noise stays within bounds.

Source: Salmon, Moraes, Dror, Shaw (2011), Parallel Random Numbers: As Easy as 1, 2, 3; Steele, Lea, Flood (2014), Fast
Splittable Pseudorandom Number Generators; Box, Muller (1958), A Note on the Generation of Random Normal Deviates;
Lemire, Kaser (2014), Strongly Universal String Hashing is Fast (`keys_of_content`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_shard: ContextVar[tuple[int, int, int] | None] = ContextVar("shard", default=None)
_bound: ContextVar[float | None] = ContextVar("bound", default=None)
_inner: ContextVar[int] = ContextVar("inner", default=0)
_source: ContextVar[_Seeded | _Rows | None] = ContextVar("source", default=None)

Draw = Callable[[tuple[int, ...], torch.dtype, torch.device], Tensor]


class _Seeded:
    """Generators of one seed, one for each device, made on first use."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.generators: dict[torch.device, torch.Generator] = {}

    def on(self, device: torch.device) -> torch.Generator:
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self.generators[device]


class _Rows:
    """A stream for each key, and how many of its numbers are used."""

    def __init__(self, keys: Tensor) -> None:
        self.keys, self.used = keys, 0

    def bits(self, lead: tuple[int, ...], event: tuple[int, ...]) -> Tensor:
        """The next 64 bits of each stream for each element, `(*lead, *event)`; the last of `lead` runs over rows."""
        n = len(self.keys)
        if not lead or lead[-1] % n:  # a draw for the batch as a whole, such as random directions
            return self._next(self.keys.new_zeros(1), (1,), (*lead, *event))[0]
        return self._next(self.keys, lead, event)

    def _next(self, keys: Tensor, lead: tuple[int, ...], event: tuple[int, ...]) -> Tensor:
        n = len(keys)
        outer = (*lead[:-1], lead[-1] // n)
        first, self.used = self.used, self.used + math.prod(outer) * math.prod(event)
        at = torch.arange(first, self.used, device=keys.device) * GOLDEN
        keys = keys.view(n, *[1] * len(event))
        return mix(keys ^ mix(at).view(*outer, 1, *event)).view(*lead, *event)


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def seeded(seed: int) -> AbstractContextManager[None]:
    """Within it, noise comes from generators that start from `seed`; torch's own are neither used nor changed.

    >>> with seeded(3):
    ...     eps = normal(torch.Size(), torch.Size((4,)), torch.Size(), torch.zeros(()))
    >>> torch.equal(eps, torch.randn(4, generator=torch.Generator().manual_seed(3)))
    True
    """
    return _set(_source, _Seeded(seed))


def for_rows(keys: Tensor) -> AbstractContextManager[None]:
    """Within it, row i of a batch has the noise that `keys[i]` determines.

    The last dimension of a draw's batch (of its sample shape, if it has no batch) runs over the rows, once or several
    times in turn. A draw without such a dimension is the same for any rows.

    Args:
        keys: whole numbers `(n,)`, from `keys_of_content` or `keys_of_numbers`.

    >>> keys = keys_of_numbers(torch.arange(5), seed=0)
    >>> with for_rows(keys):
    ...     eps = normal(torch.Size(), torch.Size((5,)), torch.Size((2,)), torch.zeros(()))
    >>> with for_rows(keys[3:]):
    ...     torch.equal(normal(torch.Size(), torch.Size((2,)), torch.Size((2,)), torch.zeros(())), eps[3:])
    True
    """
    return _set(_source, _Rows(keys))


def shard(start: int, stop: int, total: int) -> AbstractContextManager[None]:
    """Within it, noise for a batch (its last dimension) is rows `start:stop` of the noise for a batch of `total`."""
    return _set(_shard, (start, stop, total))


def no_sharding() -> AbstractContextManager[None]:
    """Within it, no shard: the last batch dimension does not run over data."""
    return _set(_shard, None)


def inner(dims: int) -> AbstractContextManager[None]:
    """Within it, the last `dims` batch dimensions belong to a row, as components of a mixture do."""
    return _set(_inner, dims)


def truncated(bound: float | None) -> AbstractContextManager[None]:
    """Within it, standard Normal noise is conditioned on lying between -bound and bound.

    Args:
        bound: the largest absolute value; None for no bound.

    Source: Brock, Donahue, Simonyan (2019), Large Scale GAN Training for High Fidelity Natural Image Synthesis.

    >>> with truncated(0.5):
    ...     eps = normal(torch.Size((1000,)), torch.Size(), torch.Size(), torch.zeros(()))
    >>> bool(eps.abs().max() <= 0.5)
    True
    """
    return _set(_bound, bound)


def building() -> AbstractContextManager[Any]:
    """Within it, each random operation of torch, such as the initial values of a module, draws from `generator`.

    Without `seeded` around it, it has no effect. It costs some microseconds for each operation of any kind.

    >>> with seeded(0), building():
    ...     first = torch.nn.Linear(2, 2)
    >>> with seeded(0), building():
    ...     torch.equal(torch.nn.Linear(2, 2).weight, first.weight)
    True
    """
    return _Redirection()


class OperationMode(TorchDispatchMode):
    """The base of modes that see each operation of torch, without the import of torch's compiler."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False. With True, torch imports its compiler, to keep it away from the mode; that takes a second."""
        return False


class _Redirection(OperationMode):
    """Passes `generator` to operations that would draw from torch's own. A mode belongs to its thread."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        if all(argument.name != "generator" for argument in func._schema.arguments):
            name = "low_generator" if func._overloadname == "low" else "generator"
            if (own := getattr(func.overloadpacket, name, None)) is None:
                return func(*args, **kwargs)
            func = own
        device = args[0].device if isinstance(args[0], Tensor) else torch.device(kwargs.get("device") or "cpu")
        return func(*args, **{**kwargs, "generator": None if device.type == "meta" else generator(device)})


def generator(device: torch.device | str = "cpu") -> torch.Generator | None:
    """The generator in use on a device; None for torch's own.

    Raises:
        ValueError: within `for_rows`, where each number belongs to a row.
    """
    source = _source.get()
    if isinstance(source, _Rows):
        raise ValueError("a draw that belongs to no row: use normal or uniform")
    return source.on(torch.device(device)) if source else None


def generators() -> list[torch.Generator]:
    """All generators that a draw may change: those in use, or torch's own."""
    source = _source.get()
    if isinstance(source, _Seeded):
        return list(source.generators.values())
    if source:
        return []
    return [torch.default_generator, *(torch.cuda.default_generators if torch.cuda.is_available() else ())]


def normal(sample_shape: torch.Size, batch_shape: torch.Size, event_shape: torch.Size, like: Tensor) -> Tensor:
    """Standard Normal noise of shape `(*sample_shape, *batch_shape, *event_shape)`, on the device of `like`.

    >>> normal(torch.Size((5,)), torch.Size((3,)), torch.Size((2,)), torch.zeros(())).shape
    torch.Size([5, 3, 2])
    """
    if (bound := _bound.get()) is None:
        return _draw(_normal, _normal_from, sample_shape, batch_shape, event_shape, like)
    tail = 0.5 * math.erfc(bound / math.sqrt(2))
    u = uniform(sample_shape, batch_shape, event_shape, like)
    return torch.special.ndtri(tail + (1 - 2 * tail) * u).clamp(-bound, bound)  # a number of N(0, 1) between bounds


def uniform(sample_shape: torch.Size, batch_shape: torch.Size, event_shape: torch.Size, like: Tensor) -> Tensor:
    """Uniform noise on [0, 1) of shape `(*sample_shape, *batch_shape, *event_shape)`, on the device of `like`."""
    return _draw(_uniform, _uniform_from, sample_shape, batch_shape, event_shape, like)


def dropout(x: Tensor, p: float) -> Tensor:
    """x with each element set to 0 with probability p, and divided by 1 - p otherwise; not sharded."""
    kept = torch.empty_like(x).bernoulli_(1 - p, generator=generator(x.device))
    return x * kept.div_(1 - p)


def categorical(masses: Tensor, u: Tensor, normalized: bool = False) -> Tensor:
    """Draw categories from uniform noise, by inversion of the distribution function.

    Args:
        masses: non-negative masses `(K,)`, or `(*batch, K)` whose batch broadcasts to `lead`.
        u: uniform noise on [0, 1), `(*lead,)`.
        normalized: whether the masses sum to 1; if False they may have any sum.

    Returns:
        whole numbers below K, `(*lead,)`.

    >>> categorical(torch.tensor([1.0, 0.0, 3.0]), torch.tensor([0.0, 0.2, 0.25, 0.9])).tolist()
    [0, 0, 2, 2]
    """
    sums = masses.cumsum(-1)
    u = u if normalized else u * sums[..., -1]
    if masses.dim() == 1:
        indices = torch.searchsorted(sums, u, right=True)
    else:
        sums = sums.expand(*u.shape, -1).contiguous()
        indices = torch.searchsorted(sums, u.unsqueeze(-1).contiguous(), right=True).squeeze(-1)
    return indices.clamp_max(masses.shape[-1] - 1)


def signed(value: int) -> int:
    """A whole number modulo 2^64, as the signed number with these bits."""
    value %= 2**64
    return value - 2**64 if value >= 2**63 else value


GOLDEN = signed(0x9E3779B97F4A7C15)
FACTORS = signed(0xBF58476D1CE4E5B9), signed(0x94D049BB133111EB)


def mix(z: Tensor) -> Tensor:
    """The finaliser of SplitMix64, of 64-bit whole numbers.

    >>> mix(torch.tensor([GOLDEN])).item() == signed(0xE220A8397B1DCDAF)  # the first output for the seed 0
    True
    """
    for shift, factor in zip((30, 27), FACTORS, strict=True):
        z = (z ^ _shifted(z, shift)) * factor
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    """z >> by, of numbers without a sign."""
    return (z >> by) & (2 ** (64 - by) - 1)


def keys_of_numbers(numbers: Tensor, seed: int) -> Tensor:
    """The keys of rows `(n,)` that have no content but their number."""
    return folded(mix(torch.tensor(signed(seed), device=numbers.device)), numbers)


def folded(keys: Tensor, numbers: Tensor) -> Tensor:
    """Other keys, one for each key and number: streams for the parts of what a key stands for."""
    return mix(keys ^ mix(numbers * GOLDEN))


def keys_of_content(seed: int, *parts: Tensor | None) -> Tensor:
    """The keys of rows with this content, `(n,)` on the CPU: equal rows have equal keys, beside any others.

    Args:
        seed: another seed gives other keys.
        parts: float tensors `(n, ...)`; NaN is a value as any other, and 0 equals -0. None is left out.

    >>> x = torch.tensor([[1.0, float("nan")], [0.0, 2.0], [-0.0, 2.0]])
    >>> first, second, third = keys_of_content(0, x).tolist()
    >>> first == second, second == third
    (False, True)
    """
    flat = [part.flatten(1).float().cpu() for part in parts if part is not None]
    places = mix(torch.arange(1, sum(part.shape[1] for part in flat) + 1) * GOLDEN) | 1
    step = max(1, IN_CACHE // len(places))
    hashes = [_hash(torch.cat(some, 1), places) for some in zip(*(part.split(step) for part in flat), strict=True)]
    return keys_of_numbers(torch.cat(hashes), seed)


IN_CACHE = 2**15  # numbers that are hashed at once


def _hash(rows: Tensor, places: Tensor) -> Tensor:
    return torch.where(rows.isnan(), torch.nan, rows + 0.0).view(torch.int32).long() @ places


def _normal(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.randn(shape, generator=generator(device), dtype=dtype, device=device)


def _uniform(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator(device), dtype=dtype, device=device)


DIGITS = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


def _uniform_from(bits: Tensor, dtype: torch.dtype) -> Tensor:
    """Uniform numbers on [0, 1) from 64 bits each."""
    return _shifted(bits, 64 - DIGITS[dtype]).to(dtype) * 2.0 ** -DIGITS[dtype]


def _normal_from(bits: Tensor, dtype: torch.dtype) -> Tensor:
    """Standard Normal numbers from 64 bits each."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    u = (_shifted(bits, 32).to(wide) + 0.5) * 2.0**-32
    v = (bits & (2**32 - 1)).to(wide) * (2 * math.pi * 2.0**-32)
    return (u.log().mul_(-2).sqrt_() * v.cos_()).to(dtype)


def _draw(
    draw: Draw,
    from_bits: Callable[[Tensor, torch.dtype], Tensor],
    sample_shape: torch.Size,
    batch_shape: torch.Size,
    event_shape: torch.Size,
    like: Tensor,
) -> Tensor:
    cut = len(batch_shape) - _inner.get()
    batch, event = tuple(batch_shape[:cut]), (*batch_shape[cut:], *event_shape)
    lead, source, slice_ = (*sample_shape, *batch), _source.get(), _shard.get()
    if isinstance(source, _Rows):
        return from_bits(source.bits(lead, event), like.dtype)
    if slice_ is None or not batch:
        return draw((*lead, *event), like.dtype, like.device)
    start, stop, total = slice_
    outer = (*lead[:-1], lead[-1] // (stop - start))  # rows that were flattened with draws come several times in turn
    whole = draw((*outer, total, *event), like.dtype, like.device)
    return whole.narrow(len(outer), start, stop - start).reshape(*lead, *event)
