"""The packages behind tables, imported when a table is read: pyarrow, and pandas or polars for their own frames."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from nelbo.errors import UserError


def need(module: str) -> Any:
    """The module, imported; raises `UserError` naming what to install if it is not there."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        remedy = "pip install polars" if package == "polars" else "pip install 'nelbo[table]'"
        raise UserError(f"tables need {package}, which is not installed: {remedy}") from None
