"""The command line: parse, call, print. Every command imports what it needs when it runs."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from nelbo import __version__
from nelbo.cli import art, augment, detect, impute, info_commands, model_commands, train
from nelbo.cli.io import Command, group
from nelbo.errors import UserError, say

__all__ = ["app", "main"]

app = group(name="nelbo", context_settings={"help_option_names": ["-h", "--help"]})


def _add(panel: str, **commands: Any) -> None:
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(name, cls=Command, rich_help_panel=panel)(command)


app.command("train", cls=train.FieldOptions, rich_help_panel="Train")(train.train)
_add("Use a model", info=info_commands.info, **model_commands.COMMANDS, prior=info_commands.prior)
_add("Applications", augment=augment.augment, impute=impute.impute, detect=detect.detect)
_add("Art", art=art.app)
_add("Information", presets=info_commands.presets, cite=info_commands.cite)
_add("Information", recipes=info_commands.recipes_app, data=info_commands.data_app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nelbo {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Variational autoencoders: train one on your own data, then sample, reconstruct, embed, explore."""
    if debug:
        os.environ["NELBO_DEBUG"] = "1"


def main() -> None:
    """Run the command line and exit.

    The exit code is 2 for an error that the user can fix, which is one line; 130 after Ctrl-C, 143 after SIGTERM, 129
    after a hang-up, and 1 if the reader of the output has gone.
    """
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb")  # one of twice the size is refused
    warnings.showwarning = lambda message, *_, **__: say(f"Warning: {message}", sys.stderr)
    code: Any = 0
    try:
        from nelbo.experiment.status_line import loops_on
        from nelbo.training.signals import exit_codes

        with exit_codes(), loops_on(sys.stderr):
            code = app(standalone_mode=False)
            sys.stdout.flush()
    except UserError as error:
        if os.environ.get("NELBO_DEBUG"):
            raise
        code, message = 2, str(error)
    except USAGE as error:
        code, message = 2, _usage(error)
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes there
        piped = error.errno == errno.EPIPE  # as in `nelbo ... | head`; 1 is Click's code for it
        code, message = 1 if piped else 2, f"cannot write to the standard output: {error.strerror}"
    if code == 2:
        say(f"Error: {message}", sys.stderr)
    elif code == 130:
        print("Interrupted", file=sys.stderr)
    sys.exit(code)


USAGE: Any = typer.BadParameter.__mro__[2]  # of all errors of parsing


def _usage(error: Any) -> str:
    """What is wrong with the arguments, on one line."""
    message = " ".join(error.format_message().split()).rstrip(".")
    values = [of["input"] for of in getattr(error.__cause__, "errors", list)()]
    got = f", not {values[0]!r}" if values else ""
    remedy = "" if message[-1] in "?)" else f": see `{error.ctx.command_path} --help`"
    return f"{message}{got}{remedy}"
