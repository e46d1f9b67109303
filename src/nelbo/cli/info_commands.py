"""`nelbo presets`, `nelbo prior`, `nelbo cite`, `nelbo recipes` and `nelbo data`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli.io import JSON, Command, ModelPath, Seed, group, print_text, say_lines, say_result
from nelbo.errors import say

prior = group()


def presets(as_json: JSON = False) -> None:
    """List the published variants.

    Each has its name, a summary, its paper, and the parts of a recipe that it fills.

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
        print_text(f"{row['name']:22} {row['summary']} [{row['paper']}; {', '.join(row['fills'])}]")


@prior.callback()
def _prior_group() -> None:
    """Fit another prior to a trained model.

    \b
    Examples:
      nelbo prior fit results/mnist --kind gmm --out results/mnist-gmm
    """


@prior.command("fit", cls=Command)
def fit(
    model: ModelPath,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="[default: the model's training data]", show_default=False)
    ] = "",
    kind: Annotated[str, typer.Option(help="auto, normal, gmm, flow-maf, ..., or transformer, pixelcnn.")] = "auto",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the model with this prior.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace MODEL, or the model in the folder of --out.")] = False,
    seed: Seed = 0,
    as_json: JSON = False,
) -> None:
    """Fit a prior to the embeddings of DATA, and save the model with it.

    --out saves it in another folder, --force in place of MODEL.

    \b
    Examples:
      nelbo prior fit results/mnist --force
      nelbo prior fit results/vq --kind transformer --out results/vq-prior
    """
    from nelbo.errors import UserError
    from nelbo.experiment import run
    from nelbo.model.io import find_folder, holds_model, load
    from nelbo.model.post_hoc import fit_prior

    old = load(model)
    folder = find_folder(out or model)
    if holds_model(folder) and not force:
        raise UserError(f"{folder} holds a model: --force replaces it, --out FOLDER saves the new one elsewhere")
    with run.locked(out or model):
        fitted = fit_prior(old, data or run.read(old.recipe)[0].train, kind, seed)
        run.save(fitted, folder)
    chosen = fitted.recipe.model.latent.options["prior"].kind
    say_result({"out": str(folder), "prior": chosen}, f"Wrote {folder} with a prior of kind {chosen}", as_json)


def info(model: ModelPath, as_json: JSON = False) -> None:
    """Print what MODEL is: its data, parts, size and losses.

    \b
    Examples:
      nelbo info results/mnist
      nelbo info results/mnist --json
    """
    from nelbo.model.io import load

    loaded = load(model)
    print_text(json.dumps(loaded.info())) if as_json else say_lines(str(loaded))


def cite(model: ModelPath, as_json: JSON = False) -> None:
    """Print the BibTeX of what MODEL is made of.

    That is its data, parts, objective and training, and nelbo itself.

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
        print_text(citations.bibtex(keys).removesuffix("\n"))


RecipeName = Annotated[str, typer.Argument(metavar="NAME", help="A shipped recipe, or a TOML file.")]
recipes_app = group()


@recipes_app.callback(invoke_without_command=True)
def listing(context: typer.Context, as_json: JSON = False) -> None:
    """List, show or copy the shipped recipes.

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
            say(f"{name:10} {description}")


@recipes_app.command(cls=Command)
def show(name: RecipeName, as_json: JSON = False) -> None:
    """Print a recipe.

    \b
    Examples:
      nelbo recipes show tutorial
    """
    from nelbo.config import recipe
    from nelbo.config.registry import dump

    if as_json:
        print(json.dumps(dump(recipe.load(name))))
    else:
        print_text(recipe.text(name).removesuffix("\n"))


@recipes_app.command(cls=Command)
def fields(
    family: Annotated[
        str | None,
        typer.Argument(metavar="TYPE", help="Type of part: prior, likelihood ...  [default: all]", show_default=False),
    ] = None,
    as_json: JSON = False,
) -> None:
    """Print every field of a recipe, with type, default and help.

    \b
    Examples:
      nelbo recipes fields
      nelbo recipes fields prior
      nelbo recipes fields objective --json
    """
    from nelbo.config import fields

    found = fields.listing(family)
    print_text(json.dumps(found) if as_json else fields.to_text(found))


@recipes_app.command(cls=Command)
def copy(
    name: RecipeName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The TOML file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    as_json: JSON = False,
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
    say_result({"out": str(file)}, f"Wrote {file}: nelbo train --recipe {file}", as_json)


data_app = group()


@data_app.callback()
def _data_group() -> None:
    """Look at data before training.

    \b
    Examples:
      nelbo data describe customers.csv
    """


@data_app.command("describe", cls=Command)
def describe(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .csv, .tsv, .txt (or .csv.gz) or .parquet file.")],
    schema: Annotated[str | None, typer.Option("--columns", help="A TOML file of the columns.")] = None,
    decimal: Annotated[str | None, typer.Option(help="What begins decimals: . or a comma.")] = None,
    date_format: Annotated[str | None, typer.Option(help="How dates are written, such as %d/%m/%Y.")] = None,
    toml: Annotated[bool, typer.Option("--toml", help="Print TOML, to edit and use in train --columns.")] = False,
    as_json: JSON = False,
) -> None:
    """Print the kind of each column of a table.

    A column has a kind, a transform, a range or categories, and a number of missing cells.

    \b
    Examples:
      nelbo data describe customers.csv
      nelbo data describe customers.csv --toml > schema.toml
      nelbo data describe customers.csv --columns schema.toml
      nelbo train customers.csv --columns schema.toml
    """
    from nelbo.data import tables
    from nelbo.data.options import DataOptions
    from nelbo.errors import UserError

    if not tables.is_table(file):
        raise UserError(f"{file} is not a table: give a .csv, .tsv, .txt or .parquet file")
    found, rows = tables.infer(file, schema, DataOptions(decimal=decimal, date_format=date_format).hints)
    if as_json:
        print(json.dumps({"file": file, "rows": rows, "columns": tables.describe(found)}))
    elif toml:
        print_text(tables.to_toml(found).removesuffix("\n"))
    else:
        say(f"{file}: {rows:,} rows, {len(found.columns)} columns, {found.shape[0]} to model")
        say_lines(tables.to_text(found))
