"""Latents in a hierarchy, sampled from the top down, and the block of one level.

A block holds the prior and the posterior of one level, which share the top-down state. With the state s_l (a function
of z_>l) and the features d_l of x from the bottom-up pass,

    p(z_l | z_>l) = N(mu_p(s_l), sigma_p(s_l)),   q(z_l | z_>l, x) = merge(p, m(s_l, d_l), v(s_l, d_l)),
    s_{l-1} = f(s_l + g(z_l)),

where `merge` is one of

    DIRECT     q = N(m, exp(v))                                              (Child, 2021)
    RESIDUAL   q = N(mu_p + m, sigma_p exp(v))                               (Vahdat, Kautz, 2020)
    PRECISION  q proportional to p(z) N(z; m, exp(v)), m and v of d_l alone  (Sønderby et al., 2016)

Every log-scale of a net is 5 tanh(v / 5): near v for small v, between -5 and 5, so that no density overflows.

The whole hierarchy is z = (z_L, ..., z_1), sampled from the top down:

    p(z) = prod_l p(z_l | z_>l),   q(z | x) = prod_l q(z_l | z_>l, x),   rate = sum_l KL(q_l || p_l)

A deterministic bottom-up pass over x computes features for each rung. The top-down state carries the z sampled so far
to both the prior and the posterior. Each KL is in closed form given the z above it, so that its mean over samples is
the level's rate.

There is one top-down pass. Inference, generation, replay and editing differ in how they choose a level's z.

Source: Sønderby, Raiko, Maaløe, Sønderby, Winther (2016), Ladder Variational Autoencoders; Vahdat, Kautz (2020), NVAE:
A Deep Hierarchical Variational Autoencoder; Child (2021), Very Deep VAEs Generalize Autoregressive Models; Child
(2021), Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from nelbo.config.registry import DEEPEST, Count, Counts, Depths, Range, register
from nelbo.distributions import DiagonalNormal, temper
from nelbo.distributions.base import apply_over_sample_dims
from nelbo.latents.single_level import Latent, LatentLevel
from nelbo.nets import Net, topdown
from nelbo.nets.common import require_dims
from nelbo.nets.conv import channels_at, pyramid
from nelbo.nets.mlp import perceptron

LIMIT = 5.0  # largest absolute value of a log-scale


def bounded(log_scale: Tensor) -> Tensor:
    """5 tanh(v / 5), any shape: close to v near 0, between -5 and 5 everywhere.

    >>> [round(v, 3) for v in bounded(torch.tensor([0.1, -1e9])).tolist()]
    [0.1, -5.0]
    """
    return LIMIT * torch.tanh(log_scale / LIMIT)


@dataclass(frozen=True)
class PosteriorParametrization:
    """How the prior p and the inferred (m, v) combine to q.

    Args:
        combine: maps p, m and v to q.
        reads_state: whether (m, v) depend on z_>l.
    """

    combine: Callable[[DiagonalNormal, Tensor, Tensor], DiagonalNormal]
    reads_state: bool = True


def _precision(p: DiagonalNormal, m: Tensor, v: Tensor) -> DiagonalNormal:
    share = torch.sigmoid(2 * (p.log_scale - v))  # share of N(m, exp(v)) in the total precision
    log_scale = -0.5 * torch.logaddexp(-2 * p.log_scale, -2 * v)
    return DiagonalNormal(torch.lerp(p.loc, m.expand_as(share), share), log_scale, len(p.event_shape))


DIRECT = PosteriorParametrization(lambda p, m, v: DiagonalNormal(m, v, len(p.event_shape)))
RESIDUAL = PosteriorParametrization(lambda p, m, v: DiagonalNormal(p.loc + m, p.log_scale + v, len(p.event_shape)))
PRECISION = PosteriorParametrization(_precision, reads_state=False)


class TopDownBlock(nn.Module):
    """p(z | s), q(z | s, d) and the next state of one level.

    Args:
        shape: shape of z: a vector, or (channels, height, width).
        prior: maps s and c to mean and log-scale, side by side in their channels.
        posterior: maps [s, d] and c to m and v, side by side in their channels.
        lift: maps z to the shape of s.
        block: maps s + lift(z) to the next state.
        merge: how p and (m, v) combine to q.
        markov: drop s from the next state, which is then block(lift(z)).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        prior: nn.Module,
        posterior: nn.Module,
        lift: nn.Module,
        block: nn.Module,
        merge: PosteriorParametrization = DIRECT,
        markov: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.prior, self.posterior = shape, prior, posterior
        self.lift, self.block = lift, block
        self.merge, self.markov = merge, markov

    def forward(
        self, state: Tensor, features: Tensor | None, c: Tensor | None
    ) -> tuple[DiagonalNormal, DiagonalNormal | None]:
        """p and q (None without features), from s `(*sample, batch, *event)` and d `(batch, *event)`."""
        dims = len(self.shape)
        loc, log_scale = self._pair(self.prior, state, c)
        p = DiagonalNormal(loc, bounded(log_scale), dims)
        if features is None:
            return p, None
        if self.merge.reads_state:
            lead = state.shape[: state.dim() - dims]
            features = torch.cat([state, features.expand(*lead, *features.shape[-dims:])], -dims)
        m, v = self._pair(self.posterior, features, c)
        return p, self.merge.combine(p, m, bounded(v))

    def step(self, state: Tensor, z: Tensor) -> Tensor:
        """The state below, given z `(*sample, batch, *shape)`."""
        lifted = apply_over_sample_dims(self.lift, z, event_dims=len(self.shape))
        return apply_over_sample_dims(self.block, lifted if self.markov else state + lifted, event_dims=len(self.shape))

    def _pair(self, net: nn.Module, x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
        return apply_over_sample_dims(net, x, c, event_dims=len(self.shape)).chunk(2, -len(self.shape))


SelectZ = Callable[[int, Distribution, Distribution | None], Tensor]
"""Chooses the z of a level: (rung, prior, posterior or None) -> z. Rung 0 is the top."""


class TopDown(Latent):
    """A hierarchy of latents.

    h is the state below the last rung, flattened: `(*sample, batch, features)`. Levels are recorded top first.

    Args:
        bottom_up: maps x and c to the features of each rung, top first.
        rungs: the levels, top first.
        start: shape of the state at the top, a learned constant.
        features: length of h, or its channels for a hierarchy of pictures, to build the decoder; 0 if unknown.
    """

    def __init__(
        self, bottom_up: nn.Module, rungs: Sequence[TopDownBlock], start: Sequence[int], features: int = 0
    ) -> None:
        super().__init__()
        self.features = features
        self.bottom_up = bottom_up
        self.rungs = nn.ModuleList(rungs)
        self.start = nn.Parameter(torch.zeros(tuple(start)))

    def has_normal_noise(self, c: Tensor | None = None) -> bool:
        return True

    def run(
        self, select_z: SelectZ, n: int, features: Sequence[Tensor] | None = None, c: Tensor | None = None
    ) -> tuple[Tensor, tuple[LatentLevel, ...]]:
        """Run the top-down pass for `n` data.

        Args:
            select_z: chooses the z of each level.
            n: number of data.
            features: those of the bottom-up pass, one tensor for each rung; None runs without a posterior.
            c: context `(n, context)`; None for none.

        Returns:
            h `(*sample, n, features)`, and the levels, top first.
        """
        state = self.start.expand(n, *self.start.shape)
        levels = []
        for i, rung in enumerate(self.rungs):
            p, q = rung(state, None if features is None else features[i], c)
            z = select_z(i, p, q)
            levels.append(LatentLevel(z, p if q is None else q, p))
            state = rung.step(state, z)  # type: ignore[operator]
        return state.flatten(-self.start.dim()), tuple(levels)

    def infer(
        self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()
    ) -> tuple[Tensor, tuple[LatentLevel, ...]]:
        return self.resample({}, x, c, shape=shape)

    @torch.no_grad()
    def sample_prior(self, n: int, c: Tensor | None = None, temperature: float | Sequence[float] = 1.0) -> Tensor:
        """Sample h from the prior, `(n, features)`.

        Args:
            n: number of samples.
            c: context `(n, context)`; None for none.
            temperature: factor of the standard deviations of z: one number, or one for each level, top first.
        """
        return self.run(self._selector({}, (), temperature), n, None, c)[0]

    @torch.no_grad()
    def sample_prior_embedding(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        return _joined(self.run(self._selector({}, (), temperature), n, None, c)[1])

    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The posterior means, each given the means above it, `(batch, sum of the levels' sizes)`."""
        _, levels = self.run(lambda i, p, q: q.mean, len(x), self._features(x, c), c)  # type: ignore[union-attr]
        return _joined(levels)

    def embedding_to_features(self, embedding: Tensor, c: Tensor | None = None) -> Tensor:
        return self.decode_levels(self.split(embedding), c)

    def split(self, code: Tensor) -> list[Tensor]:
        """Split an embedding from `embed` into the z of the levels, `(*batch, *shape)`, for `decode_levels`."""
        parts = code.split([math.prod(shape) for shape in self.shapes], -1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each level's z, top first."""
        return [rung.shape for rung in self.rungs]  # type: ignore[misc]

    def decode_levels(self, z: Sequence[Tensor], c: Tensor | None = None) -> Tensor:
        """Compute h, `(*sample, batch, features)`, from the z of all levels.

        Args:
            z: one tensor for each level, top first.
            c: context `(batch, context)`; None for none.
        """
        if len(z) != len(self.rungs):
            raise ValueError(f"{len(z)} levels given: give all {len(self.rungs)}, or use resample()")
        return self.resample(dict(enumerate(z)), None, c)[0]

    def resample(
        self,
        fixed: Mapping[int, Tensor],
        x: Tensor | None = None,
        c: Tensor | None = None,
        temperature: float | Sequence[float] = 1.0,
        shape: Sequence[int] = (),
    ) -> tuple[Tensor, tuple[LatentLevel, ...]]:
        """Keep the z of the levels in `fixed` and sample the others.

        Args:
            fixed: z by level; 0 is the top.
            x: data `(batch, *shape)` whose posterior is sampled; None samples the prior.
            c: context `(batch, context)`; None for none.
            temperature: factor of the standard deviations of z: one number, or one for each level, top first.
            shape: shape of independent samples for each example; () for one sample.

        Returns:
            h `(*shape, batch, features)`, and the levels, top first.

        Raises:
            ValueError: for a level that does not exist, or if the batch size follows from neither x nor `fixed`.
        """
        if (x is None and not fixed) or not set(fixed) <= set(range(len(self.rungs))):
            raise ValueError(f"levels {sorted(fixed)} given: give some of 0 to {len(self.rungs) - 1}, or x")
        first = next(iter(fixed), 0)
        n = len(x) if x is not None else fixed[first].shape[-1 - len(self.shapes[first])]
        return self.run(self._selector(fixed, shape, temperature), n, self._features(x, c), c)

    def _features(self, x: Tensor | None, c: Tensor | None) -> list[Tensor] | None:
        if x is None:
            return None
        return self.bottom_up(x) if c is None else self.bottom_up(x, c)

    def _selector(
        self, fixed: Mapping[int, Tensor], shape: Sequence[int], temperature: float | Sequence[float]
    ) -> SelectZ:
        """Choose the fixed z of a level if it has one, else a sample of the posterior, else one of the prior."""
        rungs = len(self.rungs)
        each = [temperature] * rungs if isinstance(temperature, int | float) else list(temperature)
        if len(each) != rungs:
            raise ValueError(f"{len(each)} temperatures for {rungs} levels: give one, or one each, top first")

        def choose(i: int, p: Distribution, q: Distribution | None) -> Tensor:
            d = p if q is None else q
            if i in fixed:  # a fixed z without sample dimensions is the same for all samples above it
                return fixed[i].expand(torch.broadcast_shapes(fixed[i].shape, d.batch_shape + d.event_shape))
            d = temper(d, each[i]) if each[i] != 1 else d
            # The samples of the level above are in the batch of this one: only the first level adds the sample shape.
            return d.rsample(torch.Size(shape[: max(len(shape) + 1 - len(d.batch_shape), 0)]))

        return choose


def _joined(levels: Sequence[LatentLevel]) -> Tensor:
    """The z of all levels side by side, `(batch, sum of the levels' sizes)`."""
    return torch.cat([level.z.flatten(1) for level in levels], 1)


How = Literal["direct", "residual", "precision"]
PARAMETRIZATIONS: dict[str, PosteriorParametrization] = {"direct": DIRECT, "residual": RESIDUAL, "precision": PRECISION}
RESIDUAL_CITE = {"vahdat2020nvae": lambda options: options["posterior"] == "residual"}


@register("latent", "ladder", cite="sonderby2016ladder", cite_if=RESIDUAL_CITE)
def ladder(
    net: Net,
    shape: tuple[int, ...],
    context: int = 0,
    *,
    dims: Counts = (8, 16),
    width: Count = 128,
    posterior: How = "precision",
    skip: bool = False,
) -> TopDown:
    """A hierarchy of vectors (ladder VAE); the encoder computes the features that the bottom-up pass starts from.

    Args:
        net: architecture of the encoder.
        shape: shape of an example.
        context: length of the context vector; 0 for none.
        dims: number of latent dimensions of each level, top first.
        width: units of each net, and of the top-down state.
        posterior: how p and the features of x combine to q: "direct", "residual" or "precision"; see
            `nelbo.latents.hierarchy`.
        skip: let each level, and the likelihood, depend on all z above it. If False, each depends only on the z
            directly above it.
    """
    merge = PARAMETRIZATIONS[posterior]
    inputs = width * (1 + merge.reads_state) + context
    blocks = [
        TopDownBlock(
            (dim,),
            topdown.mlp_block(width + context, width, 2 * dim, zero_init=True),
            topdown.mlp_block(inputs, width, 2 * dim),
            perceptron([dim, width, width]),
            nn.Identity(),
            merge,
            markov=not skip,
        )
        for dim in dims
    ]
    bottom_up = topdown.LadderBottomUp(net.encoder(shape, width, context), width, len(blocks))
    return TopDown(bottom_up, blocks, (width,), width)


@register("latent", "topdown-conv", cite=("sonderby2016ladder", "child2021very"), cite_if=RESIDUAL_CITE)
def topdown_conv(
    shape: tuple[int, ...],
    context: int = 0,
    *,
    depth: Depths = (2, 2, 1),
    channels: Count = 8,
    width: Count = 16,
    blocks: Annotated[int, Range(0, DEEPEST)] = 1,
    posterior: How = "direct",
) -> TopDown:
    """A hierarchy of feature maps, each half the size of the previous, down from the picture's size (any size).

    It has its own bottom-up net, so `model.encoder` is not used, and it takes `decoder = {kind = "head"}`.

    Args:
        shape: shape of an example, (channels, height, width).
        context: length of the context vector; 0 for none.
        depth: number of levels at each size, smallest first. Further sizes have no level; numbers beyond the last size
            are ignored.
        channels: number of latent dimensions of each pixel of a level.
        width: channels of the nets at full size; smaller sizes have up to four times as many.
        blocks: residual blocks at each size of the bottom-up pass.
        posterior: how p and the features of x combine to q: "direct", "residual" or "precision"; see
            `nelbo.latents.hierarchy`.
    """
    require_dims(shape, 3, "pictures", "the topdown-conv latent", instead="ladder")
    merge = PARAMETRIZATIONS[posterior]
    sizes = pyramid(shape[1], shape[2])
    widths = channels_at(width, len(sizes))
    bottom_up = topdown.ConvBottomUp(shape, widths, blocks, depth, context)
    sizes, widths = sizes[::-1], widths[::-1]  # top first, as the levels
    depth = depth[: len(sizes)]
    levels = []
    for level, n in enumerate(depth):
        until = len(sizes) if level == len(depth) - 1 else level + 2
        below = topdown.TopDownStage(widths[level], sizes[level + 1 : until], widths[level + 1 : until])
        bodies = [*(topdown.TopDownStage(widths[level]) for _ in range(n - 1)), below]
        levels += [_conv_level(sizes[level], widths[level], channels, body, merge, context) for body in bodies]
    return TopDown(bottom_up, levels, (widths[0], *sizes[0]), width)


def _conv_level(
    size: tuple[int, ...], width: int, k: int, body: nn.Module, merge: PosteriorParametrization, context: int
) -> TopDownBlock:
    prior = topdown.conv_block(width + context, width, 2 * k, zero_init=True)
    posterior = topdown.conv_block(width * (1 + merge.reads_state) + context, width, 2 * k)
    return TopDownBlock((k, *size), prior, posterior, nn.Conv2d(k, width, 1), body, merge)
