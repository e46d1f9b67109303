"""The model that a user works with: a VAE, the schema of its data, and methods for both.

Every method takes data in the forms that training takes (arrays, tensors, files, folders, named sets), in the
data's own units. It returns NumPy arrays, with the channels of pictures first, and a DataFrame for tables. Pictures
that it returns lie in the range of the data, and whole numbers are rounded and have the data's type.
"""

from __future__ import annotations

import copy
import dataclasses
import html
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.config import recipe as recipe_file
from nelbo.config.build import Bounded, build, check_support, init_from_data, resolve
from nelbo.config.recipe import Recipe, versions
from nelbo.config.registry import dump
from nelbo.data import ConditionEncoder, Dataset, DataSplits, Schema, batches, load_like, mean, sample_rows
from nelbo.distributions import check_temperature, noise
from nelbo.errors import UserError, memory, require_memory
from nelbo.model import description, imputation
from nelbo.model.batching import Repeats, padded
from nelbo.model.latent_space import LatentSpaceMixin
from nelbo.model.scoring import ScoringMixin
from nelbo.training import Callback, State, fit
from nelbo.training.progress import track
from nelbo.training.threads import adapt_threads
from nelbo.vae import VAE

TOO_LARGE = "the model needs more memory than this machine has: give its parts smaller sizes"
NOT_LOSSES = ("epoch", "split", "seconds", "lr", "returns")  # keys of a row of metrics.jsonl


class Model(LatentSpaceMixin, ScoringMixin):
    """A VAE with the schema of its data and the recipe that built it.

    `seed` arguments fix all random draws; `temperature` scales the spread of the prior (below 1: more typical).

    Args:
        vae: the network; it is set to evaluation mode.
        schema: the kind, the shape and the units of the data.
        recipe: the settings of the model, its objective and its training.
        kl_per_latent: the mean KL of each latent over the test data, nats: near 0 for an inactive latent. Default: 0
            for each.
        context: encodes the condition of a conditional model; None for an unconditional one. `condition_on` fixes a
            condition.
        trained: empty before training; then the name of the data (`data`), their number (`rows`), the number of
            `epochs`, and the mean losses, nats per example, of the `train` and `test` data in the epoch of the weights.
    """

    def __init__(
        self,
        vae: VAE,
        schema: Schema,
        recipe: Recipe,
        kl_per_latent: Sequence[float] = (),
        context: ConditionEncoder | None = None,
        trained: Mapping[str, Any] | None = None,
    ) -> None:
        self.vae = vae.eval()
        self.schema = schema
        self.recipe = recipe
        self.context = context
        self.trained = dict(trained or {})
        with torch.no_grad():
            nothing = self._placed(torch.zeros(1, *schema.shape))
            width = vae.latent.embed(nothing, self._placed(context.default(1)) if context else None).shape[1]
        self.kl_per_latent = list(kl_per_latent) or [0.0] * width
        if len(self.kl_per_latent) != width:
            raise UserError(
                f"kl_per_latent has {len(self.kl_per_latent)} values and an embedding {width}: restore the model's "
                "folder, or train again"
            )
        self._fixed_context: Tensor | None = None
        self.evidence: Tensor | None = None  # the known cells of a table's row, NaN elsewhere

    @classmethod
    def from_recipe(cls, recipe: Recipe, schema: Schema, context: ConditionEncoder | None = None) -> Model:
        """Build an untrained model, with weights that the recipe's seed determines.

        Args:
            recipe: the settings of the model.
            schema: the schema of the data to model.
            context: encodes the condition; None for an unconditional model.

        Raises `UserError` if the likelihood does not support the data.
        """
        recipe = dataclasses.replace(recipe, model=resolve(recipe.model, schema), versions=versions())
        sizes = schema.shape, context.width if context else 0, schema.data_kind.masks_missing
        most = Bounded(memory() / 4, TOO_LARGE)  # training keeps a gradient and two averages of each weight
        with noise.seeded(recipe.training.seed), noise.building(), most:
            vae = build(recipe.model, *sizes)
        check_support(vae, schema)
        return cls(vae, schema, recipe, context=context)

    def fit(
        self, data: DataSplits, folder: Path | None = None, callbacks: Sequence[Callback] = (), resume: bool = False
    ) -> State:
        """Train the model by its recipe; see `nelbo.training.fit`.

        Args:
            data: the training and test data.
            folder: where checkpoints and metrics are written; None writes none.
            callbacks: objects whose methods are called during training.
            resume: whether to continue from the checkpoint in `folder`.
        """
        if not resume:  # the checkpoint holds all that `init_from_data` sets
            rows = sample_rows(data.train, self.schema.data_kind.n_init_rows, self.recipe.training.seed)
            init_from_data(self.vae, self.recipe.model, mean(data.train), rows)
        objective = self.recipe.objective.build()
        notes = {"recipe": recipe_file.dumps(self.recipe)}
        settings = self.recipe.training
        state = fit(self.vae, objective, data.train, data.test, settings, folder, callbacks, resume, notes=notes)
        self.vae.eval()
        self.kl_per_latent = self.compute_kl_per_latent(data.test).tolist()
        self.trained = self._trained(data, state)
        return state

    def _trained(self, data: DataSplits, state: State) -> dict[str, Any]:
        """The record of a training run that is kept with the model."""
        epoch = (
            state.best_epoch
            if self.recipe.training.early_stopping_patience
            else max((row["epoch"] for row in state.rows), default=0)
        )
        own = {row["split"]: row for row in state.rows if row["epoch"] == epoch}
        if not own:
            return {}
        losses = {split: {k: v for k, v in row.items() if k not in NOT_LOSSES} for split, row in own.items()}
        return {"data": data.name, "rows": len(data.train), "epochs": epoch, **losses}

    def save(self, folder: str | Path) -> None:
        """Write `weights.safetensors` and `model.json` into a folder, which is created if needed.

        A model in that folder is replaced. A crash at any point leaves the old model or the new one; see
        `nelbo.model.io`.
        """
        values = {"schema": self.schema.to_json(), "rates": self.kl_per_latent, "recipe": dump(self.recipe)}
        values |= {"trained": self.trained}
        context = {} if self.context is None else {"context": self.context.to_json()}
        from nelbo.model import io

        io.write_folder(Path(folder), self.vae.state_dict(), values | context)

    def __repr__(self) -> str:
        return description.as_text(self)

    def _repr_html_(self) -> str:
        """A summary of the model and a few samples, as HTML for a notebook."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return description.as_html(self)
        except Exception:  # a notebook cell that ends in a model must not fail
            return f"<pre>{html.escape(repr(self))}</pre>"

    def info(self) -> dict[str, Any]:
        """Summarize the model as numbers, strings, lists and dictionaries that JSON can hold.

        The keys are `kind`, `shape` and `classes` of the data, and `condition` (its classes, its number of values, or
        None); the kinds of `latent`, `prior`, `posterior`, `likelihood`, `encoder` and `decoder`; the `objective` with
        its options, and the `preset`; the number of `parameters`, and the `bytes` of the weights; the number of
        `latents`, and those `carrying` more than 0.01 nats as pairs of index and nats, the largest first; the data and
        the losses that it was `trained` with; the `versions` of nelbo, torch and python.
        """
        return description.info(self)

    @property
    def device(self) -> torch.device:
        return next(self.vae.parameters()).device

    def _placed(self, x: Tensor) -> Tensor:
        """x on the device of the model, in its precision."""
        return x.to(next(self.vae.parameters()))

    def condition_on(self, condition: Any) -> Model:
        """Copy the model with a fixed condition, which all its methods then use.

        Args:
            condition: a class, or numbers, of a conditional model. For any model of a table, some cells of a row by
                name, `{"sex": "Female"}`: samples contain these cells, and the others are sampled from the model's
                conditional distribution, without rejection.

        Raises `UserError` if the model does not support such a condition.
        """
        fixed = copy.copy(self)
        if self.context is None or isinstance(condition, Mapping):
            cells = self.schema.data_kind.known_cells(condition, self.schema)
            if cells is not None:
                fixed.evidence = self._placed(torch.from_numpy(cells))
                return fixed
        if self.context is None:
            raise UserError(
                f"condition {condition!r}: the model was trained without --condition: train a new one with it"
            )
        encoded = self.context.encode(condition)
        if len(encoded) != 1:
            raise UserError(
                f"condition {condition!r}: {len(encoded)} conditions: give one, and each in turn to condition_on"
            )
        fixed._fixed_context = encoded
        return fixed

    def as_dataset(self, data: Any) -> Dataset:
        """Convert data, in any form that training takes, to a dataset of the model's schema."""
        return data if isinstance(data, Dataset) else load_like(data, self.schema)

    @torch.no_grad()
    def embed(self, data: Any) -> np.ndarray:
        """Posterior means of the data, `(n, features)`."""
        return self.map_batches(data, self.vae.latent.embed)

    @torch.no_grad()
    def encode(self, data: Any) -> np.ndarray:
        """Embeddings for reconstruction: posterior means, and for text typical draws (`distributions.typical`)."""
        return self.map_batches(data, self.vae.encode)

    @torch.no_grad()
    def sample_posterior(self, data: Any, seed: int = 0) -> np.ndarray:
        """Draw from the posterior of each datum, `(n, *z)`, of the first level.

        A draw depends on the datum and the seed, not on the other data; equal data have different draws.

        Args:
            data: data in any form that training takes.
            seed: fixes the draws.
        """
        return self.map_batches(data, lambda x, c: self.vae.latent.infer(x, c)[1][0].z, seed=seed, distinct=True)

    @torch.no_grad()
    def reconstruct(self, data: Any) -> Any:
        """Reconstruct each datum from its embedding (see `encode`): `(n, *shape)` in the data's units."""
        rows = self.as_dataset(data)
        values = self.map_batches(rows, lambda x, c: self.schema.decode(self._reconstruct_batch(x, c)))
        return self.schema.data_kind.to_user_like(values, rows, missing_only=False)

    def _reconstruct_batch(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Reconstruct x `(batch, *shape)` in the model's units."""
        return self.vae.decode_mean(self.vae.encode(x, c), c)

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0, temperature: float = 1.0, sample_likelihood: bool = False) -> Any:
        """Draw `n` samples from the model, `(n, *shape)`: z from its prior, then the likelihood's mean given z.

        A conditional model without a fixed condition cycles through its classes.

        Args:
            n: the number of samples, at least 1; the first of them are those of a smaller number.
            seed: fixes the draws.
            temperature: scales the spread of the prior, and of the tokens of a text; 1 is the model itself.
            sample_likelihood: whether to draw from the likelihood instead of taking its mean; always so for tables and
                text.
        """
        if n < 1:
            raise UserError(f"n={n}: ask for at least 1 sample")
        check_temperature(temperature)
        require_memory(4.0 * n * math.prod(self.schema.shape), f"n={n:,}", "ask for fewer, in several calls")
        c = self._default_context(n)
        wide = self.schema.decoded == torch.float64
        empty = np.empty((n, *self.schema.shape), np.float64 if wide else np.float32)  # NumPy takes large pages
        samples = torch.from_numpy(empty)
        parts = torch.arange(n).split(self.schema.inference_batch_size)
        for index in adapt_threads(track(parts, "drawing", len(parts))):
            keys = noise.keys_of_numbers(padded(index, self.schema.inference_batch_size), seed).to(self.device)
            context = None if c is None else padded(c[index], self.schema.inference_batch_size)
            with noise.for_rows(keys):  # the same z with and without `sample_likelihood`
                batch = self._sample_batch(len(keys), context, temperature, sample_likelihood)
            samples[index[0] : index[-1] + 1] = batch[: len(index)]
        return self._to_user(samples.numpy())

    def _sample_batch(self, n: int, c: Tensor | None, temperature: float, sample_likelihood: bool) -> Tensor:
        """One batch of `sample`, as numbers."""
        if self.evidence is not None:
            if temperature != 1.0:
                raise UserError(f"temperature={temperature}: sampling given cells does not support it: leave it at 1")
            return imputation.sample_missing(self.vae, self.evidence.expand(n, -1), c, gaps=True)
        d = self.vae.generate(n, c, temperature)
        return self.schema.decode(
            d.sample() if sample_likelihood or self.schema.data_kind.sample_likelihood else d.mean
        )

    def _to_user(self, values: np.ndarray) -> Any:
        """Convert model output to the user's type and units."""
        return self.schema.data_kind.to_user(values, self.schema)

    def impute(self, data: Any, seed: int = 0, return_std: bool = False, sample_posterior: bool = False) -> Any:
        """Fill the missing values of a table's rows or of series, given the observed ones, which stay as they are.

        Args:
            data: a table or series, in any form that training takes.
            seed: fixes the draws of z and, with `sample_posterior`, of the missing values. They depend on the row and
                the seed, not on the other rows; equal rows have different draws with `sample_posterior`.
            return_std: also return the uncertainty of each value: the standard deviation of a number, in its own units
                (days for a date, seconds for a duration or a time of day); for a filled category, the probability that
                it is wrong; 0 for an observed value.
            sample_posterior: draw missing values from the model given the observed ones, instead of their mean (a
                category: the likeliest). Each seed gives another draw: several are a multiple imputation.

        Returns:
            The filled data in the data's form, or with `return_std` the pair (filled, std). A DataFrame keeps its
            index, labels, types and left-out columns; the rows of a file are a DataFrame.

        Raises:
            UserError: if the model is not of tables or series, or for `return_std` of a draw.

        See `nelbo.model.imputation`.
        """
        if not self.schema.data_kind.allows_missing:
            raise UserError(
                f"impute does not support {self.schema.data_kind.noun}: use a model trained on a table or series"
            )
        if return_std and sample_posterior:
            raise UserError("impute: a draw has no standard deviation: give return_std or sample_posterior, not both")
        rows, kind = self.as_dataset(data), self.schema.data_kind
        values, std = self._impute(rows, seed, sample_posterior)
        filled = kind.to_user_like(values, rows, missing_only=True)
        return (filled, kind.to_user_uncertainty(std, rows)) if return_std else filled

    @torch.no_grad()
    def _impute(self, rows: Dataset, seed: int, sample_posterior: bool) -> tuple[np.ndarray, np.ndarray]:
        """The filled rows, `(n, *shape)` in the data's units, and the uncertainty of each value (of a draw: 0)."""
        if sample_posterior:
            draw = partial(imputation.sample_missing, self.vae)
            drawn = self.map_batches(rows, lambda x, c: self.schema.decode(draw(x, c)), seed=seed, distinct=True)
            return drawn, np.zeros_like(drawn)
        expected = partial(imputation.expected_values, self.vae, schema=self.schema)
        moments = self.map_batches(rows, lambda x, c: expected(x, c=c), seed=seed)
        return moments[:, 0], moments[:, 1]

    @torch.no_grad()
    def decode(self, h: np.ndarray | Tensor) -> Any:
        """Decode embeddings `(n, features)` to the likelihood's mean (`VAE.decode_mean`), in the data's units."""
        return self._to_user(self.decode_unclipped(h))

    @torch.no_grad()
    def decode_unclipped(self, h: np.ndarray | Tensor) -> np.ndarray:
        """`decode` as numbers, float32, that may lie beyond the data's range: for sums and differences of them."""
        points, size = self._placed(torch.as_tensor(np.asarray(h))), self.schema.inference_batch_size
        context = self._default_context(len(points))
        contexts = [None] * len(points) if context is None else context.split(size)
        parts = track(zip(points.split(size), contexts, strict=False), "decoding", -(-len(points) // size))
        means = [
            self.vae.decode_mean(padded(part, size), None if c is None else padded(c, size))[: len(part)]
            for part, c in adapt_threads(parts)
        ]
        values: np.ndarray = self.schema.decode(torch.cat(means).cpu()).numpy()
        return values

    def _default_context(self, n: int) -> Tensor | None:
        """Context for n samples that are not data: the fixed condition, or a default one."""
        if self.context is None:
            return None
        fixed = self._fixed_context
        return self._placed(self.context.default(n) if fixed is None else fixed.expand(n, -1))

    def get_context(self, rows: Dataset) -> Tensor | None:
        """The context of a dataset: the fixed condition, the rows' own context, or that of their labels."""
        if self.evidence is not None:
            raise UserError(
                "a condition on cells works for samples only: use the model without it, on rows that have these cells"
            )
        if self.context is None:
            return None
        if self._fixed_context is not None:
            return self._fixed_context.expand(len(rows), -1)
        if rows.context is not None:
            return rows.context
        if rows.labels is None or not self.context.classes:
            raise UserError(
                "the model is conditional and these data have no labels: use --condition, or model.condition_on(...)"
            )
        return self.context.encode_labels(rows.labels, rows.schema.classes)

    def map_batches(
        self,
        data: Any,
        function: Callable[..., Tensor],
        *more: Tensor,
        seed: int | None = None,
        distinct: bool = False,
        batch_size: int = 0,
    ) -> np.ndarray:
        """Apply `function(x, context, *more)` to the data in batches, and concatenate the results `(n, ...)`.

        Args:
            data: data in any form that training takes.
            function: computes each row of its result from that row of its arguments.
            more: other tensors with a row for each datum.
            seed: fixes the noise of each row; None if the function draws none.
            distinct: whether equal rows have different noise, as draws of a population need.
            batch_size: rows of a batch; 0 for `inference_batch_size`.
        """
        rows, size = self.as_dataset(data), batch_size or self.schema.inference_batch_size
        order, c = torch.arange(len(rows)).split(size), self.get_context(rows)
        found, repeats = [], Repeats()
        parts = track(zip(order, batches(rows, order), strict=True), "going through the data", len(order))
        for index, x in adapt_threads(parts):
            given, x = None if c is None else padded(c[index], size), padded(x, size)
            own = [padded(part[index], size) for part in more]
            keys = None if seed is None else noise.keys_of_content(seed, x, given)
            if keys is not None and distinct:
                keys = repeats.tell_apart(keys, len(index))
            with nullcontext() if keys is None else noise.for_rows(keys.to(self.device)):
                values = function(self._placed(x), None if given is None else self._placed(given), *own)
            found.append(values[: len(index)].cpu())
        return torch.cat(found).numpy()
