"""Labels of rows, and the classes that they name.

    5, 5.0, np.int64(5), "5"        the class "5"
    True, np.bool_(True), "True"    the class "True"
    None, NaN, ""                   unknown
    -1                              unknown beside two or more other classes that are not negative; else a class

The classes are those that occur, numbers by size, then names. A row's label is the index of its class, -1 if unknown.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.errors import UserError

SHOWN = 20  # the most classes that a message lists


def class_name(label: Any) -> str:
    """The name of the class of a label; "" if it is unknown. Raises `UserError` for what cannot be a label.

    >>> class_name(np.float64(5)), class_name(b"cat"), class_name(None), class_name(np.array([True]))
    ('5', 'cat', '', 'True')
    """
    if isinstance(label, np.ndarray | Tensor | np.generic) and np.prod(label.shape) == 1:
        label = float(label) if isinstance(label, np.longdouble) else label.item()
    if isinstance(label, str):
        return label
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    if isinstance(label, int):
        return str(label)
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(label, float):
        if label != label:
            return ""
        if label.is_integer():
            return str(int(label))
    raise UserError(f"label {label!r} of type {type(label).__name__}: give integers or strings")


def class_index(label: Any, classes: Sequence[str]) -> int:
    """The index of the class of a label. If no class is a number, an integer is itself an index.

    Raises `UserError` for any other label, naming the classes.

    >>> class_index(5, ("5", "6")), class_index("dog", ("cat", "dog")), class_index(1, ("cat", "dog"))
    (0, 1, 1)
    """
    try:
        name = class_name(label)
    except UserError:
        name = ""
    name = _spelling(name, classes)
    if name in classes and name:
        return classes.index(name)
    if _is_number(name) and not any(map(_is_number, classes)) and 0 <= int(name) < len(classes):
        return int(name)
    more = f" and {len(classes) - SHOWN:,} more" if len(classes) > SHOWN else ""
    raise UserError(f"condition {label!r}: the model knows the classes {', '.join(classes[:SHOWN])}{more}")


def _spelling(name: str, classes: Sequence[str]) -> str:
    """The name, or that of the same truth value if only this is a class."""
    other = {"0": "False", "1": "True", "False": "0", "True": "1"}.get(name, name)
    return other if name not in classes and other in classes else name


def labels_of(
    several: Sequence[tuple[str, Any, int] | None], classes: tuple[str, ...] = ()
) -> tuple[list[Tensor | None], tuple[str, ...]]:
    """The labels of several parts of the data as indices, and all classes, the known ones first.

    Args:
        several: the name of each part in messages, the label of each of its rows, and their number; None: no labels.
        classes: the known classes; integers index them if they are words.

    Raises `UserError` for labels that are neither integers nor strings, or not one for each row.
    """
    found = [None if part is None else _unique(*part, classes) for part in several]
    names = {name for part in found if part for name in part[0]} - {""}
    if classes and not any(map(_is_number, classes)) and all(map(_is_number, names)):  # the index of a known class
        names = {name if int(name) >= len(classes) else classes[int(name)] for name in names if int(name) >= 0}
        place = {str(number): number for number in range(len(classes))}
    else:
        names -= _unknown(names, classes)
        place = {}
    classes = in_order(classes, names)
    place |= {name: number for number, name in enumerate(classes)}
    return [
        None if part is None else torch.from_numpy(np.array([place.get(name, -1) for name in part[0]])[part[1]])
        for part in found
    ], classes


def _unique(name: str, y: Any, rows: int, classes: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The names of the different labels, and the index of each row's."""
    array = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asanyarray(y)
    if array.shape not in {(rows,), (rows, 1)}:
        remedies = {2: "of one-hot rows, give y.argmax(1)", 1: "for rows alone, give x without y"}
        remedy = remedies.get(array.ndim, "for rows and test rows, give ((x, None), (x_test, None))")
        raise UserError(f"{name}: labels have shape {array.shape} for {rows} rows: give one label per row; {remedy}")
    array = array.reshape(rows)
    if array.dtype == object or isinstance(array, np.ma.MaskedArray):
        try:
            array = np.array([class_name(label) for label in array.tolist()])
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
    if array.dtype.kind == "f" and not bool((np.isnan(array) | (array == np.floor(array))).all()):
        raise UserError(f"{name}: labels have type {array.dtype}: give integers or strings, or leave them out")
    if array.dtype.kind not in "biufUS" or (array.dtype.kind == "f" and np.isinf(array).any()):
        raise UserError(f"{name}: labels have type {array.dtype}: give integers or strings, or leave them out")
    labels, index = np.unique(array, return_inverse=True)
    return [_spelling(class_name(label), classes) for label in labels.tolist()], index


def _unknown(names: set[str], classes: Sequence[str]) -> set[str]:
    """The name of unknown labels, if -1 means that beside these names and known classes."""
    if "-1" not in names or "-1" in classes:
        return set()
    numbers = {int(name) for name in names if _is_number(name)}
    if not classes and (min(numbers) < -1 or len(numbers) < max(len(names), 3)):
        return set()
    if not classes:
        warnings.warn("label -1 is taken for an unknown class: use another number if it is a class", stacklevel=2)
    return {"-1"}


def in_order(classes: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """`classes`, each once, then the other names: numbers by size, then words.

    >>> in_order(("b",), ["10", "a", "9", "b"])
    ('b', '9', '10', 'a')
    """
    return tuple(dict.fromkeys((*classes, *sorted(set(names), key=_rank))))


def _rank(name: str) -> tuple[bool, int, str]:
    return (False, int(name), "") if _is_number(name) else (True, 0, name)


def _is_number(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and (digits == "0" or digits[0] != "0") and name != "-0"


def as_user_labels(names: np.ndarray) -> np.ndarray:
    """The labels that classes of these names `(n,)` came from: integers, bools or strings.

    >>> as_user_labels(np.array(["5", "-1"])).tolist(), as_user_labels(np.array(["False"])).tolist()
    ([5, -1], [False])
    """
    different = set(np.unique(names).tolist())
    if different <= {"False", "True"}:
        return names == "True"
    return names.astype(np.int64) if all(map(_is_number, different)) else names
