"""Priors fitted to the embeddings of a trained model, to replace its own prior.

A posterior that is trained against p(z) seldom has the aggregate (1/N) sum_n q(z | x_n) = p(z). A prior fitted to
draws z_n from that aggregate closes the gap: samples improve, and the rest of the model stays as it is.

    fit_prior_to_embeddings(z, "gmm") -> the prior p(z), and the component that builds it again

Sources: Ghosh et al. (2020), From Variational to Deterministic Autoencoders (a mixture after training); Dai, Wipf
(2019), Diagnosing and Enhancing VAE Models (a second VAE); Dempster, Laird, Rubin (1977), Maximum Likelihood from
Incomplete Data via the EM Algorithm.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nelbo.config.registry import Component
from nelbo.data import InMemoryDataset, Schema
from nelbo.distributions import noise
from nelbo.distributions.noise import seeded
from nelbo.errors import UserError, nearest
from nelbo.latents.quantizers import spread_out
from nelbo.model.model import Model
from nelbo.objectives import Losses, Objective, elbo
from nelbo.posteriors import Posterior
from nelbo.priors import Prior
from nelbo.schedules import Cosine
from nelbo.training import Adam, Callback, TrainingConfig, fit, signals
from nelbo.training.progress import track
from nelbo.vae import VAE

Fitted = tuple[Prior, Component[Prior]]
HELD_OUT = 0.2
LOOKS = 30
RIDGE = 1e-7  # fraction of the mean variance that is added to covariances
CHUNK = 2000  # embeddings at once in a mixture
TOLERANCE = 1e-4  # nats per embedding: EM stops when a round gains less
DEARER = 4  # cost of a fit relative to the last one, which had a quarter of the components
LEAST_CODES = 10  # embeddings per component, for each feature
TRIED = ("normal", "gmm", "flow-maf", "flow-realnvp")


@dataclass(frozen=True)
class PriorFitConfig:
    """How long to fit a prior.

    Args:
        steps: optimizer steps of Adam.
        batch_size: embeddings per step.
        learning_rate: the learning rate of Adam.
        rounds: rounds of expectation-maximisation, for a mixture.
        components: the numbers of components to try for a mixture, from the fewest; the best by held-out likelihood is
            kept.
        seconds: the approximate time limit of a fit of a mixture or of a prior over codes.
    """

    steps: int = 1500
    batch_size: int = 256
    learning_rate: float = 2e-3
    rounds: int = 40
    components: tuple[int, ...] = (10, 50, 200)
    seconds: float = math.inf

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.learning_rate, self.rounds, *self.components, self.seconds) <= 0:
            raise UserError(f"{self}: all numbers must be above 0")


def fit_prior_to_embeddings(
    codes: Tensor, kind: str = "auto", effort: PriorFitConfig | None = None, seed: int = 0
) -> Fitted:
    """Fit a prior to embeddings, draws of the posterior over the training data; torch's generators are left unchanged.

    Args:
        codes: the embeddings `(n, dim)`.
        kind: "normal" (full covariance), "gmm", "flow-maf", "flow-iaf", "flow-realnvp", "two-stage", or "auto": the
            kind in `TRIED` with the highest log-likelihood of held-out embeddings.
        effort: how long to fit; None for the defaults.
        seed: fixes the draws.

    Raises `UserError` for an unknown kind, and for embeddings that are not a finite matrix of at least 2 rows.
    """
    if codes.dim() != 2 or len(codes) < 2 or not codes.isfinite().all():
        raise UserError(f"embeddings of shape {tuple(codes.shape)}: give finite embeddings (n, dim), n of 2 or more")
    if kind not in (*KINDS, "auto"):
        raise UserError(f"kind={kind!r}: {nearest(kind, (*KINDS, 'auto'))}")
    codes, effort = codes.detach().float(), effort or PriorFitConfig()
    with seeded(seed):
        prior, made_by = KINDS[choose(codes, effort) if kind == "auto" else kind](codes, effort)
    return prior.eval(), made_by


def choose(codes: Tensor, effort: PriorFitConfig) -> str:
    """The kind in `TRIED` with the highest log-likelihood of held-out embeddings."""
    held, rest = codes[_shuffled(len(codes))].tensor_split([max(1, int(HELD_OUT * len(codes)))])
    return max(TRIED, key=lambda kind: log_likelihood(KINDS[kind](rest, effort)[0], held))


@torch.no_grad()
def log_likelihood(prior: Prior, codes: Tensor) -> float:
    """The mean of log p(z) over embeddings, nats; minus infinity where it is not a number."""
    value = prior.eval()(None).log_prob(codes).mean().item()
    return value if math.isfinite(value) else -math.inf


def fit_mixture(codes: Tensor, components: int, rounds: int) -> Fitted:
    """Fit a mixture of full-covariance Normals by expectation-maximisation, from centres chosen as in k-means++.

    scikit-learn's was weighed: this one obeys a time limit, runs on the embeddings' device, and needs no extra package.

    r_nk = w_k N(z_n; mu_k, S_k) / p(z_n);   w_k = mean_n r_nk, and mu_k, S_k are the moments weighted by r_nk.
    """
    origin = codes.double().mean(0)
    z, components = codes.double() - origin, min(components, len(codes))
    squares = [torch.einsum("ni,nj->nij", part, part).flatten(1) for part in z.split(CHUNK)]
    centres = spread_out(z, components, _draw_row)
    nearest_centre = torch.cat([torch.cdist(part, centres).argmin(1) for part in z.split(CHUNK)])
    shares: Iterable[Tensor] = torch.nn.functional.one_hot(nearest_centre, components).to(z.dtype).split(CHUNK)
    last = -math.inf
    for _ in track(range(rounds), f"fitting {components} components", rounds):
        weights, loc, root = _moments(z, squares, shares)
        joints = _joints(z, weights, loc, root)
        shares = [joint.softmax(1) for joint in joints]
        now = torch.cat([joint.logsumexp(1) for joint in joints]).mean().item()
        if now - last < TOLERANCE:
            break
        last = now
    made_by: Component[Prior] = Component("prior", "mixture", components=components, covariance="full")
    prior = _built(made_by, codes.shape[1], torch.device("cpu"))
    spread = root.diagonal(dim1=-2, dim2=-1).log()
    values = {"logits": weights.log(), "loc": loc + origin, "log_scale": spread, "lower": root.tril(-1)}
    prior.load_state_dict(values)
    return prior.to(codes.device), made_by


def _joints(z: Tensor, weights: Tensor, loc: Tensor, root: Tensor) -> list[Tensor]:
    """log w_k N(z_n; mu_k, L_k L_k') of each chunk of z, `(chunk, k)`: |L_k^-1 (z - mu_k)|^2 by one matrix product."""
    inverse = torch.linalg.solve_triangular(root, torch.eye(z.shape[1]).to(z), upper=False)
    centres = torch.einsum("kij,kj->ki", inverse, loc)
    level = weights.log() - root.diagonal(dim1=-2, dim2=-1).log().sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)
    whitened = ((part @ inverse.flatten(0, 1).T).unflatten(1, centres.shape) for part in z.split(CHUNK))
    return [level - 0.5 * (part - centres).square().sum(2) for part in whitened]


def _moments(z: Tensor, squares: Sequence[Tensor], shares: Iterable[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The weight, mean, and root of the covariance of each component, from its share in each datum.

    `squares` are the z z' of each chunk of z, flattened: all sums are matrix products.
    """
    mass, first, second = (torch.zeros((), dtype=z.dtype, device=z.device) for _ in range(3))
    for part, square, share in zip(z.split(CHUNK), squares, shares, strict=True):
        mass, first, second = mass + share.sum(0), first + share.T @ part, second + share.T @ square
    mass = mass + 1e-10
    loc = first / mass.unsqueeze(1)
    covariance = (second / mass.unsqueeze(1)).unflatten(1, (z.shape[1], -1)) - torch.einsum("ki,kj->kij", loc, loc)
    ridge = (
        RIDGE * z.var(0, correction=0).mean().clamp_min(1e-12) * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    )
    return mass / mass.sum(), loc, torch.linalg.cholesky(covariance + ridge)


def fit_best_mixture(codes: Tensor, effort: PriorFitConfig) -> Fitted:
    """`fit_mixture` with the number of components in `effort.components` that makes held-out embeddings likeliest.

    Numbers are tried from the fewest, for as long as the likelihood rises, the embeddings suffice for that many
    covariances, and `effort.seconds` allow a fit `DEARER` times as long as the last and a final one on all embeddings.
    """
    held, rest = codes[_shuffled(len(codes))].tensor_split([max(1, int(HELD_OUT * len(codes)))])
    best, chosen, end, last = -math.inf, effort.components[0], time.monotonic() + effort.seconds, 0.0
    for components in effort.components if len(effort.components) > 1 else ():
        began = time.monotonic()
        if last and (components * LEAST_CODES * codes.shape[1] > len(rest) or began + 2 * DEARER * last > end):
            break
        found = log_likelihood(fit_mixture(rest, components, effort.rounds)[0], held)
        if found <= best:
            break
        best, chosen, last = found, components, time.monotonic() - began
    return fit_mixture(codes, chosen, effort.rounds)


def _draw_row(i: int, masses: Tensor) -> Tensor:
    """The index of a row: the first one uniform, the others by these masses; see `spread_out`."""
    g = noise.generator(masses.device)
    if not i:
        return torch.randint(len(masses), (1,), generator=g, device=masses.device)
    return torch.multinomial((masses + 1e-12).float(), 1, generator=g)


def _shuffled(n: int) -> Tensor:
    """The numbers below n in random order."""
    return torch.randperm(n, generator=noise.generator())


def _built(part: Component[Any], dim: int, device: torch.device) -> Any:
    """A new prior over `dim` numbers, with initial values from the generator in use."""
    with noise.building():
        return part.build(dim=dim).to(device)


class LogLikelihood(Objective):
    """-log p(z), nats, the loss of a prior fitted to embeddings. The module it evaluates is the prior itself."""

    def forward(self, vae: Any, x: Tensor, c: Tensor | None = None) -> Losses:
        p = vae()
        return Losses({"vae": -p.log_prob(x.long() if p.support.is_discrete else x).mean()}, {})


class _Watched(Callback):
    """Report each epoch to the progress listener; see `nelbo.training.progress`."""

    def __init__(self, epochs: int) -> None:
        self.loop = track(range(epochs), "fitting the prior", epochs)
        next(self.loop)

    def on_epoch(self, vae: Any, epoch: int, rows: list[dict[str, Any]]) -> None:
        next(self.loop, None)

    def on_end(self, reason: str) -> None:
        self.loop.close()


def _train(module: nn.Module, objective: Objective, codes: Tensor, settings: TrainingConfig) -> None:
    """Train `module` on embeddings; keep the weights of the epoch with the least loss on a held-out tenth.

    Raises `KeyboardInterrupt` if training is interrupted.
    """
    schema = Schema("vector", codes.shape[1:], (0.0,), (1.0,), "real")
    held, rest = codes.cpu()[_shuffled(len(codes))].tensor_split([max(1, len(codes) // 10)])
    settings = dataclasses.replace(
        settings,
        max_grad_norm=5.0,
        early_stopping_patience=settings.epochs,
        seed=int(torch.randint(2**31, (), generator=noise.generator())),
        device=str(codes.device),
    )
    with torch.enable_grad():
        data = InMemoryDataset(rest, schema), InMemoryDataset(held, schema)
        state = fit(module, objective, *data, settings, callbacks=[_Watched(settings.epochs)], alone=True)
    if state.reason == "interrupted":
        signals.deliver(state.signal)


def _settings(codes: Tensor, effort: PriorFitConfig) -> TrainingConfig:
    """Adam for `effort.steps` batches, in `LOOKS` epochs, after each of which the held-out loss is computed."""
    looks, batch = min(LOOKS, effort.steps), min(effort.batch_size, len(codes))
    return TrainingConfig(
        epochs=looks,
        batch_size=batch,
        samples_per_epoch=batch * round(effort.steps / looks),
        learning_rate=effort.learning_rate,
        schedule=Cosine(),
        max_seconds=_limit(effort.seconds),
    )


def _limit(seconds: float) -> float:
    """Convert a time limit to that of `TrainingConfig`, where 0 means no limit."""
    return seconds if math.isfinite(seconds) else 0.0


def fit_flow(codes: Tensor, effort: PriorFitConfig, transform: str) -> Fitted:
    """Fit a flow by maximum likelihood, initialized to the means and standard deviations of the embeddings."""
    made_by: Component[Any] = Component("prior", "flow", transform=transform)
    prior = _built(made_by, codes.shape[1], codes.device)
    prior.init_from_codes(codes)
    _train(prior, LogLikelihood(), codes, _settings(codes, effort))
    return prior, made_by


def fit_two_stage(codes: Tensor, effort: PriorFitConfig) -> Fitted:
    """Fit a second VAE to the embeddings, by its own ELBO."""
    made_by: Component[Any] = Component("prior", "two-stage")
    prior = _built(made_by, codes.shape[1], codes.device)
    prior.vae["likelihood"].init_output_bias(codes.mean(0))
    _train(VAE(prior.vae["latent"], prior.vae["likelihood"]), elbo(), codes, _settings(codes, effort))
    return prior, made_by


KINDS: dict[str, Callable[[Tensor, PriorFitConfig], Fitted]] = {
    "normal": lambda codes, effort: fit_mixture(codes, 1, 1),
    "gmm": fit_best_mixture,
    "flow-maf": lambda codes, effort: fit_flow(codes, effort, "maf"),
    "flow-iaf": lambda codes, effort: fit_flow(codes, effort, "iaf"),
    "flow-realnvp": lambda codes, effort: fit_flow(codes, effort, "realnvp"),
    "two-stage": fit_two_stage,
}


CODE_PRIORS = ("transformer", "pixelcnn")


def fit_code_prior(
    indices: Tensor,
    codebook_size: int,
    kind: str = "transformer",
    epochs: int = 20,
    learning_rate: float = 2e-3,
    seed: int = 0,
    seconds: float = math.inf,
) -> Fitted:
    """Fit a prior by maximum likelihood to the codes that a trained model chose, and return it with its component.

    The weights are those of the epoch in which a held-out tenth was likeliest. To use the prior, set it as the
    `prior` of the latent, and its component as the latent's `prior` in the recipe.

    Args:
        indices: codes `(n, positions)`, integers below `codebook_size`.
        codebook_size: the number of entries of the codebook.
        kind: "transformer" or "pixelcnn".
        epochs: the largest number of epochs.
        learning_rate: the learning rate of Adam.
        seed: fixes the draws.
        seconds: the time limit; no epoch begins later.

    Raises `UserError` for an unknown kind or too few data.
    """
    if kind not in CODE_PRIORS:
        raise UserError(f"kind={kind!r}: {nearest(kind, CODE_PRIORS)}")
    if indices.dim() != 2 or len(indices) < 2 or epochs < 1:
        raise UserError(
            f"{tuple(indices.shape)} codes, epochs={epochs}: give codes (n, positions), n >= 2, epochs >= 1"
        )
    made_by: Component[Prior] = Component("prior", kind, codebook_size=codebook_size)
    with seeded(seed):
        prior = _built(made_by, indices.shape[1], indices.device)
        settings = TrainingConfig(
            epochs=epochs, learning_rate=learning_rate, optimizer=Adam(weight_decay=0.01), max_seconds=_limit(seconds)
        )
        _train(prior, LogLikelihood(), indices, settings)
    return prior.eval(), made_by


OF_POSTERIOR: dict[str, Component[Prior]] = {"metric": Component("prior", "metric")}


def fit_prior(model: Model, data: Any, kind: str = "auto", seed: int = 0, seconds: float = math.inf) -> Model:
    """Copy the model with a prior of this kind, fitted to draws of its posterior over `data`; see `nelbo.priors`.

    Args:
        model: the trained model, which is not changed.
        data: data in any form that training takes; usually the training data.
        kind: "transformer" or "pixelcnn" for a model with a codebook; "normal", "gmm", "flow-maf", "flow-iaf",
            "flow-realnvp" or "two-stage" for other single-level latents; "metric" for one with a learned metric;
            "auto" takes the kind that makes held-out embeddings likeliest.
        seed: fixes the draws.
        seconds: the approximate time limit of a mixture, or of a prior over codes.

    Raises `UserError` for a hierarchy, and for a kind that does not suit the latents.
    """
    vae = copy.deepcopy(model.vae)
    latent: Any = vae.latent
    if latent.prior_over == "codes":
        codes = torch.from_numpy(model.sample_posterior(data, seed)).long()
        fitted: Fitted = _over_codes(codes, latent.quantizer.codebook_size, kind, seed, seconds)
    elif latent.prior_over and kind in OF_POSTERIOR:
        fitted = _of_posterior(latent.posterior, kind)
    elif latent.prior_over:
        codes = torch.from_numpy(model.sample_posterior(data, seed))
        fitted = fit_prior_to_embeddings(codes, kind, PriorFitConfig(seconds=seconds), seed)
    else:
        raise UserError(
            f"A prior can be fitted only to single-level latents, and this model has {type(latent).__name__} latents: "
            "train a model of a preset without a hierarchy, such as beta"
        )
    latent.prior = fitted[0].to(next(model.vae.parameters()))
    latent.bind(vae.likelihood)  # a posterior that depends on the prior now uses this one
    made = model.recipe.model.latent.replace(prior=fitted[1])
    recipe = dataclasses.replace(model.recipe, model=dataclasses.replace(model.recipe.model, latent=made))
    trained = {**model.trained, "prior": fitted[1].kind} if model.trained else {}
    return Model(vae, model.schema, recipe, model.kl_per_latent, model.context, trained)


def _of_posterior(posterior: Posterior, kind: str) -> Fitted:
    """The prior that is derived from the posterior, without a fit."""
    prior = OF_POSTERIOR[kind].build().eval()
    prior.bind(posterior)
    prior(None)  # raises if the posterior is not of the right kind
    return prior, OF_POSTERIOR[kind]


def _over_codes(codes: Tensor, size: int, kind: str, seed: int, seconds: float) -> Fitted:
    """Fit a prior over codes of a codebook; "auto" compares the kinds on a held-out tenth."""
    if kind == "auto":
        with seeded(seed):
            held, rest = codes[_shuffled(len(codes))].tensor_split([max(1, len(codes) // 10)])
        kinds = CODE_PRIORS
        tried = {k: fit_code_prior(rest, size, k, seed=seed, seconds=seconds / len(kinds)) for k in kinds}
        return max(tried.values(), key=lambda fitted: log_likelihood(fitted[0], held))
    return fit_code_prior(codes, size, kind, seed=seed, seconds=seconds)
