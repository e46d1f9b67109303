"""`nelbo train`."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

LOG = logging.getLogger(__name__)
HELP = """Train a VAE on DATA and write pictures, curves, metrics, a report and the model.

DATA is "mnist", "fashion-mnist", a .npy or .npz file, a table (.csv, .tsv, .parquet), lines of text (.txt, .txt.gz), or
a folder of pictures (a class per subfolder, if there are subfolders); left out, it is the recipe's. An array is of
series by --kind series, a table one long series by --window.

\b
Examples:
  nelbo train mnist
  nelbo train mnist --minutes 10
  nelbo train mnist --recipe tutorial --out results/tutorial
  nelbo train my_pictures/ --size 64 --epochs 50 --latent-dim 64
  nelbo train my_pictures/ --labels labels.csv --condition label --augment flip,rotate=5
  nelbo train data.npz --set model.encoder=mlp --set model.encoder.hidden=[512,256]
  nelbo train heartbeats.npz --kind series
  nelbo train sensors.csv --window 128 --stride 64
  nelbo train captions.txt --vocabulary 8000
  nelbo train mnist --preset beta-tc
  nelbo train mnist --condition label
  nelbo train mnist --resume --epochs 20
  torchrun --nproc_per_node 2 --no-python nelbo train mnist
"""


def train(
    data: Annotated[str, typer.Argument(help="What to train on.", metavar="DATA")] = "",
    recipe: Annotated[str | None, typer.Option(help="A shipped recipe's name, or a TOML file.")] = None,
    preset: Annotated[str | None, typer.Option(help="A published variant; `nelbo presets` lists them.")] = None,
    out: Annotated[Path | None, typer.Option(help="The output folder.  [default: results/NAME]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the run in the output folder.")] = False,
    minutes: Annotated[float | None, typer.Option(help="About how long to train: the epochs follow.")] = None,
    prior: Annotated[str | None, typer.Option(help="A prior to fit after training: gmm, flow-maf, auto ...")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes through the training data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Data per step.")] = None,
    epoch_size: Annotated[int | None, typer.Option(help="Rows an epoch takes, fewer or more than all; 0: all.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", "--lr", help="The highest one.")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, linear, cosine or one-cycle.")] = None,
    latent_dim: Annotated[int | None, typer.Option(help="Number of latents.")] = None,
    beta: Annotated[float | None, typer.Option(help="Weight of the rate (KL).")] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes everything that is random.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient; 0: no limit.")] = None,
    ema: Annotated[float | None, typer.Option(help="Average of the weights, such as 0.999; 0: none.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Pieces a batch is computed in, to save memory.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without gain; 0: never.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Stop in good order after that time; 0: never.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps or auto.")] = None,
    precision: Annotated[str | None, typer.Option(help="32 or bf16.")] = None,
    val_fraction: Annotated[float | None, typer.Option(help="Share held out where there is no test split.")] = None,
    data_root: Annotated[str | None, typer.Option(help="Folder of named data sets, in torchvision's layout.")] = None,
    size: Annotated[str | None, typer.Option(help="Resize pictures: 64, or HEIGHTxWIDTH.")] = None,
    fit: Annotated[str | None, typer.Option(help="How to resize: crop, pad or stretch.")] = None,
    channels: Annotated[
        int | None, typer.Option(help="1: grey, 3: colour, 4: with transparency.  [default: 1 or 3]")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="A CSV file of the pictures' classes.")] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="Random changes in training: flip, vflip, shift, rotate, scale, brightness, contrast."),
    ] = None,
    condition: Annotated[str | None, typer.Option(help='Condition the model on "label".')] = None,
    columns: Annotated[
        str | None, typer.Option("--schema", help="A TOML file that says what a table's columns are.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="series: arrays (n, steps) or (n, steps, channels).")] = None,
    window: Annotated[int | None, typer.Option(help="Cut long series into windows of so many steps.")] = None,
    stride: Annotated[int | None, typer.Option(help="Steps from one window to the next.  [default: WINDOW]")] = None,
    tokens: Annotated[str | None, typer.Option(help="Of text: characters or subwords.  [default: by length]")] = None,
    vocabulary: Annotated[int | None, typer.Option(help="Of text: tokens at most.  [default: 4000]")] = None,
    length: Annotated[int | None, typer.Option(help="Of text: tokens of a line at most.  [default: by length]")] = None,
    skip_bad: Annotated[
        bool | None, typer.Option("--skip-bad", help="Leave out pictures or lines that are damaged.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override any field of the recipe.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each row of metrics.jsonl as it is made.")] = False,
) -> None:
    given = dict(locals())
    from nelbo.experiment.status_line import messages_on

    with nullcontext() if quiet or as_json else messages_on(sys.stderr):
        _train(given)


def _train(given: dict[str, Any]) -> None:
    """Train by the options given."""
    LOG.info("Loading PyTorch")
    from nelbo.experiment import run

    data, recipe, quiet, as_json = (given[name] for name in ("data", "recipe", "quiet", "as_json"))
    source = data or (run.recipe_file.load(recipe).data.source if recipe else "")
    folder = given["out"] or Path("results") / _name(source)
    chosen = run.choose(recipe, data, _overrides(given), folder, given["resume"], given["preset"])
    if not chosen.data.source:
        raise run.UserError("no data: name it, as in `nelbo train mnist` or `nelbo train my_pictures/`")
    watchers = _watchers(quiet, as_json)
    try:
        _, state = run.train(chosen, None, folder, given["resume"], given["force"], watchers if run.LEADER else [])
    finally:
        for watcher in watchers:
            watcher.on_end("")
    if run.LEADER:
        _say_end(state, folder, quiet, as_json)
    if state.reason == "interrupted":
        sys.exit(130)


train.__doc__ = HELP


def _name(source: str) -> str:
    return Path(source.partition(":")[0].removesuffix(".gz")).stem or "run"


def _overrides(given: dict[str, Any]) -> dict[str, Any]:
    """The options given, as paths into the recipe."""
    from nelbo.config.recipe import chosen, loads_value
    from nelbo.errors import UserError

    paths = chosen(given)
    for item in given["setting"] or []:
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"--set {item}: give KEY=VALUE, such as --set model.latent.dim=8")
        paths[key.strip()] = loads_value(value.strip())
    return paths


def _watchers(quiet: bool, as_json: bool) -> list[Any]:
    from nelbo.experiment import console

    if as_json:
        return [console.JSONLines()]
    if quiet:
        return []
    return [console.Bar() if sys.stdout.isatty() else console.Lines()]


def _say_end(state: Any, folder: Path, quiet: bool, as_json: bool) -> None:
    if as_json:
        best = state.best if state.best_epoch else None
        print(json.dumps({"reason": state.reason, "out": str(folder), "best": best, "best_epoch": state.best_epoch}))
    elif not quiet:
        done = state.reason in ("done", "no better test loss")
        print(f"{'Done' if done else 'Stopped: ' + state.reason}. Wrote {folder}/: pictures, report.html, model/")
        if not done:
            print(f"Continue with --resume --out {folder}")
        LOG.info("Next: nelbo sample %s, nelbo reconstruct %s, nelbo embed %s", *[folder] * 3)
