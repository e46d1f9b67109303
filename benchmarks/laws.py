"""How far every part of nelbo is from its laws: the page docs/laws.md.

    python benchmarks/laws.py [--out docs/laws.md]

It runs over the zoo of the tests (`tests/zoo`), so that a part entered there appears here. Each part is measured
under a seed made of its name, on one thread: the same parts give the same page, up to rounding. It takes two minutes.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), *(str(ROOT / "tests" / name) for name in ("model", "nets", "objectives"))]

import test_bounds
import test_flows
import test_objectives
import test_truths

import zoo
from nelbo.data import load
from nelbo.distributions import has_kl, kl_divergence, noise, sample_and_log_prob
from nelbo.latents import LatentLevel
from nelbo.objectives import ImportanceWeightedObjective, cubo, elbo, iwae, minibatch_stratified_sampling
from nelbo.objectives.bounds import Bound
from nelbo.objectives.terms import aggregate_posterior_log_prob
from nelbo.schedules import Cosine
from nelbo.training import TrainingConfig, fit
from zoo.divergences import Pair
from zoo.spaces import chart, narrower, values

SHAPE, BATCH = (1, 4, 4), 4
Row = tuple[float | None, ...]
Parts = Mapping[str, Callable[[], Row]]


@dataclass(frozen=True)
class Law:
    """A law, the names of what is measured, what measures each part, and the columns by which the worst is chosen."""

    title: str
    text: str
    columns: tuple[str, ...]
    parts: Callable[[], Parts]
    judged: tuple[int, ...] = (-1,)
    sampled: bool = False  # what is judged is a number of standard errors

    def worst(self, rows: Mapping[str, Row]) -> tuple[str, float]:
        """The part that is farthest off, and how far."""
        off = {name: self.off(row) for name, row in rows.items()}
        name = max(off, key=lambda part: off[part])
        return name, off[name]

    def off(self, row: Row) -> float:
        """How far a part is off."""
        return max(abs(row[i] or 0.0) for i in self.judged)


def deviation(draws: Tensor, expected: Tensor | float) -> tuple[float, float, float]:
    """The mean over dimension 0 less what is expected, its standard error, and their ratio: where that is largest."""
    gap = (draws.mean(0) - expected).flatten()
    error = (draws.std(0) / len(draws) ** 0.5).flatten()
    ratio = torch.where(gap.abs() > 1e-10, gap / error, 0.0)
    i = ratio.abs().argmax()
    return gap[i].item(), error[i].item(), ratio[i].item()


# --- densities ---


def ratio(make: Callable[[], Distribution], reference: Callable[[Distribution], Distribution]) -> Row:
    """E_q[r / q] - 1 for a density r inside q."""
    q = make()
    r = reference(q)
    z, log_q = sample_and_log_prob(q, (100_000,))
    inside = r.support.check(z).reshape(*log_q.shape, -1).all(-1)  # type: ignore[union-attr]
    return deviation(torch.where(inside, (r.log_prob(z) - log_q).exp(), 0.0), 1.0)


def _prior(row: zoo.PriorRow) -> Distribution:
    return zoo.perturb_parameters(row.build_bound())(None)


def _posterior(row: zoo.PosteriorRow) -> Distribution:
    return zoo.perturb_parameters(row.build(SHAPE)).eval()(zoo.data(constraints.real, BATCH, SHAPE))


def ratios() -> Parts:
    families = {f"distribution: {name}": family for name, family in zoo.DISTRIBUTIONS.items()}
    continuous = {name: f for name, f in families.items() if not f.make(()).support.is_discrete}
    distributions = {name: partial(ratio, partial(f.make, (3,)), f.reference) for name, f in continuous.items()}
    priors = {
        f"prior: {row.name}": partial(ratio, partial(_prior, row), narrower)
        for row in zoo.PRIORS.values()
        if not row.elsewhere and not row.over_codes
    }
    posteriors = {
        f"posterior: {row.name}": partial(ratio, partial(_posterior, row), narrower)
        for row in zoo.POSTERIORS.values()
        if not row.elsewhere and row.density
    }
    return {**distributions, **priors, **posteriors}


def quadrature(d: Distribution, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Points `(n, 1)` and their masses under d: tanh-sinh between cuts at every decade from the mean and the ends.

    Source: Takahasi, Mori (1974), Double Exponential Formulas for Numerical Integration.
    """
    mean, spread = d.mean.item(), d.stddev.item()
    cuts = {mean, *(mean + sign * spread * 10.0**k for sign in (1, -1) for k in range(-1, 6))}
    cuts |= {low + (high - low) * 10.0**-k for k in range(1, 6)} | {
        low + (high - low) * (1 - 10.0**-k) for k in range(1, 6)
    }
    ends = torch.tensor(sorted({low, high, *(cut for cut in cuts if low < cut < high)}), dtype=torch.float64)
    step = 6 / 128
    t = torch.arange(-128, 129, dtype=torch.float64) * step
    left, right = (torch.sigmoid(sign * math.pi * t.sinh()) for sign in (1, -1))
    width = ends.diff().unsqueeze(1)
    x = (ends[:-1].unsqueeze(1) + width * left).flatten()
    weight = (width * left * right * math.pi * t.cosh() * step).flatten()
    inner = (x > low) & (x < high)
    x = x[inner].unsqueeze(1)
    return x, d.log_prob(x).exp() * weight[inner]


def masses(d: Distribution) -> tuple[Tensor, Tensor]:
    """All values `(n, *event)` of a discrete distribution, and their masses `(n, *batch)`."""
    points = values(d)
    return points, d.log_prob(points.view(-1, *[1] * len(d.batch_shape), *d.event_shape)).exp()


def total(members: Callable[[], list[tuple[Distribution, tuple[Tensor, Tensor]]]], moments: bool) -> Row:
    """The largest deviation, over members of a family, of mass, and of mean and variance if it has `moments`."""
    rows = []
    for d, (x, mass) in members():
        off = [mass.sum(0) - 1]
        if moments:
            mean, square = (torch.tensordot(mass, power, ([0], [0])) for power in (x, x**2))
            around = square - 2 * d.mean * mean + d.mean**2
            if d.event_shape == (1,):  # about the mean, as the square of a large mean would cancel
                around = torch.tensordot(mass, (x - d.mean) ** 2, ([0], [0]))
            off += [(mean - d.mean) / d.stddev, around / d.variance - 1]
        rows.append([gap.abs().max().item() for gap in off])
    largest = [max(column) for column in zip(*rows, strict=True)]
    return (len(rows), *largest, *[None] * (3 - len(largest)))


def totals() -> Parts:
    def lines(family: zoo.Family) -> list[tuple[Distribution, tuple[Tensor, Tensor]]]:
        return [(d, quadrature(d, low, high)) for d, low, high in family.line()]

    def discrete(family: zoo.Family) -> list[tuple[Distribution, tuple[Tensor, Tensor]]]:
        return [(d, masses(d)) for d in (family.make((3,)),)]

    rows = zoo.DISTRIBUTIONS.values()
    finite = [f for f in rows if f.make(()).support.is_discrete]  # type: ignore[attr-defined, union-attr]
    integrals = {f"{f.name} (integral)": partial(total, partial(lines, f), f.moments) for f in rows if f.line()}
    return integrals | {f"{f.name} (sum)": partial(total, partial(discrete, f), f.moments) for f in finite}


def moments(make: Callable[[], Distribution], variance: bool) -> Row:
    """Mean and variance of 40 000 draws."""
    d = make()
    about = chart(d, d.sample((40_000,)))
    (gap, error, off), second = deviation(about, 0.0), deviation(about**2, d.variance) if variance else None
    return (gap, error, off, *(second or (None, None, None)))


def _likelihood(row: zoo.LikelihoodRow) -> Distribution:
    h = zoo.data(constraints.real, BATCH, (zoo.LATENT,))
    return zoo.perturb_parameters(row.build((1, 2, 2))).eval()(h)


def sampled() -> Parts:
    families = {n: partial(moments, partial(f.make, (2,)), True) for n, f in zoo.DISTRIBUTIONS.items() if f.moments}
    likelihoods = {
        f"likelihood: {row.name}": partial(moments, partial(_likelihood, row), False)
        for row in zoo.LIKELIHOODS.values()
        if not row.elsewhere and not row.pictures
    }
    return {**{f"distribution: {name}": part for name, part in families.items()}, **likelihoods}


# --- divergences, flows ---


def divergence(pair: Pair) -> Row:
    q, p = pair.make()
    closed = kl_divergence(q, p)
    z, log_q = sample_and_log_prob(q, (100_000,))
    same = [kl_divergence(d, d).abs().max().item() for d in (q, p) if has_kl(d, d)]
    return (max(same, default=None), closed.max().item(), *deviation(log_q - p.log_prob(z), closed))


def jacobian(name: str) -> Row:
    """log |det| less autograd's, and the round trip, of a map with a context."""
    f = zoo.perturb_parameters(test_flows.SINGLE[name](test_flows.CONTEXT), 0.3)
    z, c = test_flows.inputs(test_flows.CONTEXT)
    assert c is not None
    y, log_det = f(z, c)
    back = f.inverse(y, c)[0]
    exact = [torch.autograd.functional.jacobian(lambda v, i=i: f(v, c[i])[0], z[i]) for i in range(len(z))]
    gap = log_det - torch.stack([torch.linalg.slogdet(j)[1] for j in exact])
    return (back - z).abs().max().item(), log_det.std().item(), gap.abs().max().item()


# --- bounds and training, on models whose log p(x) is known ---


def gap(bound: Bound, shape: tuple[int, ...]) -> Row:
    """A bound less log p(x): with a wrong posterior, in the mean, and with the exact one, at every draw."""
    truth = test_bounds.TRUTH.log_prob(test_bounds.X)
    rows = min(20_000, 2_000_000 // math.prod(shape))
    with torch.no_grad():
        wrong = bound(test_bounds.trace_of(rows, *shape)[0]).view(-1, rows).mean(0) - truth
        tight = bound(test_bounds.trace_of(50, *shape, shift=0.0, widen=0.0)[0]) - truth
    return wrong.mean().item(), wrong.std().item() / rows**0.5, tight.abs().max().item()


def gaps() -> Parts:
    rows: dict[str, tuple[Bound, tuple[int, ...]]] = {
        "ELBO = mean of log w": (lambda trace: trace.log_weight.mean(-2), (1,)),
        **{f"IWAE, k = {k}": (iwae, (k,)) for k in (1, 2, 8, 64)},
        "CUBO of order 2, k = 2000 (above)": (cubo(2.0), (2000,)),
    }
    made = {row.name: row.build() for row in zoo.OBJECTIVES.values()}
    for name, objective in made.items():
        if isinstance(objective, ImportanceWeightedObjective):
            rows[f"{name}, k = {objective.sample_shape[-1]}"] = [*objective.bounds.values()][-1], objective.sample_shape
    return {name: partial(gap, *row) for name, row in rows.items()}


def trace_adds_up(row: zoo.VaeRow) -> Row:
    """Rate, and E[distortion + rate + log w], which is 0."""
    vae = zoo.perturb_parameters(row.build(0)).eval()
    with torch.no_grad():
        trace = vae(zoo.data(vae.likelihood.support, BATCH, SHAPE), None, (5_000,))
        return (trace.rate.mean().item(), *deviation(trace.distortion + trace.rate + trace.log_weight, 0.0))


def weights(size: int) -> Row:
    """The stratified estimate of q(z) over n = 5 data, over all batches of a size: its mean over q(z), less 1."""
    n, z = 5, torch.linspace(-2, 2, 7).double().view(7, 1, 1)
    q = test_objectives.posterior(n, 1)
    estimates = []
    for rest in itertools.combinations(range(1, n), size - 1):
        part = test_objectives.part_of(q, torch.tensor([0, *rest]))
        estimates.append(
            aggregate_posterior_log_prob(
                LatentLevel(z.expand(7, size, 1), part, part), n, minibatch_stratified_sampling
            )[0][:, 0].exp()
        )
    mean = torch.stack(estimates).mean(0)
    return ((mean / q.log_prob(z).exp().mean(-1) - 1).abs().max().item(),)


def pca(latents: int) -> Row:
    """A linear VAE, trained, less the maximum of Tipping and Bishop (1999)."""
    loading = torch.linalg.qr(torch.randn(8, 3))[0] * torch.tensor([3.0, 1.5, 1.0])
    data = load((torch.randn(1000, 3) @ loading.T + 0.5 * torch.randn(1000, 8)).numpy())
    x = data.train.batch(torch.arange(len(data.train)))
    vae = test_truths.linear_vae(8, latents, "learned")
    vae.likelihood.init_output_bias(x.mean(0))
    settings = TrainingConfig(epochs=400, batch_size=300, learning_rate=0.02, schedule=Cosine())
    fit(vae, elbo(), data.train, data.test, settings)

    x, vae = x.double(), vae.double()
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    noise, kept = values[latents:].mean(), values[:latents]
    optimum = -0.5 * (8 * math.log(2 * math.pi) + kept.log().sum() + (8 - latents) * noise.log() + 8)
    with torch.no_grad():
        bound = vae(x, shape=(500,)).log_weight.mean() - optimum
        likelihood = test_truths.marginal(vae).log_prob(x).mean() - optimum
    sigma = vae.likelihood.log_scale.exp() / noise.sqrt() - 1  # type: ignore[operator, union-attr]
    return optimum.item(), sigma.item(), bound.item(), likelihood.item()


OFF = "standard errors off"
LAWS = [
    Law(
        "E[r/q] = 1",
        """For every density q, and a density r inside it, the mean of r/q over draws of q is 1. It fails where draws
and density disagree, or the density does not integrate to one. 100 000 draws; of a batch, the member
farthest off.""",
        ("E[r/q] - 1", "standard error", OFF),
        ratios,
        sampled=True,
    ),
    Law(
        "Densities integrate and masses sum to one",
        """By quadrature, or over all values, for each member that the zoo lists, extreme ones included; likewise mean
(in standard deviations) and variance (relative) against their closed forms. The mean of a discretised
logistic is that before rounding to levels.""",
        ("members", "mass - 1", "mean", "variance"),
        totals,
        (1, 2, 3),
    ),
    Law(
        "Draws have the mean and the variance",
        "40 000 draws against the closed forms. On curved spaces: in a chart about the mean.",
        ("mean", "standard error", OFF, "variance", "standard error", OFF),
        sampled,
        (2, 5),
        True,
    ),
    Law(
        "Closed-form divergences are Monte Carlo's",
        """Each row of the KL table: KL(p, p), which is 0; the closed form, nats; and the mean of log q - log p over 100
000 draws, less the closed form.""",
        ("KL(p, p)", "KL(q, p)", "Monte Carlo - closed", "standard error", OFF),
        lambda: {pair.name: partial(divergence, pair) for pair in zoo.PAIRS.values()},
        sampled=True,
    ),
    Law(
        "A flow's log-determinant is its Jacobian's",
        """Against autograd, for maps with a context and parameters that bend them; the inverse, after the map, is the
identity.""",
        ("inverse(f(z)) - z", "spread of log det", "log det - autograd"),
        lambda: {name: partial(jacobian, name) for name in test_flows.SINGLE},
    ),
    Law(
        "Bounds on log p(x)",
        """Less log p(x), nats, on a linear-Gaussian model. With a wrong posterior the lower bounds rise to 0 with k;
with the exact one each is log p(x) at every draw: the last column is the largest deviation.""",
        ("bound - log p(x)", "standard error", "exact posterior"),
        gaps,
    ),
    Law(
        "A trace adds up",
        """E[distortion + rate + log w] = 0, with 5 000 draws a datum: the rate is E[log q - log p], whether in closed
form or (then exactly 0) by the same draws.""",
        ("rate, nats", "sum", "standard error", OFF),
        lambda: {row.name: partial(trace_adds_up, row) for row in zoo.VAES.values()},
        sampled=True,
    ),
    Law(
        "The aggregate posterior is estimated without bias",
        """E[estimate / q(z)] - 1 of the stratified weights of the total correlation, over all batches of a size out of
5 data.""",
        ("E[estimate / q] - 1",),
        lambda: {f"batches of {size}": partial(weights, size) for size in (2, 3, 4, 5)},
    ),
    Law(
        "A trained linear VAE is probabilistic PCA",
        """Trained by the one loop on 8 dimensions, against the maximum of Tipping and Bishop (1999), nats per datum;
sigma relative.""",
        ("optimum", "sigma", "ELBO - optimum", "log p(x) - optimum"),
        lambda: {f"latents: {latents}": partial(pca, latents) for latents in (1, 2, 3)},
        (1, 2, 3),
    ),
]


def number(value: float | None) -> str:
    """Two significant digits, counts in full."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table whose first columns are words."""
    rule = [*["---"] * words, *["---:"] * (len(head) - words)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def measure(law: Law) -> dict[str, Row]:
    """Every part; one that chance alone would seldom take so far off is measured again, and both are kept."""
    rows = {}
    for name, part in law.parts().items():
        for again in ("", ", again"):
            began = time.monotonic()
            with noise.seeded(zlib.crc32(f"{law.title}/{name}{again}".encode())):
                row = rows[name + again] = part()
            print(f"  {name + again:50} {time.monotonic() - began:5.1f} s  {'  '.join(map(number, row))}", flush=True)
            if not law.sampled or law.off(row) < 4:
                break
    return rows


def page(measured: Mapping[str, dict[str, Row]]) -> str:
    """The whole page."""
    summary, sections = [], []
    for law in LAWS:
        rows = measured[law.title]
        name, off = law.worst(rows)
        judged = " / ".join(dict.fromkeys(law.columns[i] for i in law.judged))
        summary.append([f"[{law.title}](#{anchor(law.title)})", judged, name, str(len(rows)), number(off)])
        cells = ([name, *map(number, row)] for name, row in rows.items())
        sections.append(f"## {law.title}\n\n{law.text}\n\n{table(('part', *law.columns), cells)}\n")
    head = table(("law", "measured", "largest at", "parts", "largest"), summary, 3)
    return f"{INTRODUCTION}\n{head}\n\n" + "\n".join(sections)


def anchor(title: str) -> str:
    """GitHub's name for a heading."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")


INTRODUCTION = """# The laws, measured

Written by `python benchmarks/laws.py`: run it again after a change. Every part of `tests/zoo` is here; the tests
hold each to the same laws, with a bound. What is sampled has a standard error: of many numbers, some are 3 of them
off by chance; a part that is 4 off is measured again under another seed, and both stand here. All else is 0 up to
rounding, unless its law says otherwise.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "laws.md")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    measured = {}
    for law in LAWS:
        print(law.title, flush=True)
        measured[law.title] = measure(law)
    out.write_text(page(measured), encoding="utf-8")
    print(out)


if __name__ == "__main__":
    main()
