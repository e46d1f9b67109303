"""A prior fitted to a trained model's codes, in place of its own.

model = with_prior(model, "mnist", "gmm")            nelbo prior fit results/mnist --kind gmm
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from nelbo import spec
from nelbo.conditionals import AggregatePrior, Conditional
from nelbo.distributions.noise import seeded
from nelbo.errors import UserError
from nelbo.latents import Flat, Quantised
from nelbo.model import Model
from nelbo.priors import Effort, fit_prior, log_likelihood

OF_POSTERIOR = {"metric": spec.MetricPrior()}


def with_prior(model: Model, data: Any, kind: str = "auto", seed: int = 0, seconds: float = math.inf) -> Model:
    """The model with a prior of this kind, fitted to draws of its posterior over `data`; see `nelbo.priors`.

    "auto" takes the kind under which held-out codes are likeliest. A model of codes from a codebook takes the kinds
    "transformer" and "pixelcnn", one of vectors the others; "metric" is for a posterior that learned one. A mixture,
    or a prior over codes, takes about so many `seconds` at most.

    Raises `UserError` for a hierarchy, and for a kind that does not suit the latents.
    """
    vae = copy.deepcopy(model.vae)
    latent = vae.latent
    if isinstance(latent, Quantised):
        fitted: tuple[Conditional, spec.Prior] = _over_codes(
            model.draw(data, seed).long(), latent.quantiser.codes, kind, seed, seconds
        )
    elif isinstance(latent, Flat) and kind in OF_POSTERIOR:
        fitted = _of_posterior(latent.posterior, model.schema.shape, kind)
    elif isinstance(latent, Flat):
        fitted = fit_prior(model.draw(data, seed), kind, Effort(seconds=seconds), seed)
    else:
        raise UserError(
            f"{type(latent).__name__} latents share a path with their priors: only flat latents can be refitted"
        )
    latent.prior = fitted[0].to(model.device)
    latent.bind(vae.likelihood)  # a posterior that heads for the prior heads for this one, as it will when loaded
    made = dataclasses.replace(model.recipe.model.latent, prior=fitted[1])  # type: ignore[call-arg, type-var]
    recipe = dataclasses.replace(model.recipe, model=dataclasses.replace(model.recipe.model, latent=made))
    return Model(vae, model.schema, recipe, model.rates, model.context)


def _of_posterior(posterior: Conditional, shape: tuple[int, ...], kind: str) -> tuple[Conditional, spec.Prior]:
    """A prior that has nothing to fit, being made of the posterior."""
    prior = OF_POSTERIOR[kind].build_over(shape).eval()
    assert isinstance(prior, AggregatePrior)
    prior.bind(posterior)
    prior(None)  # raises where the posterior is not of the right kind
    return prior, OF_POSTERIOR[kind]


def _over_codes(codes: Tensor, size: int, kind: str, seed: int, seconds: float) -> tuple[Conditional, spec.CodePrior]:
    """A prior over codes of a codebook; "auto" compares the kinds on a held-out tenth."""
    if kind == "auto":
        with seeded(seed):
            held, rest = codes[torch.randperm(len(codes))].tensor_split([max(1, len(codes) // 10)])
        kinds = spec.codes.CODE_PRIORS
        tried = {k: spec.fit_code_prior(rest, size, k, seed=seed, seconds=seconds / len(kinds)) for k in kinds}
        return max(tried.values(), key=lambda fitted: log_likelihood(fitted[0], held))
    return spec.fit_code_prior(codes, size, kind, seed=seed, seconds=seconds)
