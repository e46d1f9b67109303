"""What commands share: their options, what they read, and how results become files."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from nelbo.errors import UserError, escaped, say

if TYPE_CHECKING:
    import numpy as np

    from nelbo.data import Dataset
    from nelbo.model import Model
    from nelbo.model.scoring import Estimate

PANELS = ("Arguments", "Options", "Data", "Model", "Training", "Train", "Use a model", "Applications", "Art")
"""The order of the sections of help; all others come after these."""
PANEL = "rich_help_panel"  # of Typer's parameters; Click's `--help` lacks it
WIDEST = 30  # characters of the first column of help

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A results folder, or a model folder.")]
DataPath = Annotated[
    str, typer.Argument(metavar="DATA", help="As for `train`.  [default: the model's test data]", show_default=False)
]
ItemData = Annotated[
    str, typer.Option(help="Data that row numbers refer to.  [default: the model's test data]", show_default=False)
]
Labelled = Annotated[
    str | None, typer.Option(help="Labelled pictures.  [default: the model's test data]", show_default=False)
]

SkipUnreadable = Annotated[bool, typer.Option("--skip-unreadable", help="Skip pictures or lines that cannot be read.")]

N = Annotated[int, typer.Option("-n", help="Number of samples.")]
Condition = Annotated[str | None, typer.Option(help="Condition on a class, numbers, or cells of a table's row.")]
Temperature = Annotated[float, typer.Option(help="Spread of the prior; below 1: more typical.")]


def _seed(seed: int | None) -> int | None:
    if seed is not None and not 0 <= seed < 2**32:
        raise typer.BadParameter(f"{seed} is not a whole number from 0 to 4294967295")
    return seed


Seed = Annotated[int, typer.Option(callback=_seed, help="Seed of all random numbers.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.")]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Truncation = Annotated[
    float | None, typer.Option(help="Redraw the prior's noise beyond this many standard deviations, such as 0.7.")
]
Columns = Annotated[int, typer.Option(help="Pictures in a row.")]
Size = Annotated[
    int,
    typer.Option(
        help="Longer side in pixels, rounded to a multiple of the picture's.  [default: chosen automatically]",
        show_default=False,
    ),
]
Smooth = Annotated[bool, typer.Option("--smooth", help="Enlarge smoothly, to exactly --size.")]
Seconds = Annotated[float, typer.Option(help="Duration in seconds.")]
Rate = Annotated[float, typer.Option("--fps", help="Frames per second.")]


class Command(TyperCommand):
    """A command whose options are listed by their panels."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_options(self, ctx, formatter)


class Group(TyperGroup):
    """Commands listed by their panels, each with its whole first sentence.

    Without a command, a group prints its help, unless it has work of its own (`invoke_without_command`).
    Typer has panels only in its rich mode, whose import would slow the start down.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not (args or ctx.resilient_parsing or self.invoke_without_command):
            print(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_options(self, ctx, formatter)
        commands: list[Any] = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        rows = [
            (command.rich_help_panel or "Commands", (command.name, command.get_short_help_str(1000)))
            for command in commands
            if not command.hidden
        ]
        _write_panels(rows, formatter)


def _write_options(command: Any, ctx: Any, formatter: Any) -> None:
    titles = {"argument": "Arguments", "option": "Options"}
    rows = [
        (getattr(parameter, PANEL, None) or titles[parameter.param_type_name], parameter.get_help_record(ctx))
        for parameter in command.get_params(ctx)
        if not parameter.hidden
    ]
    _write_panels(rows, formatter)


def _write_panels(rows: list[tuple[str, Any]], formatter: Any) -> None:
    """Sections in the order of `PANELS`, all with one width of the first column."""
    width = min(max((len(row[0]) for _, row in rows), default=0), WIDEST)
    known = {panel for panel, _ in rows}
    for panel in [*(panel for panel in PANELS if panel in known), *sorted(known.difference(PANELS))]:
        with formatter.section(panel):
            formatter.write_dl([(row[0].ljust(width), row[1]) for name, row in rows if name == panel], WIDEST)


def group(**settings: Any) -> typer.Typer:
    """A group of commands in plain text."""
    return typer.Typer(cls=Group, rich_markup_mode=None, pretty_exceptions_enable=False, **settings)


def model(path: Path, condition: str | None) -> Model:
    """Load a model and fix its condition: a class, numbers, or cells of a table's row."""
    from nelbo.model.io import load_given

    return load_given(path, condition)


def rows(m: Model, data: str, skip_unreadable: bool | None = None) -> Dataset:
    """Load the data, or the model's test data."""
    if data:
        from nelbo.data import load_like

        return load_like(data, m.schema, skip_unreadable=skip_unreadable)
    from nelbo.experiment.run import load_test_data

    return load_test_data(m)


def item(held: Dataset | None, name: str) -> Any:
    """A picture file, or the row with that index as a dataset of one."""
    from nelbo.data import subset

    if held is None or not name.isdecimal():
        return name
    if int(name) >= len(held):
        raise UserError(f"item {name}: the data have {len(held)} rows: use 0 to {len(held) - 1}")
    return subset(held, [int(name)])


def named(out: Path | None, default: str, endings: tuple[str, ...]) -> Path:
    """The file to write; raises `UserError` for another ending, before any work."""
    path = out or Path(default)
    if path.suffix.lower() not in endings:
        listed = " or ".join([", ".join(endings[:-1]), endings[-1]] if endings[1:] else endings)
        raise UserError(f"--out {path}: the file must end in {listed}")
    return path


def data_file(m: Model, out: Path | None, name: str) -> Path | None:
    """The file for data of the model's kind: a sheet, an array, a table, or lines; None: lines are printed."""
    kind = m.schema.data_kind
    return named(out, name + kind.default_ending, kind.endings) if out or kind.default_ending else None


def encode_data(m: Model, values: Any, out: Path, columns: int = 8) -> bytes:
    """Encode data of the model's kind in the format of the file's ending."""
    from nelbo.plotting.figures import figures_of

    if out.suffix.lower() == ".png":
        return encode_image(figures_of(m.schema).sheet(values, m.schema, columns), "PNG")
    return m.schema.data_kind.to_bytes(values, m.schema, out.suffix.lower())


def encode_codes(codes: np.ndarray, rows: Dataset, out: Path) -> bytes:
    """Embeddings as `.npy`, or as a `.csv` with the name of each row (its file, id or index), and its label if any."""
    if out.suffix.lower() == ".npy":
        from nelbo.data.arrays.kind import array_bytes

        return array_bytes(codes, ".npy")
    names, classes = rows.schema.data_kind.row_names(rows), dict(enumerate(rows.schema.classes))
    labels = None if rows.labels is None else [classes.get(k, "") for k in rows.labels.tolist()]
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    head = [names.label, *(f"z{i}" for i in range(codes.shape[1]))]
    table.writerow(head if labels is None else [*head, "label"])
    for i, code in enumerate(codes):
        row = [names.values[i], *(f"{value:.9g}" for value in code.tolist())]
        table.writerow(row if labels is None else [*row, labels[i]])
    return text.getvalue().encode()


def encode_image(picture: Any, form: str, **options: Any) -> bytes:
    """Encode a PIL picture in a file format."""
    content = BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


def emit(m: Model, values: Any, out: Path | None, as_json: bool, columns: int = 8, **more: Any) -> None:
    """Write data of the model's kind and announce the file, or print lines if `out` is None."""
    if out is not None:
        import numpy as np

        write(out, encode_data(m, values, out, columns))
        announce(out, np.shape(values), as_json, **more)
    else:
        print_text(json.dumps({"lines": values, **more}) if as_json else "\n".join(values))


def print_text(text: str) -> None:
    """Print data or a text of several lines: as it is into a file or a pipe, escaped on a terminal."""
    if sys.stdout.isatty():
        text = "\n".join(map(escaped, text.split("\n")))
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def say_result(values: dict[str, Any], text: str, as_json: bool) -> None:
    """Print a result: as JSON, or as a message."""
    if as_json:
        print(json.dumps(values))
    else:
        say(text)


def say_lines(text: str) -> None:
    """Print the lines of a summary or a table, each as a message."""
    for line in text.split("\n"):
        say(line)


def write(out: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    from nelbo.training.checkpoint import write_bytes

    write_bytes(out, content)


def announce(out: Path, shape: tuple[int, ...], as_json: bool, shown: int = 0, of: int = 0, **more: Any) -> None:
    """Print the name of the written file; as JSON, with the shape of its data and `more`.

    `shown` is the number of data in the file, `of` the number of all data: if it is larger, both are printed.
    """
    if of > shown:
        more |= {"shown": shown, "of": of}
    if as_json:
        print(json.dumps({"out": str(out), "shape": list(shape), **more}))
    else:
        part = f": the first {shown:,} of {of:,}; use -n for more" if of > shown else ""
        say(f"Wrote {out} {tuple(shape)}{part}")


def stream_log_likelihood(heard: list[Estimate]) -> Callable[[Estimate], None]:
    """A callback that appends each estimate of the likelihood to `heard`, and shows it on a terminal."""

    def show(e: Estimate) -> None:
        heard.append(e)
        if sys.stderr.isatty():
            end = "\n" if e.done == e.total else ""
            print(
                f"\rlog-likelihood {e.mean:.3f} +- {e.error:.3f} nats, {e.done:,} of {e.total:,} data ",
                end=end,
                file=sys.stderr,
            )

    return show
