"""The error for wrong input, messages as they are printed, and the import of optional packages."""

from __future__ import annotations

import difflib
import math
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, TextIO


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


LONGEST = 300
"""The most characters of a message that is printed."""
ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, of marks such as those that turn the direction of text, of bytes of a
file's name that are not text, and of breaks of lines and paragraphs."""
JOINERS = "\u200c\u200d"  # of letters in Persian, and of emoji


def escaped(text: str) -> str:
    r"""A text without control characters: names of files and columns may have some, which would command a terminal.

    >>> escaped("a\x1b[2Jb\u202ec\n")
    'a\\x1b[2Jb\\u202ec\\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in ESCAPED and c not in JOINERS else c
        for c in text
    )


def one_line(text: object, most: int = LONGEST) -> str:
    """A message as it is printed: escaped, and cut in its middle, since its start names the thing, its end the remedy.

    Args:
        text: the message.
        most: its largest number of characters.

    >>> one_line("column 'a': " + 200 * "x" + ": rename it", 40)
    "column 'a': xxxxxxxxxx ... xx: rename it"
    """
    line = escaped(str(text)[: 2 * most] + str(text)[-2 * most :] if len(str(text)) > 4 * most else str(text))
    if len(line) <= most:
        return line
    end = most * 2 // 5 - 3
    return f"{line[: most - end - 5]} ... {line[-end:]}"


def say(message: object, file: TextIO | None = None) -> None:
    """Print a message as `one_line` makes it; characters that the file cannot write are escaped.

    Args:
        message: the message.
        file: where to print; None: stdout.
    """
    out = file or sys.stdout
    encoding = getattr(out, "encoding", None) or "utf-8"
    print(one_line(message).encode(encoding, "backslashreplace").decode(encoding), file=out)


def memory() -> float:
    """The memory of this machine in bytes; infinity where the system does not say."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return math.inf
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def require_memory(nbytes: float, purpose: str, remedy: str) -> None:
    """Raise `UserError` if `purpose` needs more bytes than this machine has, before the system ends the process.

    >>> require_memory(2.0**60, "n=10", "ask for fewer")
    Traceback (most recent call last):
    nelbo.errors.UserError: n=10 needs 1,073,741,824 GB of memory, more than this machine has: ask for fewer
    """
    if nbytes > memory():
        raise UserError(f"{purpose} needs {nbytes / 2**30:,.0f} GB of memory, more than this machine has: {remedy}")


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


def listed(names: Sequence[str], most: int = 10) -> str:
    """The first names, and how many more there are.

    Args:
        names: the names.
        most: how many are listed.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
