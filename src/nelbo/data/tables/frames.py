"""Columns of pandas as columns of Arrow, and back in their own dtype.

Arrow has no periods, intervals or complex categories. A period becomes its first moment. Intervals become the texts of
ordered categories, and so do categories that are dates, intervals or mixed objects; a column of mixed objects becomes
texts.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from nelbo.data.tables import cells
from nelbo.errors import require


def to_arrow(series: Any) -> tuple[Any, str]:
    """(the column in Arrow, its dtype in pandas; "" where Arrow's type implies that)."""
    pa, pandas = require("pyarrow"), require("pandas")
    own = str(series.dtype)
    if isinstance(series.dtype, pandas.SparseDtype):
        series = series.sparse.to_dense()
    if isinstance(series.dtype, np.dtype) and not series.dtype.isnative:  # the other order of bytes
        series = series.astype(series.dtype.newbyteorder("="))
    if isinstance(series.dtype, pandas.PeriodDtype):
        series = series.dt.to_timestamp()
    elif isinstance(series.dtype, pandas.IntervalDtype):
        series = series.astype(pandas.CategoricalDtype(series.drop_duplicates().dropna().sort_values(), ordered=True))
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        array = None if series.dtype == "category" else pa.array(map(_text, series), pa.string())
    if series.dtype == "category" and (array is None or cells.form_of(array.type) == "other"):
        own = f"category[{series.cat.categories.dtype}]" if own == "category" else own
        array = pa.array(series.cat.rename_categories(list(map(str, series.cat.categories))), from_pandas=True)
    return array, "" if own in ("category", _implied(array)) else own


def _text(value: Any) -> str | None:
    return None if require("pandas").isna(value) is True else str(value)


def _implied(column: Any) -> str:
    """The pandas dtype that Arrow's type becomes."""
    return str(column.slice(0, 0).to_pandas(date_as_object=False).dtype)


def from_arrow(array: Any, series: Any, frame: str) -> Any:
    """A column of Arrow in the dtype of pandas that `to_arrow` named.

    Args:
        array: the column.
        series: the column in a dtype that pandas chose; it is returned if its values do not allow the other.
        frame: the dtype.
    """
    pandas = require("pandas")
    try:
        if frame.endswith("[pyarrow]"):
            return pandas.Series(pandas.arrays.ArrowExtensionArray(array))
        if found := re.fullmatch(r"category\[(.*)\]|(interval.*)", frame):
            series = series.cat.rename_categories(_typed(series.cat.categories, found[1] or found[2]))
            return series.astype(frame) if found[2] else series
        series = series.astype(frame) if frame else series
        return series.where(series.notna(), None) if frame == "object" else series
    except (TypeError, ValueError):  # the gaps of this table are not what that dtype allows
        return series


def _typed(texts: Any, dtype: str) -> Any:
    """The categories that texts stand for, of a pandas dtype."""
    pandas = require("pandas")
    if not dtype.startswith("interval"):
        return texts.astype(dtype)
    subtype, _, closed = dtype.removeprefix("interval[").removesuffix("]").rpartition(", ")
    ends = zip(*(text[1:-1].split(", ") for text in texts), strict=True)
    low, high = (pandas.Index(end).astype(subtype) for end in ends)
    return pandas.IntervalIndex.from_arrays(low, high, closed)
