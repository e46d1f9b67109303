"""A table as the bytes of a file."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from nelbo.data.tables.extra import need
from nelbo.errors import UserError

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def to_bytes(table: Any, ending: str) -> bytes:
    """A DataFrame or an Arrow table as a `.csv`, `.tsv`, `.txt` (tabs) or `.parquet` file; null is an empty cell.

    Times that are all whole days are written as dates in a text.
    """
    pa = need("pyarrow")
    content = BytesIO()
    package = type(table).__module__.partition(".")[0]
    whole = pa.Table.from_pandas(table, preserve_index=False) if package == "pandas" else table
    whole = whole.to_arrow() if package == "polars" else whole
    if ending == ".parquet":
        need("pyarrow.parquet").write_table(whole, content)
    elif ending in SEPARATORS:
        csv = need("pyarrow.csv")
        plain = [_as_written(column) for column in whole.columns]
        options = csv.WriteOptions(delimiter=SEPARATORS[ending], quoting_style="needed")
        csv.write_csv(pa.Table.from_arrays(plain, whole.column_names), content, options)
    else:
        raise UserError(f"a table cannot be written as {ending!r}: give {', '.join(SEPARATORS)} or .parquet")
    return content.getvalue()


def _as_written(column: Any) -> Any:
    """A column in the type that it has in a text: categories as what they are, whole days as dates."""
    pa, pc = need("pyarrow"), need("pyarrow.compute")
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        for whole, kind in (("day", pa.date32()), ("second", pa.timestamp("s"))):
            if pc.all(pc.equal(pc.floor_temporal(column, unit=whole), column)).as_py():
                return column.cast(kind)
    return column
