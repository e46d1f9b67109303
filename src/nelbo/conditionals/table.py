"""The likelihood of a table's rows: each column has its own, and the row's is their product, cell by cell."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import constraints

from nelbo import distributions
from nelbo.conditionals.base import Likelihood
from nelbo.errors import UserError
from nelbo.nets import TableDecoder


class Table(Likelihood):
    """p(x | h) = prod_j p(x_j | h, the cells known before it); see `nelbo.distributions.cells`.

    Missing cells (NaN) add nothing. In training `log_prob` is an estimate from one subset of the cells. Raises
    `UserError` for a net that is not over cells.
    """

    support = constraints.real

    def __init__(self, net: nn.Module, event_dims: int) -> None:
        super().__init__(net, event_dims)
        if not isinstance(net, TableDecoder):
            raise UserError('the table likelihood takes a decoder over cells: model.decoder = { kind = "table" }')

    def forward(self, *context: Tensor | None) -> distributions.CellByCell:
        h, *rest = context
        assert h is not None and isinstance(self.net, TableDecoder)
        given = [c.expand(*h.shape[:-1], c.shape[-1]) for c in rest if c is not None]
        return distributions.CellByCell(self.net, self.net.begin(h, *given), self.training)

    def start_at(self, mean: Tensor) -> None:
        """Nothing: the net starts from rows."""
