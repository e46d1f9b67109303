"""Invertible maps. Each has a flow prior and a flow posterior, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from nelbo.nets.flows import Transform
from zoo.rows import LATENT, Row, table


@dataclass(frozen=True)
class TransformRow(Row):
    """A transform of flows."""

    family: ClassVar[str] = "transform"

    def build(self, dim: int = LATENT, context: int = 0) -> Transform:
        """The map over vectors of `dim` numbers, with `context` further ones."""
        return self.component.build(dim=dim, context=context)  # type: ignore[no-any-return]

    @property
    def plain(self) -> dict[str, Any]:
        """The table of a recipe."""
        return {"kind": self.kind, **self.options}


TRANSFORMS = table(
    TransformRow("iaf", {"steps": 3, "hidden": (16,)}),
    TransformRow("maf", {"steps": 2, "hidden": (16, 12)}),
    TransformRow("realnvp", {"steps": 2, "hidden": (16,)}),
    TransformRow("planar", {"steps": 3}),
    TransformRow("sylvester", {"steps": 2, "reflections": 2}),
    TransformRow("zuko", {"flow": "NSF", "steps": 1, "hidden": (16,)}),
    TransformRow("zuko", {"flow": "MAF", "inverse": True}, "inverse", elsewhere="test_flows"),
)
