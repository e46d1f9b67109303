"""The tokens of text: how a line is split into tokens, and how tokens are joined into a line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np

from nelbo.errors import UserError, require

Tokens = Literal["characters", "subwords"]
END, UNKNOWN = 0, 1
RESERVED = 2  # token numbers END and UNKNOWN, which stand for no text
REPLACEMENT = "\ufffd"  # the character for UNKNOWN
LIBRARY = "tokenizers", "subwords", "pip install 'nelbo[text]', or use tokens=characters"
WORD = 256  # bytes of a word that are merged together: the time grows with the square
BYTES = 256  # a byte-level vocabulary contains each byte


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one kind, numbered from 2; `merges` are the pairs that subwords are merged from, in order.

    Raises `UserError` for fewer than two tokens, since text of a single token has nothing to learn.

    >>> names = Vocabulary("characters", ("a", "n"))
    >>> names.numbers(["anna", "ana!"])
    [[2, 3, 3, 2], [2, 3, 2, 1]]
    >>> names.text([2, 3, 2, 1, 0, 0])
    'ana\ufffd'
    """

    kind: Tokens
    tokens: tuple[str, ...]
    merges: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Tokens):
            raise UserError(f"tokens={self.kind!r}: use one of {', '.join(get_args(Tokens))}")
        if len(self.tokens) < 2:
            held = f"only {self.tokens[0]!r}" if self.tokens else "no character"
            raise UserError(
                f"a vocabulary of {len(self.tokens)}, {held}: give text with 2 or more different characters"
            )

    @property
    def size(self) -> int:
        """The number of token numbers, END and UNKNOWN included."""
        return len(self.tokens) + RESERVED

    def numbers(self, lines: Sequence[str]) -> list[list[int]]:
        """The token numbers of each line."""
        if self.kind == "subwords":
            return [[i + RESERVED for i in line.ids] for line in self._tokenizer.encode_batch(list(lines))]
        return [[self._places.get(character, UNKNOWN) for character in line] for line in lines]

    def text(self, numbers: Sequence[int]) -> str:
        """The line of these token numbers, up to the first END."""
        kept = list(numbers[: numbers.index(END)] if END in numbers else numbers)
        if self.kind == "subwords":
            return str(self._tokenizer.decode([i - RESERVED for i in kept if i >= RESERVED])).strip()
        return "".join(self.tokens[i - RESERVED] if i >= RESERVED else REPLACEMENT for i in kept)

    def lines(self, values: np.ndarray) -> list[str]:
        """The lines of rows of token numbers `(n, length)`."""
        return [self.text(row) for row in values.astype(np.int64).tolist()]

    def spelled(self, number: int) -> str:
        """The text of one token."""
        return "end" if number == END else self.text([number])

    @cached_property
    def _places(self) -> dict[str, int]:
        return {token: place for place, token in enumerate(self.tokens, RESERVED)}

    @cached_property
    def _tokenizer(self) -> Any:
        pairs = [tuple(merge.split(" ")) for merge in self.merges]
        model = require(*LIBRARY).models.BPE({token: place for place, token in enumerate(self.tokens)}, pairs)
        return _byte_level(model)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of strings and lists; `parse` reads it back exactly."""
        return {"kind": self.kind, "tokens": list(self.tokens), "merges": list(self.merges)}


def characters(lines: Sequence[str], most: int) -> Vocabulary:
    """The most frequent characters, up to `most` token numbers in all; in the order of their code points."""
    counted = Counter(chain.from_iterable(lines))
    kept = sorted(counted, key=lambda character: (-counted[character], character))[: most - RESERVED]
    return Vocabulary("characters", tuple(sorted(kept)))


def subwords(lines: Sequence[str], most: int) -> Vocabulary:
    """Train subwords on the lines, up to `most` token numbers in all.

    Raises `UserError` if `most` is too small for all bytes.
    """
    if most < BYTES + RESERVED:
        raise UserError(f"vocabulary={most}: subwords need {BYTES + RESERVED} or more: use that, or tokens=characters")
    library = require(*LIBRARY)
    tokenizer = _byte_level(library.models.BPE())
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    trainer = library.trainers.BpeTrainer(
        vocab_size=most - RESERVED, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(lines, trainer)
    places: dict[str, int] = tokenizer.get_vocab()
    made = json.loads(tokenizer.to_str())["model"]["merges"]
    merges = tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in made)
    return Vocabulary("subwords", tuple(sorted(places, key=places.__getitem__)), merges)


def _byte_level(model: Any) -> Any:
    """A byte-level tokenizer that keeps a word with the space before it, and merges no pair beyond `WORD` bytes."""
    library = require(*LIBRARY)
    tokenizer = library.Tokenizer(model)
    cut = library.pre_tokenizers
    pieces = cut.Split(library.Regex(f".{{{WORD}}}"), "isolated")
    tokenizer.pre_tokenizer = cut.Sequence([cut.ByteLevel(add_prefix_space=True), pieces])
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer
