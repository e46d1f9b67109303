"""Datasets of rows in model units: in memory, in a file, or as a view of another dataset.

A dataset is read in batches of row indices and has no order of its own: the caller chooses the rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nelbo.data.images.augment import Augment
from nelbo.data.parallel import CORES, prefetch_map
from nelbo.data.schema import Schema

MEMORY_BUDGET = 2 * 1024**3
"""Bytes of raw data up to which a source is read into memory."""
SAMPLE = 4000
"""Rows in a random sample that replaces a pass over all rows."""
LEAST = 8  # the fewest rows that one thread reads


def fits_memory(nbytes: int) -> bool:
    """Whether raw data of this size are kept in memory rather than streamed."""
    return nbytes <= MEMORY_BUDGET


class RowSource(Protocol):
    """The part of a NumPy array's interface that a stream needs to read rows `(len(index), *shape)`."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, index: Any, /) -> np.ndarray: ...


class Dataset(ABC):
    """`len(dataset)` rows that `schema` describes.

    Attributes:
        labels: int64 of shape `(n,)`, or None; they index the schema's classes if it has any.
        context: the condition of each row, `(n, width)`, or None.
        augment: changes pictures at random in training; None: unchanged.
        resident: whether the rows are in memory, so that a batch needs no reading.
        threaded: whether several threads may read at once.
        origin: where each row was cut from, `(n, 2)`: the index of the recording, and the step at which it begins.
        source: what the rows were read from, if its kind of data needs it later; see `places`.
    """

    schema: Schema
    labels: Tensor | None
    context: Tensor | None = None
    origin: Tensor | None = None
    augment: Augment | None = None
    resident: bool
    threaded: bool = False
    source: Any = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: Tensor) -> Tensor:
        """The rows `index` as stored: `(len(index), *schema.shape)` of any dtype."""

    @property
    def places(self) -> Tensor:
        """The place of each row among all rows that were read with it, int64 `(n,)`."""
        return torch.arange(len(self))

    def batch(self, index: Tensor) -> Tensor:
        """The rows `index` in model units: float32 of shape `(len(index), *schema.shape)`."""
        return self.schema.encode(self.read(index))

    def __getitem__(self, index: Sequence[int] | Tensor) -> Tensor:
        """`batch` of a list of row indices, for a DataLoader with `batch_size=None`."""
        return self.batch(torch.as_tensor(index, dtype=torch.int64))


class InMemoryDataset(Dataset):
    """Rows in memory, kept in their own dtype and encoded per batch.

    Args:
        raw: values in the data's units, `(n, *schema.shape)`.
        schema: the shape and the units of the data.
        labels: int64 of shape `(n,)`; None for unlabelled data.

    >>> digits = InMemoryDataset(torch.full((5, 2), 3), Schema("vector", (2,), (1.0,), (2.0,), "real"))
    >>> digits.batch(torch.tensor([0, 4])).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    resident = True

    def __init__(self, raw: Tensor, schema: Schema, labels: Tensor | None = None) -> None:
        self.raw, self.schema, self.labels = raw, schema, labels

    def __len__(self) -> int:
        return len(self.raw)

    def read(self, index: Tensor) -> Tensor:
        return self.raw.index_select(0, index)


class StreamedDataset(Dataset):
    """Rows read batch by batch from a file's array or a Torch dataset; `threaded` if several threads may read it."""

    resident = False

    def __init__(self, rows: RowSource, schema: Schema, labels: Tensor | None, threaded: bool) -> None:
        self.rows, self.schema, self.labels, self.threaded = rows, schema, labels, threaded

    def __len__(self) -> int:
        return self.rows.shape[0]

    def read(self, index: Tensor) -> Tensor:
        return to_tensor(self.rows[index.numpy()])


class Subset(Dataset):
    """A view of the rows `index` (int64, `(n,)`) of another dataset; only labels are copied."""

    def __init__(self, whole: Dataset, index: Tensor) -> None:
        self.whole, self.index = whole, index
        self.schema, self.resident, self.threaded = whole.schema, whole.resident, whole.threaded
        self.labels = None if whole.labels is None else whole.labels[index]
        self.context = None if whole.context is None else whole.context[index]
        self.origin = None if whole.origin is None else whole.origin[index]
        self.source = whole.source

    def __len__(self) -> int:
        return len(self.index)

    @property
    def places(self) -> Tensor:
        return self.whole.places[self.index]

    def read(self, index: Tensor) -> Tensor:
        return self.whole.read(self.index[index])


@dataclass(frozen=True)
class DataSplits:
    """Training rows and test rows, with the same schema.

    Args:
        name: the name of the source.
        train: the rows to train on.
        test: the rows to test with.
        split: how the test rows were chosen, in words.
    """

    name: str
    train: Dataset
    test: Dataset
    split: str = "a part of the source"

    @property
    def schema(self) -> Schema:
        return self.train.schema


def subset(dataset: Dataset, index: Tensor | Sequence[int]) -> Dataset:
    """The rows `index` of `dataset`, in that order, as a view."""
    chosen = torch.as_tensor(index, dtype=torch.int64)
    if isinstance(dataset, Subset):
        return Subset(dataset.whole, dataset.index[chosen])
    return Subset(dataset, chosen)


def batches(dataset: Dataset, order: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield the batch of each index tensor in `order`, in that order; float32 `(len(index), *shape)`.

    Rows in files are prefetched by all cores, two batches ahead, so `order` is consumed early. The global random state
    is unchanged. Raises `UserError` for a row that cannot be read, in place of its batch.
    """
    if not dataset.threaded:
        yield from map(dataset.batch, order)
        return
    cut = (index.split(max(LEAST, -(-len(index) // CORES))) for index in order)
    with closing(prefetch_map(dataset.read, cut)) as found:  # so that its threads end with this generator
        for parts in found:
            yield dataset.schema.encode(torch.cat(parts))


def mean(data: Dataset) -> Tensor:
    """The mean of the data in the model's units, `(*shape)`, without missing values (NaN).

    If the data are not in memory, it is the mean of `SAMPLE` random rows, since reading all may take hours.
    """
    rows = torch.arange(len(data)) if data.resident else sample_indices(len(data), SAMPLE)
    total = torch.zeros(data.schema.shape, dtype=torch.float64)
    count = torch.zeros(data.schema.shape)
    for x in batches(data, rows.split(data.schema.inference_batch_size)):
        own, seen = x.sum(0), torch.tensor(len(x))
        if own.isnan().any():  # testing for NaN takes ten times as long as adding
            own, seen = x.nansum(0), (~x.isnan()).sum(0)
        total += own
        count += seen
    return (total / count.clamp_min(1)).float()


def sample_rows(dataset: Dataset, n: int, seed: int = 0) -> Tensor:
    """Draw `n` rows without replacement, or all if there are fewer.

    Args:
        dataset: the rows to draw from.
        n: the largest number of rows.
        seed: fixes the draw.

    Returns:
        The rows in model units, `(n, *shape)`, in the order of the dataset.
    """
    return torch.cat(list(batches(dataset, sample_indices(len(dataset), n, seed).split(100))))


def sample_indices(n: int, k: int, seed: int = 0) -> Tensor:
    """Draw `k` of n row indices without replacement, or all if there are fewer; sorted."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:k].sort().values


_WIDER = {"uint16": "int32", "uint32": "int64", "uint64": "float64", "bool": "uint8"}
_WIDER |= {np.dtype(np.longdouble).name: "float64"}


def tensor_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that represents the same values in a tensor."""
    return np.dtype(_WIDER.get(dtype.name, dtype.name)).newbyteorder("=")


def to_tensor(array: np.ndarray) -> Tensor:
    """The array as a tensor of the same values, sharing memory if possible."""
    return torch.from_numpy(np.require(array, tensor_dtype(array.dtype), ["C", "W"]))
