"""`nelbo recipes`: list, show, copy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def listing(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the shipped recipes; show one; copy one to be edited.

    \b
    Examples:
      nelbo recipes
      nelbo recipes show tutorial
      nelbo recipes copy mnist mine.toml && nelbo train mnist --recipe mine.toml
    """
    if context.invoked_subcommand:
        return
    from nelbo.config import recipe

    described = {name: recipe.load(name).description for name in recipe.names()}
    if as_json:
        print(json.dumps(described))
    else:
        for name, description in described.items():
            print(f"{name:10} {description}")


@app.command()
def show(name: str) -> None:
    """Print a recipe's TOML.

    \b
    Examples:
      nelbo recipes show tutorial
    """
    from nelbo.config import recipe

    print(recipe.text(name), end="")


@app.command()
def copy(
    name: str, file: Path, force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False
) -> None:
    """Copy a recipe to FILE, to be edited.

    \b
    Examples:
      nelbo recipes copy mnist mine.toml && nelbo train mnist --recipe mine.toml
    """
    from nelbo.config import recipe
    from nelbo.errors import UserError
    from nelbo.training.checkpoint import write_bytes

    if file.exists() and not force:
        raise UserError(f"{file} exists: name another file, or replace it with --force")
    write_bytes(file, recipe.text(name).encode())
    print(f"Wrote {file}: nelbo train --recipe {file}")
