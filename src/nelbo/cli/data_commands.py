"""`nelbo data`: look at data before training."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from nelbo.cli.use import JSON

app = typer.Typer(rich_markup_mode=None, help="Look at data before training.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at data before training.

    \b
    Examples:
      nelbo data describe customers.csv
    """


@app.command("describe")
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
