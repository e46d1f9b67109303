"""`nelbo impute`: fill the missing cells of a table, or the missing steps of series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nelbo.cli import io
from nelbo.cli.options import JSON, ModelPath, Out, Seed

if TYPE_CHECKING:
    from nelbo.model import Model

ENDINGS = (".csv", ".tsv", ".txt", ".parquet")
SERIES = (".npy", ".csv", ".png")


def impute(
    model: ModelPath,
    data: Annotated[str, typer.Argument(metavar="DATA", help="A table, or series, as MODEL was trained on.")],
    n_imputations: Annotated[
        int | None, typer.Option(help="Write so many files, each with its own draw of the missing cells.")
    ] = None,
    uncertainty: Annotated[
        Path | None, typer.Option(help="Write the uncertainty of each cell to this file.", metavar="FILE")
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    as_json: JSON = False,
) -> None:
    """Fill missing cells of a table, or missing steps of series.

    A missing number is filled with its mean given the other cells of its row, a category with the likeliest one. All
    else stays as it is in the file. With --n-imputations 5, five files (filled_1.csv, ...) have the missing cells drawn
    instead: multiple imputation. --uncertainty writes the standard deviation of each filled number, the probability of
    another category, and 0 for observed cells. Series are filled likewise where they are NaN (.npy, .csv or .png; a
    table that is one recording, as a table).

    \b
    Examples:
      nelbo impute results/people survey.csv --out filled.csv --uncertainty unsure.csv
      nelbo impute results/people survey.csv --n-imputations 5 --out filled.csv
      nelbo impute results/heartbeats gaps.npy --out filled.npy
    """
    from nelbo.apps import imputation as app
    from nelbo.data import tables
    from nelbo.errors import UserError

    if n_imputations is not None and n_imputations < 1:
        raise UserError(f"--n-imputations {n_imputations}: give 1 or more, or leave it out")
    m = io.model(model, None)
    if m.schema.data_kind.is_sequence and not tables.is_table(data):
        return _series(m, data, n_imputations, uncertainty, out, seed, as_json)
    out = io.named(out, "filled.csv", ENDINGS)
    uncertainty = uncertainty and io.named(uncertainty, "unsure.csv", ENDINGS)
    made = app.multiple_imputation(m, data, n_imputations, seed) if n_imputations else []
    if uncertainty or not n_imputations:
        filled, doubt = app.impute_table(m, data, seed)
        made = made or [filled]
    if uncertainty:
        io.write(uncertainty, tables.to_bytes(doubt, uncertainty.suffix.lower()))
    for number, table in enumerate(made, 1):
        path = out.with_stem(f"{out.stem}_{number}") if n_imputations else out
        io.write(path, tables.source_bytes(table, path.suffix.lower()))
        io.announce(path, (table.table.num_rows, table.table.num_columns), as_json)
    return None


def _series(
    m: Model, data: str, n_imputations: int | None, uncertainty: Path | None, out: Path | None, seed: int, as_json: bool
) -> None:
    """Fill series that are not a table."""
    from nelbo.apps import imputation as app

    out = io.named(out, "filled.npy", SERIES)
    uncertainty = uncertainty and io.named(uncertainty, "unsure.npy", SERIES)
    for number in range(1, (n_imputations or 1) + 1):
        filled, doubt = app.impute_series(m, data, seed + number - 1, draw=n_imputations is not None)
        path = out.with_stem(f"{out.stem}_{number}") if n_imputations else out
        io.write(path, io.encode_data(m, filled, path))
        io.announce(path, filled.shape, as_json)
    if uncertainty:
        doubt = app.impute_series(m, data, seed)[1] if n_imputations else doubt
        io.write(uncertainty, io.encode_data(m, doubt, uncertainty))
