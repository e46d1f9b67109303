"""`nelbo presets` and `nelbo prior`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

prior = typer.Typer(rich_markup_mode=None, help="Fit another prior to a trained model.", no_args_is_help=True)


def presets(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the published variants: name, what it is, paper, and the parts it fills.

    \b
    Examples:
      nelbo presets
      nelbo presets --json
      nelbo train mnist --preset beta-tc
    """
    from nelbo.presets import PRESETS

    listed = [
        {"name": name, "summary": entry.summary, "paper": entry.paper, "fills": entry.make().fills}
        for name, entry in PRESETS.items()
    ]
    if as_json:
        print(json.dumps(listed))
        return
    for row in listed:
        print(f"{row['name']:22} {row['summary']} [{row['paper']}; {', '.join(row['fills'])}]")


@prior.callback()
def _group() -> None:
    """Fit another prior to a trained model.

    \b
    Examples:
      nelbo prior fit results/mnist --kind gmm
    """


@prior.command("fit")
def fit(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A results folder, or a model folder.")],
    data: Annotated[str, typer.Argument(metavar="[DATA]", help="[default: the model's training data]")] = "",
    kind: Annotated[str, typer.Option(help="auto, normal, gmm, flow-maf, ..., or transformer, pixelcnn.")] = "auto",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Model folder.  [default: MODEL itself]")] = None,
    seed: Annotated[int, typer.Option(help="Fixes what is random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit a prior to the codes of DATA under MODEL, and save the model with it.

    \b
    Examples:
      nelbo prior fit results/mnist
      nelbo prior fit results/vq --kind transformer --out results/vq-prior
    """
    from nelbo import runs
    from nelbo.loading import load
    from nelbo.post_hoc import with_prior

    old = load(model)
    fitted = with_prior(old, data or runs.read(old.recipe)[0].train, kind, seed)
    folder = out or (model / "model" if (model / "model").is_dir() else model)
    fitted.save(folder)
    chosen = fitted.recipe.model.latent.options["prior"].kind
    print(
        json.dumps({"out": str(folder), "prior": chosen})
        if as_json
        else f"Wrote {folder} with a prior of kind {chosen}"
    )
