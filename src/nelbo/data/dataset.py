"""Rows of data in model units, wherever they lie: in memory, in a mapped file, or behind another Dataset.

A dataset is read in batches of row numbers and knows nothing of order: the caller says which rows, when.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nelbo.data.schema import Schema
from nelbo.errors import UserError

MEMORY_BUDGET = 2 * 1024**3
"""Bytes of raw data up to which a source is read into memory whole."""


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
    `(n, width)` is what a model of these rows is conditioned on, or None. `resident` tells whether the rows lie in
    memory, so that a batch costs no reading.
    """

    schema: Schema
    labels: Tensor | None
    context: Tensor | None = None
    resident: bool

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, index: Tensor) -> Tensor:
        """The rows `index` in model units: float32 of shape `(len(index), *schema.shape)`."""

    def __getitem__(self, index: Sequence[int] | Tensor) -> Tensor:
        """`batch` of a list of row numbers, as a DataLoader with `batch_size=None` asks for it."""
        return self.batch(torch.as_tensor(index, dtype=torch.int64))


class Arrays(Dataset):
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

    def batch(self, index: Tensor) -> Tensor:
        return self.schema.encode(self.raw.index_select(0, index))


class Rows(Dataset):
    """Rows read from a mapped array, or from a Torch dataset, and encoded, batch by batch."""

    resident = False

    def __init__(self, rows: RowSource, schema: Schema, labels: Tensor | None = None) -> None:
        self.rows, self.schema, self.labels = rows, schema, labels

    def __len__(self) -> int:
        return self.rows.shape[0]

    def batch(self, index: Tensor) -> Tensor:
        return self.schema.encode(to_tensor(self.rows[index.numpy()]))


class Subset(Dataset):
    """A view of the rows `index` (int64, `(n,)`) of another dataset: nothing is copied but labels."""

    def __init__(self, whole: Dataset, index: Tensor) -> None:
        self.whole, self.index = whole, index
        self.schema, self.resident = whole.schema, whole.resident
        self.labels = None if whole.labels is None else whole.labels[index]
        self.context = None if whole.context is None else whole.context[index]

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, index: Tensor) -> Tensor:
        return self.whole.batch(self.index[index])


def subset(dataset: Dataset, index: Tensor | Sequence[int]) -> Dataset:
    """The rows `index` of `dataset`, in that order, as a view."""
    chosen = torch.as_tensor(index, dtype=torch.int64)
    if isinstance(dataset, Subset):
        return Subset(dataset.whole, dataset.index[chosen])
    return Subset(dataset, chosen)


class _Guarded:
    """A dataset that hands an error over as a value: raised in a worker, its message would become a traceback."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: Tensor) -> Tensor | UserError:
        try:
            return self.dataset[index]
        except UserError as error:
            return error


def batches(dataset: Dataset, order: Iterable[Tensor], workers: int = 0) -> Iterator[Tensor]:
    """The batch of each index tensor in `order`, in that order; float32 `(len(index), *shape)`.

    Rows that are not resident are read ahead by `workers` processes (0: in this one). The global random
    state is left alone. Raises `UserError` for a row that cannot be read.
    """
    if dataset.resident:
        yield from map(dataset.batch, order)
        return
    loader: DataLoader[Any] = DataLoader(
        _Guarded(dataset),  # type: ignore[arg-type]
        sampler=order,
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator(),
    )
    for rows in loader:
        if isinstance(rows, UserError):
            raise rows
        yield rows


def mean(data: Dataset) -> Tensor:
    """The mean of the data in the model's units, `(*shape)`, summed in 64 bit."""
    total = torch.zeros(data.schema.shape, dtype=torch.float64)
    for x in batches(data, torch.arange(len(data)).split(2000)):
        total += x.sum(0, dtype=torch.float64)
    return (total / len(data)).float()


def some(dataset: Dataset, n: int, seed: int = 0) -> Tensor:
    """`n` rows, or all if there are fewer, drawn without replacement; in the order of the dataset."""
    drawn = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:n]
    return dataset.batch(drawn.sort().values)


_WIDER = {"uint16": "int32", "uint32": "int64", "uint64": "float64", "longdouble": "float64", "bool": "uint8"}


def to_tensor(array: np.ndarray) -> Tensor:
    """The array as a tensor of the same values; it shares memory where that is possible."""
    dtype = np.dtype(_WIDER.get(array.dtype.name, array.dtype.name)).newbyteorder("=")
    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))
