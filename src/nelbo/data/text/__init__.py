"""Text: lines of a file or a list of strings to rows of token numbers, and back.

A line is a row of `length` integers: its tokens, then END (0) up to the row's end. Longer lines are cut, with a
warning. Tokens are characters, where a character that is not in the training lines becomes UNKNOWN (1), or subwords
(byte-level byte pair encoding, trained on the training lines), which represent any text: see `nelbo.data.vocabulary`.

By default, tokens are characters if nine of ten lines have 32 characters or fewer (names, words), else subwords;
`length` is twice the length of the longest line, without the longest hundredth of them, and at most 512.

Spaces around a line are dropped. Empty lines are left out, with a warning.

Source: Sennrich, Haddow, Birch (2016), Neural Machine Translation of Rare Words with Subword Units.
"""

from nelbo.data.text.rows import encode, fit_vocabulary, is_text, lines_of
