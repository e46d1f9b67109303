"""`nelbo impute`: fill the missing cells of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nelbo.cli import inputs, output
from nelbo.cli.use import JSON, ModelPath, Out, Seed

ENDINGS = (".csv", ".tsv", ".txt", ".parquet")


def impute(
    model: ModelPath,
    data: Annotated[str, typer.Argument(metavar="DATA", help="A table with the columns that MODEL was trained on.")],
    draws: Annotated[int, typer.Option(help="Files, each with its own draw of the missing cells.  [default: 1]")] = 0,
    unsure: Annotated[Path | None, typer.Option(help="A table to write of how unsure each cell is.")] = None,
    out: Out = None,
    seed: Seed = 0,
    as_json: JSON = False,
) -> None:
    """Fill the missing cells of DATA given the others of their row; all else stays as it is in the file.

    A number is filled with its mean, a category with the likeliest. With --draws 5, five files (filled_1.csv, ...)
    have the missing cells drawn instead: multiple imputation. --unsure has the standard deviation of each filled
    number, the probability of another category, and 0 for cells that are there.

    \b
    Examples:
      nelbo impute results/people survey.csv --out filled.csv --unsure unsure.csv
      nelbo impute results/people survey.csv --draws 5 --out filled.csv
    """
    from nelbo.apps import impute as app
    from nelbo.data import tables
    from nelbo.errors import UserError

    out = output.named(out, "filled.csv", ENDINGS)
    unsure = unsure and output.named(unsure, "unsure.csv", ENDINGS)
    if draws < 0:
        raise UserError(f"--draws {draws}: give 1 or more, or leave it out")
    m = inputs.model(model, None)
    filled, doubt = app.fill(m, data, seed)
    if unsure:
        output.write(unsure, tables.to_bytes(doubt, unsure.suffix.lower()))
    made = app.draws(m, data, draws, seed) if draws else [filled]
    for number, table in enumerate(made, 1):
        path = out.with_stem(f"{out.stem}_{number}") if draws else out
        output.write(path, tables.raw_bytes(table, path.suffix.lower()))
        output.say(path, (table.table.num_rows, table.table.num_columns), as_json)
