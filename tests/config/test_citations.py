"""What is cited: every key has its entry and every entry its use, and a recipe cites what it is made of, no more."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from nelbo import nets, schedules
from nelbo.cli.info_commands import cite
from nelbo.config import presets, registry
from nelbo.config.build import ModelSpec
from nelbo.config.citations import ALWAYS, SOURCES, bibtex, entries, used
from nelbo.config.recipe import Recipe
from nelbo.config.registry import Component, Entry
from nelbo.data import DataOptions
from nelbo.data.sources import CLASSES
from nelbo.errors import UserError
from nelbo.model.io import load
from nelbo.training import TrainingConfig
from nelbo.training.optim import Adam

TEXT = (resources.files("nelbo.config") / "files" / "references.bib").read_text("utf-8")
PLAIN = Recipe(
    data=DataOptions("mnist"),
    model=ModelSpec(likelihood=Component("likelihood", "bernoulli"), encoder=nets.MLP(), decoder=nets.MLP()),
)
COMMON = {"nelbo", "kingma2014auto", "lecun1998gradient", "kingma2015adam"}
PRESETS: dict[str, set[str]] = {
    "vae": {"rezende2014stochastic"},
    "beta-vae": {"rezende2014stochastic", "higgins2017beta"},
    "sigma-vae": {"rezende2014stochastic", "rybkin2021simple"},
    "cvae": {"rezende2014stochastic", "sohn2015learning"},
    "dreg": {"rezende2014stochastic", "burda2016importance", "tucker2019doubly"},
    "miwae": {"rezende2014stochastic", "burda2016importance", "rainforth2018tighter"},
    "wae-mmd": {"tolstikhin2018wasserstein", "gretton2012kernel"},
    "ae": {"rumelhart1986learning"},
    "flow-prior": {"rezende2014stochastic", "rezende2015variational", "chen2017variational", "dinh2017density"},
    "iaf": {"rezende2015variational", "kingma2016improved", "germain2015made"},
    "joint-vae": {"rezende2014stochastic", "dupont2018learning", "jang2017categorical", "maddison2017concrete"},
    "residual-vq": {"adiban2022hierarchical", "oord2017neural", "zeghidour2022soundstream"},
    "vdvae": {"bowman2016generating", "sonderby2016ladder", "child2021very"},
    "nvae": {"bowman2016generating", "sonderby2016ladder", "child2021very", "vahdat2020nvae"},
    "gamma": {"figurnov2018implicit"},
    "log-cosh": {"rezende2014stochastic", "chen2019log"},
}
# A part for which each condition of a citation holds, and one of the same kind for which it does not.
RULES: list[tuple[Any, Any, str]] = [
    (DataOptions("mnist"), DataOptions("my_mnist.npz"), "lecun1998gradient"),
    (DataOptions("fashion-mnist"), DataOptions("mnist"), "xiao2017fashion"),
    (DataOptions(condition="label"), DataOptions(), "sohn2015learning"),
    (Component("latent", "vq", depth=2), Component("latent", "vq"), "zeghidour2022soundstream"),
    (Component("latent", "ladder", posterior="residual"), Component("latent", "ladder"), "vahdat2020nvae"),
    (Component("latent", "topdown-conv", posterior="residual"), Component("latent", "topdown-conv"), "vahdat2020nvae"),
    (Component("transform", "zuko", flow="MAF"), Component("transform", "zuko", flow="NICE"), "papamakarios2017masked"),
    (Component("transform", "zuko", flow="NSF"), Component("transform", "zuko", flow="MAF"), "durkan2019neural"),
    (Component("transform", "zuko", flow="NICE"), Component("transform", "zuko", flow="NSF"), "dinh2015nice"),
    (
        Component("likelihood", "normal", sigma="optimal"),
        Component("likelihood", "normal", sigma="learned"),
        "rybkin2021simple",
    ),
    (Component("likelihood", "ssim"), Component("likelihood", "ssim", scales=1), "wang2003multiscale"),
    (
        Component("likelihood", "perceptual"),
        Component("likelihood", "perceptual", weights="mine.safetensors"),
        "saxe2011random",
    ),
    (
        Component("objective", "elbo", beta=4),
        Component("objective", "elbo", beta=schedules.Linear(0.0, 1.0)),
        "higgins2017beta",
    ),
    (
        Component("objective", "elbo", beta=schedules.Linear(0.0, 1.0)),
        Component("objective", "elbo", beta=schedules.Cyclical()),
        "bowman2016generating",
    ),
    (Component("objective", "elbo", stl=True), Component("objective", "elbo"), "roeder2017sticking"),
    (Component("objective", "iwae", m=3), Component("objective", "iwae"), "rainforth2018tighter"),
    (
        Component("objective", "iwae", gradient="stl"),
        Component("objective", "iwae", gradient="dreg"),
        "roeder2017sticking",
    ),
    (
        Component("objective", "iwae", gradient="dreg"),
        Component("objective", "iwae", gradient="stl"),
        "tucker2019doubly",
    ),
    (Component("objective", "rae", regularizer="spectral"), Component("objective", "rae"), "yoshida2017spectral"),
    (Adam(weight_decay=0.1), Adam(), "loshchilov2019decoupled"),
    (TrainingConfig(ema_decay=0.999), TrainingConfig(), "polyak1992acceleration"),
]


def fields(entry: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, re.MULTILINE))


def flat(latex: str) -> str:
    """A text without accents and braces, in small letters."""
    return re.sub(r"\\['\"]|[\\{}]", "", latex).lower()


def holding(part: Any) -> Recipe:
    """A recipe with that part in its place."""
    if isinstance(part, Component) and part.family in ("latent", "likelihood"):
        return Recipe(model=ModelSpec(**{part.family: part}))
    if isinstance(part, Component) and part.family == "transform":
        return holding(Component("latent", "flat", prior=Component("prior", "flow", transform=part)))
    if isinstance(part, Adam):
        return Recipe(training=TrainingConfig(optimizer=part))
    name = "data" if isinstance(part, DataOptions) else "training" if isinstance(part, TrainingConfig) else "objective"
    return Recipe(**{name: part})


PARTS: dict[tuple[str, str], Entry] = {
    (family, kind): entry for family in registry.families() for kind, entry in registry.entries(family).items()
}
UNCITED = {
    *(("likelihood", kind) for kind in ("bernoulli", "laplace", "normal", "one-hot", "poisson")),
    *(("net", kind) for kind in ("head", "mlp")),
    *(("schedule", kind) for kind in ("constant", "linear")),
    ("prior", "standard-normal"),
    *(("posterior", kind) for kind in ("point-mass", "laplace")),
    ("latent", "flat"),
}
# What of a recipe beside its parts is cited.
BESIDE = {DataOptions: [*SOURCES.values(), "sohn2015learning"], TrainingConfig: ["polyak1992acceleration"]}


def test_only_what_has_no_source_of_its_own_cites_none() -> None:
    assert {part for part, entry in PARTS.items() if not entry.cite} == UNCITED


def test_every_key_has_its_entry_and_every_entry_its_use() -> None:
    keys = {key for entry in PARTS.values() for key in (*entry.cite, *entry.cite_if)}
    keys |= {*ALWAYS, *(key for beside in BESIDE.values() for key in beside)}
    assert keys | {entry.paper for entry in presets.PRESETS.values()} == set(entries())


def test_the_entries_are_the_whole_file_and_each_key_stands_once() -> None:
    assert bibtex(entries()) == TEXT
    assert set(Counter(re.findall(r"^@\w+\{([^,\n]+),", TEXT, re.MULTILINE)).values()) == {1}


@pytest.mark.parametrize("key", entries())
def test_an_entry_is_whole_and_its_key_says_who_when_and_what(key: str) -> None:
    entry = entries()[key]
    found = fields(entry)
    assert len(found) == entry.count("\n") - 2, "a line is no field"
    assert {"author", "title", "year"} <= set(found) and all(found.values())
    assert entry.isascii() and entry.count("{") == entry.count("}")
    assert {"booktitle", "journal", "eprint", "howpublished", "note", "doi"} & set(found), "where it appeared"
    for person in found["author"].split(" and "):
        assert re.fullmatch(r"[^,]+, [^,]+|\{.+\}", person), person
    if match := re.fullmatch(r"([a-z]+)(\d{4})([a-z]+)", key):
        assert match[1] in flat(found["author"].split(",")[0])
        assert (match[2], match[3] in flat(found["title"])) == (found["year"], True)
    else:
        assert key == "nelbo"


def test_no_paper_is_entered_twice() -> None:
    titles = Counter(flat(fields(entry)["title"]) for entry in entries().values())
    assert titles.most_common(1)[0][1] == 1


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_cites_exactly_what_it_is_made_of(name: str) -> None:
    keys = used(presets.find(name).apply_to(PLAIN, name))
    assert set(keys) == COMMON | PRESETS[name]
    assert len(keys) == len(set(keys)) and keys[:2] == ["nelbo", "kingma2014auto"]


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_cites_its_paper_first(name: str) -> None:
    keys = used(presets.find(name).apply_to(PLAIN, name))
    paper = presets.PRESETS[name].paper
    assert keys[: 2 + (paper not in ALWAYS)] == [*ALWAYS, *({paper} - set(ALWAYS))]


@pytest.mark.parametrize(("part", "other", "key"), RULES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_rule_holds_for_one_part_and_not_for_another(part: Any, other: Any, key: str) -> None:
    assert key in used(holding(part)) and key not in used(holding(other))


def test_every_rule_is_tested_and_every_named_data_set_cited() -> None:
    def tested(part: Any) -> Any:
        if isinstance(part, DataOptions | TrainingConfig):
            return type(part)
        return (part.family, part.kind) if isinstance(part, Component) else ("optimizer", registry.kind_of(part))

    rules = [(part, key) for part, entry in PARTS.items() for key in entry.cite_if]
    rules += [(part, key) for part, keys in BESIDE.items() for key in keys]  # type: ignore[misc]
    assert Counter((tested(part), key) for part, _, key in RULES) == Counter(rules)
    assert all(used(Recipe(data=DataOptions(name))) != used(Recipe()) for name in CLASSES)


def within(family: str, kind: str) -> dict[str, Any]:
    """The table of a recipe with that part as deep inside as its family goes."""
    part: dict[str, Any] = {"kind": kind}
    if family == "likelihood":
        return {"model": {"likelihood": part}}
    if family == "optimizer":
        return {"training": {"optimizer": part}}
    if family in ("objective", "schedule"):
        return {"objective": part if family == "objective" else {"kind": "elbo", "beta": part}}
    latent = {
        "latent": part,
        "prior": {"kind": "flat", "prior": part},
        "posterior": {"kind": "flat", "posterior": part},
        "transform": {"kind": "flat", "posterior": {"kind": "flow", "transform": part}},
        "net": {"kind": "flat", "posterior": {"kind": "riemannian", "metric": part}},
    }[family]
    inner = {"kind": "product", "parts": {"c": latent}}
    return {"model": {"latent": {"kind": "product", "parts": {"a": {"kind": "flat", "dim": 4}, "b": inner}}}}


@pytest.mark.parametrize("part", PARTS, ids=" ".join)
def test_a_part_is_found_wherever_it_stands(part: tuple[str, str]) -> None:
    keys = used(registry.parse(Recipe, within(*part), ""))
    assert set(PARTS[part].cite) <= set(keys)


def test_an_unknown_key_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no reference 'kingma2014autos': did you mean kingma2014auto"):
        bibtex(["kingma2014autos"])


def test_the_command_prints_what_the_model_is_made_of(picture_run: Path) -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(cite)
    keys = used(load(picture_run).recipe)
    text = CliRunner().invoke(app, [str(picture_run)], catch_exceptions=False).stdout
    assert text == bibtex(keys) and re.findall(r"^@\w+\{(.+),$", text, re.MULTILINE) == keys
    assert {"nelbo", "kingma2014auto", "kingma2015adam"} <= set(keys) and "lecun1998gradient" not in keys
    shown = json.loads(CliRunner().invoke(app, [str(picture_run), "--json"], catch_exceptions=False).stdout)
    assert list(shown) == keys and shown == {key: entries()[key] for key in keys}
    assert "Examples:" in CliRunner().invoke(app, ["--help"]).stdout
