"""Citations: the sources of exactly the parts of a recipe.

    used(recipe) = nelbo + the VAE + the preset's paper + the citations of each part

The keys are in the `register` of each part. The entries are in `files/references.bib`; those of a plug-in are in a
`references.bib` beside its module.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from nelbo.config.presets import PRESETS
from nelbo.config.recipe import Recipe
from nelbo.config.registry import plugins, walk
from nelbo.errors import UserError, nearest

ALWAYS = ("nelbo", "kingma2014auto")

SOURCES = {"mnist": "lecun1998gradient", "fashion-mnist": "xiao2017fashion"}


def used(recipe: Recipe) -> list[str]:
    """The bibliography keys of a recipe, each once: nelbo, the VAE, the preset's paper, then the parts in order.

    The recipe of a trained model (`Model.recipe`) has every part; parts that a recipe leaves to the data are not cited.

    >>> from nelbo.config.registry import parse
    >>> used(parse(Recipe, {"model": {"likelihood": "bernoulli"}}, ""))
    ['nelbo', 'kingma2014auto', 'rezende2014stochastic', 'kingma2015adam']
    """
    keys = [*ALWAYS]
    if recipe.preset in PRESETS:
        keys.append(PRESETS[recipe.preset].paper)
    for _, entry, fields in walk(recipe):
        if entry is not None:
            keys += entry.cite
            keys += [key for key, applies in entry.cite_if.items() if applies(fields)]
    if recipe.data.source in SOURCES:
        keys.append(SOURCES[recipe.data.source])
    if recipe.data.condition is not None:
        keys.append("sohn2015learning")
    if recipe.training.ema_decay > 0:
        keys.append("polyak1992acceleration")
    return list(dict.fromkeys(keys))


@functools.cache
def entries() -> dict[str, str]:
    """The BibTeX entries by key."""
    own = resources.files("nelbo.config") / "files"
    folders = [own, *(Path(module.__file__ or "").parent for module in plugins())]
    files = [folder / "references.bib" for folder in folders]
    text = "\n".join(file.read_text("utf-8") for file in files if file.is_file()) + "\n"
    return {found[1]: found[0] for found in re.finditer(r"^@\w+\{([^,]+),\n.*?^\}\n", text, re.MULTILINE | re.DOTALL)}


def bibtex(keys: Iterable[str]) -> str:
    """The BibTeX of these keys, in their order.

    Raises:
        UserError: for an unknown key, with the nearest known one.

    >>> print(bibtex(["kingma2014auto"]), end="")
    @inproceedings{kingma2014auto,
      author = {Kingma, Diederik P. and Welling, Max},
      title = {Auto-Encoding Variational {Bayes}},
      booktitle = {International Conference on Learning Representations},
      year = {2014},
    }
    """
    found = []
    for key in keys:
        if key not in entries():
            raise UserError(f"no reference {key!r}: {nearest(key, entries())}")
        found.append(entries()[key])
    return "\n".join(found)
