"""The streams of rows: equal to a reference, uniform, Normal, independent; and generators that disturb no other."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from torch import Tensor, nn

from nelbo.distributions import noise

MASK = 2**64 - 1
NOTHING = torch.Size()


def reference_mix(z: int) -> int:
    """The finaliser of SplitMix64 in Python's whole numbers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def draws(keys: Tensor, k: int, kind: str = "uniform") -> Tensor:
    """`(rows, k)` numbers of the streams of the keys."""
    with noise.for_rows(keys):
        return getattr(noise, kind)(NOTHING, torch.Size((len(keys),)), torch.Size((k,)), torch.zeros(()))


def test_a_stream_equals_the_reference() -> None:
    keys = noise.keys_of_numbers(torch.arange(3), seed=7)
    found = draws(keys, 4)
    for i, key in enumerate(keys.tolist()):
        bits = [reference_mix((key & MASK) ^ reference_mix(j * 0x9E3779B97F4A7C15 & MASK)) for j in range(4)]
        assert found[i].tolist() == [(b >> 40) / 2**24 for b in bits]
    # Vigna's test vector of SplitMix64 for the seed 1234567
    states = [noise.signed(1234567 + (j + 1) * 0x9E3779B97F4A7C15) for j in range(2)]
    assert [v & MASK for v in noise.mix(torch.tensor(states)).tolist()] == [6457827717110365317, 3203168211198807973]


@pytest.mark.parametrize("along", ["rows", "counters", "seeds"])
def test_streams_are_uniform_normal_and_independent(along: str) -> None:
    n = 20_000
    if along == "seeds":
        keys = torch.cat([noise.keys_of_numbers(torch.arange(1), seed) for seed in range(n // 10)])
    else:
        keys = noise.keys_of_numbers(torch.arange(n if along == "rows" else 2), seed=0)
    n = n if along != "seeds" else n // 10
    u = draws(keys, 2 if along != "counters" else n)
    z = draws(keys, 2 if along != "counters" else n, "normal")
    u, z = (v if along != "counters" else v.T for v in (u, z))
    for values, cdf in ((u, u), (z, torch.special.ndtr(z))):
        for column in cdf.T.double():
            gap = (column.sort().values - (torch.arange(n) + 0.5) / n).abs().max() + 0.5 / n
            assert gap < 1.95 / math.sqrt(n)  # Kolmogorov and Smirnov: 1 in 1000
        centred = values - values.mean(0)
        for a, b in ((centred[:, 0], centred[:, 1]), (centred[:-1, 0], centred[1:, 0])):
            assert abs((a * b).mean() / (a.std() * b.std())) < 4 / math.sqrt(n)


def test_noise_belongs_to_the_row() -> None:
    """In any order, beside any rows, with any draws for each; noise by place is rejected."""
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    keys = noise.keys_of_content(0, x)
    order = torch.tensor([5, 2, 2, 7])

    def pictures(rows: Tensor) -> Tensor:
        with noise.for_rows(rows):
            return noise.normal(torch.Size((4,)), torch.Size((len(rows),)), torch.Size((2, 3)), x)

    whole = pictures(keys)
    assert torch.equal(pictures(noise.keys_of_content(0, x[order])), whole[:, order])
    assert len(keys.unique()) == 8 and not torch.equal(keys, noise.keys_of_content(1, x))
    by_place = noise.keys_of_numbers(torch.arange(8), 0)  # the planted bug
    assert not torch.equal(pictures(by_place)[:, order], pictures(by_place[: len(order)]))
    with noise.for_rows(keys):  # data flattened with their draws
        flat = noise.normal(NOTHING, torch.Size((4 * 8,)), torch.Size((2, 3)), x)
    assert torch.equal(flat.view(4, 8, 2, 3), whole)


def test_threads_and_torchs_generator_are_not_disturbed() -> None:
    before, results = torch.get_rng_state(), {}

    def work(i: int) -> None:
        with noise.seeded(3):
            with noise.building():
                net = nn.Sequential(nn.Linear(50, 50), nn.Embedding(9, 4), nn.GRU(4, 4))
                drawn = [torch.randn(3), torch.rand(2, 2), torch.randperm(9)]
            drawn += [noise.dropout(torch.ones(40, 9), 0.5) for _ in range(20)]
            results[i] = [*(p.detach() for p in net.parameters()), *drawn, noise.generators()[0].get_state()]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, results[0], other) for other in results.values())
    with torch.random.fork_rng():
        torch.manual_seed(3)
        assert torch.equal(nn.Linear(50, 50).weight, results[0][0])  # the numbers of torch's own generator
