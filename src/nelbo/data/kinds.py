"""A kind of data as one object: how a source is read, what a model of it is made of, how its values are handled.

`kind_of` finds the kind by its name, `reader_of` the kind that reads a source. Nothing outside `nelbo.data` asks which
kind data are: it asks the kind for what it needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from nelbo.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from nelbo.data.dataset import Dataset, DataSplits
    from nelbo.data.options import DataOptions
    from nelbo.data.schema import Schema


class DataKind(ABC):
    """One kind of data; what most kinds share is the default.

    Attributes:
        name: the kind of a `Schema`.
        noun: what a message calls data of this kind.
        source_nouns: what a message calls the sources that this kind reads, and one of them.
        options: the fields of `DataOptions` that only such sources have.
        recipe: the shipped recipe for such a source; None: all is chosen from the data.
        axes: what the dimensions of one datum are.
        scaled_by_feature: whether `shift` and `scale` may have a number for each entry of the last axis.
        figures: the module of figures of such data; see `nelbo.plotting.preview`.
        endings: the files that data of this kind are written to, by ending.
        default_ending: the ending where the user names no file; "": the data are printed.
        is_array: whether a user gets an array, and not a table or text.
        is_picture: whether a datum is a picture.
        is_sequence: whether a datum is a sequence of steps.
        allows_missing: whether elements may be missing (NaN).
        masks_missing: whether a model needs telling which elements are missing: its nets and likelihood do not know it.
        sample_likelihood: whether a sample is a draw from the likelihood, because its mean is not such a datum.
        n_init_rows: how many training rows a model is initialized from.
        varies_by: how a datum like another is made: its "residual" is kept, or all of it comes from "decoding"; "":
            not at all.
        own_parts: with what the kinds of nets and likelihoods begin that model such data; "": any will do.
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
        """Whether this kind reads the source; a kind is asked after those before it in `kinds`."""

    @abstractmethod
    def load(self, source: Any, options: DataOptions, seed: int) -> DataSplits:
        """The data of a source to train on; see `nelbo.data.load`."""

    @abstractmethod
    def load_like(self, source: Any, schema: Schema, split: str, options: DataOptions) -> Dataset:
        """The rows of a source that this kind reads, for a model of data of this schema; see `nelbo.data.load_like`."""

    def reader_of(self, source: Any) -> DataKind:
        """The kind that reads a source for a model of data of this kind."""
        return self

    def default_recipe(self, source: Any) -> str | None:
        """The shipped recipe that suits a source which this kind reads."""
        return self.recipe

    @abstractmethod
    def default_net(self, schema: Schema) -> dict[str, Any]:
        """The table of the encoder and decoder where a recipe leaves them open."""

    def default_likelihood(self, schema: Schema) -> str:
        """The likelihood where a recipe leaves it open."""
        return "bernoulli" if schema.support == "binary" else "normal"

    def net_sizes(self, schema: Schema) -> dict[str, Any]:
        """The options of a net of this kind's own that the schema sets."""
        return {}

    def check_part(self, part: str) -> None:
        """Raise `UserError` for a net or likelihood, by its kind in the registry, that cannot model such data."""
        if not part.startswith(self.own_parts):
            raise UserError(
                f"the data are {self.noun}, which a {part} net or likelihood does not take: leave it out, or give the "
                "data as an array of numbers (.npy, .npz)"
            )

    def check_schema(self, schema: Schema) -> None:
        """Raise `UserError` for values of a schema that do not fit this kind."""
        if len(schema.shape) != len(self.axes) or min(schema.shape) < 1:
            wanted = f"({self.axes[0]},)" if len(self.axes) == 1 else f"({', '.join(self.axes)})"
            raise UserError(f"shape={schema.shape}: give {wanted} for {self.name}")
        for name, values in (("shift", schema.shift), ("scale", schema.scale)):
            if len(values) not in {1, schema.shape[-1] if self.scaled_by_feature else 1}:
                raise UserError(
                    f"{name} has {len(values)} numbers: give 1, or one per feature or channel of {schema.shape}"
                )

    @abstractmethod
    def describe(self, schema: Schema) -> str:
        """Data of this schema in words."""

    @abstractmethod
    def to_html(self, values: Any, schema: Schema) -> str:
        """A few data as a user gets them, for a notebook."""

    def to_user(self, values: np.ndarray, schema: Schema) -> Any:
        """Values `(n, *shape)` in the data's units as a user gets them."""
        return values

    def to_user_uncertainty(self, values: np.ndarray, schema: Schema) -> Any:
        """The same of one number of uncertainty for each element."""
        return values

    def check_source(self, name: str, schema: Schema) -> None:
        """Raise `UserError` where a source of this kind is meant for a model of data of another."""
        if schema.kind != self.name:
            raise UserError(
                f"{name}: is {self.noun}, the model takes rows of shape {schema.shape}: give an array or pictures"
            )

    @abstractmethod
    def to_bytes(self, values: Any, schema: Schema, ending: str) -> bytes:
        """The file with this ending of values as a user gets them; not a picture, which `figures` draws."""

    def element_names(self, schema: Schema) -> list[str]:
        """What the elements of a datum `(features,)` are called."""
        return [f"x{j}" for j in range(schema.shape[0])]

    def element_texts(self, x: Tensor, schema: Schema) -> list[list[str]]:
        """Each element of x `(n, features)` as the source has it."""
        return [[f"{value:.6g}" for value in row] for row in schema.decode(x).tolist()]

    def parse_condition(self, text: str) -> Any:
        """A condition of the command line; a text where the kind gives it no meaning of its own."""
        return text

    def known_cells(self, condition: Any, schema: Schema) -> np.ndarray | None:
        """x `(1, *shape)` of a datum of which only the elements in `condition` are known, the others NaN.

        None where data of this kind cannot be completed from some of their elements.
        """
        return None


@cache
def kinds() -> dict[str, DataKind]:
    """All kinds by name, in the order in which they are asked for a source."""
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
