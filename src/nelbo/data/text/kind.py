"""Lines of text: files and lists of strings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nelbo.data import html
from nelbo.data.dataset import Dataset, DataSplits, subset
from nelbo.data.kinds import DataKind, RowNames
from nelbo.data.options import DataOptions
from nelbo.data.schema import Schema
from nelbo.data.split import RANDOM_SPLIT, at_random
from nelbo.data.text.rows import encode, fit_vocabulary, is_text, lines_of
from nelbo.errors import UserError


class TextKind(DataKind):
    """Lines of text, as rows of tokens."""

    name = "text"
    noun = "text"
    source_nouns = ("text", "a .txt file")
    options = ("tokens", "vocabulary", "length")
    recipe = "text"
    figures = "nelbo.plotting.text"
    endings = (".txt",)
    default_ending = ""
    is_array = False
    sample_likelihood = True
    n_init_rows = 20_000
    own_parts = "text"
    varies_by = "decoding"

    def recognises(self, source: Any, options: DataOptions) -> bool:
        return is_text(source)

    def load(self, source: Any, options: DataOptions, seed: int) -> DataSplits:
        text = lines_of(source, options.skip_unreadable)
        train, test = at_random(len(text.lines), text.name, options.val_fraction, seed)
        schema = fit_vocabulary([text.lines[i] for i in train.tolist()], options)
        whole = encode(text, schema)
        name = Path(text.name).name.partition(".")[0]
        return DataSplits(name, subset(whole, train), subset(whole, test), RANDOM_SPLIT)

    def load_like(self, source: Any, schema: Schema, split: str, options: DataOptions) -> Dataset:
        self.check_source(str(source) if isinstance(source, str | Path) else "a list of strings", schema)
        if not (isinstance(source, str | Path) or is_text(source)):
            raise UserError(
                f"a {type(source).__name__} is not text, which the model needs: give a line, a list of lines, or "
                "a .txt file"
            )
        return encode(lines_of(source, options.skip_unreadable), schema)

    def default_net(self, schema: Schema) -> dict[str, Any]:
        return {"kind": "text-gru"}

    def default_likelihood(self, schema: Schema) -> str:
        return "text"

    def net_sizes(self, schema: Schema) -> dict[str, Any]:
        assert schema.vocabulary is not None
        return {"vocabulary": schema.vocabulary.size}

    def check_schema(self, schema: Schema) -> None:
        super().check_schema(schema)
        if schema.vocabulary is None:
            raise UserError("kind=text requires a vocabulary: set one, for text only")
        if (schema.shift, schema.scale) != ((0.0,), (1.0,)):
            raise UserError(
                f"shift={schema.shift}, scale={schema.scale}: give 0 and 1 for text, whose tokens are numbers"
            )

    def check_usable(self, schema: Schema) -> None:
        assert schema.vocabulary is not None
        schema.vocabulary.lines(np.arange(schema.vocabulary.size)[None])
        schema.vocabulary.numbers(["a text"])

    def describe(self, schema: Schema) -> str:
        assert schema.vocabulary is not None
        return f"lines of up to {schema.shape[0]} tokens, {schema.vocabulary.size:,} different tokens"

    def to_html(self, values: Any, schema: Schema) -> str:
        return html.line_list(values, schema)

    def row_names(self, rows: Dataset) -> RowNames:
        """The number of each line: in a file counted from 1, in a list from 0."""
        if rows.source is None:
            return super().row_names(rows)
        numbers = [rows.source.numbers[place] for place in rows.places.tolist()]
        return RowNames("line" if rows.source.in_file else "row", numbers)

    def to_user(self, values: np.ndarray, schema: Schema) -> list[str]:
        assert schema.vocabulary is not None
        return schema.vocabulary.lines(values)

    def to_bytes(self, values: Any, schema: Schema, ending: str) -> bytes:
        return "".join(f"{line}\n" for line in values).encode()

    def element_names(self, schema: Schema) -> list[str]:
        return [f"token {j}" for j in range(schema.shape[0])]

    def element_texts(self, rows: Dataset) -> list[list[str]]:
        vocabulary = rows.schema.vocabulary
        assert vocabulary is not None
        return [[vocabulary.spelled(int(token)) for token in row] for row in rows[range(len(rows))].tolist()]
