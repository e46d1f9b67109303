"""Text to rows of tokens and back: files, vocabularies, lengths; and every way in which a file can be wrong."""

from __future__ import annotations

import codecs
import gzip
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow
import pytest
import torch

from nelbo.config.registry import parse
from nelbo.data import Schema, load, load_like, text
from nelbo.data.vocabulary import END, UNKNOWN, Vocabulary, characters, subwords
from nelbo.errors import UserError

NAMES = ["anna", "ben", "cleo", "dora", "emil", "finn"]
SENTENCES = [
    f"{who} {does} {what}."
    for who in ("A man", "Two young women", "The old dog")
    for does in ("looks at", "is waiting for", "walks away from")
    for what in ("a red bus", "the naïve child", "some people in the street", "日本語")
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lines_of(dataset: Any) -> list[str]:
    rows = dataset.batch(torch.arange(len(dataset)))
    return list(dataset.schema.vocabulary.lines(rows.numpy()))


@pytest.mark.parametrize(
    ("name", "write"),
    {
        "plain.txt": lambda s: s.encode(),
        "marked.txt": lambda s: codecs.BOM_UTF8 + s.encode(),
        "little.txt": lambda s: codecs.BOM_UTF16_LE + s.encode("utf-16-le"),
        "big.txt": lambda s: codecs.BOM_UTF16_BE + s.encode("utf-16-be"),
        "windows.txt": lambda s: s.replace("\n", "\r\n").encode(),
        "packed.txt.gz": lambda s: gzip.compress(s.encode()),
        "classic.txt": lambda s: s.replace("\n", "\r").encode(),
        "wide.txt": lambda s: codecs.BOM_UTF32_LE + s.encode("utf-32-le"),
        "open.txt": lambda s: s.removesuffix("\n").encode(),
    }.items(),
)
@pytest.mark.parametrize("lines", [NAMES, SENTENCES], ids=["names", "sentences"])
def test_files_say_what_they_hold(name: str, write: Callable[[str], bytes], lines: list[str]) -> None:
    """In every encoding, the lines of a file are the list's; held out as always; and come back as they were."""
    Path(name).write_bytes(write("".join(f"{line}\n" for line in lines)))
    found, listed = load(name, vocabulary=300), load(lines, vocabulary=300)
    assert found.name == name.partition(".")[0] and found.schema == listed.schema and found.schema.kind == "text"
    for ours, theirs in ((found.train, listed.train), (found.test, listed.test)):
        assert lines_of(ours) == lines_of(theirs)
    if lines is SENTENCES:
        assert sorted([*lines_of(found.train), *lines_of(found.test)]) == sorted(lines)
    assert lines_of(load_like(name, found.schema)) == lines_of(load_like(lines, found.schema))


def test_strings_in_any_container_are_text() -> None:
    expected = lines_of(load(NAMES).train)
    own = [pandas.Series(NAMES, dtype=dtype) for dtype in (object, "string", "category")]
    others = [np.array(NAMES), np.array(NAMES, object), tuple(NAMES), polars.Series(NAMES), pyarrow.array(NAMES)]
    for source in (*own, *others, pyarrow.chunked_array([NAMES]), [np.str_(name) for name in NAMES]):
        assert lines_of(load(source).train) == expected
    for source in ([*NAMES, None], [*NAMES, float("nan")], pandas.Series([*NAMES, None], dtype="string")):
        with pytest.warns(UserWarning, match="text: 1 empty line is left out"):
            assert lines_of(load(source).train) == expected
    with pytest.raises(UserError, match="text: item 6 is 5, which is not a string: give strings alone"):
        load([*NAMES, 5])
    with pytest.raises(UserError, match=r"text: item 0 is b'anna', which is not a string: decode it"):
        load([name.encode() for name in NAMES])
    with pytest.warns(UserWarning, match="all lines are numbers, read as text"):
        load(["12", "3.5", "-7"])
    with pytest.raises(UserError, match="give the column of texts, such as table\\['words'\\]"):
        load(pandas.DataFrame({"words": [f"line {i} of a text" for i in range(99)]}))


def test_rows_are_named_by_their_lines() -> None:
    Path("gaps.txt").write_text("\nanna\n\n\nben\ncleo\n")
    with pytest.warns(UserWarning, match="3 empty lines are left out"):
        data = load("gaps.txt")
    kind = data.schema.data_kind
    assert [kind.row_names(part).label for part in (data.train, data.test)] == ["line"] * 2
    assert sorted([*kind.row_names(data.train).values, *kind.row_names(data.test).values]) == [2, 5, 6]
    assert kind.row_names(load_like(["ben", "anna"], data.schema)).values == [0, 1]


def test_a_word_of_any_length_is_read_in_seconds() -> None:
    rng = np.random.default_rng(0)
    word = "".join(rng.choice(list("abcdefgh"), 300_000))
    with pytest.warns(UserWarning, match="are cut to 512 tokens"):
        schema = load([word, *SENTENCES], vocabulary=300).schema
    assert schema.vocabulary is not None and schema.vocabulary.kind == "subwords"
    assert schema.vocabulary.text(schema.vocabulary.numbers([word])[0]) == word


def test_tokens_follow_the_lengths_of_the_lines() -> None:
    assert load(NAMES).schema.vocabulary.kind == "characters"  # type: ignore[union-attr]
    assert load(SENTENCES).schema.vocabulary.kind == "subwords"  # type: ignore[union-attr]
    chosen = load(SENTENCES, tokens="characters").schema
    assert chosen.vocabulary is not None and set(chosen.vocabulary.tokens) <= set("".join(SENTENCES))


def test_subwords_are_those_of_the_library_and_spell_anything() -> None:
    """Each row is what `tokenizers` itself makes of the line, moved by the two reserved numbers."""
    from tokenizers import ByteLevelBPETokenizer

    found = subwords(SENTENCES, 400)
    tokens = {token: i for i, token in enumerate(found.tokens)}
    theirs = ByteLevelBPETokenizer(tokens, [tuple(m.split(" ")) for m in found.merges], add_prefix_space=True)
    assert found.numbers(SENTENCES) == [[i + 2 for i in theirs.encode(line).ids] for line in SENTENCES]
    assert 300 < found.size <= 400
    for line in [*SENTENCES, "Straße, Ω and 🦊!", "x" * 1000]:
        (numbers,) = found.numbers([line])
        assert found.text(numbers) == line and UNKNOWN not in numbers and END not in numbers
    assert len(found.numbers(["A man looks at a red bus."])[0]) < 12


def test_characters_are_the_most_frequent_ones() -> None:
    found = characters(["banana", "bad"], 5)
    assert found.tokens == ("a", "b", "n") and found.size == 5
    assert found.numbers(["bad"]) == [[3, 2, UNKNOWN]] and found.text([3, 2, UNKNOWN, END, 3]) == "ba\ufffd"


def test_rows_are_tokens_then_ends() -> None:
    schema = Schema("text", (4,), (0.0,), (1.0,), "real", vocabulary=Vocabulary("characters", ("a", "b")))
    with pytest.warns(UserWarning, match=r"1 of 3 lines are cut to 4 tokens \(the longest is line 3, of 6: --length 6"):
        rows = load_like(["ab", "b", "abbaba"], schema)
    assert rows.batch(torch.arange(3)).tolist() == [[2, 3, 0, 0], [3, 0, 0, 0], [2, 3, 3, 2]]
    with pytest.warns(UserWarning, match="text: 2 characters are not in the vocabulary and become UNKNOWN"):
        assert load_like("axby", schema).batch(torch.arange(1)).tolist() == [[2, 1, 3, 1]]


def test_the_length_is_twice_that_of_most_lines() -> None:
    with pytest.warns(UserWarning, match="are cut to 20 tokens"):
        assert load([*["ab" * 5] * 300, "ab" * 1000]).schema.shape == (20,)
    with pytest.warns(UserWarning, match="are cut to 512 tokens"):
        assert load(["ab" * 5000, "ba" * 5000], tokens="characters").schema.shape == (512,)
    assert load(["ab" * 5] * 9, length=30).schema.shape == (30,)


def test_the_schema_survives_its_json() -> None:
    for lines in (NAMES, SENTENCES):
        schema = load(lines, vocabulary=300).schema
        assert parse(Schema, json.loads(json.dumps(schema.to_json())), "") == schema
    broken = schema.to_json()
    del broken["vocabulary"]["tokens"]
    with pytest.raises(UserError, match=r"schema.vocabulary.tokens is missing"):
        parse(Schema, broken, "schema")
    del broken["vocabulary"]
    with pytest.raises(UserError, match="requires a vocabulary"):
        parse(Schema, broken, "schema")


def test_a_text_file_may_hold_a_table() -> None:
    """Where all lines fall into as many cells; a comma or two in a sentence are no cells."""
    tables = ("a\tb\n1\t2\n3\t4\n", "a|b\n1|2\n", "a;b\n1;2\n", "a,b,c\n1,2,3\n4,5,6\n")
    texts = ("Well, yes.\nNo, never.\n", "one\ttwo\nthree\n", "single\n", "", "a,b,c\n1,2\n")
    for content in (*tables, *texts):
        Path("file.txt").write_text(content)
        assert text.is_text("file.txt") == (content in texts)
    assert not text.is_text("missing.txt") and not text.is_text([])
    assert text.is_text(("a", "b"))


def test_empty_lines_are_counted() -> None:
    Path("gaps.txt").write_text("anna\n\n  \nben\ncleo\n")
    with pytest.warns(UserWarning, match=r"gaps.txt: 2 empty lines are left out"):
        assert len(lines_of(load_like("gaps.txt", load(NAMES).schema))) == 3


def test_lines_in_another_encoding_can_be_left_out() -> None:
    Path("mixed.txt").write_bytes(b"anna\nb\xe9n\nnana\nann\n")
    with pytest.warns(UserWarning, match=r"mixed.txt: 1 lines are not UTF-8 and are left out"):
        data = load("mixed.txt", skip_unreadable=True)
    assert sorted([*lines_of(data.train), *lines_of(data.test)]) == ["ann", "anna", "nana"]


BAD: dict[str, tuple[bytes, str]] = {
    "empty.txt": (b"", "empty.txt is empty: give at least one line of text"),
    "blank.txt": (b"\n \n\r\n", "blank.txt is empty: give at least one line of text"),
    "one.txt": (b"only this\n", "one.txt has 1 row: give at least 2, one for training and one for testing"),
    "latin.txt": (
        b"anna\nben\nb\xe9n\n",
        "latin.txt is not UTF-8 at byte 10 (0xe9, line 3): convert it, such as with `iconv -f latin1 -t utf-8 "
        "latin.txt > utf8.txt`, or leave such lines out with --skip-unreadable",
    ),
    "cut.txt": (codecs.BOM_UTF16_LE + "anna\nben".encode("utf-16-le")[:-1], "cut.txt is not UTF-16 at byte 16"),
    "picture.txt": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "picture.txt has a zero byte at byte 8, so it is not text, or"),
    "same.txt": (b"aaa\naa\na\n", "a vocabulary of 1, only 'a': give text with 2 or more different characters"),
    "torn.txt.gz": (gzip.compress(b"anna\nben\n" * 99)[:20], "torn.txt.gz cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_clear_line(name: str, run: Any) -> None:
    content, message = BAD[name]
    Path(name).write_bytes(content)
    result = run("train", name, "--epochs", 1)
    assert result.code == 2 and message in result.err, result.err
    assert result.err.count("Error:") == 1 and "Traceback" not in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocabulary", "1"], "vocabulary=1: use 4 or more, for two tokens, END and UNKNOWN"),
        (["--vocabulary", "100", "--tokens", "subwords"], "vocabulary=100: subwords need 258 or more"),
        (["--tokens", "words"], "tokens = 'words': give one of 'characters', 'subwords'"),
        (["--length", "0"], "length=0: use at least 1 token"),
        (["--size", "64"], "applies only to folders of pictures"),
        (["--set", "model.encoder=mlp"], "a mlp net or likelihood does not support text"),
        (["--set", "model.likelihood=normal"], "a normal net or likelihood does not support text"),
        (["--set", "model.encoder.width=7"], "model.encoder.width = 7: give an even number"),
        (["--set", "model.encoder.dropout=1.0"], "model.encoder.dropout = 1.0: give 0 or more and below 1"),
    ],
)
def test_a_bad_option_is_one_clear_line(options: list[str], message: str, run: Any) -> None:
    Path("names.txt").write_text("\n".join(NAMES))
    result = run("train", "names.txt", "--epochs", 1, *options)
    assert result.code == 2 and message in result.err, result.err


def test_options_of_text_are_for_text() -> None:
    for option in ({"tokens": "characters"}, {"vocabulary": 99}, {"length": 3}):
        (name,) = option
        with pytest.raises(UserError, match=f"{name}=.* applies only to text: remove it, or give a .txt file"):
            load(np.eye(4), **option)  # type: ignore[arg-type]


def test_an_enormous_line_is_cut_and_said() -> None:
    Path("long.txt").write_text("".join(f"{name}\n" for name in NAMES * 30) + "na" * 500_000 + "\n")
    with pytest.warns(UserWarning, match=r"long.txt: 1 of 181 lines are cut to 8 tokens \(the longest is line 181"):
        assert load("long.txt").schema.shape == (8,)


def test_text_that_no_model_takes() -> None:
    schema, vector = load(NAMES).schema, load(np.eye(4)).schema
    with pytest.raises(UserError, match=r"missing.txt: no such file: give a path that exists"):
        load_like("missing.txt", schema)
    with pytest.raises(UserError, match="a ndarray is not text, which the model needs"):
        load_like(np.eye(4), schema)
    with pytest.raises(UserError, match=r"a list of strings is text, and the model needs data of shape \(4,\)"):
        load_like(NAMES, vector)
    with pytest.raises(UserError, match="kind=text requires a vocabulary"):
        Schema("text", (4,), (0.0,), (1.0,), "real")
    Path("anna.md").write_text("emil\nemil\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters that are unknown
        for line in ("anna", "ann a", "~ann", "anna" * 500, "anna.md?"):  # a string that names no file is a line
            assert len(load_like(line, schema)) == 1
        assert len(load_like("anna.md", schema)) == 2


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"subwords need tokenizers.*pip install 'nelbo\[text\]', or use tokens=char"):
        load(SENTENCES)
