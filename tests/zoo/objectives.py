"""Objectives."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from nelbo.objectives import Objective
from zoo.rows import Row, table


@dataclass(frozen=True)
class ObjectiveRow(Row):
    """An objective.

    Args:
        classes: above 0, the context is a label, one-hot over so many classes.
    """

    family: ClassVar[str] = "objective"

    _: KW_ONLY
    classes: int = 0

    def build(self) -> Objective:
        """The objective."""
        return self.component.build()  # type: ignore[no-any-return]


OBJECTIVES = table(
    ObjectiveRow("elbo"),
    ObjectiveRow("elbo", {"stl": True}, "sticking the landing"),
    ObjectiveRow("elbo", {"beta": 4.0}, "beta 4"),
    ObjectiveRow("elbo", {"beta": {"kind": "linear", "end_at": 0.5}}, "warm-up"),
    ObjectiveRow("capacity", {"weight": 10.0, "capacity": {"kind": "linear", "start_value": 0.0, "end_value": 5.0}}),
    ObjectiveRow("free-bits", {"floor": 0.01, "beta": {"kind": "cyclical", "cycles": 3}}, "each latent"),
    ObjectiveRow("free-bits", {"floor": 0.01, "per_level": True}, "each level"),
    ObjectiveRow("geco", {"target": 3.0, "step": 0.1, "momentum": 0.5}),
    ObjectiveRow("iwae", {"k": 4}),
    ObjectiveRow("iwae", {"k": 4, "m": 3}, "multiple"),
    ObjectiveRow("iwae", {"k": 4, "gradient": "stl"}, "sticking the landing"),
    ObjectiveRow("iwae", {"k": 4, "gradient": "dreg"}, "doubly reparameterised"),
    ObjectiveRow("ciwae", {"k": 4, "beta": 0.3}),
    ObjectiveRow("piwae", {"k": 4, "m": 3}),
    ObjectiveRow("renyi", {"k": 4, "alpha": 0.4}),
    ObjectiveRow("renyi", {"k": 4, "alpha": -1.0}, "upper"),
    ObjectiveRow("chivi", {"k": 4, "order": 3.0}),
    ObjectiveRow("wake-wake", {"k": 4}),
    ObjectiveRow("beta-tc", {"beta": 3.0}),
    ObjectiveRow("beta-tc", {"beta": 3.0, "weights": "weighted"}, "weighted"),
    ObjectiveRow("beta-tc", {"beta": 0.5, "alpha": 2.5, "gamma": 0.5}, "mutual information"),
    ObjectiveRow("dip-vae", {"off_diagonal": 3.0, "diagonal": 2.0}, "I"),
    ObjectiveRow("dip-vae", {"version": "II", "off_diagonal": 3.0, "diagonal": 2.0}, "II"),
    ObjectiveRow("infovae", {"alpha": 0.2, "weight": 3.0}),
    ObjectiveRow("infovae", {"alpha": 0.0, "weight": 3.0, "kernel": "imq", "biased": True}, "biased"),
    ObjectiveRow("wae-mmd", {"weight": 10.0, "biased": True}, "biased"),
    ObjectiveRow("wae-mmd", {"weight": 10.0, "kernel": "rbf"}, "rbf"),
    ObjectiveRow("swae", {"weight": 2.0, "projections": 7}),
    ObjectiveRow("hsic", {"weight": 2.0}),
    ObjectiveRow("hsic", {"weight": 2.0, "sizes": (1, 2), "kernel": "imq"}, "blocks"),
    ObjectiveRow("rae", {"latent": 0.1, "weight": 0.1}, "l2"),
    ObjectiveRow("rae", {"latent": 0.1, "weight": 0.1, "regularizer": "gradient"}, "gradient"),
    ObjectiveRow("rae", {"latent": 0.1, "weight": 0.1, "regularizer": "spectral"}, "spectral"),
    ObjectiveRow("factorvae", {"weight": 2.0, "hidden": (8,), "critic_lr_scale": 0.5}),
    ObjectiveRow("aae", {"weight": 2.0, "hidden": (8,), "critic_lr_scale": 0.5}),
    ObjectiveRow(
        "vae-gan",
        {
            "weight": 2.0,
            "features": 5,
            "critic": {"kind": "mlp", "hidden": (8,)},
            "critic_lr_scale": 0.5,
            "pixels": 0.5,
        },
    ),
    ObjectiveRow(
        "semi-supervised",
        {"classes": 2, "weight": 2.0, "classifier": {"kind": "mlp", "hidden": (7,)}},
        classes=2,
        elsewhere="test_objectives",
    ),
)
