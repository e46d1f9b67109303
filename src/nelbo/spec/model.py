"""A whole VAE as plain values, chosen from the data where it is left open, and built."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import constraints

from nelbo import nets
from nelbo.conditionals import AggregatePrior, Observed, RiemannianPosterior
from nelbo.data import Schema
from nelbo.distributions import Levels, OneHotAlong
from nelbo.errors import UserError
from nelbo.registry import kind_of
from nelbo.spec.codes import Quantised
from nelbo.spec.latents import Flat, Latent
from nelbo.spec.likelihoods import Bernoulli, Likelihood, Normal
from nelbo.spec.likelihoods import Table as TableCells
from nelbo.spec.likelihoods import Text as Tokens
from nelbo.spec.nets import MLP, Conv, Conv1d, Gapped, Grid, Net, Table
from nelbo.spec.riemannian import RiemannianPosterior as RiemannianSpec
from nelbo.spec.text import Text, TextGRU
from nelbo.vae import VAE

SMALL = 28  # pixels a side, up to which convolutions see pixels
LARGEST = 32  # patches a side
WIDTH = 40  # channels of convolutions over patches


@dataclass(frozen=True)
class Input:
    """What the encoder is given: (x - center) * scale, where center may be the "mean" of the training data.

    In training, of a share `hide` of series a random stretch is hidden from it (`nelbo.nets.GapEncoder`).
    """

    center: float | Literal["mean"] = "mean"
    scale: float = 1.0
    hide: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.hide <= 1:
            raise UserError(f"hide={self.hide}: give a share of the series, from 0 to 1")


@dataclass(frozen=True)
class ModelSpec:
    """A VAE. What is None is chosen from the data.

    `start_at_mean` sets the decoder's output bias to the mean of the training data before training.
    """

    latent: Latent = field(default_factory=Flat)
    likelihood: Likelihood | None = None
    encoder: Net | None = None
    decoder: Net | None = None
    input: Input = field(default_factory=Input)
    start_at_mean: bool = True


def resolve(spec: ModelSpec, schema: Schema) -> ModelSpec:
    """The spec with every choice made for data of this schema.

    Pictures whose shorter side is at least 8 get convolutions, over patches where they are large; series, convolutions
    over their steps; other data, a perceptron. Codes of a grid net are as many as it has places. Values in {0, 1} get
    a Bernoulli, all others a Normal of optimal variance. Tables and text get nets and a likelihood of their own; raises
    `UserError` for others.
    """
    if spec.input.hide and schema.kind != "series":
        raise UserError(
            f"model.input.hide={spec.input.hide}: the data are no series, of which steps are hidden: give 0"
        )
    if schema.kind == "table":
        return _resolve_table(spec, schema)
    if schema.kind == "text":
        return _resolve_text(spec, schema)
    picture = len(schema.shape) == 3 and min(schema.shape[1:]) >= 8
    net: Net = _convolutions(max(schema.shape[1:])) if picture else Conv1d() if schema.kind == "series" else MLP()
    if isinstance(spec.encoder, Grid) and isinstance(spec.latent, Quantised):
        latent = dataclasses.replace(spec.latent, groups=spec.encoder.places(schema.shape))
        spec = dataclasses.replace(spec, latent=latent)
    chosen = Bernoulli() if schema.support == "binary" else Normal()
    return dataclasses.replace(
        spec,
        likelihood=spec.likelihood or chosen,
        encoder=spec.encoder or net,
        decoder=spec.decoder or spec.encoder or net,
    )


def _convolutions(side: int) -> Conv:
    """Convolutions for pictures of that side.

    >>> _convolutions(28), _convolutions(64)
    (Conv(width=16, blocks=1, patch=1), Conv(width=40, blocks=1, patch=2))
    """
    if side <= SMALL:
        return Conv()
    return Conv(WIDTH, patch=max(2, 2 ** math.ceil(math.log2(side / LARGEST))))


def _resolve_table(spec: ModelSpec, schema: Schema) -> ModelSpec:
    likelihood, encoder = spec.likelihood or TableCells(), spec.encoder or Table()
    parts = (encoder, spec.decoder or encoder)
    for part in (likelihood, *parts):
        if not isinstance(part, TableCells | Table):
            raise UserError(
                f"the data are a table, which a {kind_of(part)} net or likelihood does not take: leave it out, or give "
                "the table's numbers as an array (.npy, .npz)"
            )
    if isinstance(spec.latent, Flat) and isinstance(spec.latent.posterior, RiemannianSpec):
        raise UserError("the data are a table, of which no metric is learned: use the posterior diagonal-normal")
    sizes = tuple(column.size for column in schema.modelled)
    gaps = tuple(j for j, column in enumerate(schema.modelled) if column.missing)
    sized = [dataclasses.replace(part, sizes=sizes, gaps=gaps) for part in parts if isinstance(part, Table)]
    return dataclasses.replace(spec, likelihood=likelihood, encoder=sized[0], decoder=sized[1])


def _resolve_text(spec: ModelSpec, schema: Schema) -> ModelSpec:
    likelihood, encoder = spec.likelihood or Tokens(), spec.encoder or TextGRU()
    parts = (encoder, spec.decoder or encoder)
    for part in (likelihood, *parts):
        if not isinstance(part, Tokens | Text):
            raise UserError(
                f"the data are text, which a {kind_of(part)} net or likelihood does not take: leave it out, or use "
                "text-gru or text-transformer"
            )
    assert schema.vocabulary is not None
    sized = [dataclasses.replace(p, vocabulary=schema.vocabulary.size) for p in parts if isinstance(p, Text)]
    return dataclasses.replace(spec, likelihood=likelihood, encoder=sized[0], decoder=sized[1])


def build(spec: ModelSpec, shape: tuple[int, ...], context: int = 0) -> VAE:
    """The VAE that a resolved spec describes, for data of `shape` and a context of so many numbers.

    Series, `(steps, channels)`, may have gaps (NaN).
    """
    assert spec.likelihood and spec.encoder and spec.decoder, "resolve the spec first"
    series = len(shape) == 2
    latent = spec.latent.build(Gapped(spec.encoder, spec.input.hide) if series else spec.encoder, shape, context)
    net = spec.decoder.decoder(spec.latent.features, shape, spec.likelihood.outputs, context)
    likelihood = spec.likelihood.build(net, len(shape))
    vae = VAE(latent, Observed(likelihood) if series else likelihood)
    for rescale in _rescales(vae):
        rescale.scale.fill_(spec.input.scale)
        if not isinstance(spec.input.center, str):
            rescale.shift.fill_(spec.input.center)
    return vae


STARTED = AggregatePrior | RiemannianPosterior | nets.TableEncoder | nets.TableDecoder | nets.TextDecoder


def start(vae: VAE, spec: ModelSpec, mean: Tensor, rows: Tensor) -> None:
    """Set what depends on the training data: input centre and output bias by its mean, by rows all that has a start."""
    for rescale in _rescales(vae):
        if spec.input.center == "mean":
            rescale.shift.copy_(mean)
    if spec.start_at_mean:
        with torch.no_grad():
            vae.likelihood.start_at(mean)
    filled = torch.where(rows.isnan(), mean, rows) if isinstance(vae.likelihood, Observed) else rows
    for part in vae.modules():
        if isinstance(part, STARTED):
            part.start_from(filled)


def _rescales(vae: VAE) -> list[nets.Rescale]:
    return [module for module in vae.latent.modules() if isinstance(module, nets.Rescale)]


# What the supports of likelihoods hold of the schemas' supports, and how to say it.
SUPPORTS: dict[type, tuple[str, tuple[str, ...]]] = {
    type(constraints.boolean): ("0 and 1", ("binary",)),
    type(constraints.unit_interval): ("values in [0, 1]", ("binary", "unit")),
    type(constraints.nonnegative_integer): ("raw counts", ("binary", "real")),
    Levels: ("values in [0, 1]", ("binary", "unit")),
    OneHotAlong: ("0 and 1", ("binary",)),
}


def check_support(vae: VAE, schema: Schema) -> None:
    """Whether the likelihood can hold data of this schema."""
    takes, held = SUPPORTS.get(type(vae.likelihood.support), ("any", ("binary", "unit", "real")))
    scaled = vae.likelihood.support is constraints.nonnegative_integer and {*schema.shift, *schema.scale} != {0.0, 1.0}
    if schema.support not in held or scaled:
        remedy = (
            "model.likelihood.grey=true"
            if schema.support == "unit" and vae.likelihood.support is constraints.boolean
            else "model.likelihood=normal"
        )
        raise UserError(
            f"the {vae.likelihood.name} likelihood takes {takes}, and the data has other values: --set {remedy}"
        )
