"""Arguments and options that several commands share, each defined once, and how help and commands are listed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

PANELS = ("Arguments", "Options", "Data", "Model", "Training", "Train", "Use a model", "Applications", "Art")
"""The order of the sections of help; all others come after these."""
PANEL = "rich_help_panel"  # of Typer's parameters; Click's `--help` lacks it
WIDEST = 30  # characters of the first column of help

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A results folder, or a model folder.")]
DataPath = Annotated[
    str, typer.Argument(metavar="DATA", help="As for `train`.  [default: the model's test data]", show_default=False)
]
ItemData = Annotated[
    str, typer.Option(help="Where row numbers point to.  [default: the model's test data]", show_default=False)
]
Labelled = Annotated[
    str | None, typer.Option(help="Labelled pictures.  [default: the model's test data]", show_default=False)
]

N = Annotated[int, typer.Option("-n", help="How many.")]
Condition = Annotated[str | None, typer.Option(help="Condition on a class, numbers, or cells of a table's row.")]
Temperature = Annotated[float, typer.Option(help="Spread of the prior; below 1: more typical.")]
Seed = Annotated[int, typer.Option(help="Fixes what is random.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.")]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Truncation = Annotated[
    float | None, typer.Option(help="Redraw the prior's noise beyond so many standard deviations, such as 0.7.")
]
Columns = Annotated[int, typer.Option(help="Pictures in a row.")]
Size = Annotated[
    int,
    typer.Option(help="Longer side of a picture in pixels, to a whole factor.  [default: suits]", show_default=False),
]
Smooth = Annotated[bool, typer.Option("--smooth", help="Enlarge smoothly, to exactly --size.")]
Seconds = Annotated[float, typer.Option(help="How long it lasts.")]
Rate = Annotated[float, typer.Option("--fps", help="Frames per second.")]


class Command(TyperCommand):
    """A command whose options are listed by their panels."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_options(self, ctx, formatter)


class Group(TyperGroup):
    """Commands listed by their panels, each with its whole first sentence; without one named, the help is printed.

    Typer has panels only in its rich mode, whose import would slow the start down.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not (args or ctx.resilient_parsing):
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
