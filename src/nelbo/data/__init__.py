"""Reads sources of data into rows in model units with a schema, and batches them. Knows nothing of models."""

from nelbo.data.columns import Column
from nelbo.data.conditioning import ConditionEncoder, condition
from nelbo.data.dataset import (
    MEMORY_BUDGET,
    Dataset,
    DataSplits,
    InMemoryDataset,
    StreamedDataset,
    Subset,
    batches,
    mean,
    sample_rows,
    subset,
)
from nelbo.data.images.folder import ImageFileDataset
from nelbo.data.kinds import DataKind
from nelbo.data.load import load, load_like
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema
