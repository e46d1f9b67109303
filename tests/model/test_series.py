"""Laws of data with gaps: what was not observed costs nothing, changes nothing, and is filled by what was."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from nelbo import distributions, likelihoods, nets, posteriors, priors
from nelbo.data import Schema
from nelbo.distributions import DiagonalNormal, Masked
from nelbo.latents import SingleLevelLatent
from nelbo.model import imputation
from nelbo.nets.conv import convolution
from nelbo.objectives import elbo
from nelbo.vae import VAE
from zoo import context, perturb_parameters

SHAPE = (5, 2)
NAN = torch.nan


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaps(*shape: int) -> Tensor:
    """Which elements are missing; of the first datum none, of the second all."""
    missing = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.4
    missing[0], missing[1] = False, True
    return missing


FAMILIES: dict[str, Callable[[Tensor], distributions.Distribution]] = {
    "normal": lambda loc: DiagonalNormal(loc, torch.tensor(0.3).double(), 2),
    "laplace": lambda loc: distributions.Laplace(loc, torch.tensor(0.3).double(), 2),
    "student-t": lambda loc: distributions.StudentT(loc, torch.tensor(0.3).double(), torch.tensor(4.0).double(), 2),
    "continuous bernoulli": lambda loc: distributions.ContinuousBernoulli(loc, 2),
    "beta": lambda loc: distributions.Beta(1 + loc.exp(), 1 + (-loc).exp(), 2),
    "poisson": lambda loc: distributions.Poisson(loc, 2),
}
over_families = pytest.mark.parametrize("name", FAMILIES)


def admitted(name: str) -> Tensor:
    x = draw(4, *SHAPE, seed=2)
    return x.sigmoid() if name in ("continuous bernoulli", "beta") else x.abs().floor() if name == "poisson" else x


@over_families
def test_the_log_probability_is_that_of_what_was_observed(name: str) -> None:
    loc, x, missing = draw(3, 4, *SHAPE).requires_grad_(), admitted(name), gaps(4, *SHAPE)
    d = FAMILIES[name](loc)
    expected = d.element_log_prob(x).masked_fill(missing, 0.0).sum((-1, -2))
    found = Masked(FAMILIES[name](loc)).log_prob(x.masked_fill(missing, NAN))
    torch.testing.assert_close(found, expected)
    assert torch.equal(Masked(d).log_prob(x), d.log_prob(x)), "complete data cost what they did"
    (gradient,) = torch.autograd.grad(found.sum(), loc)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), loc)[0])
    assert (gradient[:, missing] == 0).all() and (gradient[:, 1] == 0).all()


def test_the_best_variance_is_that_of_observed_residuals() -> None:
    loc, x, missing, told = draw(4, *SHAPE), draw(4, *SHAPE, seed=2), gaps(4, *SHAPE), []

    def observe(squares: Tensor, count: Tensor) -> Tensor:
        told.append(squares.sum() / count)
        return told[-1]

    d = Masked(distributions.OptimalNormal(loc, 2, observe))
    found = d.log_prob(x.masked_fill(missing, NAN))
    variance = (x - loc)[~missing].square().mean()
    torch.testing.assert_close(told[0], variance)
    expected = DiagonalNormal(loc, 0.5 * variance.log(), 2).element_log_prob(x).masked_fill(missing, 0.0)
    torch.testing.assert_close(found, expected.sum((-1, -2)))


@pytest.mark.parametrize("contexts", [0, 2])
@pytest.mark.parametrize("kind", ["conv1d", "recurrent", "mlp"])
def test_an_encoder_of_gaps(kind: str, contexts: int) -> None:
    """Without a gap it is its net; with a closed gate a gap is the mean; what a gap hides is never seen."""
    wide = (SHAPE[0], 2 * SHAPE[1])
    torch.manual_seed(0)
    net = {
        "conv1d": lambda: nets.ConvEncoder(wide, 3, 4, 1, contexts),
        "recurrent": lambda: nets.RecurrentEncoder(wide, 3, 4, contexts),
        "mlp": lambda: nets.MLPEncoder(wide, 3, [6], contexts),
    }[kind]()
    encoder = perturb_parameters(nets.GapEncoder(copy.deepcopy(net), SHAPE))
    encoder.rescale.shift.copy_(draw(*SHAPE, seed=3))
    encoder.rescale.scale.fill_(2.0)
    c = [context(4)] if contexts else []
    x, missing = draw(4, *SHAPE, seed=2), gaps(4, *SHAPE)
    scaled = (x - encoder.rescale.shift) * 2
    torch.testing.assert_close(encoder(x, *c), encoder.net(torch.cat([scaled, torch.zeros_like(x)], -1), *c))
    marked = torch.cat([scaled.masked_fill(missing, 0.0), encoder.gate * missing], -1)
    torch.testing.assert_close(encoder(x.masked_fill(missing, NAN), *c), encoder.net(marked, *c))
    (gradient,) = torch.autograd.grad(encoder(x.masked_fill(missing, NAN), *c).square().sum(), [encoder.gate])
    assert gradient.isfinite().all() and (gradient != 0).all()
    with torch.no_grad():
        encoder.gate.zero_()
    mean = torch.where(missing, encoder.rescale.shift, x)
    torch.testing.assert_close(encoder(x.masked_fill(missing, NAN), *c), encoder(mean, *c))
    assert encoder.output_bias is encoder.net.output_bias


def test_steps_are_convolved_as_torch_does() -> None:
    torch.manual_seed(0)
    x = draw(2, 3, 9)
    for stride in (1, 2):
        layer = convolution(3, 4, 1, stride).double()
        expected = F.conv1d(x, layer.weight.squeeze(2), layer.bias, stride, 1)
        torch.testing.assert_close(layer(x.unsqueeze(2)).squeeze(2), expected)


def test_a_convolutional_net_commutes_with_time() -> None:
    """Away from the ends, what the first convolutions see of a shifted series is shifted."""
    torch.manual_seed(0)
    net = nets.ConvEncoder((32, 2), 3, 4, 1).double()
    x = torch.zeros(1, 32, 2, dtype=torch.float64)
    x[:, 8:12] = draw(1, 4, 2)
    planes = [net.stem(of.transpose(1, 2).unsqueeze(2)) for of in (x, x.roll(4, 1))]
    torch.testing.assert_close(planes[0].roll(4, -1)[..., 6:-6], planes[1][..., 6:-6])


def linear(noise: float = 0.5) -> tuple[VAE, Tensor, Tensor]:
    """A VAE of linear maps over series, its decoder's weight `(10, 3)` and bias `(10,)`."""
    torch.manual_seed(0)
    encoder = nets.GapEncoder(nets.MLPEncoder((SHAPE[0], 2 * SHAPE[1]), 6, []), SHAPE)
    decoder = nets.MLPDecoder(3, SHAPE, [])
    likelihood = likelihoods.MissingDataLikelihood(likelihoods.Normal(decoder, 2, sigma=noise))
    vae = VAE(SingleLevelLatent(priors.StandardNormal(3), posteriors.DiagonalNormal(encoder, 2)), likelihood).double()
    layer = decoder.layers[0]
    with torch.no_grad():
        layer.weight.copy_(draw(10, 3, seed=5))
    return vae.eval(), layer.weight.detach(), layer.bias.detach()


def _joint(noise: float, weight: Tensor, bias: Tensor, at: Tensor) -> MultivariateNormal:
    """The distribution of the elements `at` of x."""
    covariance = weight @ weight.T + noise**2 * torch.eye(10, dtype=torch.float64)
    return MultivariateNormal(bias[at], covariance[at][:, at])


def test_importance_samples_give_the_likelihood_of_what_was_observed() -> None:
    """Of a linear model, p(x_o) is a Normal's marginal."""
    vae, weight, bias = linear()
    x, missing = draw(4, *SHAPE, seed=6), gaps(4, *SHAPE)
    torch.manual_seed(1)
    with torch.no_grad():
        log_weight = vae(x.masked_fill(missing, NAN), None, (200_000,)).log_weight
    found = log_weight.logsumexp(0) - torch.tensor(200_000.0).log()
    for i in range(4):
        at = (~missing[i]).flatten().nonzero().flatten()
        truth = _joint(0.5, weight, bias, at).log_prob(x[i].flatten()[at]) if len(at) else torch.zeros(())
        spread = (log_weight[:, i] - log_weight[:, i].logsumexp(0)).exp().square().sum().sqrt().item()
        assert abs(found[i].item() - truth.item()) < 5 * spread + 1e-9


def test_gaps_are_filled_with_their_conditional_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a linear model, E[x_m | x_o] and Var[x_m | x_o] have a closed form; draws have the same moments."""
    vae, weight, bias = linear()
    x, missing = draw(4, *SHAPE, seed=6), gaps(4, *SHAPE)
    schema = Schema("series", SHAPE, (1.0, -2.0), (3.0, 0.5), "real")
    covariance = weight @ weight.T + 0.25 * torch.eye(10, dtype=torch.float64)
    there = (~missing[2]).flatten()
    gain = covariance[~there][:, there] @ torch.linalg.inv(covariance[there][:, there])
    mean = bias[~there] + gain @ (x[2].flatten()[there] - bias[there])
    variance = (covariance[~there][:, ~there] - gain @ covariance[there][:, ~there]).diagonal()
    row = x[2:3].masked_fill(missing[2:3], NAN)
    monkeypatch.setattr(imputation, "DRAWS", 100_000)
    torch.manual_seed(2)
    with torch.no_grad():
        filled, unsure = imputation.expected_values(vae, row, schema)[0]
        scale = torch.tensor(schema.scale).expand(SHAPE).flatten()
        shift = torch.tensor(schema.shift).expand(SHAPE).flatten()
        torch.testing.assert_close(
            filled.flatten()[there].double(), x[2].flatten()[there] * scale[there] + shift[there]
        )
        assert (unsure.flatten()[there] == 0).all()
        reached = (filled.flatten()[~there] - shift[~there]) / scale[~there]
        torch.testing.assert_close(reached.double(), mean, atol=0.05, rtol=0)
        torch.testing.assert_close((unsure.flatten() / scale)[~there].double(), variance.sqrt(), atol=0.05, rtol=0)
        monkeypatch.setattr(imputation, "DRAWS", 200)
        drawn = torch.cat([imputation.sample_missing(vae, row.expand(250, -1, -1)) for _ in range(8)]).flatten(1)
    assert torch.equal(drawn[:, there], x[2].flatten()[there].expand(len(drawn), -1)) and not drawn.isnan().any()
    error = (variance / len(drawn)).sqrt()
    assert ((drawn[:, ~there].mean(0) - mean).abs() < 5 * error + 0.05).all()
    torch.testing.assert_close(drawn[:, ~there].std(0), variance.sqrt(), atol=0.08, rtol=0.08)


def test_a_loss_with_gaps_trains_every_parameter() -> None:
    vae, _, _ = linear()
    vae.train()
    x = draw(4, *SHAPE, seed=6).masked_fill(gaps(4, *SHAPE), NAN)
    sum(elbo()(vae, x).losses.values(), torch.zeros(())).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_a_wrapped_likelihood_speaks_for_its_base() -> None:
    base = likelihoods.Bernoulli(nets.MLPDecoder(3, SHAPE, []), 2, allow_soft_targets=True)
    observed = likelihoods.MissingDataLikelihood(base)
    assert (observed.name, observed.normalized, observed.support) == ("Bernoulli", False, base.support)
    assert isinstance(observed.net, nn.Module) and {*observed.state_dict()} == {f"base.{k}" for k in base.state_dict()}
    d = observed(torch.zeros(4, 3))
    assert torch.equal(d.mean, base(torch.zeros(4, 3)).mean) and d.sample((2,)).shape == (2, 4, *SHAPE)
