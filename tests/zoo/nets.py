"""Networks, with the shapes of data that they take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from torch import Tensor, nn

from fixtures import cells
from nelbo.nets import InitializedFromData, Net
from zoo.rows import Row, Shape, table

FEATURES = 5
SHAPES: list[Shape] = [(1, 1, 1), (3, 5, 9), (1, 28, 28), (4, 17, 3), (7,)]
PICTURES = [shape for shape in SHAPES if len(shape) == 3]
SERIES: list[Shape] = [(2, 1), (17, 3), (5, 2)]


@dataclass(frozen=True)
class NetRow(Row):
    """An architecture.

    Args:
        shapes: shapes of data that it takes.
        encodes: whether its encoder obeys the laws of encoders.
        decodes: whether its decoder obeys the laws of decoders.
        features: size of the features for which a decoder reads `FEATURES` numbers.
        rows: makes the data that an encoder is set from before training.
    """

    family: ClassVar[str] = "net"

    _: KW_ONLY
    shapes: Sequence[Shape] = ()
    encodes: bool = True
    decodes: bool = True
    features: int = FEATURES
    rows: Callable[[], Tensor] | None = None

    @property
    def net(self) -> Net:
        """The architecture."""
        return self.component.build()  # type: ignore[no-any-return]

    def encoder(self, shape: Shape, context: int = 0) -> nn.Module:
        """An encoder of `FEATURES` features, outside training."""
        encoder = self.net.encoder(shape, FEATURES, context)
        if self.rows is not None:
            assert isinstance(encoder, InitializedFromData)
            encoder.init_from_data(self.rows().float())
        return encoder.eval()

    def decoder(self, shape: Shape, context: int = 0, outputs: int = 1) -> nn.Module:
        """A decoder of `FEATURES` numbers."""
        return self.net.decoder(self.features, shape, outputs, context)


def _grids(patch: int) -> list[NetRow]:
    """Grids of one place, which any number of features fills."""
    halvings = {shape: math.ceil(math.log2(-(-max(shape[1:]) // patch))) for shape in PICTURES}
    options = {"width": 4, "blocks": 1, "patch": patch}
    return [
        NetRow("grid", {**options, "halvings": n}, f"patch {patch}, side {max(shape)}", shapes=[shape])
        for shape, n in halvings.items()
    ]


COLUMNS = (0,) * 7

NETS = table(
    NetRow("mlp", {"hidden": (16, 12)}, shapes=SHAPES),
    NetRow("mlp", {"hidden": ()}, "linear", shapes=SHAPES),
    NetRow("conv", {"width": 4}, shapes=PICTURES),
    NetRow("conv", {"width": 4, "patch": 3}, "patches", shapes=PICTURES),
    NetRow("conv", {"width": 4, "blocks": 0}, "no blocks", shapes=PICTURES),
    NetRow("conv1d", {"width": 4}, shapes=SERIES),
    NetRow("conv1d", {"width": 4, "patch": 3}, "patches", shapes=SERIES),
    NetRow("conv1d", {"width": 4, "blocks": 0}, "no blocks", shapes=SERIES),
    NetRow("recurrent", {"width": 4}, shapes=SERIES),
    *_grids(2),
    *_grids(3),
    NetRow("head", shapes=[(1, 1, 1)], encodes=False),
    NetRow("head", {}, "pixels", shapes=[(3, 5, 1), (2, 1, 5)], encodes=False, features=1),
    NetRow(  # its decoder, and what its encoder reads of categories, are not smooth functions
        "table",
        {"width": 16, "blocks": 2, "dropout": 0.2, "bins": 5, "sizes": COLUMNS},
        shapes=[(7,)],
        decodes=False,
        rows=lambda: cells.rows(COLUMNS),
    ),
    NetRow("table", {"sizes": (0, 3), "gaps": (1,)}, "gaps", elsewhere="test_cells"),
    NetRow(
        "text-gru",
        {"width": 6, "layers": 2, "dropout": 0.0, "word_dropout": 0.5, "vocabulary": 9},
        elsewhere="test_text",
    ),
    NetRow(
        "text-transformer",
        {"width": 6, "layers": 1, "heads": 3, "dropout": 0.1, "word_dropout": 0.0, "vocabulary": 9},
        elsewhere="test_text",
    ),
)
ENCODERS = {name: row for name, row in NETS.items() if row.encodes and not row.elsewhere}
DECODERS = {name: row for name, row in NETS.items() if row.decodes and not row.elsewhere}
