"""The objectives beyond the weighted ELBO, for the zoo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nelbo import nets, objectives, schedules
from nelbo.objectives import Objective, WeightedTerms, distortion, rate


def _plus(term: Any, weight: float = 2.0) -> Callable[[], WeightedTerms]:
    return lambda: WeightedTerms({distortion: 1.0, rate: 1.0, term(): weight})


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "capacity": lambda: WeightedTerms({distortion: 1.0, objectives.Capacity(schedules.Linear(0.0, 5.0)): 10.0}),
    "free bits, latent": lambda: WeightedTerms({distortion: 1.0, objectives.free_bits(0.01): 1.0}),
    "free bits, level": lambda: WeightedTerms({distortion: 1.0, objectives.free_bits(0.01, per_level=True): 1.0}),
    "constrained": lambda: objectives.GECO(target=3.0),
    "iwae": lambda: objectives.importance_weighted(k=4),
    "miwae": lambda: objectives.importance_weighted(k=4, m=3),
    "iwae, sticking the landing": lambda: objectives.importance_weighted(k=4, gradient="stl"),
    "iwae, doubly reparameterised": lambda: objectives.importance_weighted(k=4, gradient="dreg"),
    "ciwae": lambda: objectives.ImportanceWeightedObjective({"vae": objectives.ciwae(0.3)}, (4,)),
    "renyi": lambda: objectives.ImportanceWeightedObjective({"vae": objectives.renyi(0.5)}, (4,)),
    "piwae": lambda: objectives.piwae(k=4, m=3),
    "chi": lambda: objectives.chi(k=4),
    "wake-wake": lambda: objectives.wake_wake(k=4),
    "total correlation": _plus(objectives.TotalCorrelation),
    "total correlation, weighted": _plus(lambda: objectives.TotalCorrelation(objectives.weighted)),
    "mutual information": _plus(objectives.MutualInformation),
    "dip I": _plus(lambda: objectives.dip(3.0, 2.0)),
    "dip II": _plus(lambda: objectives.dip(3.0, 2.0, objectives.covariance)),
    "mmd, rbf": _plus(lambda: objectives.mmd(objectives.rbf())),
    "wae": lambda: WeightedTerms({distortion: 1.0, objectives.mmd(objectives.imq(), biased=True): 10.0}),
    "sliced wasserstein": _plus(objectives.sliced_wasserstein),
    "hsic": _plus(objectives.hsic),
    "hsic, blocks": _plus(lambda: objectives.hsic((1, 2))),
    "rae, l2": lambda: objectives.RAE(latent=0.1, weight=0.1),
    "rae, gradient": lambda: objectives.RAE(latent=0.1, weight=0.1, regulariser="gradient"),
    "rae, spectral": lambda: objectives.RAE(latent=0.1, weight=0.1, regulariser="spectral"),
    "factor": lambda: objectives.FactorVAE(weight=2.0, hidden=(8,)),
    "aae": lambda: objectives.AdversarialAutoencoder(weight=2.0, hidden=(8,)),
    "vae-gan": lambda: objectives.VAEGAN(features=5, critic=nets.MLP((8,))),
}

# Fields to try of every component that recipes know, by its kind.
VARIED: dict[str, dict[str, Any]] = {
    "capacity": {"weight": 10.0, "capacity": 3.0},
    "free-bits": {"floor": 0.2, "per_level": True, "beta": schedules.Cyclical(3)},
    "constrained": {"target": 7.0, "step": 0.1, "momentum": 0.5},
    "iwae": {"k": 3, "m": 2, "gradient": "dreg"},
    "ciwae": {"k": 3, "beta": 0.25},
    "piwae": {"k": 3, "m": 2},
    "renyi": {"alpha": -1.0, "k": 3},
    "chi": {"order": 3.0, "k": 3},
    "wake-wake": {"k": 3},
    "beta-tc": {"beta": 3.0, "alpha": 0.5, "gamma": 2.0, "weights": "weighted"},
    "dip": {"version": "II", "off_diagonal": 1.0, "diagonal": 2.0},
    "info": {"alpha": 0.0, "weight": 3.0, "kernel": "imq", "biased": True},
    "wae-mmd": {"weight": 3.0, "kernel": "rbf", "biased": True},
    "swae": {"weight": 3.0, "projections": 7},
    "hsic": {"weight": 3.0, "sizes": (2, 18), "kernel": "imq"},
    "rae": {"latent": 0.1, "weight": 0.2, "regulariser": "gradient"},
    "factor": {"weight": 3.0, "hidden": (9,), "ratio": 0.5},
    "aae": {"weight": 3.0, "hidden": (9, 8), "ratio": 0.5},
    "vae-gan": {"weight": 3.0, "features": 9, "critic": nets.MLP((7,)), "ratio": 0.5},
    "semi-supervised": {"classes": 3, "weight": 2.0, "classifier": nets.MLP((7,))},
    "cyclical": {"cycles": 2, "rising": 0.25, "end": 4.0},
}
