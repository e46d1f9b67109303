"""Quantized latents: the posterior is a point mass on the codes nearest to the encoder's output.

    -ELBO = E[-log p(x | e_k)] - log p(k),   log q(k | x) = 0,   uniform: log p(k) = -positions * log(codes)

The quantizer's penalty is not part of the bound, and is recorded separately, in `LatentLevel.penalty`.

Source: van den Oord, Vinyals, Kavukcuoglu (2017), Neural Discrete Representation Learning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from nelbo import distributions
from nelbo.config.registry import MOST, Component, Count, Depth, NonNegative, NotEmpty, Range, Share, register
from nelbo.distributions import PointMassCodes, temper
from nelbo.distributions.base import apply_over_sample_dims
from nelbo.errors import UserError
from nelbo.latents.quantizers import FSQ, LFQ, Quantizer, QuantizerOutput, ResidualVectorQuantizer, VectorQuantizer
from nelbo.latents.single_level import Latent, LatentLevel
from nelbo.nets import Net
from nelbo.priors import ParameterFreePrior, Prior


class QuantizedLatent(Latent):
    """The encoder's features as several vectors, each quantised: h are their values, z their `groups * depth` codes.

    Args:
        prior: p(z) over the codes.
        encoder: maps `(batch, *shape)` and a context to `groups * dim` features.
        event_dims: number of dimensions of an example.
        quantizer: maps vectors to codes.
        groups: number of vectors of an example.
    """

    discrete = True
    prior_over = "codes"

    def __init__(self, prior: Prior, encoder: nn.Module, event_dims: int, quantizer: Quantizer, groups: int) -> None:
        super().__init__()
        self.prior, self.encoder, self.event_dims = prior, encoder, event_dims
        self.quantizer, self.groups = quantizer, groups
        self.features = groups * quantizer.dim

    def quantize(self, x: Tensor, c: Tensor | None = None) -> QuantizerOutput:
        """Quantise the encoder's features.

        Args:
            x: data `(batch, *shape)`.
            c: context `(batch, context)`; None for none.

        Returns:
            values `(batch, groups * dim)`, indices `(batch, groups * depth)` and penalty `(batch,)`.
        """
        e = apply_over_sample_dims(self.encoder, x, c, event_dims=self.event_dims)
        lead = e.shape[:-1]
        values, indices, penalty = self.quantizer(e.reshape(-1, self.quantizer.dim))
        return QuantizerOutput(values.view(*lead, -1), indices.view(*lead, -1), penalty.view(*lead, -1).sum(-1))

    def infer(
        self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()
    ) -> tuple[Tensor, tuple[LatentLevel, ...]]:
        values, indices, penalty = self.quantize(x, c)
        h, z, penalty = (t.expand(*shape, *t.shape) for t in (values, indices, penalty))
        return h, (LatentLevel(z, PointMassCodes(indices, values), self.prior(c), torch.zeros_like(penalty), penalty),)

    def code_indices(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The codes of each example, `(batch, groups * depth)`.

        Args:
            x: data `(batch, *shape)`.
            c: context `(batch, context)`; None for none.
        """
        return self.quantize(x, c).indices

    def decode(self, z: Tensor) -> Tensor:
        """h of codes z: `(*lead, groups * depth)` -> `(*lead, groups * dim)`."""
        return self.quantizer.lookup(z.unflatten(-1, (self.groups, self.quantizer.depth))).flatten(-2)

    def sample_prior(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        p = temper(self.prior(c), temperature)
        return self.decode(p.sample(torch.Size(() if p.batch_shape else (n,))))

    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.quantize(x, c).values


def _build(
    quantizer: Quantizer, prior: Component[Prior] | None, groups: int, net: Net, shape: tuple[int, ...], context: int
) -> QuantizedLatent:
    positions = groups * quantizer.depth
    p = (
        prior.build(dim=positions, context=context)
        if prior
        else ParameterFreePrior(positions, lambda zeros: distributions.UniformCodes(quantizer.codebook_size, zeros))
    )
    return QuantizedLatent(p, net.encoder(shape, groups * quantizer.dim, context), len(shape), quantizer, groups)


def _check_prior(size: int, prior: Component[Prior] | None) -> None:
    if prior is None:
        return
    if "codebook_size" not in prior.options:
        raise UserError(
            f"prior = {prior.kind!r}: a vector prior cannot be used with discrete latents: give transformer, or leave "
            "it out"
        )
    if prior.options["codebook_size"] != size:
        raise UserError(
            f"prior.codebook_size = {prior.options['codebook_size']}: the codebook has {size} entries: set "
            f"prior.codebook_size={size}"
        )


@register(
    "latent",
    "vq",
    cite="oord2017neural",
    cite_if={"zeghidour2022soundstream": lambda options: options["depth"] > 1},
    check=lambda options: _check_prior(options["codebook_size"], options["prior"]),
)
def vq(
    net: Net,
    shape: tuple[int, ...],
    context: int = 0,
    *,
    groups: Count = 16,
    codebook_size: Count = 512,
    dim: Count = 8,
    depth: Depth = 1,
    decay: Share | Literal["gradient"] = 0.99,
    commitment: NonNegative = 0.25,
    restart_threshold: Share = 0.03,
    prior: Component[Prior] | None = None,
) -> QuantizedLatent:
    """Vector quantisation: each vector becomes the nearest entry of a learned codebook.

    Args:
        net: architecture of the encoder.
        shape: shape of an example.
        context: length of the context vector; 0 for none.
        groups: number of vectors of an example.
        codebook_size: entries of the codebook.
        dim: size of each vector.
        depth: number of codebooks, each for the residual of those before (residual VQ); 1 for plain VQ.
        decay: weight of the past in the codebook, a moving average; or "gradient", to train it by gradient.
        commitment: weight of the commitment loss.
        restart_threshold: an entry whose usage is below this fraction of the mean is replaced with a vector from the
            batch; 0 for never.
        prior: p(z) over the indices; None for uniform.
    """
    stages = [
        VectorQuantizer(codebook_size, dim, None if isinstance(decay, str) else decay, commitment, restart_threshold)
        for _ in range(depth)
    ]
    quantizer = ResidualVectorQuantizer(stages) if depth > 1 else stages[0]
    return _build(quantizer, prior, groups, net, shape, context)


@register(
    "latent",
    "fsq",
    cite="mentzer2024finite",
    check=lambda options: _check_prior(math.prod(options["levels"]), options["prior"]),
)
def fsq(
    net: Net,
    shape: tuple[int, ...],
    context: int = 0,
    *,
    groups: Count = 16,
    levels: Annotated[tuple[Annotated[int, Range(3, MOST)], ...], NotEmpty()] = (8, 5, 5, 5),
    prior: Component[Prior] | None = None,
) -> QuantizedLatent:
    """Finite scalar quantization: each number of a vector is rounded; there is no codebook.

    Args:
        net: architecture of the encoder.
        shape: shape of an example.
        context: length of the context vector; 0 for none.
        groups: number of vectors of an example.
        levels: number of values of each number of a vector; their product is the number of codes.
        prior: p(z) over the indices; None for uniform.
    """
    return _build(FSQ(levels), prior, groups, net, shape, context)


@register(
    "latent", "lfq", cite="yu2024language", check=lambda options: _check_prior(2 ** options["bits"], options["prior"])
)
def lfq(
    net: Net,
    shape: tuple[int, ...],
    context: int = 0,
    *,
    groups: Count = 16,
    bits: Annotated[int, Range(1, 62)] = 10,
    entropy: NonNegative = 0.1,
    commitment: NonNegative = 0.25,
    prior: Component[Prior] | None = None,
) -> QuantizedLatent:
    """Lookup-free quantization: each number of a vector becomes its sign; there is no codebook.

    Args:
        net: architecture of the encoder.
        shape: shape of an example.
        context: length of the context vector; 0 for none.
        groups: number of vectors of an example.
        bits: numbers of a vector; there are 2^bits codes.
        entropy: weight of the entropy terms, which favour confident choices and the use of all codes.
        commitment: weight of the commitment loss.
        prior: p(z) over the indices; None for uniform.
    """
    return _build(LFQ(bits, entropy, commitment), prior, groups, net, shape, context)
