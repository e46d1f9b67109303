"""Rows of the zoo: bits, one-hot vectors and their relaxations, codes, and latents side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Dirichlet, Distribution, Independent, OneHotCategorical, Uniform, constraints
from torch.distributions import kl_divergence as torch_kl

from nelbo import nets, schedules
from nelbo.config.build import ModelSpec, build
from nelbo.config.registry import Component
from nelbo.distributions import Bernoulli, OneHot, RelaxedBernoulli, RelaxedOneHot
from nelbo.distributions.categorical import blocks
from nelbo.latents import Latent
from nelbo.vae import VAE

SHAPE, CLASSES = (1, 4, 4), 3


def _parameter(*shape: int, spread: float = 1.0) -> Tensor:
    return spread * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(math.prod(shape)))


class Simplices(Distribution):
    """Dirichlets of concentration 2 in every block of a relaxed one-hot."""

    def __init__(self, q: RelaxedOneHot) -> None:
        self.inner = Dirichlet(torch.full_like(blocks(q), 2.0), validate_args=False)
        self.classes = q.classes
        self.within = q.support
        super().__init__(q.batch_shape, q.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        return self.within

    def log_prob(self, value: Tensor) -> Tensor:
        return self.inner.log_prob(value.unflatten(-1, (-1, self.classes))).sum(-1)


def middle(q: RelaxedBernoulli) -> Distribution:
    low = torch.full_like(q.logits, 0.2)
    return Independent(Uniform(low, low + 0.6, validate_args=False), len(q.event_shape))


def every(d: OneHot) -> Tensor:
    """All values of a one-hot distribution, `(classes^variables, variables * classes)`."""
    variables = d.event_shape[0] // d.classes
    index = torch.tensor(list(itertools.product(range(d.classes), repeat=variables)))
    return torch.nn.functional.one_hot(index, d.classes).double().flatten(-2)


DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "one-hot": {
        "make": lambda batch: OneHot(_parameter(*batch, 2 * CLASSES, spread=1.5), CLASSES),
        "parameters": ("logits",),
        "tempered": False,
    },
    "relaxed bernoulli": {
        "make": lambda batch: RelaxedBernoulli(_parameter(*batch, 3), 0.6),
        "parameters": ("logits",),
        "reference": middle,
        "tempered": False,
        "moments": False,
    },
    "relaxed one-hot": {
        "make": lambda batch: RelaxedOneHot(_parameter(*batch, 2 * CLASSES, spread=0.7), CLASSES, 0.8),
        "parameters": ("logits",),
        "reference": Simplices,
        "tempered": False,
        "moments": False,
    },
}

TRANSFORMER = Component("prior", "transformer", codes=5, width=8, layers=1, heads=2)
LATENTS: dict[str, Component[Latent]] = {
    "binary": Component("latent", "binary", dim=5),
    "categorical": Component("latent", "categorical", variables=3, classes=4, temperature=schedules.Linear(1.0, 0.5)),
    "product": Component(
        "latent",
        "product",
        parts={
            "style": Component("latent", "flat", dim=2),
            "digit": Component("latent", "categorical", variables=1, classes=3),
        },
    ),
    "vq": Component("latent", "vq", groups=3, codes=5, dim=2),
    "vq, gradient": Component("latent", "vq", groups=3, codes=5, dim=2, decay="gradient"),
    "residual vq": Component("latent", "vq", groups=2, codes=5, dim=3, depth=2),
    "fsq": Component("latent", "fsq", groups=2, levels=(3, 4)),
    "lfq": Component("latent", "lfq", groups=2, bits=3),
    "vq, transformer prior": Component("latent", "vq", groups=3, codes=5, dim=2, prior=TRANSFORMER),
    "vq, pixelcnn prior": Component(
        "latent", "vq", groups=4, codes=5, dim=2, prior=Component("prior", "pixelcnn", codes=5, channels=6, blocks=1)
    ),
    "product of codes": Component(
        "latent",
        "product",
        parts={
            "style": Component("latent", "flat", dim=2),
            "digit": Component("latent", "fsq", groups=1, levels=(3, 3)),
        },
    ),
}
PENALISED = {f"latent: {name}" for name in LATENTS if "vq" in name or "lfq" in name}


def vae(latent: Component[Latent], context: int = 0) -> VAE:
    """A VAE with these latents and a perceptron of 16 units."""
    net = nets.MLP((16,))
    return build(ModelSpec(latent, Component("likelihood", "bernoulli"), net, net), SHAPE, context)


VAES: dict[str, Callable[[int], VAE]] = {
    f"latent: {name}": (lambda context, latent=latent: vae(latent, context))  # type: ignore[misc]
    for name, latent in LATENTS.items()
}

PAIRS: dict[str, Callable[[], tuple[Distribution, Distribution]]] = {
    "bernoulli, bernoulli": lambda: (Bernoulli(_parameter(4, 3)), Bernoulli(_parameter(3))),
    "bernoulli, uniform": lambda: (Bernoulli(_parameter(4, 3)), Bernoulli(torch.zeros(3).double())),
    "one-hot, one-hot": lambda: (OneHot(_parameter(4, 6), 3), OneHot(_parameter(6), 3)),
    "one-hot, uniform": lambda: (OneHot(_parameter(4, 6), 3), OneHot(torch.zeros(6).double(), 3)),
}
# These rows are the divergence of what q relaxes, and tested as that.
RELAXED = {(RelaxedBernoulli, Bernoulli), (RelaxedOneHot, OneHot)}


def oracle_kl(q: Distribution, p: Distribution) -> Tensor:
    """The divergence by torch's own table."""
    if isinstance(q, OneHot) and isinstance(p, OneHot):
        return torch_kl(OneHotCategorical(logits=blocks(q)), OneHotCategorical(logits=blocks(p))).sum(-1)
    return torch_kl(*(TorchBernoulli(logits=d.logits.expand(4, 3)) for d in (q, p))).sum(-1)  # type: ignore[attr-defined]


VARIED: dict[str, dict[str, Any]] = {
    "binary": {"dim": 3, "temperature": 0.5},
    "categorical": {"variables": 3, "classes": 4, "temperature": schedules.Linear(1.0, 0.5)},
    "product": {
        "parts": {
            "a b": Component("latent", "flat", dim=2),
            "c": Component("latent", "categorical", variables=1, classes=3),
            "d": Component("latent", "vq", prior=Component("prior", "pixelcnn")),
        }
    },
    "vq": {"groups": 3, "codes": 5, "dim": 2, "depth": 2, "decay": "gradient", "prior": TRANSFORMER},
    "fsq": {"groups": 2, "levels": (3, 4)},
    "lfq": {"groups": 2, "bits": 3, "entropy": 0.2, "commitment": 0.0},
    "transformer": {"codes": 7, "width": 12, "layers": 1, "heads": 3},
    "pixelcnn": {"codes": 7, "channels": 8, "blocks": 2, "row": 4},
}
