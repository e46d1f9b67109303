"""`nelbo cite`: what to cite of a model."""

from __future__ import annotations

import json

from nelbo.cli.use import JSON, ModelPath


def cite(model: ModelPath, as_json: JSON = False) -> None:
    """Print the BibTeX of exactly what MODEL is made of: its data, parts, objective, training, and nelbo itself.

    \b
    Examples:
      nelbo cite results/mnist >> references.bib
      nelbo cite results/mnist --json
    """
    from nelbo.config import citations
    from nelbo.loading import load

    keys = citations.used(load(model).recipe)
    if as_json:
        print(json.dumps({key: citations.bibtex([key]) for key in keys}))
    else:
        print(citations.bibtex(keys), end="")
