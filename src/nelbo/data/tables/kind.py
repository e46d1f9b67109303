"""Tables: files, DataFrames, Arrow tables, and Hugging Face datasets without pictures."""

from __future__ import annotations

import warnings
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nelbo.data import html, sources, tables
from nelbo.data.dataset import Dataset, DataSplits
from nelbo.data.images import huggingface
from nelbo.data.kinds import DataKind, RowNames
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema
from nelbo.data.split import split_at_random
from nelbo.errors import UserError, listed

LISTED = 5  # columns that are left out, in a description


WIDE = 300
"""Columns from which on a warning says that they cost time."""


class TableKind(DataKind):
    """Rows of a table, with a number for the cell of each feature column."""

    name = "table"
    noun = "a table"
    source_nouns = ("tables", "a .csv, .tsv or .parquet file")
    options = ("columns", "decimal", "date_format")
    recipe = "table"
    figures = "nelbo.plotting.table"
    endings = (".csv", ".tsv", ".parquet")
    is_array = False
    allows_missing = True
    sample_likelihood = True
    n_init_rows = 20_000
    own_parts = "table"
    varies_by = ""
    refused_posteriors = ("riemannian",)

    def recognises(self, source: Any, options: DataOptions) -> bool:
        if huggingface.is_dataset_object(source):
            return not huggingface.has_pictures(source)
        return tables.is_table(source)

    def load(self, source: Any, options: DataOptions, seed: int) -> DataSplits:
        name = Path(source).name.partition(".")[0] if isinstance(source, str | Path) else "table"
        whole = tables.read(_table(source), options.columns, options.hints)
        if (width := whole.schema.shape[0]) >= WIDE:
            remedy = 'set kind = "leave out" in --columns for those you do not need, or limit the time with --minutes'
            warnings.warn(
                f"{name} has {width} columns to model, and each costs time in every step: {remedy}", stacklevel=4
            )
        return split_at_random(whole, name, options.val_fraction, seed)

    def load_like(self, source: Any, schema: Schema, split: str, options: DataOptions) -> Dataset:
        name = str(source) if isinstance(source, str | Path) else f"a {type(source).__name__}"
        self.check_source(name, schema)
        if not tables.is_table(table := _table(source)):
            sources.locate(source)  # raises for a path that does not exist
            raise UserError(f"{name} is not a table: give a DataFrame, or a .csv, .tsv or .parquet file")
        return tables.read_like(table, schema)

    def default_net(self, schema: Schema) -> dict[str, Any]:
        return {"kind": "table"}

    def default_likelihood(self, schema: Schema) -> str:
        return "table"

    def net_sizes(self, schema: Schema) -> dict[str, Any]:
        gaps = tuple(j for j, column in enumerate(schema.feature_columns) if column.missing)
        return {"sizes": tuple(column.size for column in schema.feature_columns), "gaps": gaps}

    def check_schema(self, schema: Schema) -> None:
        super().check_schema(schema)
        if (n := len(schema.feature_columns)) != schema.shape[0]:
            raise UserError(f"{n} columns to model, shape={schema.shape}: give a table a shape of them")

    def check_usable(self, schema: Schema) -> None:
        if find_spec("pyarrow"):
            ends = np.array([[0.0], [1e6], [-1e6], [np.nan]], np.float32)  # far out is clipped to the range of training
            tables.decode(np.repeat(ends, schema.shape[0], 1), schema, "arrow")

    def describe(self, schema: Schema) -> str:
        kinds = Counter(column.kind for column in schema.feature_columns)
        out = [f"{c.name} ({c.note})" if c.note else c.name for c in schema.columns if not c.is_feature]
        modelled = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        rest = f"; left out: {listed(out, LISTED)}" if out else ""
        return f"rows of {len(schema.columns)} columns: {modelled}{rest}"

    def to_html(self, values: Any, schema: Schema) -> str:
        return html.row_table(values, schema)

    def to_user(self, values: np.ndarray, schema: Schema) -> Any:
        return tables.decode(values, schema)

    def to_user_like(self, values: np.ndarray, rows: Dataset, missing_only: bool) -> Any:
        return tables.like_source(rows, values, missing_only)

    def to_user_uncertainty(self, values: np.ndarray, rows: Dataset) -> Any:
        return tables.numbers_like(rows, values)

    def to_bytes(self, values: Any, schema: Schema, ending: str) -> bytes:
        return tables.to_bytes(values, ending)

    def element_names(self, schema: Schema) -> list[str]:
        return [column.name for column in schema.feature_columns]

    def element_texts(self, rows: Dataset) -> list[list[str]]:
        return tables.cell_texts(rows)

    def row_names(self, rows: Dataset) -> RowNames:
        return tables.row_names(rows) or super().row_names(rows)

    def parse_condition(self, text: str, schema: Schema) -> dict[str, str]:
        return tables.parse_condition(text, [column.name for column in schema.columns])

    def known_cells(self, condition: Any, schema: Schema) -> np.ndarray:
        return tables.encode_evidence(condition, schema)


def _table(source: Any) -> Any:
    """What `nelbo.data.tables` reads."""
    return huggingface.unwrap(source) if huggingface.is_dataset_object(source) else source
