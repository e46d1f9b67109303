"""What a user holds: a VAE, the schema of its data, and what one does with them.

Every method takes data in the forms that training takes (arrays, tensors, files, folders, named sets), in the
data's own units, and returns NumPy arrays, pictures channels first. All of them are deterministic: `embed` is
the posterior's mean, and what is random has a seed.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo import geometry
from nelbo.data import Data, Dataset, Schema, batches, load_like
from nelbo.distributions.noise import seeded
from nelbo.errors import UserError
from nelbo.recipes import Recipe, versions
from nelbo.registry import dump, parse
from nelbo.spec import build, resolve, start
from nelbo.training import Callback, State, checkpoint, fit
from nelbo.vae import VAE

FORMAT = 1
BATCH = 500
DATUM_COPIES = 10_000  # data times importance samples that are in memory at once


class Model:
    """A VAE with the schema of its data and the recipe that made it.

    `rates` is the mean KL of each latent over the test data, nats: near 0 for one that carries nothing.
    `seed` arguments fix what is random; `temperature` scales the spread of the prior (below 1: more typical).
    """

    def __init__(self, vae: VAE, schema: Schema, recipe: Recipe, rates: Sequence[float] = ()) -> None:
        self.vae = vae
        self.schema = schema
        self.recipe = recipe
        self.rates = list(rates) or [0.0] * recipe.model.latent.features

    @classmethod
    def create(cls, recipe: Recipe, schema: Schema) -> Model:
        """An untrained model for data of this schema, with weights that the recipe's seed determines.

        Raises `UserError` if the likelihood cannot hold the data.
        """
        recipe = dataclasses.replace(recipe, model=resolve(recipe.model, schema), versions=versions())
        with torch.random.fork_rng():
            torch.manual_seed(recipe.training.seed)
            vae = build(recipe.model, schema.shape)
        _check_support(vae, schema)
        return cls(vae, schema, recipe)

    def fit(
        self, data: Data, folder: Path | None = None, callbacks: Sequence[Callback] = (), resume: bool = False
    ) -> State:
        """Train on `data` by the model's recipe; see `nelbo.training.fit`."""
        start(self.vae, self.recipe.model, _mean(data.train))
        objective = self.recipe.objective.build()
        state = fit(self.vae, objective, data.train, data.test, self.recipe.training, folder, callbacks, resume)
        self.vae.eval()
        self.rates = self.measure_rates(data.test).tolist()
        return state

    def save(self, folder: str | Path) -> None:
        """Write `weights.safetensors` and `model.json` into a folder."""
        path = Path(folder)
        checkpoint.write(path / "weights.safetensors", self.vae.state_dict(), {"format": FORMAT})
        values = {"format": FORMAT, "schema": self.schema.to_json(), "rates": self.rates, "recipe": dump(self.recipe)}
        checkpoint.write_bytes(path / "model.json", (json.dumps(values, indent=1) + "\n").encode())

    @property
    def device(self) -> torch.device:
        return next(self.vae.parameters()).device

    def rows(self, data: Any) -> Dataset:
        """Data that fits the model's schema, from any form that training takes."""
        return data if isinstance(data, Dataset) else load_like(data, self.schema)

    @torch.no_grad()
    def embed(self, data: Any) -> np.ndarray:
        """The posterior means of the data, `(n, features)`."""
        return self._map(data, self.vae.latent.embed)

    @torch.no_grad()
    def reconstruct(self, data: Any) -> np.ndarray:
        """The likelihood's mean at the posterior's mean of each datum, `(n, *shape)` in the data's units."""
        return self._map(data, lambda x: self.schema.decode(self._decode(self.vae.latent.embed(x))))

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0, temperature: float = 1.0, noise: bool = False) -> np.ndarray:
        """`n` draws from the model, `(n, *shape)`: z from its own prior, then the likelihood's mean given z.

        With `noise`, a draw of the likelihood instead of its mean.
        """
        if n < 1:
            raise UserError(f"n={n}: give 1 sample or more")
        if not 0 < temperature < math.inf:
            raise UserError(f"temperature={temperature}: give a number above 0; 1 is the model's own")
        with seeded(seed):
            z = self.vae.latent.generate(n, None, temperature)
            draws = [self.vae.decode(h) for h in z.split(BATCH)]
            values = [d.sample() if noise else d.mean for d in draws]
        return self.schema.decode(torch.cat(values).cpu()).numpy()

    @torch.no_grad()
    def decode(self, h: np.ndarray | Tensor) -> np.ndarray:
        """The likelihood's mean given features `(n, features)`, in the data's units."""
        points = torch.as_tensor(np.asarray(h), dtype=torch.float32).to(self.device)
        return self.schema.decode(torch.cat([self._decode(part) for part in points.split(BATCH)]).cpu()).numpy()

    def interpolate(self, *items: Any, steps: int = 10) -> np.ndarray:
        """`steps` decoded points from each datum to the next, all data included once: `(points, *shape)`.

        The way is along the great circle between two means, at the radius in between, since most of a Normal
        prior's mass lies near a sphere (White, 2016, Sampling Generative Networks).
        """
        if steps < 2 or len(items) < 2:
            raise UserError(f"{len(items)} items, steps={steps}: give 2 items and 2 steps or more")
        codes = [self.embed(self._one(item))[0] for item in items]
        fractions = np.arange(steps - 1) / (steps - 1)
        legs = [geometry.slerp(a, b, fractions) for a, b in itertools.pairwise(codes)]
        return self.decode(np.concatenate([*legs, codes[-1][None]]))

    def traverse(self, origin: Any = None, steps: int = 9, reach: float = 3.0) -> tuple[np.ndarray, list[int]]:
        """Each latent moved from -reach to reach, the others held at `origin`'s mean (None: at 0).

        Returns decoded data `(latents, steps, *shape)` and the latents' numbers, the one of highest rate first.
        """
        if steps < 2 or not 0 < reach < math.inf:
            raise UserError(f"steps={steps}, reach={reach}: give steps of 2 or more and a reach above 0")
        order = np.argsort(self.rates)[::-1].tolist()
        centre = np.zeros(len(order), np.float32) if origin is None else self.embed(self._one(origin))[0]
        points = np.tile(centre, (len(order), steps, 1))
        for row, latent in enumerate(order):
            points[row, :, latent] = np.linspace(-reach, reach, steps)
        return self.decode(points.reshape(-1, len(order))).reshape(len(order), steps, *self.schema.shape), order

    def grid(self, side: int = 20) -> np.ndarray:
        """A model of 2 latents decoded at `side` x `side` quantiles of its Normal prior, `(side * side, *shape)`.

        Source: Kingma, Welling (2014), Auto-Encoding Variational Bayes, figure 4.
        """
        if side < 1 or len(self.rates) != 2:
            raise UserError(
                f"side={side}, {len(self.rates)} latents: a grid takes side >= 1 and 2 latents; use project()"
            )
        return self.decode(geometry.quantiles(side))

    def project(self, data: Any) -> tuple[np.ndarray, float]:
        """The posterior means on their first two principal components, `(n, 2)`, and their share of the variance."""
        return geometry.principal_plane(self.embed(data))

    @torch.no_grad()
    def measure_rates(self, data: Any) -> np.ndarray:
        """The mean KL of each latent over the data, `(latents,)` nats, for a Normal posterior and prior."""

        def rate(x: Tensor) -> Tensor:
            q = self.vae.latent.infer(x)[1][0].q
            return 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log())

        with seeded(0):
            return self._map(data, rate).mean(0)

    @torch.no_grad()
    def score(self, data: Any, samples: int = 1, seed: int = 0) -> np.ndarray:
        """How surprising each datum is, `(n,)` nats: minus the importance-weighted bound.

            -log (1/K) sum_k p(x | z_k) p(z_k) / q(z_k | x),   z_k ~ q(z | x)

        With one sample it is a draw of the negative ELBO; with many it approaches -log p(x), if the likelihood
        is normalized. Source: Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders.
        """
        if samples < 1:
            raise UserError(f"samples={samples}: give 1 or more")
        step = min(samples, max(1, DATUM_COPIES // BATCH))
        pieces = [min(step, samples - done) for done in range(0, samples, step)]

        def bound(x: Tensor) -> Tensor:
            weights = [self.vae(x, shape=(k,)).log_weight.logsumexp(0) for k in pieces]
            return math.log(samples) - torch.stack(weights).logsumexp(0)

        with seeded(seed):
            return self._map(data, bound)

    def nll(self, data: Any, samples: int = 100, seed: int = 0) -> np.ndarray:
        """An upper bound on -log p(x) of each datum, nats, from `samples` importance samples; see `score`.

        x is in the model's units: pictures in [0, 1], columns standardised.

        Raises `UserError` where the likelihood is not a density.
        """
        if not self.vae.likelihood.normalized:
            raise UserError(
                "the grey-valued Bernoulli likelihood is no density, so the model has no -log p(x): "
                "train with --set model.likelihood=continuous-bernoulli, or use score()"
            )
        return self.score(data, samples, seed)

    def evaluate(self, data: Any, samples: int = 0, seed: int = 0) -> dict[str, float]:
        """Means over the data, nats per datum: loss, distortion, rate, each with one draw of z.

        With `samples`, also `nll` from that many importance samples.
        """

        def parts(x: Tensor) -> Tensor:
            trace = self.vae(x)
            return torch.stack([trace.distortion, trace.rate], 1)

        with torch.no_grad(), seeded(seed):
            distortion, rate = self._map(data, parts).mean(0, dtype=np.float64).tolist()
        result = {"n": len(self.rows(data)), "loss": distortion + rate, "distortion": distortion, "rate": rate}
        return result | ({"nll": float(self.nll(data, samples, seed).mean(dtype=np.float64))} if samples else {})

    def _decode(self, h: Tensor) -> Tensor:
        return self.vae.decode(h).mean

    def _one(self, item: Any) -> Any:
        """A single datum, given without its batch dimension, as a batch of one."""
        if isinstance(item, np.ndarray | Tensor) and tuple(item.shape) in (self.schema.shape, self.schema.shape[1:]):
            return item[None]
        return item

    def _map(self, data: Any, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Apply to the data in batches and put the results together."""
        rows = self.rows(data)
        order = torch.arange(len(rows)).split(BATCH)
        return torch.cat([function(x.to(self.device)).cpu() for x in batches(rows, order)]).numpy()


def load(path: str | Path) -> Model:
    """A saved model, from its folder or the results folder that holds it in `model/`.

    Raises `UserError` if it is none, is damaged, or was written by another format of nelbo.
    """
    folder = Path(path)
    folder = folder / "model" if (folder / "model" / "model.json").is_file() else folder
    if not (folder / "model.json").is_file():
        raise UserError(f"{path} is no nelbo model: give a folder with model.json, such as results/mnist")
    try:
        values = json.loads((folder / "model.json").read_text("utf-8"))
        written = values["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'model.json'} is damaged ({error}): restore it, or train again") from None
    if written != FORMAT:
        raise UserError(
            f"{folder} has format {written}, and this nelbo reads {FORMAT}: install the nelbo that wrote it"
        )
    tensors, _ = checkpoint.read(folder / "weights.safetensors")
    try:
        recipe: Recipe = parse(Recipe, values["recipe"], "")
        schema, rates = Schema.from_json(values["schema"]), [float(rate) for rate in values["rates"]]
        vae = build(recipe.model, schema.shape)
        if len(rates) != recipe.model.latent.features:
            raise ValueError(f"{len(rates)} rates for {recipe.model.latent.features} latents")
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'model.json'} is damaged ({error}): restore it, or train again") from None
    try:
        vae.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(
            f"{folder}: the weights are not of the model in model.json; restore it, or train again"
        ) from None
    return Model(vae.eval(), schema, recipe, rates)


def _mean(data: Dataset) -> Tensor:
    """The mean of the data in the model's units, `(*shape)`, summed in 64 bit."""
    total = torch.zeros(data.schema.shape, dtype=torch.float64)
    for x in batches(data, torch.arange(len(data)).split(2000)):
        total += x.sum(0, dtype=torch.float64)
    return (total / len(data)).float()


def _check_support(vae: VAE, schema: Schema) -> None:
    """Whether the likelihood can hold data of this schema."""
    held = {
        torch.distributions.constraints.boolean: ("binary",),
        torch.distributions.constraints.unit_interval: ("binary", "unit"),
        torch.distributions.constraints.real: ("binary", "unit", "real"),
    }[vae.likelihood.support]
    if schema.support not in held:
        name = type(vae.likelihood).__name__
        takes = "0 and 1" if held == ("binary",) else "values in [0, 1]"
        remedy = (
            "model.likelihood.grey=true"
            if schema.support == "unit" and held == ("binary",)
            else "model.likelihood=normal"
        )
        raise UserError(f"the {name} likelihood takes {takes}, and the data has other values: --set {remedy}")
