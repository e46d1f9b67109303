"""`load`: a source to train on, split in two; `load_like`: a source for a model that is trained already.

A source is "mnist", "fashion-mnist" (IDX files under `data_root`), a `.npy` or `.npz` file (`file.npz:name` selects an
array), a folder of pictures, a NumPy array, a tensor, a tuple (x, y) of them, a Torch map-style dataset of x or (x, y),
a Hugging Face dataset, a table: a CSV, TSV or Parquet file, a pandas or polars DataFrame, an Arrow table; or text: a
`.txt` file, a list of strings. By `kind="series"` or a `window`, an array, a list of arrays of any lengths and a table
of a row for each step are series. `nelbo.data.options` has the options; what becomes of values is described in
`nelbo.data.arrays.infer`, `.series`, `.tables` and `.text`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from nelbo.data.dataset import Dataset, DataSplits
from nelbo.data.images.augment import Augment
from nelbo.data.kinds import DataKind, kinds, reader_of
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema
from nelbo.errors import UserError


def load(source: Any, options: DataOptions | None = None, *, seed: int = 42, **changes: Any) -> DataSplits:
    """Data to train on, from any source.

    Args:
        source: see the top of `nelbo.data.load`.
        options: how the source is read.
        seed: fixes which rows are held out where the source has no test split.
        changes: fields of `DataOptions` to replace in `options`.

    Raises:
        UserError: for anything wrong with the source or the options.

    >>> import numpy as np
    >>> data = load(np.eye(10), val_fraction=0.2)
    >>> len(data.train), len(data.test), data.schema.support
    (8, 2, 'binary')
    """
    options = replace(options or DataOptions(), **changes)
    kind = reader_of(source, options)
    _check_options(kind, options)
    data = kind.load(source, options, seed)
    if options.augment is not None:
        data.train.augment = Augment.parse(options.augment)
        data.train.augment.check(data.schema)
    return data


def _check_options(reader: DataKind, options: DataOptions) -> None:
    """Raise `UserError` for an option of other sources than the reader's."""
    for kind in kinds().values():
        for name in kind.options if kind is not reader else ():
            if (value := getattr(options, name)) is not None:
                plural, example = kind.source_nouns
                raise UserError(f"{name}={value}: this is for {plural}: leave it out, or give {example}")


def load_like(
    source: Any,
    schema: Schema,
    *,
    split: Literal["train", "test"] = "test",
    data_root: str | Path | None = None,
    skip_unreadable: bool = False,
) -> Dataset:
    """Rows of any source, or a single picture file, for a model trained on data of this schema.

    Pictures in files are brought to the schema's size and channels, series to its length; arrays must have its shape.
    All are scaled by its shift and scale. Of two splits it gives the one named by `split`, of any other source all rows
    in order. Classes that the schema does not know are added after its own. A table's columns are found by name; what
    the schema does not know is passed over, or missing. Raises `UserError` if the source does not fit; warns if values
    lie beyond the range of training. For text, a string that names no file is a line.

    >>> import numpy as np
    >>> schema = load(np.eye(10)).schema
    >>> load_like(np.eye(10)[:1], schema)[[0]].shape
    torch.Size([1, 10])
    """
    if split not in ("train", "test"):
        raise UserError(f"split={split!r}: give train or test")
    options = DataOptions(data_root=None if data_root is None else str(data_root), skip_unreadable=skip_unreadable)
    return schema.data_kind.reader_of(source).load_like(source, schema, split, options)
