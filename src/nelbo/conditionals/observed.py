"""The likelihood of data of which some elements were not observed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nelbo import distributions
from nelbo.conditionals.base import Likelihood


class Observed(Likelihood):
    """p(x_o | h): `base`, a likelihood of independent elements, of those observed alone; NaN marks the others."""

    def __init__(self, base: Likelihood) -> None:
        nn.Module.__init__(self)  # the net is the base's, and saved once
        self.base, self.event_dims = base, base.event_dims

    @property
    def net(self) -> nn.Module:  # type: ignore[override]
        """The decoder."""
        return self.base.net

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def normalized(self) -> bool:  # type: ignore[override]
        return self.base.normalized

    @property
    def support(self) -> Any:  # type: ignore[override]
        return self.base.support

    def forward(self, *context: Tensor | None) -> distributions.Observed:
        d = self.base(*context)
        assert isinstance(d, distributions.Distribution)
        return distributions.Observed(d)

    def start_at(self, mean: Tensor) -> None:
        self.base.start_at(mean)
