"""nelbo: variational autoencoders that are proved right, fast, and usable in one line.

    import nelbo
    model = nelbo.fit("mnist", recipe="mnist")
    model.sample(64)

What is public is listed in `__all__`; each name is imported when it is first used, so that `import nelbo` costs
nothing.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The threads of a product wait for each other at its end, by default in a loop. Where another program has the core that
# one of them needs, the others burn theirs until the system takes turns, and small models train fifty times slower.
# They may loop for some microseconds, as long as a wait takes on an idle machine, and then sleep. Read once, by torch.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

if TYPE_CHECKING:  # for editors and type checkers
    from nelbo.errors import UserError
    from nelbo.experiment.run import fit
    from nelbo.model import Model
    from nelbo.model.io import load
    from nelbo.model.post_hoc import fit_prior

_HOMES = {
    "Model": "nelbo.model",
    "UserError": "nelbo.errors",
    "fit": "nelbo.experiment.run",
    "load": "nelbo.model.io",
    "fit_prior": "nelbo.model.post_hoc",
}

__all__ = ["Model", "UserError", "__version__", "fit", "fit_prior", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nelbo' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
