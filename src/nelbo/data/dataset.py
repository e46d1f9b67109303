"""Rows of data in model units, wherever they lie: in memory, in a mapped file, or behind another Dataset.

A dataset is read in batches of row numbers and knows nothing of order: the caller says which rows, when.
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
"""Bytes of raw data up to which a source is read into memory whole."""
SAMPLE = 4000
"""Rows that stand for all where reading all would take long."""
LEAST = 8  # rows that are worth a thread's while


def fits_memory(nbytes: int) -> bool:
    """Whether raw data of this size are kept in memory rather than streamed."""
    return nbytes <= MEMORY_BUDGET


class RowSource(Protocol):
    """What a stream reads from: as much of a NumPy array as is needed to fetch rows `(len(index), *shape)`."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, index: Any, /) -> np.ndarray: ...


class Dataset(ABC):
    """`len(dataset)` rows of the type that `schema` names.

    `labels` is int64 of shape `(n,)`, or None; where the schema names classes, labels index them. `context`
    `(n, width)` is what a model of these rows is conditioned on, or None. `augment` changes pictures at random when
    they are trained on, and only then. `resident` tells whether the rows lie in memory, so that a batch costs no
    reading; `threaded`, whether several threads may read at once, and should. `origin` `(n, 2)` says where each row was
    cut from: the number of the recording, and the step at which it begins.
    """

    schema: Schema
    labels: Tensor | None
    context: Tensor | None = None
    origin: Tensor | None = None
    augment: Augment | None = None
    resident: bool
    threaded: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: Tensor) -> Tensor:
        """The rows `index` as they are stored: `(len(index), *schema.shape)` of any dtype."""

    def batch(self, index: Tensor) -> Tensor:
        """The rows `index` in model units: float32 of shape `(len(index), *schema.shape)`."""
        return self.schema.encode(self.read(index))

    def __getitem__(self, index: Sequence[int] | Tensor) -> Tensor:
        """`batch` of a list of row numbers, as a DataLoader with `batch_size=None` asks for it."""
        return self.batch(torch.as_tensor(index, dtype=torch.int64))


class InMemoryDataset(Dataset):
    """Rows in memory: `raw` of shape `(n, *schema.shape)`, kept in its own dtype and encoded per batch.

    >>> digits = Arrays(torch.full((5, 2), 3), Schema("vector", (2,), (1.0,), (2.0,), "real"))
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
    """Rows read from a file's array or from a Torch dataset, batch by batch; `threaded` if the source allows it."""

    resident = False

    def __init__(self, rows: RowSource, schema: Schema, labels: Tensor | None, threaded: bool) -> None:
        self.rows, self.schema, self.labels, self.threaded = rows, schema, labels, threaded

    def __len__(self) -> int:
        return self.rows.shape[0]

    def read(self, index: Tensor) -> Tensor:
        return to_tensor(self.rows[index.numpy()])


class Subset(Dataset):
    """A view of the rows `index` (int64, `(n,)`) of another dataset: nothing is copied but labels."""

    def __init__(self, whole: Dataset, index: Tensor) -> None:
        self.whole, self.index = whole, index
        self.schema, self.resident, self.threaded = whole.schema, whole.resident, whole.threaded
        self.labels = None if whole.labels is None else whole.labels[index]
        self.context = None if whole.context is None else whole.context[index]
        self.origin = None if whole.origin is None else whole.origin[index]

    def __len__(self) -> int:
        return len(self.index)

    def read(self, index: Tensor) -> Tensor:
        return self.whole.read(self.index[index])


@dataclass(frozen=True)
class DataSplits:
    """Rows to train on and rows held out, of one schema."""

    name: str
    train: Dataset
    test: Dataset

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
    """The batch of each index tensor in `order`, in that order; float32 `(len(index), *shape)`.

    Rows in files are read ahead by all cores, two batches beyond the present one, so `order` is asked for early. The
    global random state is left alone. Raises `UserError` for a row that cannot be read, in the place of its batch.
    """
    if not dataset.threaded:
        yield from map(dataset.batch, order)
        return
    cut = (index.split(max(LEAST, -(-len(index) // CORES))) for index in order)
    with closing(prefetch_map(dataset.read, cut)) as found:  # so that its threads end with this generator
        for parts in found:
            yield dataset.schema.encode(torch.cat(parts))


def mean(data: Dataset) -> Tensor:
    """The mean of the data in the model's units, `(*shape)`; gaps (NaN) are passed over.

    Of data that do not lie in memory, that of `SAMPLE` rows drawn at random: to read all may take hours.
    """
    rows = torch.arange(len(data)) if data.resident else sample_indices(len(data), SAMPLE)
    total = torch.zeros(data.schema.shape, dtype=torch.float64)
    count = torch.zeros(data.schema.shape)
    for x in batches(data, rows.split(data.schema.inference_batch_size)):
        own, seen = x.sum(0), torch.tensor(len(x))
        if own.isnan().any():  # to look for gaps takes ten times as long as to add
            own, seen = x.nansum(0), (~x.isnan()).sum(0)
        total += own
        count += seen
    return (total / count.clamp_min(1)).float()


def sample_rows(dataset: Dataset, n: int, seed: int = 0) -> Tensor:
    """`n` rows, or all if there are fewer, drawn without replacement; in the order of the dataset."""
    return torch.cat(list(batches(dataset, sample_indices(len(dataset), n, seed).split(100))))


def sample_indices(n: int, k: int, seed: int = 0) -> Tensor:
    """`k` of n row numbers, or all if there are fewer, drawn without replacement; in order."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:k].sort().values


_WIDER = {"uint16": "int32", "uint32": "int64", "uint64": "float64", "longdouble": "float64", "bool": "uint8"}


def tensor_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that holds the same values in a tensor."""
    return np.dtype(_WIDER.get(dtype.name, dtype.name)).newbyteorder("=")


def to_tensor(array: np.ndarray) -> Tensor:
    """The array as a tensor of the same values; it shares memory where that is possible."""
    return torch.from_numpy(np.require(array, tensor_dtype(array.dtype), ["C", "W"]))
