"""A VAE as plain values: unset ones are chosen from the data, and the model is built."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nelbo.config.registry import Component, Range, kind_of, parse
from nelbo.data import Schema
from nelbo.errors import UserError
from nelbo.latents import Latent
from nelbo.likelihoods import Likelihood, MissingDataLikelihood
from nelbo.nets import InitializedFromData, Net, WithGaps, rescales
from nelbo.vae import VAE


@dataclass(frozen=True)
class Input:
    """The input of the encoder, (x - center) * scale.

    Args:
        center: a number, or "mean" for the mean of the training data.
        scale: factor of the centred input.
        mask_fraction: fraction of the series that have a random stretch hidden from the encoder in training; 0:
            none.
    """

    center: Annotated[float, Range(-1e30, 1e30)] | Literal["mean"] = "mean"
    scale: Annotated[float, Range(-1e30, 1e30)] = 1.0
    mask_fraction: Annotated[float, Range(0, 1)] = 0.0


@dataclass(frozen=True)
class ModelSpec:
    """A VAE as plain values; those that are None are chosen from the data.

    Args:
        latent: the type of latent variables, with prior and posterior.
        likelihood: p(x | h); None for the default of the data.
        encoder: architecture of the encoder; None for the default of the data.
        decoder: architecture of the decoder; None for the encoder's.
        input: scaling of the encoder's input; see section `model.input`.
        init_bias_to_mean: set the decoder's output bias to the mean of the training data before training.
    """

    latent: Component[Latent] = field(default_factory=lambda: Component("latent", "flat"))
    likelihood: Component[Likelihood] | None = None
    encoder: Net | None = None
    decoder: Net | None = None
    input: Input = field(default_factory=Input)
    init_bias_to_mean: bool = True


def resolve(spec: ModelSpec, schema: Schema) -> ModelSpec:
    """The spec with every None replaced by the choice for data of this schema.

    Nets and likelihood are the defaults of the kind of data (`DataKind`). A VQ model with a grid net has one group for
    each position of the grid.

    Raises:
        UserError: for parts that do not support the kind of data.
    """
    kind = schema.data_kind
    if spec.input.mask_fraction and not kind.masks_missing:
        raise UserError(
            f"model.input.mask_fraction={spec.input.mask_fraction}: steps can be hidden only from series: set it to 0"
        )
    encoder: Net = spec.encoder or parse(Net, kind.default_net(schema), "model.encoder")
    decoder = spec.decoder or encoder
    chosen: Component[Likelihood] = spec.likelihood or parse(
        Component[Likelihood], kind.default_likelihood(schema), "model.likelihood"
    )
    for part in (chosen, encoder, decoder):
        kind.check_part(kind_of(part))
    if sizes := kind.net_sizes(schema):
        encoder, decoder = (dataclasses.replace(part, **sizes) for part in (encoder, decoder))  # type: ignore[type-var]
    latent = spec.latent
    posterior = latent.options.get("posterior")
    if isinstance(posterior, Component) and posterior.kind in kind.refused_posteriors:
        raise UserError(f"the {posterior.kind} posterior does not support {kind.noun}: use diagonal-normal")
    if "groups" in latent.options and spec.encoder and (places := encoder.places(schema.shape)) is not None:
        latent = latent.replace(groups=places)
    return dataclasses.replace(spec, latent=latent, likelihood=chosen, encoder=encoder, decoder=decoder)


def build(spec: ModelSpec, shape: tuple[int, ...], context: int = 0, missing: bool = False) -> VAE:
    """Build the VAE of a resolved spec.

    Args:
        spec: the result of `resolve`.
        shape: the shape of a datum.
        context: length of the context vector; 0 for an unconditional model.
        missing: whether elements of the data may be missing (NaN); the likelihood is then restricted to the observed
            elements.
    """
    if spec.likelihood is None or spec.encoder is None or spec.decoder is None:
        raise UserError("the model has open choices: call resolve(spec, schema) first")
    net = WithGaps(spec.encoder, spec.input.mask_fraction) if missing else spec.encoder
    latent = spec.latent.build(net=net, shape=shape, context=context)
    outputs = spec.likelihood.entry.make.n_outputs(**spec.likelihood.options)  # type: ignore[attr-defined]
    decoder = spec.decoder.decoder(latent.features, shape, outputs, context)
    likelihood = spec.likelihood.build(decoder=decoder, event_dims=len(shape), shape=shape)
    vae = VAE(latent, MissingDataLikelihood(likelihood) if missing else likelihood)
    for rescale in rescales(vae.latent):
        rescale.scale.fill_(spec.input.scale)
        if not isinstance(spec.input.center, str):
            rescale.shift.fill_(spec.input.center)
    return vae


class Bounded(TorchDispatchMode):
    """Within it, torch's operations create tensors of at most `nbytes` in all: the next one raises `UserError`.

    The sizes of a model come from a file or a user. torch's "meta" device, which plans a model without memory, was
    weighed: it imports torch's compiler, which takes seconds, and cannot build parts that read their values.

    Args:
        nbytes: the limit, in bytes of float32.
        fault: the message.

    >>> with Bounded(1000, "the model is too large: give smaller sizes"):
    ...     torch.nn.Linear(10**7, 10**7)
    Traceback (most recent call last):
    nelbo.errors.UserError: the model is too large: give smaller sizes
    """

    def __init__(self, nbytes: float, fault: str) -> None:
        super().__init__()
        self.left, self.fault = nbytes, fault

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False, since to answer True would import torch's compiler."""
        return False

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error)):
            raise UserError(self.fault) from error

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not (func.is_view or func._schema.is_mutable):
            self.left -= 4 * _elements(func, args)
            if self.left < 0:
                raise UserError(self.fault)
        return func(*args, **(kwargs or {}))


def _elements(func: Any, args: Sequence[Any]) -> float:
    """About how many elements the result of an operation has: those of its sizes, or of its broadcast tensors."""
    tensors = [argument for argument in args if isinstance(argument, Tensor)]
    lists = [math.prod(a) for a in args if isinstance(a, list | tuple) and all(isinstance(size, int) for size in a)]
    if not tensors and not lists:
        highest = max((a for a in args if isinstance(a, int | float)), default=1)
        return highest if "range" in str(func) or "linspace" in str(func) else highest**2  # as of `eye`
    try:
        broadcast = math.prod(np.broadcast_shapes(*(tensor.shape for tensor in tensors)))
    except ValueError:  # as of a matrix product
        broadcast = sum(tensor.numel() for tensor in tensors)
    sizes = max(lists, default=0)
    return broadcast * sizes if "repeat" in str(func) else max(broadcast, sizes)


def init_from_data(vae: VAE, spec: ModelSpec, mean: Tensor, rows: Tensor) -> None:
    """Initialize a model from the training data.

    The mean of the data sets the centre of the input and the output bias; random rows set every `InitializedFromData`.
    """
    for rescale in rescales(vae.latent):
        if spec.input.center == "mean":
            rescale.shift.copy_(mean)
    if spec.init_bias_to_mean:
        with torch.no_grad():
            vae.likelihood.init_output_bias(mean)
    filled = vae.likelihood.fill_missing(rows, mean)
    for part in vae.modules():
        if isinstance(part, InitializedFromData):
            part.init_from_data(filled)


ACCEPTED = {("binary",): "0 and 1", ("binary", "unit"): "values in [0, 1]"}


def check_support(vae: VAE, schema: Schema) -> None:
    """Raises `UserError` if the likelihood does not support data of this schema."""
    likelihood = vae.likelihood
    scaled = likelihood.raw_counts and {*schema.shift, *schema.scale} != {0.0, 1.0}
    if schema.support not in likelihood.accepts or scaled:
        accepted = "raw counts" if likelihood.raw_counts else ACCEPTED[likelihood.accepts]
        grey = schema.support == "unit" and likelihood.name == "Bernoulli"
        raise UserError(
            f"the {likelihood.name} likelihood takes {accepted}, and the data has other values: --set "
            f"{'model.likelihood.allow_soft_targets=true' if grey else 'model.likelihood=normal'}"
        )
