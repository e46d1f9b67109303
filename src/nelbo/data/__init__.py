"""Sources of data -> rows in model units with a schema; batches of them. It knows no model."""

from nelbo.data.columns import Column
from nelbo.data.conditioning import Context, condition
from nelbo.data.dataset import MEMORY_BUDGET, Arrays, Data, Dataset, Rows, Subset, batches, mean, some, subset
from nelbo.data.images.folder import Files
from nelbo.data.kinds import DataKind
from nelbo.data.load import load, load_like
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema

__all__ = [
    "MEMORY_BUDGET",
    "Arrays",
    "Column",
    "Context",
    "Data",
    "DataKind",
    "DataOptions",
    "Dataset",
    "Files",
    "Rows",
    "Schema",
    "Subset",
    "batches",
    "condition",
    "load",
    "load_like",
    "mean",
    "some",
    "subset",
]
