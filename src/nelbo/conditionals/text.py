"""The likelihood of lines of text, token by token."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.conditionals.base import Likelihood
from nelbo.errors import UserError
from nelbo.nets import TextDecoder


class Text(Likelihood):
    """p(x | h) = prod_t p(x_t | h, x_<t) up to the end of the line; see `nelbo.distributions.tokens`.

    Raises `UserError` for a net that is not over tokens.
    """

    typical = True
    support: constraints.Constraint

    def __init__(self, net: nn.Module, event_dims: int) -> None:
        super().__init__(net, event_dims)
        if not isinstance(net, TextDecoder):
            raise UserError('the text likelihood takes a decoder over tokens: model.decoder = { kind = "text-gru" }')
        self.support = distributions.Lines(net.vocabulary)

    def forward(self, *context: Tensor | None) -> distributions.TokenByToken:
        h, *rest = context
        assert h is not None and isinstance(self.net, TextDecoder)
        given = [c.expand(*h.shape[:-1], c.shape[-1]) for c in rest if c is not None]
        return distributions.TokenByToken(self.net, self.net.begin(h, *given))

    def start_at(self, mean: Tensor) -> None:
        """Nothing: the net starts from rows."""
