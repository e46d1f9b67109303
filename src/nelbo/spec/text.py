"""Backbones over lines of text: a GRU and a transformer."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import nn

from nelbo import nets
from nelbo.errors import UserError
from nelbo.registry import register
from nelbo.spec.nets import Net


@dataclass(frozen=True)
class Text(Net):
    """A net over tokens: vectors of `width` numbers, `layers` that read them, and dropout.

    In training, a share `word_dropout` of the tokens that the decoder reads is withheld. `vocabulary`, how many tokens
    there are, comes from the schema.
    """

    width: int = 256
    layers: int = 1
    dropout: float = 0.3
    word_dropout: float = 0.2
    vocabulary: int = 0

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2 or self.layers < 1 or self.vocabulary < 0:
            raise UserError(
                f"width={self.width}, layers={self.layers}, vocabulary={self.vocabulary}: give an even width >= 2, "
                "layers >= 1 and vocabulary >= 0"
            )
        if not (0 <= self.dropout < 1 and 0 <= self.word_dropout < 1):
            raise UserError(f"dropout={self.dropout}, word_dropout={self.word_dropout}: give 0 or more, and below 1")

    @abstractmethod
    def reader(self, length: int, causal: bool) -> nets.text.Reader:
        """What reads rows of `length` tokens."""

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        return nets.TextEncoder(
            self.reader(self._length(shape), causal=False), self.vocabulary, features, self.width, self.dropout, context
        )

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        length = self._length(shape)
        reader = self.reader(length, causal=True)
        widths = (features, self.width, self.dropout, self.word_dropout, context)
        return nets.TextDecoder(reader, self.vocabulary, length, *widths)

    def _length(self, shape: tuple[int, ...]) -> int:
        if not self.vocabulary or len(shape) != 1:
            raise UserError(f'a text net takes lines of text, and the data has shape {shape}: use kind = "mlp"')
        return shape[0]


@register(Net, "text-gru")
@dataclass(frozen=True)
class TextGRU(Text):
    """A GRU over tokens; the encoder's reads both ways."""

    def reader(self, length: int, causal: bool) -> nets.text.Reader:
        return nets.GRU(self.width, self.layers, self.dropout, causal)


@register(Net, "text-transformer")
@dataclass(frozen=True)
class TextTransformer(Text):
    """A transformer over tokens, its attention in `heads`; the encoder's sees both ways."""

    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads < 1 or self.width % self.heads:
            raise UserError(f"heads={self.heads}: give a divisor of the width, {self.width}")

    def reader(self, length: int, causal: bool) -> nets.text.Reader:
        return nets.Transformer(length, self.width, self.layers, self.heads, self.dropout, causal)
