"""Bugs of this field planted in continuous posteriors: the law named by each test rejects every one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import test_distributions
import torch
from torch import Tensor

import zoo
from nelbo.distributions import (
    FullNormal,
    LogisticNormal,
    LowRankNormal,
    PointMass,
    VonMisesFisher,
    WrappedNormal,
    kl_divergence,
)
from nelbo.distributions.curved import _Rotational
from nelbo.vae import Trace


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def family(name: str) -> zoo.Family:
    return zoo.DISTRIBUTIONS[name]


def without_volume(self: WrappedNormal, e: Tensor) -> Tensor:
    """The density of the tangent space, never corrected for the volume that wrapping makes."""
    return torch.distributions.Normal(0, self.log_scale.exp()).log_prob(e).sum(-1)


def without_determinant(self: LowRankNormal) -> Tensor:
    """log |Sigma| of the diagonal alone."""
    return self.log_scale.sum(-1)


def whole_determinant(self: FullNormal) -> Tensor:
    """A factor 1/2 lost: log |Sigma| where log |L| belongs."""
    return 2 * self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


DENSITIES: list[tuple[str, type, str, Callable[..., Any]]] = [
    ("wrapped normal", WrappedNormal, "_log_prob_at", without_volume),
    ("low-rank normal", LowRankNormal, "log_volume", property(without_determinant)),  # type: ignore[list-item]
    ("full normal", FullNormal, "log_volume", property(whole_determinant)),  # type: ignore[list-item]
    ("von mises-fisher", _Rotational, "_log_z", lambda self: torch.zeros_like(self.concentration)),
    ("logistic normal", LogisticNormal, "log_norm", property(lambda self: self.log_scale.sum(-1))),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("name", "owner", "member", "bug"), DENSITIES, ids=lambda v: v if isinstance(v, str) else "")
def test_density_ratio_rejects(
    name: str, owner: type, member: str, bug: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    test_distributions.test_density_ratio_has_mean_one(family(name), ())
    monkeypatch.setattr(owner, member, bug)
    with pytest.raises(AssertionError):
        test_distributions.test_density_ratio_has_mean_one(family(name), ())


def rejection_path(self: VonMisesFisher, theta: Tensor) -> Tensor:
    """d theta / dk of an accepted proposal held still, without the correction for its acceptance (as S-VAE's code)."""
    k, free = self.concentration.detach(), self.event_shape[0] - 1
    root = (4 * k.square() + free**2).sqrt()
    b = free / (2 * k + root)
    slope = -free * (2 + 4 * k / root) / (2 * k + root) ** 2
    versine = 1 - theta.cos()  # 2 b e / (1 - e + b e), so that its derivative in log b is versine (2 - versine) / 2
    return versine * (2 - versine) / 2 * slope / b / theta.sin()


@pytest.mark.parametrize("bug", [rejection_path, lambda self, theta: torch.zeros_like(theta)])
def test_pathwise_gradient_rejects_the_biased_reparameterisation(bug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    test_distributions.test_pathwise_gradient(family("von mises-fisher"))
    monkeypatch.setattr(_Rotational, "_slope", bug)
    with pytest.raises(AssertionError):
        test_distributions.test_pathwise_gradient(family("von mises-fisher"))


def test_pathwise_gradient_rejects_a_gamma_without_its_shape_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "_standard_gamma_grad", lambda a, draw: torch.zeros_like(draw))
    with pytest.raises(AssertionError):
        test_distributions.test_pathwise_gradient(family("gamma"))


def test_the_kl_of_the_normals_is_not_that_of_their_softmax() -> None:
    """The usual KL of topic models is too great: it counts the mean of y, which softmax forgets."""
    q, p = zoo.PAIRS["logistic normals"].make()
    normals = [torch.distributions.Normal(d.loc, d.log_scale.exp()) for d in (q, p)]  # type: ignore[attr-defined]
    usual = torch.distributions.kl_divergence(*normals).sum(-1)
    assert (usual > kl_divergence(q, p) + 1e-3).all()


def test_a_point_without_its_guard_has_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a Dirac not refused, log w would be log p(x, z): the score of a density that does not exist."""
    from test_geometry import autoencoder

    monkeypatch.setattr(PointMass, "has_density", True)
    trace: Trace = autoencoder()(torch.rand(2, 1, 4, 4).round())
    assert trace.log_weight.isfinite().all()
