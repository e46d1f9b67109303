"""Kinds of data as objects: each knows how to read a source, default parts of a model, and how to convert values.

`kind_of` finds a kind by its name, `reader_of` the kind that reads a source. Code outside `nelbo.data` never tests the
name of a kind: it uses the attributes and methods below.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from nelbo.errors import UserError

if TYPE_CHECKING:
    from nelbo.data.dataset import Dataset, DataSplits
    from nelbo.data.options import DataOptions
    from nelbo.data.schema import Schema


@dataclass(frozen=True)
class RowNames:
    """The names of the rows of a dataset: `values`, one for each, are a `label` ("row", "file", a column of ids)."""

    label: str
    values: Sequence[Any]


class DataKind(ABC):
    """One kind of data. Defaults are those of most kinds.

    Attributes:
        name: the kind of a `Schema`.
        noun: the name of such data in messages.
        source_nouns: the name in messages of the sources that this kind reads (plural), and of an example.
        options: the fields of `DataOptions` that apply only to such sources.
        recipe: the shipped recipe for such a source; None: defaults are chosen from the data.
        axes: the names of the dimensions of one datum.
        scaled_by_feature: whether `shift` and `scale` may have one number per entry of the last axis.
        figures: the module that draws figures of such data; see `nelbo.plotting.figures`.
        endings: the extensions of the files that such data can be written to.
        default_ending: the extension if the user names no file; "": the data are printed.
        is_array: whether a user gets an array, and not a table or text.
        is_picture: whether a datum is a picture.
        is_sequence: whether a datum is a sequence of steps.
        allows_missing: whether elements may be missing (NaN).
        masks_missing: whether a model needs a mask of missing elements, since its nets and likelihood have none.
        sample_likelihood: whether samples are draws from the likelihood, because its mean is not a valid datum.
        n_init_rows: the number of training rows from which a model is initialized.
        varies_by: how a variation of a datum is generated: with its "residual" added back, or by "decoding" alone;
            "": not supported.
        own_parts: the prefix of the kinds of nets and likelihoods that model such data; "": any.
        refused_posteriors: posteriors that cannot encode such data.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    source_nouns: ClassVar[tuple[str, str]] = ("", "")
    options: ClassVar[tuple[str, ...]] = ()
    recipe: ClassVar[str | None] = None
    axes: ClassVar[tuple[str, ...]] = ("features",)
    scaled_by_feature: ClassVar[bool] = False
    figures: ClassVar[str] = "nelbo.plotting.curves"
    endings: ClassVar[tuple[str, ...]] = (".png", ".npy", ".csv")
    default_ending: ClassVar[str] = ".csv"
    is_array: ClassVar[bool] = True
    is_picture: ClassVar[bool] = False
    is_sequence: ClassVar[bool] = False
    allows_missing: ClassVar[bool] = False
    masks_missing: ClassVar[bool] = False
    sample_likelihood: ClassVar[bool] = False
    n_init_rows: ClassVar[int] = 1000
    varies_by: ClassVar[Literal["residual", "decoding", ""]] = "residual"
    own_parts: ClassVar[str] = ""
    refused_posteriors: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def recognises(self, source: Any, options: DataOptions) -> bool:
        """Whether this kind reads the source; kinds are tried in the order of `kinds`."""

    @abstractmethod
    def load(self, source: Any, options: DataOptions, seed: int) -> DataSplits:
        """Load a source for training; see `nelbo.data.load`."""

    @abstractmethod
    def load_like(self, source: Any, schema: Schema, split: str, options: DataOptions) -> Dataset:
        """Load a source that this kind reads for a model with this schema; see `nelbo.data.load_like`."""

    def reader_of(self, source: Any) -> DataKind:
        """The kind that reads a source for a model of data of this kind."""
        return self

    def default_recipe(self, source: Any) -> str | None:
        """The shipped recipe for a source of this kind."""
        return self.recipe

    @abstractmethod
    def default_net(self, schema: Schema) -> dict[str, Any]:
        """The options of the encoder and decoder if a recipe sets none."""

    def default_likelihood(self, schema: Schema) -> str:
        """The likelihood if a recipe sets none."""
        return "bernoulli" if schema.support == "binary" else "normal"

    def net_sizes(self, schema: Schema) -> dict[str, Any]:
        """The options of this kind's own nets that follow from the schema."""
        return {}

    def check_part(self, part: str) -> None:
        """Raise `UserError` for a net or likelihood, by its kind in the registry, that does not support such data."""
        if not part.startswith(self.own_parts):
            raise UserError(
                f"a {part} net or likelihood does not support {self.noun}: remove it from the recipe, or give the "
                "data as an array of numbers (.npy, .npz)"
            )

    def check_schema(self, schema: Schema) -> None:
        """Raise `UserError` for a schema that does not fit this kind."""
        if len(schema.shape) != len(self.axes) or min(schema.shape) < 1:
            wanted = f"({self.axes[0]},)" if len(self.axes) == 1 else f"({', '.join(self.axes)})"
            raise UserError(f"shape={schema.shape}: give {wanted} for {self.name}")
        for name, values in (("shift", schema.shift), ("scale", schema.scale)):
            if len(values) not in {1, schema.shape[-1] if self.scaled_by_feature else 1}:
                raise UserError(
                    f"{name} has {len(values)} numbers: give 1, or one per feature or channel of shape {schema.shape}"
                )

    def check_usable(self, schema: Schema) -> None:
        """Raise, for a schema that was read from a file, what it would raise in use."""
        self.describe(schema)

    @abstractmethod
    def describe(self, schema: Schema) -> str:
        """Describe data of this schema in words."""

    @abstractmethod
    def to_html(self, values: Any, schema: Schema) -> str:
        """Show a few data, of the user's type, as HTML for a notebook."""

    def to_user(self, values: np.ndarray, schema: Schema) -> Any:
        """Convert values `(n, *shape)` in the data's units to the user's type."""
        return values

    def to_user_like(self, values: np.ndarray, rows: Dataset, missing_only: bool) -> Any:
        """Convert values that stand for the rows of a dataset, `(n, *shape)` in the data's units, to the form of these.

        Args:
            values: the values.
            rows: the rows.
            missing_only: whether the values replace only missing elements; all others stay as they were read.
        """
        values = self.to_user(values, rows.schema)
        if missing_only:
            raw = rows.read(rows.places.new_tensor(range(len(rows)))).numpy()
            values = np.where(np.isnan(raw), values, raw)
        return values

    def to_user_uncertainty(self, values: np.ndarray, rows: Dataset) -> Any:
        """Convert one uncertainty per element of the rows of a dataset, `(n, *shape)`, to the form of these."""
        return values

    def check_source(self, name: str, schema: Schema) -> None:
        """Raise `UserError` if a source of this kind is used with a model of another kind of data."""
        if schema.kind != self.name:
            raise UserError(
                f"{name} is {self.noun}, and the model needs data of shape {schema.shape}: give an array or pictures"
            )

    @abstractmethod
    def to_bytes(self, values: Any, schema: Schema, ending: str) -> bytes:
        """Serialize values of the user's type to a file with this ending; pictures are drawn by `figures`."""

    def element_names(self, schema: Schema) -> list[str]:
        """The names of the elements of a datum `(features,)`."""
        return [f"x{j}" for j in range(schema.shape[0])]

    def element_texts(self, rows: Dataset) -> list[list[str]]:
        """Each element of the rows `(n, features)` as it is in the source."""
        values = rows.schema.decode(rows[range(len(rows))])
        return [[f"{value:.6g}" for value in row] for row in values.tolist()]

    def row_names(self, rows: Dataset) -> RowNames:
        """The name of each row: its file, its id or its index; its place in the source where it has none."""
        return RowNames("row", rows.places.tolist())

    def parse_condition(self, text: str, schema: Schema) -> Any:
        """Parse a condition from the command line; a string if the kind has no syntax of its own."""
        return text

    def known_cells(self, condition: Any, schema: Schema) -> np.ndarray | None:
        """x `(1, *shape)` with the elements in `condition`, the others NaN.

        None if data of this kind cannot be completed from some of their elements.
        """
        return None


@cache
def kinds() -> dict[str, DataKind]:
    """All kinds by name, in the order in which they are tried for a source."""
    from nelbo.data.arrays.kind import VectorKind
    from nelbo.data.images.kind import ImageKind
    from nelbo.data.series.kind import SeriesKind
    from nelbo.data.tables.kind import TableKind
    from nelbo.data.text.kind import TextKind

    return {kind.name: kind for kind in (SeriesKind(), TextKind(), TableKind(), ImageKind(), VectorKind())}


def kind_of(name: str) -> DataKind:
    """The kind of this name.

    >>> kind_of("table").noun
    'a table'
    """
    return kinds()[name]


def reader_of(source: Any, options: DataOptions) -> DataKind:
    """The kind that reads a source. Raises `UserError` for a path that does not exist.

    >>> from nelbo.data.options import DataOptions
    >>> reader_of(["a line", "another"], DataOptions()).name
    'text'
    """
    return next(kind for kind in kinds().values() if kind.recognises(source, options))
