"""Autoregressive likelihoods: the cells of a table's row, and the tokens of a line of text.

In a table each column has its own likelihood, and the likelihood of a row is their product, cell by cell.

Source: Uria, Murray, Larochelle (2014), A Deep and Tractable Density Estimator; Ivanov, Figurnov, Vetrov (2019),
Variational Autoencoder with Arbitrary Conditioning; Bowman et al. (2016), Generating Sentences from a Continuous Space.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.config.registry import register
from nelbo.errors import UserError
from nelbo.likelihoods.base import Likelihood
from nelbo.nets import TableDecoder, TextDecoder


@register("likelihood", "table", cite=("uria2014deep", "ivanov2019variational"))
class TableLikelihood(Likelihood):
    """p(x | h) = prod_j p(x_j | h, the cells before it): masses of categories, densities of numbers.

    Missing cells (NaN) add nothing. In training `log_prob` is an estimate from one subset of the cells.

    Raises:
        UserError: if the decoder is not a `TableDecoder`.
    """

    support = constraints.real
    missing = True
    net: TableDecoder

    def __init__(self, decoder: nn.Module, event_dims: int) -> None:
        super().__init__(decoder, event_dims)
        if not isinstance(decoder, TableDecoder):
            raise UserError('the table likelihood takes a decoder over cells: model.decoder = { kind = "table" }')

    def forward(self, *context: Tensor | None) -> distributions.AutoregressiveTable:
        h, *rest = context
        assert h is not None
        present = [c.expand(*h.shape[:-1], c.shape[-1]) for c in rest if c is not None]
        return distributions.AutoregressiveTable(self.net, self.net.init_state(h, *present), self.training)

    def init_output_bias(self, mean: Tensor) -> None:
        """Do nothing: the decoder initializes its logits from rows."""


@register("likelihood", "text", cite="bowman2016generating")
class TextLikelihood(Likelihood):
    """p(x | h) = prod_t p(x_t | h, x_<t) up to the end of the line.

    Raises:
        UserError: if the decoder is not a `TextDecoder`.
    """

    reconstruct_from_typical = True
    support: constraints.Constraint
    net: TextDecoder

    def __init__(self, decoder: nn.Module, event_dims: int) -> None:
        super().__init__(decoder, event_dims)
        if not isinstance(decoder, TextDecoder):
            raise UserError('the text likelihood takes a decoder over tokens: model.decoder = { kind = "text-gru" }')
        self.support = distributions.Lines(decoder.vocabulary)

    def forward(self, *context: Tensor | None) -> distributions.AutoregressiveText:
        h, *rest = context
        assert h is not None
        present = [c.expand(*h.shape[:-1], c.shape[-1]) for c in rest if c is not None]
        return distributions.AutoregressiveText(self.net, self.net.init_state(h, *present))

    def init_output_bias(self, mean: Tensor) -> None:
        """Do nothing: the decoder initializes its logits from rows."""
