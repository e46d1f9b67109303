"""How data are read: one set of options for Python, recipes and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from nelbo.data import formats
from nelbo.data.arrays.layout import CHANNELS
from nelbo.data.schema import ResizeMode
from nelbo.data.vocabulary import RESERVED, Tokens
from nelbo.errors import UserError


@dataclass(frozen=True)
class DataOptions:
    """The source of training data, how to read it, and the condition of the model.

    Args:
        source: a source of `nelbo.data.load`; "" for data without a name, such as an array.
        val_fraction: fraction of the rows that is held out if the source has no test split.
        data_root: folder of the named data sets, in torchvision's layout.
        size: for image files (PNG, JPEG ...): the size they are resized to, "64", or "64x48" for height x width; in
            Python also an integer or a pair.
        resize_mode: how pictures of another shape are resized: "crop", "pad" or "stretch".
        channels: for image files: 1 (grey), 3 (colour) or 4 (with transparency); None: 1 if all are grey, else 3.
        labels: for image files: a CSV file of their classes; see `nelbo.data.images.folder`.
        augment: random changes of pictures in training, such as "flip,shift"; see `nelbo.data.images.augment`.
        skip_unreadable: whether to skip pictures or lines that cannot be read, with a warning; None: not, where errors
            cannot offer the option.
        columns: a TOML file that describes the columns of a table; in Python also a dictionary.
        decimal: for tables of texts: what begins the decimals, "." or ","; None: as the cells show.
        date_format: for tables: how dates are written, such as "%d/%m/%Y"; None: as the cells show.
        kind: "series" for arrays `(n, steps)` or `(n, steps, channels)`.
        window: steps of the windows into which recordings are cut; the data are then series.
        stride: steps from one window to the next; None: `window`.
        group: for a table of series: the column that names the unit of each row, or several with commas between them;
            in Python also a list. None: inferred.
        counts: whether the values of an array are counts, which are neither shifted nor scaled; set for likelihoods of
            counts.
        tokens: for text: "characters" or "subwords"; None: chosen by the length of the lines.
        vocabulary: for text: the largest number of tokens; None: 4000.
        length: for text: the number of tokens per row; None: chosen from the lines.
        condition: "label" to condition the model on the labels.
    """

    source: str = ""
    val_fraction: float = 0.1
    data_root: str | None = None
    size: str | int | tuple[int, int] | None = None
    resize_mode: ResizeMode = "crop"
    channels: int | None = None
    labels: str | None = None
    augment: str | None = None
    skip_unreadable: bool | None = False
    columns: str | None = None
    decimal: str | None = None
    date_format: str | None = None
    kind: Literal["series"] | None = None
    window: int | None = None
    stride: int | None = None
    group: str | tuple[str, ...] | None = None
    counts: bool = False
    tokens: Tokens | None = None
    vocabulary: int | None = None
    length: int | None = None
    condition: str | None = None

    def __post_init__(self) -> None:
        _ = self.height_and_width
        if not 0 < self.val_fraction < 1:
            raise UserError(f"val_fraction={self.val_fraction}: use a fraction of the rows, 0 < val_fraction < 1")
        for name, choices in (
            ("resize_mode", get_args(ResizeMode)),
            ("tokens", get_args(Tokens)),
            ("kind", ("series",)),
        ):
            if (value := getattr(self, name)) not in (*choices, None):
                raise UserError(f"{name}={value!r}: use one of {', '.join(choices)}")
        if self.decimal not in (None, ".", ","):
            raise UserError(f"decimal={self.decimal!r}: use . or ,")
        if self.date_format is not None and not formats.is_date_format(self.date_format):
            raise UserError(f"date_format={self.date_format!r}: use codes, such as %d/%m/%Y, or %Y%m%d for 20240531")
        if self.channels not in (None, *CHANNELS):
            raise UserError(
                f"channels={self.channels}: use 1 (grey), 3 (colour) or 4 (with transparency), or leave it out"
            )
        if self.stride is not None and self.window is None:
            raise UserError(f"stride={self.stride} requires a window: set that too")
        if self.vocabulary is not None and self.vocabulary < RESERVED + 2:
            raise UserError(
                f"vocabulary={self.vocabulary}: use {RESERVED + 2} or more, for two tokens, END and UNKNOWN"
            )
        if self.length is not None and self.length < 1:
            raise UserError(f"length={self.length}: use at least 1 token")

    @property
    def hints(self) -> formats.Hints:
        """How the texts of a table write numbers and dates, as far as the user says."""
        dates = () if self.date_format is None else (str(formats.parse(self.date_format)),)
        return formats.Hints(self.decimal or "", dates)

    @property
    def height_and_width(self) -> tuple[int, int] | None:
        """The size of pictures in pixels; None if it is not set."""
        if self.size is None:
            return None
        size = self.size
        pair = size.lower().split("x") if isinstance(size, str) else size if isinstance(size, tuple | list) else [size]
        sides = [int(side) for side in pair if str(side).strip().isdecimal() and int(side) > 0]
        if len(sides) != len(pair) or len(sides) not in (1, 2):
            raise UserError(f"size={size!r}: use 64, or 64x48 for height x width, in pixels")
        return sides[0], sides[-1]
