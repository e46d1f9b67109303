"""`nelbo impute`: fill the missing cells of a table, or the missing steps of series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nelbo.cli import io
from nelbo.cli.io import JSON, ModelPath, Out, Seed

if TYPE_CHECKING:
    from nelbo.model import Model

TABLES = (".csv", ".tsv", ".txt", ".parquet")
SERIES = (".npy", ".csv", ".png")


def impute(
    model: ModelPath,
    data: Annotated[str, typer.Argument(metavar="DATA", help="A table, or series, as MODEL was trained on.")],
    n_imputations: Annotated[
        int | None, typer.Option(help="Number of files, each with its own draw of the missing cells.")
    ] = None,
    uncertainty: Annotated[
        Path | None, typer.Option(help="Write the uncertainty of each cell to this file.", metavar="FILE")
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    as_json: JSON = False,
) -> None:
    """Fill missing cells of a table, or missing steps of series.

    A missing number is filled with its mean given the other cells of its row, a category with the most probable one.
    Everything else stays as it is in the file. With --n-imputations 5, five files (filled_1.csv, ...) have the missing
    cells drawn instead: multiple imputation. --uncertainty writes the standard deviation of each filled number, for a
    filled category the probability that it is wrong, and 0 for observed cells. NaN steps of series are filled in the
    same way. The output is .npy, .csv or .png; a single recording that is read from a table is written as a table.

    \b
    Examples:
      nelbo impute results/people survey.csv --out filled.csv --uncertainty uncertainty.csv
      nelbo impute results/people survey.csv --n-imputations 5 --out filled.csv
      nelbo impute results/heartbeats gaps.npy --out filled.npy
    """
    from nelbo.apps import imputation as app
    from nelbo.errors import UserError

    if n_imputations is not None and n_imputations < 1:
        raise UserError(f"--n-imputations {n_imputations}: use 1 or more, or leave it out")
    m = io.model(model, None)
    series = app.is_series(m, data)
    impute_data, endings = (app.impute_series, SERIES) if series else (app.impute_table, TABLES)
    out = io.named(out, f"filled{endings[0]}", endings)
    uncertainty = uncertainty and io.named(uncertainty, "", endings)
    made = app.multiple_imputation(m, data, n_imputations, seed) if n_imputations else []
    if uncertainty or not n_imputations:
        filled, std = impute_data(m, data, seed, return_std=True)
        made = made or [filled]
    if uncertainty:
        io.write(uncertainty, _encoded(m, std, uncertainty))
    for number, values in enumerate(made, 1):
        path = out.with_stem(f"{out.stem}_{number}") if n_imputations else out
        io.write(path, _encoded(m, values, path))
        io.announce(path, values.shape if series else values.table.shape, as_json)


def _encoded(m: Model, values: Any, path: Path) -> bytes:
    """Series, a table or the uncertainty of its cells as a file of this ending."""
    import numpy as np

    from nelbo.data import tables

    ending = path.suffix.lower()
    if isinstance(values, np.ndarray):
        return io.encode_data(m, values, path)
    return tables.source_bytes(values, ending) if isinstance(values, tables.Source) else tables.to_bytes(values, ending)
