"""Laws of priors fitted after training."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import MultivariateNormal

from nelbo import likelihoods, nets, posteriors
from nelbo.config.registry import Component, dump, parse
from nelbo.errors import UserError
from nelbo.latents import SingleLevelLatent
from nelbo.model import post_hoc
from nelbo.model.post_hoc import KINDS, TRIED, PriorFitConfig, choose, fit_prior_to_embeddings, log_likelihood
from nelbo.priors import Prior
from nelbo.vae import VAE

QUICK = PriorFitConfig(steps=150)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def aslant(n: int) -> Tensor:
    """Normal codes of strong correlations."""
    return torch.randn(n, 1) + 0.05 * torch.randn(n, 4)


def ring(n: int) -> Tensor:
    """Codes that no Normal fits: a ring of radius 3, off the origin and stretched."""
    angle = 2 * math.pi * torch.rand(n)
    return (3 + 0.2 * torch.randn(n, 1)) * torch.stack([angle.cos(), 4 * angle.sin()], 1) + torch.tensor([5.0, -2.0])


def test_fitted_normal_has_the_moments_of_the_codes() -> None:
    codes = torch.randn(500, 3) @ torch.randn(3, 3) + torch.randn(3)
    prior, _ = fit_prior_to_embeddings(codes, "normal")
    exact = MultivariateNormal(codes.mean(0), torch.cov(codes.T, correction=0))
    torch.testing.assert_close(prior(None).log_prob(codes), exact.log_prob(codes), rtol=1e-4, atol=1e-3)


def test_fitted_mixture_is_as_likely_as_scikit_learns() -> None:
    """On held-out codes, within 0.05 nats; and on well-separated clusters the same density."""
    codes, held = ring(1500), ring(1500)
    ours = log_likelihood(fit_prior_to_embeddings(codes, "gmm")[0], held)
    theirs = GaussianMixture(10, random_state=0).fit(codes.numpy()).score(held.numpy())
    assert ours > theirs - 0.05
    apart = torch.cat([torch.randn(300, 2) * s + 30 * i for i, s in enumerate((1.0, 0.3, 2.0))])
    prior, made_by = fit_prior_to_embeddings(apart, "gmm", PriorFitConfig(components=(3,)))
    oracle = GaussianMixture(3, random_state=0, tol=1e-7).fit(apart.numpy())
    expected = torch.as_tensor(oracle.score_samples(apart.numpy())).float()
    torch.testing.assert_close(prior(None).log_prob(apart), expected, rtol=1e-3, atol=1e-2)
    assert made_by == Component("prior", "mixture", components=3, covariance="full")


def test_a_mixture_does_not_depend_on_how_codes_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same centres for all parts, and the same sums, to rounding."""
    codes, found = ring(500), []
    for chunk in (70, 1000):
        monkeypatch.setattr(post_hoc, "CHUNK", chunk)
        found.append(
            fit_prior_to_embeddings(codes, "gmm", PriorFitConfig(components=(6,), rounds=1))[0](None).log_prob(codes)
        )
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_prior_saves_as_spec_and_weights(kind: str) -> None:
    """Built again from its table and its weights, it draws and scores the same; the fit is reproducible."""
    codes = ring(300)
    state = torch.get_rng_state()
    prior, made_by = fit_prior_to_embeddings(codes, kind, PriorFitConfig(steps=5, rounds=5))
    assert torch.equal(torch.get_rng_state(), state)
    again = fit_prior_to_embeddings(codes, kind, PriorFitConfig(steps=5, rounds=5))[0]
    rebuilt = parse(Component[Prior], dump(made_by), "prior").build(dim=2)
    rebuilt.load_state_dict(prior.state_dict())
    values = []
    for p in (prior, again, rebuilt.eval()):
        torch.manual_seed(3)
        values.append((p(None).sample((4,)), p(None).log_prob(codes)))
    for z, log_p in values[1:]:
        assert torch.equal(z, values[0][0]) and torch.equal(log_p, values[0][1])
    latent = SingleLevelLatent(prior, posteriors.DiagonalNormal(nets.MLPEncoder((6,), 4, []), 1))
    vae = VAE(latent, likelihoods.Normal(nets.MLPDecoder(2, (6,), []), 1, sigma="learned"))
    assert vae(torch.randn(3, 6)).log_weight.isfinite().all() and vae.generate(7).mean.shape == (7, 6)


@pytest.mark.parametrize("kind", ["flow-maf", "flow-iaf", "flow-realnvp"])
def test_a_fitted_flow_beats_the_normal(kind: str) -> None:
    codes, held = ring(2000), ring(500)
    normal = log_likelihood(fit_prior_to_embeddings(codes, "normal")[0], held)
    assert log_likelihood(fit_prior_to_embeddings(codes, kind, QUICK)[0], held) > normal + 0.1


def test_a_fitted_second_stage_draws_like_the_codes() -> None:
    codes = ring(2000)
    prior, _ = fit_prior_to_embeddings(codes, "two-stage", PriorFitConfig(steps=400))
    draws = prior(None).sample((2000,)).detach()
    assert ((draws.mean(0) - codes.mean(0)).abs() < 0.2 * codes.std(0)).all()
    assert ((draws.std(0) / codes.std(0) - 1).abs() < 0.2).all()


def test_auto_chooses_by_held_out_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Normal where the codes are Normal and few, something that bends on the ring."""
    assert set(TRIED) <= set(KINDS)
    assert choose(aslant(200), PriorFitConfig(steps=50)) == "normal"
    assert choose(ring(800), QUICK) != "normal"
    assert fit_prior_to_embeddings(aslant(200), "auto", PriorFitConfig(steps=20))[1] == Component(
        "prior", "mixture", components=1, covariance="full"
    )
    monkeypatch.setitem(KINDS, "gmm", lambda codes, effort: (_ for _ in ()).throw(UserError("tried")))
    with pytest.raises(UserError, match="tried"):
        choose(torch.randn(60, 4), PriorFitConfig(steps=1))


def test_bad_codes_and_kinds_are_named() -> None:
    for codes in (torch.randn(5), torch.randn(1, 3), torch.full((5, 2), math.nan)):
        with pytest.raises(UserError, match="embeddings of shape"):
            fit_prior_to_embeddings(codes)
    with pytest.raises(UserError, match="did you mean gmm"):
        fit_prior_to_embeddings(torch.randn(5, 2), "gm")
    with pytest.raises(UserError, match="above 0"):
        PriorFitConfig(steps=0)
    assert fit_prior_to_embeddings(torch.zeros(5, 2), "gmm")[0](None).log_prob(torch.zeros(1, 2)).isfinite().all()
