"""`nelbo presets`, `nelbo prior`, `nelbo cite`, `nelbo recipes` and `nelbo data`: look at what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli.model_commands import JSON, ModelPath

prior = typer.Typer(rich_markup_mode=None, help="Fit another prior to a trained model.", no_args_is_help=True)


def presets(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the published variants: name, what it is, paper, and the parts it fills.

    \b
    Examples:
      nelbo presets
      nelbo presets --json
      nelbo train mnist --preset beta-tc
    """
    from nelbo.config.presets import PRESETS

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
def _prior_group() -> None:
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
    from nelbo.experiment import run
    from nelbo.model.io import load
    from nelbo.model.post_hoc import with_prior

    old = load(model)
    fitted = with_prior(old, data or run.read(old.recipe)[0].train, kind, seed)
    folder = out or (model / "model" if (model / "model").is_dir() else model)
    fitted.save(folder)
    chosen = fitted.recipe.model.latent.options["prior"].kind
    print(
        json.dumps({"out": str(folder), "prior": chosen})
        if as_json
        else f"Wrote {folder} with a prior of kind {chosen}"
    )


def cite(model: ModelPath, as_json: JSON = False) -> None:
    """Print the BibTeX of exactly what MODEL is made of: its data, parts, objective, training, and nelbo itself.

    \b
    Examples:
      nelbo cite results/mnist >> references.bib
      nelbo cite results/mnist --json
    """
    from nelbo.config import citations
    from nelbo.model.io import load

    keys = citations.used(load(model).recipe)
    if as_json:
        print(json.dumps({key: citations.bibtex([key]) for key in keys}))
    else:
        print(citations.bibtex(keys), end="")


recipes_app = typer.Typer(rich_markup_mode=None)


@recipes_app.callback(invoke_without_command=True)
def listing(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the shipped recipes; show one; copy one to be edited.

    \b
    Examples:
      nelbo recipes
      nelbo recipes show tutorial
      nelbo recipes copy mnist mine.toml && nelbo train mnist --recipe mine.toml
    """
    if context.invoked_subcommand:
        return
    from nelbo.config import recipe

    described = {name: recipe.load(name).description for name in recipe.names()}
    if as_json:
        print(json.dumps(described))
    else:
        for name, description in described.items():
            print(f"{name:10} {description}")


@recipes_app.command()
def show(name: str) -> None:
    """Print a recipe's TOML.

    \b
    Examples:
      nelbo recipes show tutorial
    """
    from nelbo.config import recipe

    print(recipe.text(name), end="")


@recipes_app.command()
def copy(
    name: str, file: Path, force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False
) -> None:
    """Copy a recipe to FILE, to be edited.

    \b
    Examples:
      nelbo recipes copy mnist mine.toml && nelbo train mnist --recipe mine.toml
    """
    from nelbo.config import recipe
    from nelbo.errors import UserError
    from nelbo.training.checkpoint import write_bytes

    if file.exists() and not force:
        raise UserError(f"{file} exists: name another file, or replace it with --force")
    write_bytes(file, recipe.text(name).encode())
    print(f"Wrote {file}: nelbo train --recipe {file}")


data_app = typer.Typer(rich_markup_mode=None, help="Look at data before training.", no_args_is_help=True)


@data_app.callback()
def _data_group() -> None:
    """Look at data before training.

    \b
    Examples:
      nelbo data describe customers.csv
    """


@data_app.command("describe")
def describe(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .csv, .tsv, .txt (or .csv.gz) or .parquet file.")],
    schema: Annotated[str | None, typer.Option("--schema", help="A TOML file that says what columns are.")] = None,
    toml: Annotated[bool, typer.Option("--toml", help="Print TOML, to be edited and given to train --schema.")] = False,
    as_json: JSON = False,
) -> None:
    """Print what each column of a table is taken to be: kind, transform, range or categories, missing cells.

    \b
    Examples:
      nelbo data describe customers.csv
      nelbo data describe customers.csv --toml > schema.toml
      nelbo data describe customers.csv --schema schema.toml
      nelbo train customers.csv --schema schema.toml
    """
    from nelbo.data import tables
    from nelbo.errors import UserError

    if not tables.is_table(file):
        raise UserError(f"{file}: is no table that exists: give a .csv, .tsv, .txt or .parquet file")
    found, rows = tables.infer(file, schema)
    if as_json:
        print(json.dumps({"file": file, "rows": rows, "columns": tables.describe(found)}))
    elif toml:
        print(tables.to_toml(found), end="")
    else:
        print(f"{file}: {rows:,} rows, {len(found.columns)} columns, {found.shape[0]} to model")
        print(tables.to_text(found))
