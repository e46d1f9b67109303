"""Text: the lines of a file or a list of strings -> rows of token numbers, and back.

A line is a row of `length` whole numbers: its tokens, then END (0) up to the row's end. A longer line is cut, which is
said in a warning. Tokens are characters, of which one that training never saw becomes UNKNOWN (1), or subwords
(byte-level byte pair encoding, trained on the training lines), which spell any text: see `nelbo.data.vocabulary`.

Left to choose, tokens are characters where nine of ten lines have 32 characters or fewer (names, words), else subwords;
`length` is twice that of all lines but the longest hundredth, at most 512.

Spaces around a line are dropped, and lines without anything else are left out and counted.

Source: Sennrich, Haddow, Birch (2016), Neural Machine Translation of Rare Words with Subword Units.
"""

from nelbo.data.text.files import is_text, lines_of
from nelbo.data.text.rows import encode, fit_vocabulary

__all__ = ["encode", "fit_vocabulary", "is_text", "lines_of"]
