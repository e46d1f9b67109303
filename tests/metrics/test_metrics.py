"""Laws of the measures of samples."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from nelbo.data import load
from nelbo.errors import UserError
from nelbo.metrics import frechet_distance, neighbourhoods, quality
from nelbo.metrics.samples import DigitClassifier, look


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def exactly(mean: Tensor, root: Tensor, n: int = 500) -> Tensor:
    """Points whose sample mean and covariance are `mean` and `root root'`."""
    z = torch.randn(n, len(mean)).double()
    z = z - z.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(torch.cov(z.T)), z.T, upper=False).T
    return mean + white @ root.T


def test_frechet_distance_is_the_closed_form_of_two_normals() -> None:
    """By a matrix square root of another library; symmetric, 0 of a set and itself, the same in a turned space."""
    a = exactly(torch.randn(4).double(), torch.randn(4, 4).double())
    b = exactly(torch.randn(4).double(), torch.randn(4, 4).double())
    s_a, s_b = torch.cov(a.T).numpy(), torch.cov(b.T).numpy()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + (s_a + s_b - 2 * sqrtm(s_a @ s_b).real).trace()
    turn = torch.linalg.qr(torch.randn(4, 4).double())[0]
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    one = torch.randn(9, 1).double()
    expected = (2 * one.mean() + 1) ** 2 + (2 * one.std()) ** 2
    assert frechet_distance(one, 3 * one + 1) == pytest.approx(expected.item())


def test_neighbourhoods_by_hand() -> None:
    """On a line, k = 1: real points 0, 1, 10, 11 have balls of radius 1; made points 0.5, 5, 30, 31."""
    real = torch.tensor([0.0, 1.0, 10.0, 11.0]).unsqueeze(1)
    made = torch.tensor([0.5, 5.0, 30.0, 31.0]).unsqueeze(1)
    found = neighbourhoods(real, made, k=1)
    assert found["precision"] == 0.25  # 0.5 lies in the balls of 0 and 1; the others in none
    assert found["density"] == 2 / 4
    assert found["coverage"] == 0.5  # the balls of 0 and 1 hold 0.5
    assert found["recall"] == 0.5  # made radii 4.5, 4.5, 1, 1: that of 0.5 holds 0 and 1, that of 5 only 1


def test_neighbourhoods_of_like_and_unlike_sets() -> None:
    """Two draws of one law are dense and covered as theory says; sets far apart share nothing; one mode is covered."""
    real, made = torch.randn(3000, 2), torch.randn(3000, 2)
    alike = neighbourhoods(real, made)
    assert alike["density"] == pytest.approx(1, abs=0.1)  # its expectation is 1 for like sets (Naeem et al. 2020)
    chance = 1 - math.prod((3000 - i - 1) / (6000 - i - 1) for i in range(5))  # that none of the 5 nearest is made
    assert alike["coverage"] == pytest.approx(chance, abs=0.02)
    assert set(neighbourhoods(real, made + 100).values()) == {0.0}
    half = neighbourhoods(torch.cat([real, real + 100]), made)
    assert half["precision"] > 0.9 and half["coverage"] < 0.52


def test_the_shipped_classifier_knows_digits_and_tells_noise() -> None:
    test = load("mnist").test
    x = test.batch(torch.arange(2000))
    features, chances = look(x)
    assert test.labels is not None
    assert (chances.argmax(1) == test.labels[:2000]).float().mean() > 0.985
    assert features.shape == (2000, 64)
    torch.testing.assert_close(chances.sum(1), torch.ones(2000))
    assert sum(p.numel() for p in DigitClassifier().parameters()) < 200_000
    noise = (x[:1000] + torch.rand_like(x[:1000])).clamp(0, 1)
    real, noisy = quality(x[:1000], x[1000:], "digits"), quality(noise, x[1000:], "digits")
    assert real["features"] == "digits" and real["confident"] > 0.95  # type: ignore[operator]
    assert noisy["frechet"] > 20 * real["frechet"]  # type: ignore[operator]


def test_what_cannot_be_compared_is_named() -> None:
    with pytest.raises(UserError, match=r"\(3, 8, 8\).*28x28"):
        quality(torch.zeros(9, 3, 8, 8), torch.zeros(9, 3, 8, 8), "digits")
    with pytest.raises(UserError, match="features='digit': did you mean digits"):
        quality(torch.zeros(9, 2), torch.zeros(9, 2), "digit")
    with pytest.raises(UserError, match="2 or more"):
        frechet_distance(torch.zeros(1, 2), torch.zeros(5, 2))
    with pytest.raises(UserError, match="k=5"):
        neighbourhoods(torch.zeros(5, 2), torch.zeros(9, 2))


def test_any_features_of_any_data_are_compared() -> None:
    torch.manual_seed(0)
    real, samples = torch.randn(500, 4, 2), torch.randn(500, 4, 2) + 1
    by_values = quality(samples, real)
    assert by_values["frechet"] == frechet_distance(samples.flatten(1), real.flatten(1))
    first = quality(samples, real, lambda x: x[:, 0])
    assert first["frechet"] == frechet_distance(samples[:, 0], real[:, 0])
    assert first["precision"] == neighbourhoods(real[:, 0], samples[:, 0])["precision"]
