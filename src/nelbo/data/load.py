"""`load` reads a source for training, in two splits; `load_like` reads a source for a trained model.

A source is one of these:

    "mnist", "fashion-mnist"      a named data set (IDX files under `data_root`)
    a path                        a `.npy` or `.npz` file (`file.npz:name` selects an array), a folder of pictures, a
                                  CSV, TSV or Parquet table, or a `.txt` file
    an array or tensor            rows, also a list of arrays, or a tuple (x, y) of rows and labels
    splits                        ((x, y), (x_test, y_test)), or a dictionary of such names
    a map-style dataset           of x, (x, y) or dictionaries; or a Torch DataLoader of one
    pictures                      of Pillow, or paths, in a list, alone or with labels; a pattern such as "cats/*.jpg"
    a Hugging Face dataset        of pictures, or a table
    a DataFrame or Arrow table    of pandas, polars or pyarrow
    a list of strings             text

With `kind="series"`, a `window` or a `group`, an array, a list of arrays of any lengths, and a table with a row for
each step (or, without a window, for each series) are series. `nelbo.data.options` has the options; the modules
`nelbo.data.arrays.infer`, `.series`, `.tables` and `.text` describe how values are converted.
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
    """Load data for training from any source.

    Args:
        source: see the top of `nelbo.data.load`.
        options: how the source is read; None for the defaults.
        seed: fixes the random split of a source without a test split.
        changes: fields of `DataOptions` to replace in `options`.

    Raises:
        UserError: for any fault of the source or the options.

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
    """Raise `UserError` for an option that does not apply to the reader's sources."""
    for kind in kinds().values():
        for name in set(kind.options) - set(reader.options):
            if (value := getattr(options, name)) is not None:
                plural, example = kind.source_nouns
                raise UserError(f"{name}={value} applies only to {plural}: remove it, or give {example}")


def load_like(
    source: Any,
    schema: Schema,
    *,
    split: Literal["train", "test"] = "test",
    data_root: str | Path | None = None,
    skip_unreadable: bool | None = None,
) -> Dataset:
    """Load rows of any source, or a single picture file, for a model trained on data of this schema.

    Pictures in files are converted to the schema's size and channels, and series to its length; arrays must have its
    shape. All are scaled by its shift and scale. Classes that the schema does not have are added after its own. The
    columns of a table are found by name: others are ignored, and absent ones are missing. For text, a string that is
    not the name of a file is a line.

    Args:
        source: see the top of `nelbo.data.load`.
        schema: the schema of the model's data.
        split: "train" or "test", for a source with two splits; other sources are read whole, in order.
        data_root: the folder of the named data sets; None for the default.
        skip_unreadable: whether to skip pictures or lines that cannot be read, with a warning; None: not, and errors do
            not offer the option.

    Raises `UserError` if the source does not fit. Warns if values lie outside the range of training.

    >>> import numpy as np
    >>> schema = load(np.eye(10)).schema
    >>> load_like(np.eye(10)[:1], schema)[[0]].shape
    torch.Size([1, 10])
    """
    if split not in ("train", "test"):
        raise UserError(f"split={split!r}: use train or test")
    options = DataOptions(data_root=None if data_root is None else str(data_root), skip_unreadable=skip_unreadable)
    return schema.data_kind.reader_of(source).load_like(source, schema, split, options)
