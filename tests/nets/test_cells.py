"""Laws of a table's likelihood: masses and densities, the estimate from subsets, draws, bins."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from fixtures.cells import FEATURES, decoder, distribution, rows
from nelbo import likelihoods, nets
from nelbo.distributions import AutoregressiveTable, noise
from nelbo.errors import UserError
from nelbo.nets.table import make_bins
from zoo import assert_mean

MIXED = (3, 0, 2, 0, 0)
SHARE, WIDTH = 1e-3, 3.0  # of the wide Normal
NAN = math.nan


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


over_gaps = pytest.mark.parametrize("gaps", [(), (0, 3), (0, 1, 2, 3, 4)])


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def every_row(sizes: Sequence[int], gaps: Sequence[int] = ()) -> Tensor:
    """All rows of a table of categories, some of whose columns may lack cells."""
    values = [[float(v) for v in range(size)] + [NAN] * (j in gaps) for j, size in enumerate(sizes)]
    return torch.tensor([*itertools.product(*values)], dtype=torch.float64)


def masses(d: AutoregressiveTable, x: Tensor, j: int, known: Sequence[int]) -> Tensor:
    """p(code of column j | the cells of `known`), from the logits of the whole."""
    codes = d.net.cells.codes(x, d.gaps)
    hidden = [i for i in range(x.shape[-1]) if i not in known]
    codes[..., hidden] = d.net.cells.unknown[hidden]
    return d.net.logits(d.net.condition(d.state, codes, x), d.gaps).split(d.net.cells.sizes, -1)[j].softmax(-1)


def conditional(d: AutoregressiveTable, x: Tensor, j: int, known: Sequence[int]) -> Tensor:
    """log p(x_j | the cells of `known`), by hand: from the masses, and the ends of the bins."""
    cells, found = d.net.cells, []
    for value, mass in zip(
        x[..., j].flatten().tolist(), masses(d, x, j, known).reshape(x[..., j].numel(), -1), strict=True
    ):
        if math.isnan(value):
            share = 1 - SHARE if j in cells.numbers else 1.0
            found.append(math.log(share * mass[-1]) if d.gaps and j in cells.gaps else 0.0)
            continue
        if j not in cells.numbers:
            found.append(math.log(mass[int(value)]))
            continue
        low, high = cells.low[j, : len(mass)].tolist(), cells.high[j, : len(mass)].tolist()
        p = SHARE * scipy.stats.norm.pdf(value / WIDTH) / WIDTH
        for k, (a, b) in enumerate(zip(low, high, strict=True)):
            if a == b == value:
                p = (1 - SHARE) * mass[k].item()
                break
            if a <= value < b and math.isfinite(b):
                p += (1 - SHARE) * mass[k].item() / (b - a)
        found.append(math.log(p))
    return torch.tensor(found, dtype=x.dtype).view(x.shape[:-1])


def chain(d: AutoregressiveTable, x: Tensor, order: Sequence[int]) -> Tensor:
    """log p(x) of the cells in `order`, one after the other."""
    return sum((conditional(d, x, j, order[:i]) for i, j in enumerate(order)), torch.zeros(x.shape[:-1]).double())


@pytest.mark.parametrize("gaps", [(), (0,), (0, 1, 2, 3)])
@pytest.mark.parametrize("sizes", [(2, 3, 4), (6,), (2, 2, 2, 2)])
def test_masses_of_all_rows_of_categories_sum_to_one(sizes: tuple[int, ...], gaps: tuple[int, ...]) -> None:
    d = distribution(decoder(sizes, gaps[: len(sizes)]), 3)
    x = every_row(sizes, gaps).unsqueeze(1)
    log_prob = d.log_prob(x)
    assert log_prob.shape == (len(x), 3) and log_prob.std(0).min() > 0.1
    torch.testing.assert_close(log_prob.exp().sum(0), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("gaps", [(), (0, 2)])
@pytest.mark.parametrize("j", [0, 1, 2])
def test_the_density_of_a_number_integrates_to_one(j: int, gaps: tuple[int, ...]) -> None:
    """Bin by bin, an atom and a gap by their masses, and far beyond; each number given those before it."""
    d = distribution(decoder((0, 0, 0), gaps))
    x = rows((0, 0, 0))[7]
    low, high = d.net.cells.low[j], d.net.cells.high[j]
    seen = low.isfinite()
    atoms = low[seen & (low == high)]
    assert len(atoms) == (j == 2)
    cuts = sorted({-60.0, *low[seen].tolist(), *high[seen].tolist(), 60.0})

    def density(value: float) -> float:
        row = x.clone()
        row[j] = value
        return d.element_log_prob(row)[j].exp().item()

    between = [scipy.integrate.quad(density, a + 1e-12, b - 1e-12)[0] for a, b in itertools.pairwise(cuts)]
    points = [*atoms.tolist(), *([NAN] if j in gaps else [])]
    assert sum(between) + sum(map(density, points)) == pytest.approx(1, abs=1e-7)


def test_a_number_and_a_category_sum_and_integrate_to_one() -> None:
    """The category after the number: its masses change with the number, within a bin too."""
    d = distribution(decoder((0, 3)))
    low, high = d.net.cells.low[0], d.net.cells.high[0]
    assert d.log_prob(numbers(low[2] + 1e-6, 1.0)) != d.log_prob(numbers(high[2] - 1e-6, 1.0))
    cuts = [-60.0, *low.tolist(), high[-1].item(), 60.0]

    def density(value: float) -> float:
        return d.log_prob(torch.stack([torch.full((3,), value), torch.arange(3.0)], 1).double()).exp().sum().item()

    total = sum(scipy.integrate.quad(density, a + 1e-12, b - 1e-12)[0] for a, b in itertools.pairwise(cuts))
    assert total == pytest.approx(1, abs=1e-7)


@over_gaps
def test_log_prob_is_the_chain_of_the_tables_order_worked_by_hand(gaps: tuple[int, ...]) -> None:
    d, x = distribution(decoder(MIXED, gaps), 40), rows(MIXED, gaps=gaps)[:40]
    assert x.isnan().any() == bool(gaps)
    torch.testing.assert_close(d.log_prob(x), chain(d, x, range(5)))
    torch.testing.assert_close(d.element_log_prob(x).sum(-1), d.log_prob(x))
    for j in range(5):
        torch.testing.assert_close(d.element_log_prob(x)[:, j], conditional(d, x, j, range(j)))


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("absent", [(), (0,), (4,), (1, 3), (0, 2, 4), (0, 1, 2, 3)])
def test_missing_cells_add_nothing(absent: tuple[int, ...], asked: bool) -> None:
    """A row has the probability of the cells that are there, whatever lies between them: without gaps, or where
    training had none.
    """
    gaps = (0, 1, 2) if asked else ()
    d, x = distribution(decoder(MIXED, gaps), 12, gaps=not asked), rows(MIXED)[:12]
    gappy = x.clone()
    gappy[:, absent] = NAN
    there = [j for j in range(5) if j not in absent]
    torch.testing.assert_close(d.log_prob(gappy), chain(d, x, there))
    assert (d.element_log_prob(gappy)[:, absent] == 0).all()
    assert (d.log_prob(torch.full_like(x, NAN)) == 0).all()


@pytest.mark.parametrize(
    ("absent", "gaps"), [((), ()), ((1,), ()), ((0, 1), ()), ((), (0, 1, 2)), ((1,), (0, 1)), ((0, 1), (1, 2))]
)
def test_the_training_estimate_has_the_mean_of_all_orders(absent: tuple[int, ...], gaps: tuple[int, ...]) -> None:
    """Exactly, over all subsets; and of draws, within their standard error. A gap is a cell like others."""
    net, sizes = decoder((3, 0, 2), gaps), (3, 0, 2)
    x = rows(sizes)[3].clone()
    x[list(absent)] = NAN
    there = [j for j in range(3) if j not in absent or j in gaps]
    d, n = distribution(net), len(there)
    orders = torch.stack([chain(d, x, order) for order in itertools.permutations(there)])
    assert len(there) == 1 or orders.std() > 1e-3
    exact = 0.0
    for k in range(n):
        subsets = list(itertools.combinations(there, k))
        for s in subsets:
            rest = sum(conditional(d, x, j, s).item() for j in there if j not in s)
            exact += n / (n - k) * rest / len(subsets) / n
    assert exact == pytest.approx(orders.mean().item())
    draws = distribution(net, subset=True).log_prob(x.expand(40_000, 3))
    assert draws.unique().numel() == 2**n - 1  # one value for each proper subset
    assert_mean(draws, exact)


def test_the_training_estimate_of_nothing_is_zero() -> None:
    d = distribution(decoder(MIXED), 4, subset=True)
    assert (d.log_prob(torch.full((4, 5), NAN).double()) == 0).all()


def test_draws_of_categories_have_their_masses() -> None:
    sizes = (2, 3, 2)
    d, x = distribution(decoder(sizes)), every_row(sizes)
    expected = 40_000 * d.log_prob(x).exp()
    draws = d.sample((40_000,))
    counts = torch.tensor([(draws == row).all(-1).sum() for row in x])
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3


@over_gaps
def test_draws_follow_the_chain(gaps: tuple[int, ...]) -> None:
    """The code drawn of each column, less its probability given the cells before it, has mean 0 whatever these are."""
    d = distribution(decoder(MIXED, gaps))
    cells, draws = d.net.cells, d.sample((30_000,))
    codes = cells.codes(draws, gaps=True)
    assert [bool(lacks) for lacks in draws.isnan().any(0)] == [j in gaps for j in range(5)]
    known: list[Tensor] = [torch.ones(len(draws), dtype=torch.float64)]
    for j in range(5):
        drawn = torch.nn.functional.one_hot(codes[:, j], cells.sizes[j]).double()
        surprise = drawn - masses(d, draws, j, range(j))
        for told in known:
            assert_mean(surprise * told.unsqueeze(1), 0.0, 5.0)
        known += [drawn[:, 0], drawn[:, 1]]
    for j in cells.numbers:  # within a bin, uniform; of an atom, exact
        low, high = cells.low[j][codes[:, j]], cells.high[j][codes[:, j]]
        atom, wide = (low == high) & low.isfinite(), low < high
        assert torch.equal(draws[atom, j], low[atom]) and wide.any()
        place = ((draws[:, j] - low) / (high - low))[wide]
        assert scipy.stats.kstest(place.numpy(), "uniform").pvalue > 1e-3
    assert (draws[:, 4] == 0).any()  # the atom is drawn


@pytest.mark.parametrize("batch", [(), (4,), (2, 4)])
@pytest.mark.parametrize("shape", [(), (5,), (5, 2)])
@over_gaps
def test_shapes_of_mixed_tables(gaps: tuple[int, ...], batch: tuple[int, ...], shape: tuple[int, ...]) -> None:
    d = distribution(decoder(MIXED, gaps), *batch)
    z = d.sample(shape)
    assert z.shape == (*shape, *batch, 5) and z.dtype == torch.float64
    assert not distribution(d.net, *batch, gaps=False).sample(shape).isnan().any()
    assert d.mean.shape == (*batch, 5)
    scored = d.log_prob(z)
    loop = torch.stack([d.log_prob(part) for part in z.reshape(-1, *batch, 5)]).view((*shape, *batch))
    torch.testing.assert_close(scored, loop)
    assert distribution(d.net, *batch, subset=True).log_prob(z).shape == (*shape, *batch)
    assert [m.shape for m in d.marginals(z)] == [(*shape, *batch, size) for size in d.net.cells.sizes]


@over_gaps
def test_the_mean_is_the_likeliest_code_cell_by_cell(gaps: tuple[int, ...]) -> None:
    """Of cells that are there."""
    d = distribution(decoder(MIXED, gaps), 6)
    x = torch.full((6, 5), NAN).double()
    for j in range(5):
        code = d.without_gaps().marginals(x)[j].argmax(-1)
        x[:, j] = (d.net.cells.low[j][code] + d.net.cells.high[j][code]) / 2
    torch.testing.assert_close(d.mean, x)


@over_gaps
def test_complete_keeps_what_is_known_and_changes_no_input(gaps: tuple[int, ...]) -> None:
    d, x = distribution(decoder(MIXED, gaps), 30, gaps=False), rows(MIXED)[:30]
    assert torch.equal(d.sample_missing(x), x)
    gappy = torch.where(torch.rand(30, 5) < 0.5, NAN, x)
    before = gappy.clone()
    for likeliest in (False, True):
        filled = d.sample_missing(gappy, likeliest)
        assert not filled.isnan().any() and torch.equal(filled[~gappy.isnan()], x[~gappy.isnan()])
    torch.testing.assert_close(gappy, before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_complete_draws_from_the_joints_conditional(value: float) -> None:
    """p(x_m | x_o) from the masses of all rows, where the known cell comes first in the table."""
    sizes = (2, 3, 2)
    d = distribution(decoder(sizes))
    x = every_row(sizes)
    x = x[x[:, 0] == value]
    mass = d.log_prob(x).softmax(0)
    draws = d.sample_missing(numbers(value, NAN, NAN).expand(40_000, 3))
    counts = torch.tensor([(draws == row).all(-1).sum() for row in x])
    assert scipy.stats.chisquare(counts, 40_000 * mass).pvalue > 1e-3


def test_complete_draws_given_cells_that_come_later_too() -> None:
    """In the table's order, each given all that are known by then."""
    sizes = (2, 3, 2)
    d, x = distribution(decoder(sizes)), every_row((2, 3, 2))
    x = x[x[:, 1] == 2]
    log_mass = conditional(d, x, 0, [1]) + conditional(d, x, 2, [0, 1])
    draws = d.sample_missing(numbers(NAN, 2, NAN).expand(40_000, 3))
    counts = torch.tensor([(draws == row).all(-1).sum() for row in x])
    assert scipy.stats.chisquare(counts, 40_000 * log_mass.exp()).pvalue > 1e-3


def test_draws_are_the_rows_of_a_shared_batch() -> None:
    net = decoder(MIXED, (0, 3))
    whole = distribution(net, 7)
    torch.manual_seed(8)
    expected = whole.sample((2,))
    estimate = AutoregressiveTable(net, whole.state, True).log_prob(expected)
    for start, stop in ((0, 4), (4, 7)):
        part = AutoregressiveTable(net, whole.state[start:stop], True)
        torch.manual_seed(8)
        with noise.shard(start, stop, 7):
            torch.testing.assert_close(part.sample((2,)), expected[:, start:stop], rtol=0, atol=0, equal_nan=True)
            torch.testing.assert_close(part.log_prob(expected[:, start:stop]), estimate[:, start:stop])


@pytest.mark.parametrize("asked", [False, True])
@over_gaps
def test_telling_one_by_one_is_giving_at_once(gaps: tuple[int, ...], asked: bool) -> None:
    net, x = decoder(MIXED, gaps, context=2), rows(MIXED)[:9].clone()
    x[0, 1] = x[3, 0] = x[4, 4] = NAN
    begun = net.init_state(torch.randn(9, FEATURES).double(), torch.randn(9, 2).double())
    nothing = net.cells.unknown.expand(9, 5)
    torch.testing.assert_close(net.condition(begun, nothing, x), begun)
    summed, codes = begun, net.cells.codes(x, asked)
    for j in (2, 0, 4, 1, 3):
        summed = net.update_state(summed, j, codes[:, j], x[:, j])
    torch.testing.assert_close(summed, net.condition(begun, codes, x))
    together = net.logits(summed, asked).split(net.cells.sizes, -1)
    for j in range(5):
        torch.testing.assert_close(net.logits_of(summed, j, asked), together[j])
    assert not any(part.isneginf().all(-1).any() for part in together)
    assert (net.logits(begun, True) - net.logits(begun * 1.1, True)).nan_to_num(0.0).abs().max() > 1e-3


def test_categories_that_training_never_saw_have_a_mass_and_closed_codes_none() -> None:
    net = nets.TableDecoder(nets.CellBinning((4, 0), 30), FEATURES, 8, 1, 0.0)
    seen = torch.stack([torch.randint(3, (500,)).float(), torch.randn(500).round()], 1)
    net.init_from_data(seen)
    d = AutoregressiveTable(net.eval(), net.init_state(torch.randn(FEATURES)), False)
    found = d.marginals(torch.full((2,), NAN))
    assert 0 < found[0][3] < 0.1 and found[0].sum().item() == pytest.approx(1)
    values = seen[:, 1].unique()
    assert ((found[1] > 0) == (torch.arange(30) < len(values))).all()
    draws = d.sample((2000,))
    assert torch.isin(draws[:, 1], values).all() and (draws[:, 0] < 4).all()
    assert d.log_prob(torch.tensor([3.0, values[0]])).isfinite()


@pytest.mark.parametrize("value", [-60.0, 7.0, 1e4])
def test_numbers_beyond_those_of_training_have_the_wide_normals_density(value: float) -> None:
    d = distribution(decoder((0, 0)))
    x = numbers(value, 2.0)
    expected = math.log(SHARE) + scipy.stats.norm(0, WIDTH).logpdf(value)
    assert d.element_log_prob(x)[0].item() == pytest.approx(expected)
    assert d.log_prob(x).isfinite() and d.sample_missing(numbers(value, NAN)).isfinite().all()


def test_a_number_beside_an_atom_is_not_the_atom() -> None:
    d = distribution(decoder((0, 0, 0)))
    x = rows((0, 0, 0))[5]
    scores = []
    for value in (0.0, 1e-9):
        x[2] = value
        scores.append(d.element_log_prob(x)[2].item())
    assert scores[0] > scores[1]
    assert scores[1] == pytest.approx(math.log(SHARE) + scipy.stats.norm(0, WIDTH).logpdf(1e-9))


def make(
    sizes: Sequence[int], context: int = 0, gaps: Sequence[int] = ()
) -> tuple[nets.TableEncoder, likelihoods.TableLikelihood]:
    """An encoder and a likelihood over the same columns, off their start and set from rows, in training."""
    encoder = nets.TableEncoder(nets.CellBinning(sizes, 6, gaps), 4, 16, 2, 0.1, context).double()
    encoder.init_from_data(rows(sizes, gaps=gaps))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder, likelihoods.TableLikelihood(decoder(sizes, gaps, context).requires_grad_(), 1).train()


@pytest.mark.parametrize("contexts", [0, 2])
@over_gaps
def test_every_parameter_gets_a_gradient_in_training(gaps: tuple[int, ...], contexts: int) -> None:
    """All but the vectors of codes that no row has (to the encoder, a gap is unknown), and the slopes of categories."""
    encoder, likelihood = make(MIXED, contexts, gaps)
    x = rows(MIXED)
    x = torch.where(torch.rand(x.shape) < 0.2, NAN, x)
    c = [torch.randn(len(x), contexts).double()] if contexts else []
    h = torch.randn(len(x), FEATURES).double().requires_grad_()
    loss = likelihood(h, *c).log_prob(x).sum() + encoder(x, *c).square().sum()
    named = dict(itertools.chain(encoder.named_parameters(prefix="e"), likelihood.named_parameters(prefix="p")))
    cells, used = encoder.embedding.cells, {}
    for prefix, gappy in (("e", False), ("p", True)):
        is_open = cells.is_open(gappy).split(cells.sizes)
        used[prefix] = torch.cat([torch.cat([part, torch.ones(1) > 0]) for part in is_open])
    for name, gradient in zip(named, torch.autograd.grad(loss, [*named.values()], retain_graph=True), strict=True):
        assert gradient.isfinite().all()
        if name.endswith("vectors.fine"):
            assert torch.equal(gradient.abs().sum(1) > 0, used[name[0]])
        elif name.endswith("slopes"):
            assert torch.equal(gradient.abs().sum(1) > 0, encoder.embedding.is_number > 0)
        else:
            assert gradient.abs().sum() > 0, name
    moved = torch.autograd.grad(loss, h)[0].abs().sum(1) > 0  # not of a row of one cell that no bin holds
    assert moved.double().mean() > 0.99


def test_gradients_are_difference_quotients() -> None:
    net, x = decoder(MIXED, (0, 4)), rows(MIXED)[:3].clone()
    x[1, 3] = x[2, 0] = NAN

    def score(begun: Tensor, x: Tensor) -> Tensor:
        torch.manual_seed(1)
        return torch.stack([AutoregressiveTable(net, begun, subset).log_prob(x) for subset in (False, True)])

    assert torch.autograd.gradcheck(lambda begun: score(begun, x), distribution(net, 3).state.requires_grad_())


def test_copies_and_reloaded_states_score_and_draw_alike() -> None:
    gaps = (1, 2)
    encoder, likelihood = make(MIXED, gaps=gaps)
    h, x = torch.randn(6, FEATURES).double(), rows(MIXED)[:6]
    likelihood.eval(), encoder.eval()

    def told(likelihood: likelihoods.TableLikelihood, encoder: nets.TableEncoder) -> list[Tensor]:
        torch.manual_seed(1)
        return [likelihood(h).log_prob(x), likelihood(h).sample(), encoder(x)]

    before = told(likelihood, encoder)
    for a, b in zip(told(copy.deepcopy(likelihood), copy.deepcopy(encoder)), before, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    fresh = likelihoods.TableLikelihood(
        nets.TableDecoder(nets.CellBinning(MIXED, 6, gaps), FEATURES, 16, 1, 0.0).double(), 1
    ).eval()
    other = nets.TableEncoder(nets.CellBinning(MIXED, 6, gaps), 4, 16, 2, 0.1).double().eval()
    assert not torch.equal(fresh(h).log_prob(x), before[0])
    fresh.load_state_dict(likelihood.state_dict())  # the bins are part of it
    other.load_state_dict(encoder.state_dict())
    for a, b in zip(told(fresh, other), before, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_in_training_half_of_the_rows_lose_cells_and_others_none() -> None:
    encoder, _ = make(MIXED)
    x = rows(MIXED, 4000)
    hidden = encoder._hide(x).isnan().double().mean(1)
    assert_mean((hidden > 0).double(), 5 / 12)  # 1 - E[(1 - s)^5] = 1 - 1/6 for s uniform
    assert_mean(hidden, 0.25)
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


def test_a_likelihood_of_tables_takes_a_decoder_over_cells() -> None:
    with pytest.raises(UserError, match="takes a decoder over cells"):
        likelihoods.TableLikelihood(nets.MLPDecoder(3, (5,), [4]), 1)


def cases() -> list[tuple[str, np.ndarray, int, int]]:
    """Named values, with the number of bins that is wished and the largest."""
    rng = np.random.default_rng(0)
    found = [
        ("normal", rng.normal(size=1000), 32, 64),
        ("whole", rng.integers(0, 50, 1000), 32, 128),
        ("many whole", rng.integers(0, 5000, 1000), 32, 128),
        ("one", np.zeros(10), 16, 8),
        ("two rows", np.array([1.0, 2.0]), 16, 128),
        ("zeros and numbers", np.where(rng.random(3000) < 0.4, 0, rng.gamma(1, size=3000)), 60, 128),
        ("rounded", rng.normal(size=5000).round(1), 100, 64),
        ("atoms with others between", np.concatenate([np.repeat(np.arange(100.0), 9), rng.random(400) * 99]), 26, 128),
        ("few bins", np.concatenate([np.repeat(np.arange(5.0), 90), rng.random(60) * 5]), 2, 4),
        ("two bins", rng.gamma(1, size=900).round(2), 16, 2),
        ("huge", rng.normal(size=999) * 1e30, 32, 64),
        ("neighbours", np.nextafter(1.0, 2, dtype=np.float32) * (1 + np.arange(600) * 1e-7), 20, 32),
    ]
    for i in range(60):  # any mixture of repeated and other values, any sizes
        n, most = int(rng.integers(2, 400)), int(rng.integers(2, 40))
        atoms = rng.normal(size=int(rng.integers(1, 40)))
        values = np.where(rng.random(n) < rng.random(), rng.choice(atoms, n), rng.normal(size=n))
        found.append((f"random {i}", values, int(rng.integers(1, 60)), most))
    return found


@pytest.mark.parametrize(("values", "parts", "most"), [case[1:] for case in cases()], ids=[c[0] for c in cases()])
def test_bins_hold_every_value_in_order(values: np.ndarray, parts: int, most: int) -> None:
    v = torch.from_numpy(values.astype(np.float32))
    low, high = make_bins(v, parts, most)
    assert len(low) == len(high) <= most and (low <= high).all() and (low[1:] > low[:-1]).all()
    assert (high[:-1] <= low[1:]).all() and low[0] == v.min() and high[-1] == v.max()
    code = torch.searchsorted(low, v, right=True) - 1
    assert ((v >= low[code]) & (v <= high[code])).all()
    assert torch.isin(low[low == high], v).all()
    if len(v.unique()) > min(most, max(len(v) // 2, 1)):  # and between the atoms there are no gaps but at these
        wide = low < high
        assert (high[:-1] == low[1:])[wide[:-1] & wide[1:]].all()
    else:
        assert torch.equal(low, v.unique()) and torch.equal(high, low)


@pytest.mark.parametrize("parts", [1, 2, 7, 32])
def test_bins_of_distinct_values_have_equal_mass(parts: int) -> None:
    v = torch.randn(1000)
    low, _ = make_bins(v, parts, 64)
    counts = torch.bincount(torch.searchsorted(low, v, right=True) - 1)
    assert len(low) == parts and counts.max() - counts.min() <= 1


def test_a_value_of_much_mass_is_an_atom_and_no_other_is() -> None:
    v = torch.cat([torch.randn(700), torch.zeros(200), torch.full((100,), 0.5), torch.full((9,), -0.3)])
    low, high = make_bins(v, 20, 64)
    assert low[low == high].tolist() == [0.0, 0.5]
    counts = torch.bincount(torch.searchsorted(low, v, right=True) - 1)
    assert counts[low == high].tolist() == [200, 100]


@pytest.mark.parametrize("gaps", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("bins", [8, 130])
def test_codes_find_the_bins_of_rows(gaps: tuple[int, ...], bins: int) -> None:
    """Of more and of fewer categories than bins, beside a column that may lack cells."""
    cells = nets.CellBinning((3, 0), bins, gaps)
    x = torch.stack([torch.randint(3, (300,)).float(), torch.randn(300)], 1)
    x[5] = NAN
    cells.init_from_data(x)
    codes = cells.codes(x.view(3, 100, 2))
    assert codes.shape == (3, 100, 2) and codes[0, 5].tolist() == cells.unknown.tolist()
    absent = [size - (j in gaps) for j, size in enumerate(cells.sizes)]
    assert absent == [3, bins] and cells.codes(x[5:6], gaps=True)[0].tolist() == absent
    torch.testing.assert_close(cells.codes(x, gaps=True)[6:], cells.codes(x)[6:])
    codes, there = codes.view(300, 2), ~x.isnan().any(1)
    assert torch.equal(codes[there, 0].float(), x[there, 0])
    low, high = cells.low[1][codes[there, 1]], cells.high[1][codes[there, 1]]
    assert ((low <= x[there, 1]) & (x[there, 1] <= high)).all()
    assert cells.codes(torch.tensor([1.0, -99.0])).tolist() == [1, 0]
    assert cells.codes(torch.tensor([1.0, 99.0]))[1] == cells.low[1].isfinite().sum() - 1
    assert cells.is_open(gaps=True).sum() == cells.low.isfinite().sum() + len(gaps)
    assert cells.is_open(gaps=False).sum() == cells.low.isfinite().sum()


def test_a_column_without_a_value_has_one_bin() -> None:
    net = decoder((0, 2))
    x = rows((0, 2))
    x[:, 0] = NAN
    net.init_from_data(x)
    d = distribution(net, 4)
    assert d.log_prob(x[:4]).isfinite().all() and (d.sample()[:, 0] == 0).all()


def test_the_memory_of_a_step_is_in_proportion_to_the_columns() -> None:
    def allocated(columns: int) -> int:
        net = nets.TableNet(width=32, blocks=0, bins=32, sizes=(0,) * columns).decoder(4, (columns,), 0)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            net.logits(net.init_state(torch.zeros(2, 4)), gaps=False).logsumexp(-1).sum().backward()
        return sum(max(event.self_cpu_memory_usage, 0) for event in seen.key_averages())

    assert allocated(160) < 5 * allocated(40), "the gradients of slices would allocate 16 times as much"
