"""The one error that a user can mend."""

from __future__ import annotations


class UserError(ValueError):
    """A wrong input or setting: its message is one line that names the thing, the value and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """
