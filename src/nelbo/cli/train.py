"""`nelbo train`."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from nelbo.cli.io import Command
from nelbo.errors import say

LOG = logging.getLogger(__name__)
HELP = """Train a VAE on DATA.

DATA is "mnist", "fashion-mnist", a .npy or .npz file, a table (.csv, .tsv, .parquet), lines of text (.txt, .txt.gz), or
a folder of pictures, with a subfolder for each class if there are classes. If DATA is omitted, the recipe's source is
used. Use --kind series for an array of time series, --window to cut one long recording. The output folder gets
pictures, curves, metrics, a report and the model.

Every field of a recipe is an option: --max-grad-norm 1, --val-fraction 0.2, --model.latent.dim 8; --help-all lists
them.

\b
Examples:
  nelbo train mnist --minutes 10
  nelbo train mnist --recipe tutorial --out results/tutorial
  nelbo train my_pictures/ --size 64 --epochs 50 --latent-dim 64
  nelbo train my_pictures/ --labels labels.csv --condition label --augment flip,rotate=5
  nelbo train data.npz --set model.encoder=mlp --set model.encoder.hidden=[512,256]
  nelbo train sensors.csv --window 128
  nelbo train engines.csv --window 32 --group engine
  nelbo train mnist --preset beta-tc
  nelbo train mnist --resume --epochs 20
  torchrun --nproc_per_node 2 --no-python nelbo train mnist
"""


class FieldOptions(Command):
    """A command with every field of a recipe as an option: `--epochs 1` is `--set training.epochs=1`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        parameters: list[Any] = self.get_params(ctx)
        known = {option for parameter in parameters for option in parameter.opts}
        flags = [option for parameter in parameters[1:] if parameter.is_flag for option in parameter.opts]
        translated, rest = [], iter(args)
        for argument in rest:
            name, equals, value = argument.partition("=")
            if name[:2] == "--" != name and name not in known and not get_close_matches(name, flags, 1, 0.8):
                field = name[2:].replace("-", "_")
                translated += ["--set", f"{field}={value if equals else next(rest, '')}"]
            else:
                translated.append(argument)
        return super().parse_args(ctx, translated)


def _help_all(wanted: bool) -> None:
    if wanted:
        from nelbo.config import fields

        print(fields.to_text(fields.listing()))
        raise typer.Exit


def _panel(name: str) -> Any:
    return lambda *names, **settings: typer.Option(*names, rich_help_panel=name, **settings)


DATA, MODEL, TRAINING = map(_panel, ("Data", "Model", "Training"))


def train(
    data: Annotated[str, typer.Argument(help="Training data.", metavar="DATA")] = "",
    recipe: Annotated[str | None, typer.Option(help="A shipped recipe, or a TOML file.")] = None,
    preset: Annotated[str | None, typer.Option(help="A published variant: see `nelbo presets`.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Output folder.  [default: results/NAME]", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the run in the output folder.")] = False,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any field of the recipe.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each row of metrics.jsonl.")] = False,
    help_all: Annotated[
        bool, typer.Option("--help-all", help="Show every field of a recipe.", callback=_help_all, is_eager=True)
    ] = False,
    size: Annotated[str | None, DATA(help="Resize pictures: 64, or HEIGHTxWIDTH.")] = None,
    labels: Annotated[str | None, DATA(help="A CSV file of the pictures' classes.")] = None,
    augment: Annotated[str | None, DATA(help="Random changes of pictures: flip, shift ...")] = None,
    skip_unreadable: Annotated[
        bool | None, DATA("--skip-unreadable", help="Skip pictures or lines that cannot be read.")
    ] = None,
    columns: Annotated[str | None, DATA("--columns", help="A TOML file of a table's columns.")] = None,
    decimal: Annotated[str | None, DATA(help="What begins a table's decimals: . or a comma.")] = None,
    date_format: Annotated[str | None, DATA(help="How a table writes dates, such as %d/%m/%Y.")] = None,
    kind: Annotated[str | None, DATA(help="series: an array of time series.")] = None,
    window: Annotated[int | None, DATA(help="Cut series into windows of this many steps.")] = None,
    group: Annotated[str | None, DATA(help="Columns that name the unit of each row of a table of series.")] = None,
    condition: Annotated[str | None, MODEL(help='Condition the model on "label".')] = None,
    latent_dim: Annotated[int | None, MODEL(help="Number of latent dimensions.")] = None,
    beta: Annotated[float | None, MODEL(help="Weight of the KL.")] = None,
    post_hoc_prior: Annotated[str | None, MODEL(help="Fit a prior after training: gmm, auto ...")] = None,
    minutes: Annotated[float | None, TRAINING(help="Training time; it sets the number of epochs.")] = None,
    epochs: Annotated[
        int | None, TRAINING(help="Passes through the data, or through --samples-per-epoch rows.")
    ] = None,
    batch_size: Annotated[int | None, TRAINING(help="Rows per step.")] = None,
    learning_rate: Annotated[float | None, TRAINING("--learning-rate", "--lr", help="Highest learning rate.")] = None,
    seed: Annotated[int | None, TRAINING(help="Seed of all random numbers.")] = None,
    device: Annotated[str | None, TRAINING(help="cpu, cuda, cuda:1, mps or auto.")] = None,
) -> None:
    given = dict(locals())
    from nelbo.experiment.status_line import messages_on

    with nullcontext() if quiet or as_json else messages_on(sys.stderr):
        _train(given)


def _train(given: dict[str, Any]) -> None:
    """Train with these options."""
    LOG.debug("Loading PyTorch")
    from nelbo.training.signals import importing

    with importing():
        from nelbo.experiment import run

    data, recipe, quiet, as_json = (given[name] for name in ("data", "recipe", "quiet", "as_json"))
    source = data or (run.recipe_file.load(recipe).data.source if recipe else "")
    folder = given["out"] or Path("results") / _name(source)
    chosen = run.choose(recipe, data, _overrides(given), folder, given["resume"], given["preset"])
    if not chosen.data.source:
        raise run.UserError("no data: give it, as in `nelbo train mnist` or `nelbo train my_pictures/`")
    watchers = _watchers(quiet, as_json)
    try:
        _, state = run.train(chosen, None, folder, given["resume"], given["force"], watchers if run.LEADER else [])
    finally:
        for watcher in watchers:
            watcher.on_end("")
    if run.LEADER:
        _say_end(state, folder, quiet, as_json)
    if state.reason == "interrupted":
        sys.exit(128 + state.signal)


train.__doc__ = HELP


def _name(source: str) -> str:
    return Path(source.partition(":")[0].removesuffix(".gz")).stem or "run"


def _overrides(options: dict[str, Any]) -> dict[str, Any]:
    """The options, as paths into the recipe."""
    from nelbo.config.recipe import chosen, loads_value
    from nelbo.errors import UserError

    paths = chosen(options)
    for item in options["setting"] or []:
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"--set {item}: use KEY=VALUE, such as --set model.latent.dim=8")
        paths[key.strip()] = value.strip() if _is_text(key.strip()) else loads_value(value.strip())
    return paths


def _is_text(name: str) -> bool:
    """Whether a field is text only, so that `--precision 32` needs no quotes."""
    from nelbo.config.recipe import short_names
    from nelbo.config.registry import hints
    from nelbo.data import DataOptions
    from nelbo.training import TrainingConfig

    table, _, field = short_names().get(name, name).rpartition(".")
    tables: dict[str, dict[str, Any]] = {"data": hints(DataOptions), "training": hints(TrainingConfig)}
    return tables.get(table, {}).get(field) in (str, str | None)


def _watchers(quiet: bool, as_json: bool) -> list[Any]:
    from nelbo.experiment import console

    if as_json:
        return [console.JSONLines()]
    if quiet:
        return []
    return [console.Bar() if sys.stdout.isatty() else console.Lines()]


def _say_end(state: Any, folder: Path, quiet: bool, as_json: bool) -> None:
    from nelbo.experiment import console

    if as_json:
        best = state.best if state.best_epoch else None
        print(json.dumps({"reason": state.reason, "out": str(folder), "best": best, "best_epoch": state.best_epoch}))
    elif not quiet:
        done = state.reason in ("done", "no better test loss")
        say(f"{'Done' if done else 'Stopped: ' + state.reason}. Wrote {folder}/: pictures, report.html, model/")
        if not done:
            say(f"Continue with --resume --out {folder}")
        elif state.reason == "done" and (words := console.verdict(state.rows)):
            say(words)
        LOG.info("Next: nelbo sample %s, nelbo info %s", folder, folder)
