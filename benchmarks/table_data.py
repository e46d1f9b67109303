"""The four tables that benchmarks share: rows to train on, rows to test on, which columns are categories.

Every contestant is given the same frames. Categories are texts in them, also those that the file codes as integers, so
that all know as much about the columns; a missing cell is None or NaN. Adult has its official split, the others are cut
80/20 by one seeded permutation.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

FILES = {
    "adult": ("adult_train.csv", "adult_test.csv"),
    "california": ("california_housing.csv",),
    "credit": ("credit-card-clients.csv",),
    "diamonds": ("diamonds.csv",),
}
TARGETS = {"adult": "income", "california": "median_house_value", "credit": "default payment", "diamonds": "price"}
CODED = {"credit": ["SEX", "EDUCATION", "MARRIAGE", *(f"PAY_{n}" for n in (0, 2, 3, 4, 5, 6)), "default payment"]}
POSITIVE = {"adult": ">50K", "credit": "1"}  # the classes to find; tables without one are for regression


@dataclass(frozen=True)
class Table:
    """A table, cut in two; `positive` is the class to find, None where the target is a number."""

    name: str
    train: pd.DataFrame
    test: pd.DataFrame
    target: str
    positive: str | None

    @property
    def categories(self) -> list[str]:
        """The columns of texts."""
        return [name for name in self.train if not pd.api.types.is_numeric_dtype(self.train[name])]

    @property
    def numbers(self) -> list[str]:
        """The columns of numbers."""
        return [name for name in self.train if pd.api.types.is_numeric_dtype(self.train[name])]


def read(path: Path, coded: list[str]) -> pd.DataFrame:
    """The rows of a file; columns in `coded` become texts, an id column goes."""
    frame = pd.read_csv(path, skipinitialspace=True, na_values="?")
    frame = frame.drop(columns=[name for name in frame if str(name).upper() == "ID"])
    return frame.astype(dict.fromkeys(coded, str))


def load(folder: Path, name: str) -> Table:
    """The table called `name` from the files in `folder`."""
    frames = [read(folder / file, CODED.get(name, [])) for file in FILES[name]]
    if len(frames) == 1:
        order = np.random.default_rng(0).permutation(len(frames[0]))
        cut = round(0.8 * len(order))
        frames = [frames[0].iloc[rows].reset_index(drop=True) for rows in (order[:cut], order[cut:])]
    target = TARGETS[name]
    if name == "adult":  # some copies of the test file end the classes with a full stop
        frames = [frame.assign(**{target: frame[target].str.rstrip(".")}) for frame in frames]
    return Table(name, frames[0], frames[1], target, POSITIVE.get(name))


def parser(doc: str | None, script: str) -> argparse.ArgumentParser:
    """The arguments that the benchmarks of tables share; `script` is the script's file."""
    out = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--data", type=Path, required=True, help="the folder of the CSV files")
    out.add_argument("--peers", type=Path, help="the folder of the peers' environments (made if they are not there)")
    out.add_argument("--out", type=Path, default=Path(script).with_suffix(".json"))
    return out
