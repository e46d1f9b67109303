"""The command line: parse, call, print. Every command imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
import warnings

import typer

from nelbo.cli import art, augment, detect, impute, info_commands, model_commands, train
from nelbo.errors import UserError

app = typer.Typer(
    name="nelbo",
    help="Variational autoencoders: train one on your own data, then sample, reconstruct, embed, explore.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
for name, command in model_commands.COMMANDS.items():
    app.command(name)(command)
app.command("augment")(augment.augment)
app.command("impute")(impute.impute)
app.command("detect")(detect.detect)
app.command("cite")(info_commands.cite)
app.command("presets")(info_commands.presets)
app.add_typer(art.app, name="art")
app.add_typer(info_commands.data_app, name="data")
app.add_typer(info_commands.prior, name="prior")
app.add_typer(info_commands.recipes_app, name="recipes")


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the whole traceback of an error."),
) -> None:
    """Variational autoencoders: train one on your own data, then sample, reconstruct, embed, explore."""
    if debug:
        os.environ["NELBO_DEBUG"] = "1"


def main() -> None:
    """Run the command line; what a user can mend is one line and exit code 2."""
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb")  # one of twice the size is refused
    warnings.showwarning = lambda message, *_, **__: print(f"Warning: {message}", file=sys.stderr)
    from nelbo.experiment.status_line import loops_on

    try:
        with loops_on(sys.stderr):
            app()
    except UserError as error:
        if os.environ.get("NELBO_DEBUG"):
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
