"""The base class of posteriors: an encoder whose outputs are the parameters of a distribution."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nelbo.distributions.base import ConditionalDistribution, apply_over_sample_dims
from nelbo.priors.base import REALS, Prior


class Posterior(ConditionalDistribution, ABC):
    """q(z | x, c): a network returns the parameters of the distribution side by side.

    Args:
        encoder: maps x `(batch, *shape)` and a context to `n_params(dim)` numbers.
        event_dims: number of dimensions of a datum.
        param_sizes: length of each parameter, in the order of the outputs.
        init_bias: initial bias of the second parameter; None leaves it as the encoder has it.
    """

    family: ClassVar[str] = "posterior"
    learns_metric: ClassVar[bool] = False
    """Whether its method `metric` returns a learned metric of the latent space."""

    def __init__(
        self, encoder: nn.Module, event_dims: int, param_sizes: Sequence[int] = (), init_bias: float | None = None
    ) -> None:
        super().__init__()
        self.net, self.event_dims = encoder, event_dims
        self.param_sizes = list(param_sizes)
        if init_bias is not None:
            bias: Tensor = encoder.output_bias  # type: ignore[assignment]
            with torch.no_grad():
                bias.split(self.param_sizes)[1].fill_(init_bias)

    @classmethod
    def n_params(cls, dim: int, **options: Any) -> int:
        """The number of outputs of the encoder for `dim` latents."""
        return 2 * dim

    @classmethod
    def space(cls, **options: Any) -> str:
        """A description of the set that z lies in; it must equal the prior's."""
        return REALS

    def bind(self, prior: Prior, likelihood: ConditionalDistribution) -> None:
        """Attach the prior and the likelihood, in posteriors that need them; most ignore them."""

    def encode(self, *context: Tensor | None) -> Tensor:
        """The encoder's outputs for each datum, `(*sample, batch, n_params)`."""
        x, *rest = context
        assert x is not None
        return apply_over_sample_dims(self.net, x, *rest, event_dims=self.event_dims)

    def params(self, *context: Tensor | None) -> tuple[Tensor, ...]:
        """The encoder's outputs, one tensor for each parameter."""
        return self.encode(*context).split(self.param_sizes, -1)
