"""Networks over rows of token numbers, ended and padded by END; see `nelbo.data.text` for the tokens.

    encoder  x `(batch, length)` -> `(batch, features)`: the maximum of each feature over all tokens
    decoder  p(x_t | x_<t, h): the tokens before t, each with h added to it, and h once more before the logits

Both use a `GRU` or a `Transformer`. Three measures prevent posterior collapse, in which the decoder ignores h: h enters
at each position, the encoder takes the maximum of each feature instead of the last state, and some tokens are hidden
from the decoder in training (word dropout).

Source: Bowman et al. (2016), Generating Sentences from a Continuous Space; Long, Cao, Cheung (2020), On Posterior
Collapse and Encoder Feature Dispersion in Sequence VAEs; Dieng et al. (2019), Avoiding Latent Variable Collapse with
Generative Skip Models.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from nelbo.config.registry import MOST, Count, Depth, Range, Share, register
from nelbo.distributions import noise
from nelbo.errors import UserError
from nelbo.nets.common import Dropout, InitializedFromData, Net
from nelbo.nets.transformer import Block

END, UNKNOWN = 0, 1


def token_mask(x: Tensor) -> Tensor:
    """A mask of the positions of rows `(*batch, length)` that belong to their lines: the tokens and the first END.

    >>> token_mask(torch.tensor([[5, 4, 0, 0], [5, 4, 3, 2]])).tolist()
    [[True, True, True, False], [True, True, True, True]]
    """
    return F.pad((x != END).cummin(-1).values[..., :-1], (1, 0), value=True)


class SequenceEncoder(nn.Module, ABC):
    """Vectors of tokens `(batch, positions, width)` -> an output at each position, of the same shape.

    If it is causal, the output at a position depends only on the positions up to it.
    """

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The outputs at all positions; those from `lengths` on are padding, and their outputs are meaningless."""

    @abstractmethod
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The output at the next position, `(batch, width)`, and the state after it; the first state is None."""


class GRU(SequenceEncoder):
    """Gated recurrent units over the positions.

    Args:
        width: size of the input and the output vectors.
        layers: number of layers.
        dropout: fraction of the features that are set to 0 in training.
        causal: read from the left only; if False, half of the units read from the right.

    Source: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder.
    """

    def __init__(self, width: int, layers: int, dropout: float, causal: bool = True) -> None:
        super().__init__()
        half = width if causal else width // 2
        self.cells = nn.GRU(width, half, layers, batch_first=True, bidirectional=not causal)
        self.dropout = Dropout(dropout)  # between layers; the option of nn.GRU draws from torch's global generator

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        read = self._read(packed) if self.training and self.dropout.p else self.cells(packed)[0]
        return pad_packed_sequence(read, batch_first=True, total_length=x.shape[1])[0]

    def _read(self, packed: PackedSequence) -> PackedSequence:
        """The output of all layers, with dropout between them."""
        data, sizes, ways = packed.data, packed.batch_sizes, 1 + self.cells.bidirectional
        weights = self.cells.all_weights
        for first in range(0, len(weights), ways):
            data = self.dropout(data) if first else data
            start = data.new_zeros(ways, int(sizes[0]), self.cells.hidden_size)
            own: list[Tensor] = [weight for way in weights[first : first + ways] for weight in way]
            data, _ = torch.gru(data, sizes, start, own, True, 1, 0.0, True, ways == 2)
        return PackedSequence(data, sizes, packed.sorted_indices, packed.unsorted_indices)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        read, state = self.cells(x.unsqueeze(1), state)
        return read.squeeze(1), state


class Transformer(SequenceEncoder):
    """Layers of attention with learned position embeddings; see `nelbo.nets.transformer`.

    Args:
        positions: largest number of tokens.
        width: size of the input and the output vectors, a multiple of `heads`.
        layers: number of layers.
        heads: attention heads of each layer.
        dropout: fraction of the features that are set to 0 in training.
        causal: attend to earlier positions only; if False, to all.
    """

    def __init__(
        self, positions: int, width: int, layers: int, heads: int, dropout: float, causal: bool = True
    ) -> None:
        super().__init__()
        self.causal = causal
        self.place = nn.Parameter(0.02 * torch.randn(positions, width))
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        seen = None if self.causal else torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        x = x + self.place[: x.shape[1]]
        for block in self.blocks:
            x = block(x, seen)
        return self.norm(x)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        place, caches = state or (0, [None] * len(self.blocks))
        x, states = (x + self.place[place]).unsqueeze(1), []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block.step(x, cache)  # type: ignore[operator]
            states.append(cache)
        return self.norm(x.squeeze(1)), (place + 1, states)


class _Embedding(nn.Embedding):
    """Token vectors of about unit variance, which are also the weights of the output layer."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.embedding_dim**-0.5)

    def forward(self, codes: Tensor) -> Tensor:
        return super().forward(codes) * math.sqrt(self.embedding_dim)


class TextEncoder(nn.Module):
    """Rows `(batch, length)` and a context -> `(batch, features)`; tokens after the end of a line are ignored.

    Args:
        reader: the sequence network.
        vocabulary: number of tokens.
        features: length of the output vector.
        width: size of the token vectors.
        dropout: fraction of the features that are set to 0 in training.
        context: length of the context vector; 0 for none.
    """

    def __init__(
        self, reader: SequenceEncoder, vocabulary: int, features: int, width: int, dropout: float, context: int = 0
    ) -> None:
        super().__init__()
        self.embedding = _Embedding(vocabulary, width)
        self.context = nn.Linear(context, width) if context else None
        self.reader = reader
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(width, features)

    @property
    def output_bias(self) -> Tensor:
        """The bias of the features."""
        return self.head.bias

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        lengths = token_mask(x).sum(-1)
        positions = int(lengths.max())
        vectors = self.embedding(x[:, :positions].long())
        if self.context is not None:
            vectors = vectors + self.context(torch.cat(context, -1)).unsqueeze(1)
        read = self.reader(self.dropout(vectors), lengths)
        beyond = torch.arange(positions, device=x.device) >= lengths[:, None]
        return self.head(self.dropout(read.masked_fill(beyond.unsqueeze(-1), -torch.inf).amax(1)))


class TextDecoder(nn.Module, InitializedFromData):
    """Features `(batch, features)`, the tokens before each position and a context -> logits of the next token.

    `init_state` maps features and context to the vectors that are added at each position. `read` processes whole rows,
    `step` one token at a time. `logits` scores the vocabulary.

    Args:
        reader: a causal sequence network.
        vocabulary: number of tokens.
        length: tokens of a row.
        features: length of the input vector.
        width: size of the token vectors.
        dropout: fraction of the features that are set to 0 in training.
        word_dropout: fraction of the input tokens that are replaced by UNKNOWN in training.
        context: length of the context vector; 0 for none.
    """

    def __init__(
        self,
        reader: SequenceEncoder,
        vocabulary: int,
        length: int,
        features: int,
        width: int,
        dropout: float,
        word_dropout: float = 0.0,
        context: int = 0,
    ) -> None:
        super().__init__()
        self.embedding = _Embedding(vocabulary, width)
        self.stem = nn.Linear(features + context, 2 * width)
        self.reader, self.length = reader, length
        self.dropout, self.word_dropout = Dropout(dropout), word_dropout
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    @property
    def vocabulary(self) -> int:
        """The number of tokens."""
        return len(self.bias)

    def init_from_data(self, x: Tensor) -> None:
        """Start the logits at the log-frequencies of the tokens in rows of the data."""
        counts = x[token_mask(x)].long().bincount(minlength=self.vocabulary) + 0.5
        with torch.no_grad():
            self.bias.copy_((counts / counts.sum()).log())

    def init_state(self, h: Tensor, *context: Tensor) -> Tensor:
        """The vectors that are added at each position, `(*batch, 2 * width)`."""
        return self.stem(torch.cat([h, *context], -1))

    def read(self, line_state: Tensor, codes: Tensor, lengths: Tensor) -> Tensor:
        """The state before each position of whole rows, `(batch, positions, width)`."""
        before, (inward, outward) = F.pad(codes[:, :-1], (1, 0), value=END), line_state.unsqueeze(1).chunk(2, -1)
        if self.training and self.word_dropout:
            u = noise.uniform(torch.Size(), before.shape[:1], before.shape[1:], torch.empty((), device=before.device))
            before = before.masked_fill(u < self.word_dropout, UNKNOWN)
        return self.dropout(self.reader(self.dropout(self.embedding(before) + inward), lengths) + outward)

    def step(self, line_state: Tensor, last: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The state at the next position, `(batch, width)`, after the token `last` (END before the first)."""
        inward, outward = line_state.chunk(2, -1)
        read, state = self.reader.step(self.dropout(self.embedding(last) + inward), state)
        return self.dropout(read + outward), state

    def logits(self, read: Tensor) -> Tensor:
        """The logits of the next token, `(..., vocabulary)`."""
        return F.linear(read, self.embedding.weight, self.bias)


@dataclass(frozen=True)
class TextNet(Net, ABC):
    """An architecture over tokens; `reader` builds its sequence network."""

    width: Annotated[int, Range(2, MOST)] = 256
    layers: Depth = 1
    dropout: Share = 0.3
    word_dropout: Share = 0.2
    vocabulary: Annotated[int, Range(0, MOST)] = 0

    def __post_init__(self) -> None:
        if self.width % 2:
            raise UserError(f"width = {self.width}: give an even number")

    @abstractmethod
    def reader(self, length: int, causal: bool) -> SequenceEncoder:
        """The sequence network for rows of `length` tokens."""

    def encoder(self, shape: tuple[int, ...], features: int, context: int = 0) -> nn.Module:
        reader = self.reader(self._length(shape), causal=False)
        return TextEncoder(reader, self.vocabulary, features, self.width, self.dropout, context)

    def decoder(self, features: int, shape: tuple[int, ...], outputs: int, context: int = 0) -> nn.Module:
        length = self._length(shape)
        widths = (features, self.width, self.dropout, self.word_dropout, context)
        return TextDecoder(self.reader(length, causal=True), self.vocabulary, length, *widths)

    def _length(self, shape: tuple[int, ...]) -> int:
        if not self.vocabulary or len(shape) != 1:
            raise UserError(f'a text net takes lines of text, and the data has shape {shape}: use kind = "mlp"')
        return shape[0]


@register("net", "text-gru", cite=("cho2014learning", "dieng2019avoiding", "long2020posterior"))
@dataclass(frozen=True)
class TextGRU(TextNet):
    """A GRU over tokens; the encoder reads in both directions.

    Args:
        width: size of the token vectors and of the state, an even number.
        layers: layers of the GRU.
        dropout: fraction of the features that are set to 0 in training.
        word_dropout: fraction of the tokens that are hidden from the decoder in training, against posterior collapse.
        vocabulary: number of tokens; set from the schema.
    """

    def reader(self, length: int, causal: bool) -> SequenceEncoder:
        return GRU(self.width, self.layers, self.dropout, causal)


@register("net", "text-transformer", cite=("vaswani2017attention", "dieng2019avoiding", "long2020posterior"))
@dataclass(frozen=True)
class TextTransformer(TextNet):
    """A transformer over tokens; the encoder attends in both directions.

    Args:
        width: size of the token vectors, a multiple of `heads`.
        layers: layers of attention.
        heads: attention heads of each layer.
        dropout: fraction of the features that are set to 0 in training.
        word_dropout: fraction of the tokens that are hidden from the decoder in training, against posterior collapse.
        vocabulary: number of tokens; set from the schema.
    """

    layers: Depth = 2
    heads: Count = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise UserError(f"heads = {self.heads}: give a divisor of the width, {self.width}")

    def reader(self, length: int, causal: bool) -> SequenceEncoder:
        return Transformer(length, self.width, self.layers, self.heads, self.dropout, causal)
