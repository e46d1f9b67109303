"""The part of a split that the name of a folder or an array means.

    train, Training, seg_train, train2017, trainImages, x_train      the training data
    val, valid, validation, dev                                      held out, to choose a model
    test, Testing, test_set, holdout                                 held out, to score it

A name means a part if one of its words is the name of one. Parts belong together if the rest of their names is the
same: `seg_train` and `seg_test`, but not `train_station` and `test_tube`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Part = Literal["train", "val", "test"]
HELD_OUT: tuple[Part, ...] = ("test", "val")
"""The parts that can be the test data, in order of preference."""
WORDS: dict[Part, str] = {
    "train": "training|train|trn",
    "val": "validation|validate|valid|val|development|dev|evaluation|eval",
    "test": "testing|test|tst|holdout|hold_out|heldout|held_out",
}
ROWS = ("x", "data", "images", "image", "imgs", "img", "pixel_values", "features", "inputs", "arr_0", "")
"""The names of arrays of rows."""
LABELS = ("y", "labels", "label", "targets", "target", "classes", "class", "arr_1")
"""The names of arrays of labels."""
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_PART = {part: re.compile(rf"(?<![a-z])({words})(?=set|data|[^a-z]|$)") for part, words in WORDS.items()}


def part_of(name: str) -> tuple[Part, str] | None:
    """The part that a name means, and the rest of the name; None for another name.

    >>> part_of("X_Test"), part_of("trainImages"), part_of("cat"), part_of("trained")
    (('test', 'x'), ('train', 'images'), None, None)
    """
    words = _CAPITAL.sub("_", name).lower().replace("-", "_").replace(" ", "_")
    found = [(part, pattern.search(words)) for part, pattern in _PART.items()]
    matches = [(part, match) for part, match in found if match]
    if len(matches) != 1:
        return None
    part, match = matches[0]
    return part, "_".join(filter(None, re.split("_+", f"{words[: match.start()]}_{words[match.end() :]}")))


def split_by_name(names: Iterable[str]) -> dict[Part, str]:
    """The name of each part among these names: a training part and at least one that is held out; else nothing.

    >>> split_by_name(["Train", "Valid", "readme"]), split_by_name(["train", "tram"])
    ({'train': 'Train', 'val': 'Valid'}, {})
    """
    by_rest: dict[str, dict[Part, str]] = {}
    for name in names:
        if found := part_of(name):
            by_rest.setdefault(found[1], {}).setdefault(found[0], name)
    return next((parts for parts in by_rest.values() if "train" in parts and len(parts) > 1), {})
