"""Rows of the zoo: lines of tokens. `zoo` merges them into its own."""

from __future__ import annotations

from typing import Any

import torch

from nelbo import nets
from nelbo.distributions import TokenByToken

VOCABULARY, LENGTH, FEATURES, WIDTH = 4, 4, 3, 8
SPREAD = {"gru": 0.5, "transformer": 0.2}  # of what is added to the weights
READERS = [*SPREAD]
VARIED: dict[str, dict[str, Any]] = {
    "text-gru": {"width": 6, "layers": 2, "dropout": 0.0, "word_dropout": 0.5, "vocabulary": 9},
    "text-transformer": {"width": 6, "layers": 1, "heads": 3, "dropout": 0.1, "word_dropout": 0.0, "vocabulary": 9},
}


def reader(kind: str, causal: bool = True, length: int = LENGTH, layers: int = 2) -> nets.text.Reader:
    """A small reader."""
    if kind == "gru":
        return nets.GRU(WIDTH, layers, 0.0, causal)
    return nets.Transformer(length, WIDTH, layers, 2, 0.0, causal)


def decoder(kind: str, length: int = LENGTH, context: int = 0, **dropout: float) -> nets.TextDecoder:
    """A decoder fixed far off its start, float64, in eval(); its start is the same for all lengths."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        rates = {"dropout": 0.0, **dropout}
        net = nets.TextDecoder(
            reader(kind, length=8), VOCABULARY, length, FEATURES, WIDTH, context=context, **rates
        ).double()
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(SPREAD[kind] * torch.randn(parameter.shape, generator=draw))
    return net.eval()


def given(net: nets.TextDecoder, *batch: int) -> TokenByToken:
    """The distribution for a batch of codes."""
    h = torch.randn(*batch, FEATURES, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return TokenByToken(net, net.begin(h))


FIXED = {kind: decoder(kind).requires_grad_(False) for kind in READERS}
DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    f"tokens, {kind}": {
        "make": lambda batch, net=net: given(net, *batch),
        "parameters": ("begun",),
        "tempered": False,
        "moments": False,
    }
    for kind, net in FIXED.items()
}
