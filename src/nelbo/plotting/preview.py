"""The two pictures of a run, by kind of data: test data with their reconstructions, and samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from PIL import Image

from nelbo.data import Schema

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Figures(ABC):
    """The pictures of data of one kind, and what to say of them.

    Attributes:
        captions: of the reconstructions and of the samples.
        count: how many test data are shown; of samples, 8 times as many.
        compared: whether samples are shown beside as many training data.
    """

    captions: ClassVar[tuple[str, str]]
    count: ClassVar[int] = 8
    compared: ClassVar[bool] = False

    @abstractmethod
    def reconstructions(self, x: np.ndarray, remade: np.ndarray, schema: Schema) -> Image.Image:
        """Test data x and their reconstructions, `(n, *shape)` in the model's units."""

    @abstractmethod
    def samples(self, samples: Any, real: np.ndarray, schema: Schema) -> Image.Image:
        """Samples as `Model.sample` returns them; `real` are training data in the model's units, if `compared`."""


class SheetFigures(Figures):
    """Data side by side, each drawn by itself."""

    captions = ("Test data (above) and their reconstructions (below)", "64 draws from the prior, decoded")

    @abstractmethod
    def sheet(self, values: np.ndarray, schema: Schema, columns: int = 8) -> Image.Image:
        """Data `(n, *shape)` in the data's units, `columns` to a row."""

    @abstractmethod
    def draw_traversal(self, axis: Axes, values: np.ndarray, schema: Schema, reach: float) -> str:
        """Data `(steps, *shape)` decoded with a latent from -reach to reach; returns the label of the first axis."""

    def reconstructions(self, x: np.ndarray, remade: np.ndarray, schema: Schema) -> Image.Image:
        return self.sheet(schema.decode(torch.from_numpy(np.concatenate([x, remade]))).numpy(), schema, len(x))

    def samples(self, samples: Any, real: np.ndarray, schema: Schema) -> Image.Image:
        return self.sheet(samples, schema)


def figures_of(schema: Schema) -> Any:
    """The `Figures` of the schema's kind, `FIGURES` of the module that the kind names."""
    return import_module(schema.data_kind.figures).FIGURES
