"""The error for wrong input, and the import of optional packages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module
from typing import Any


class UserError(ValueError):
    """A wrong input or setting: its message is one line that names the setting, the value and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """


def nearest(name: str, names: Iterable[str]) -> str:
    """A remedy for an unknown name: the nearest known one, or all of them.

    >>> nearest("epoch", ["epochs", "seed"])
    'did you mean epochs?'
    """
    known = sorted(names)
    close = difflib.get_close_matches(name, known, 1) or [n for n in known if n.lower() == name.lower()]
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def require(module: str, purpose: str = "tables", remedy: str = "pip install 'nelbo[table]'") -> Any:
    """Import a module of an optional package.

    Args:
        module: name of the module.
        purpose: the feature that needs it, for the message.
        remedy: the command that installs it, for the message.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        remedy = "pip install polars" if package == "polars" else remedy
        raise UserError(f"{purpose} need {package}, which is not installed: {remedy}") from None
