"""A package outside nelbo adds one part of each family: it gets the laws, the recipes, the command line and citations.

Each part is one module; the package has an entry point of the group `nelbo.parts` and its own references.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import test_conditional_distributions
import test_distributions
import test_nets
import test_objectives
import test_registry_recipes
import test_truths

import zoo
from nelbo.config import citations, registry
from zoo import CONTEXT, SHAPE

MODULES = {
    "__init__": "from nelbo_more import likelihood, net, objective, posterior, prior, schedule\n",
    "objective": '''
from torch import Tensor

from nelbo.config.registry import Positive, register
from nelbo.objectives import WeightedTerms, distortion
from nelbo.vae import Trace


def squared_rate(trace: Trace) -> Tensor:
    """rate^2, nats^2 per datum."""
    return trace.rate.square()


@register("objective", "squared-rate", cite="doe2031squared")
def objective(*, weight: Positive = 0.1) -> WeightedTerms:
    """Distortion + weight * rate^2.

    Args:
        weight: weight of the squared rate.
    """
    return WeightedTerms({distortion: 1.0, squared_rate: weight})
''',
    "prior": '''
import math

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.config.registry import Positive, register
from nelbo.priors import Prior


@register("prior", "learned-normal", cite="doe2031prior")
class LearnedNormal(Prior):
    """p(z) = N(z; mu, diag(sigma^2)), both learned.

    Args:
        sigma: standard deviation before training.
    """

    def __init__(self, dim: int, *, sigma: Positive = 1.0) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.full((dim,), math.log(sigma)))

    def forward(self, *context: Tensor | None) -> distributions.DiagonalNormal:
        return distributions.DiagonalNormal(self.loc, self.log_scale)
''',
    "posterior": '''
from typing import Any

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.config.registry import register
from nelbo.posteriors import Posterior


@register("posterior", "one-scale-normal", cite="doe2031posterior")
class OneScaleNormal(Posterior):
    """q(z | x) = N(mu(x), diag(sigma^2)) with one sigma a latent for all data.

    Args:
        initial_log_scale: log sigma before training.
    """

    def __init__(self, encoder: nn.Module, event_dims: int, dim: int, *, initial_log_scale: float = -1.0) -> None:
        super().__init__(encoder, event_dims)
        self.log_scale = nn.Parameter(torch.full((dim,), initial_log_scale))

    @classmethod
    def n_params(cls, dim: int, **options: Any) -> int:
        return dim

    def forward(self, *context: Tensor | None) -> distributions.DiagonalNormal:
        return distributions.DiagonalNormal(self.encode(*context), self.log_scale)
''',
    "likelihood": '''
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.config.registry import register
from nelbo.likelihoods import Likelihood


@register("likelihood", "element-normal", cite="doe2031likelihood")
class ElementNormal(Likelihood):
    """p(x | h) = prod_i N(x_i; mu_i(h), sigma_i^2) with one learned sigma for each element.

    Args:
        initial_log_scale: log sigma before training.
    """

    support = constraints.real

    def __init__(
        self, decoder: nn.Module, event_dims: int, shape: Sequence[int], *, initial_log_scale: float = 0.0
    ) -> None:
        super().__init__(decoder, event_dims)
        self.log_scale = nn.Parameter(torch.full(tuple(shape), initial_log_scale))

    def forward(self, *context: Tensor | None) -> distributions.DiagonalNormal:
        (loc,) = self.outputs(*context)
        return distributions.DiagonalNormal(loc, self.log_scale, self.event_dims)
''',
    "net": '''
from dataclasses import dataclass

from torch import nn

from nelbo.config.registry import Count, register
from nelbo.nets import MLPDecoder, MLPEncoder, Net


@register("net", "tanh", cite="doe2031net")
@dataclass(frozen=True)
class Tanh(Net):
    """A perceptron of one hidden layer of tanh units.

    Args:
        width: units of the hidden layer.
    """

    width: Count = 32

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        net = MLPEncoder(shape, features, (self.width,), context)
        net.layers[1] = nn.Tanh()
        return net

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        net = MLPDecoder(features, shape, (self.width,), outputs, context)
        net.layers[1] = nn.Tanh()
        return net
''',
    "schedule": '''
from dataclasses import dataclass

from nelbo.config.registry import NonNegative, register
from nelbo.schedules import Schedule


@register("schedule", "power", cite="doe2031schedule")
@dataclass(frozen=True)
class Power(Schedule):
    """(1 - t)^power at the fraction t of training.

    Args:
        power: the exponent.
    """

    power: NonNegative = 2.0

    def __call__(self, fraction: float) -> float:
        return (1 - min(fraction, 1.0)) ** self.power
''',
}
ENTRY = """@article{{doe2031{name},
  author = {{Doe, Jo}},
  title = {{The {name}}},
  journal = {{Journal of Parts}},
  year = {{2031}},
}}
"""
PAPERS = ["squared", "prior", "posterior", "likelihood", "net", "schedule"]
ROWS: dict[str, zoo.Row] = {
    "objective": zoo.ObjectiveRow("squared-rate", {"weight": 0.5}),
    "prior": zoo.PriorRow("learned-normal", {"sigma": 0.5}),
    "posterior": zoo.PosteriorRow("one-scale-normal", {"initial_log_scale": -0.5}),
    "likelihood": zoo.LikelihoodRow("element-normal", {"initial_log_scale": -0.5}),
    "net": zoo.NetRow("tanh", {"width": 7}),
    "schedule": zoo.ScheduleRow("power", {"power": 3.0}, corners={0.0: 1, 0.5: 0.125, 1.0: 0}),
}
SET = {
    "objective": {"kind": "squared-rate", "weight": 0.5},
    "model.latent.prior": {"kind": "learned-normal", "sigma": 0.5},
    "model.latent.posterior": "one-scale-normal",
    "model.likelihood": "element-normal",
    "model.encoder": {"kind": "tanh", "width": 7},
    "training.schedule": {"kind": "power", "power": 3.0},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with one that adds parts."""
    site = tmp_path_factory.mktemp("site")
    package, info = site / "nelbo_more", site / "nelbo_more-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    for name, text in MODULES.items():
        head = f'"""{name}."""\n\nfrom __future__ import annotations\n'
        (package / f"{name}.py").write_text(head + text, "utf-8")
    (package / "references.bib").write_text("\n".join(ENTRY.format(name=name) for name in PAPERS), "utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nelbo-more\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[nelbo.parts]\nmore = nelbo_more\n", "utf-8")
    return site


@pytest.fixture
def _plugin(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The parts of the package, for one test in this process."""
    caches = (registry._import_parts, registry.plugins, citations.entries)
    registry.families()  # nelbo's own are registered
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(registry, "_ENTRIES", {name: dict(kinds) for name, kinds in registry._ENTRIES.items()})
    for cache in caches:
        cache.cache_clear()
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "nelbo_more"]:
        del sys.modules[name]
    for cache in caches:
        cache.cache_clear()


pytestmark = pytest.mark.usefixtures("_plugin")


@pytest.mark.parametrize("contexts", [0, CONTEXT])
@pytest.mark.parametrize("family", ["prior", "posterior", "likelihood"])
def test_a_distribution_of_a_plugin_obeys_the_laws(family: str, contexts: int) -> None:
    row = ROWS[family]
    if isinstance(row, zoo.PriorRow):
        test_conditional_distributions.test_prior(row, contexts)
        test_distributions.test_prior_is_a_density(row)
    elif isinstance(row, zoo.PosteriorRow):
        test_conditional_distributions.test_posterior(row, contexts, SHAPE)
        test_distributions.test_posterior_density_ratio_has_mean_one(row, contexts)
    elif isinstance(row, zoo.LikelihoodRow):
        test_conditional_distributions.test_likelihood(row, contexts, SHAPE)
        test_conditional_distributions.test_leading_dimensions_are_a_loop(row, "conv", contexts, (3, 2))
        test_conditional_distributions.test_start_at_sets_the_mean(row, "mlp")
        test_conditional_distributions.test_likelihood_draws_from_its_mean(row)
    assert isinstance(row, zoo.PriorRow | zoo.PosteriorRow | zoo.LikelihoodRow)
    vae = zoo.vae_of(row)
    test_truths.test_distortion_and_rate_are_minus_the_log_weight(vae, contexts)
    test_truths.test_every_parameter_learns_from_the_bound(vae, contexts)
    test_truths.test_embed_and_generate(vae, contexts)


def test_an_objective_of_a_plugin_obeys_the_laws() -> None:
    row = ROWS["objective"]
    assert isinstance(row, zoo.ObjectiveRow)
    test_truths.test_loss_is_the_weighted_sum_of_its_parts(row)
    test_objectives.test_every_player_moves_every_parameter_and_evaluation_has_the_training_loss(row)


@pytest.mark.parametrize("contexts", [0, CONTEXT])
@pytest.mark.parametrize("shape", [(3, 5, 9), (7,)])
def test_a_net_of_a_plugin_obeys_the_laws(shape: tuple[int, ...], contexts: int) -> None:
    row = ROWS["net"]
    assert isinstance(row, zoo.NetRow)
    test_nets.test_encoder(row, shape, contexts)
    test_nets.test_every_element_of_the_datum_is_read(row, shape)
    test_nets.test_encoder_rescales_its_input(row, shape)
    test_nets.test_decoder(row, shape, contexts, 2)
    test_nets.test_output_bias_is_a_view_that_shifts_the_output(row, shape)


def test_a_schedule_of_a_plugin_obeys_the_laws() -> None:
    row = ROWS["schedule"]
    assert isinstance(row, zoo.ScheduleRow)
    test_truths.test_schedule(row)


@pytest.mark.parametrize("family", ROWS)
def test_a_part_of_a_plugin_survives_its_toml_and_has_help_for_each_field(family: str, tmp_path: Path) -> None:
    row = ROWS[family]
    test_registry_recipes.test_a_component_survives_its_table_and_its_toml(row, tmp_path)
    assert row.entry.fields.keys() == row.entry.help.keys()
    assert set(row.entry.cite) <= set(citations.entries())


def test_the_command_line_trains_samples_and_cites_with_a_plugin(site: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32))
    paths = os.pathsep.join([str(site), *filter(None, sys.path)])

    def run(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": paths, "NELBO_CACHE": str(tmp_path)}
        command = [sys.executable, "-m", "nelbo", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    sets = [f"--set={path}={_toml(value)}" for path, value in SET.items()]
    run("train", "x.npy", "--epochs=2", "--out=run", *sets)
    run("sample", "run", "-n", "5", "--out=new.npy")
    assert np.load(tmp_path / "new.npy").shape == (5, 4)
    assert {f"doe2031{name}" for name in PAPERS} <= set(json.loads(run("cite", "run", "--json")))
    assert ENTRY.format(name="likelihood") in run("cite", "run")


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {json.dumps(item)}" for key, item in value.items()) + "}"
    return str(value)
