"""Latents that are codes, and priors over codes."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nelbo import conditionals, distributions, latents, nets
from nelbo.errors import UserError
from nelbo.registry import nearest, register
from nelbo.spec.discrete import check_sizes
from nelbo.spec.latents import Latent
from nelbo.spec.nets import Net
from nelbo.spec.priors import Prior
from nelbo.watch import watched


@dataclass(frozen=True)
class CodePrior(Prior):
    """A sequence model of `codes` codes."""

    codes: int = 512

    def __post_init__(self) -> None:
        check_sizes(codes=self.codes)

    def space(self) -> str:
        return f"sequences of {self.codes} codes"


@register(Prior, "transformer")
@dataclass(frozen=True)
class Transformer(CodePrior):
    """A causal transformer of `layers` layers, `width` features and `heads` heads."""

    width: int = 64
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(width=self.width, layers=self.layers, heads=self.heads)
        if self.width % self.heads:
            raise UserError(f"width={self.width}: give a multiple of heads={self.heads}")

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        net = nets.CausalTransformer(dim, self.codes, self.width, self.layers, self.heads, context)
        return conditionals.AutoregressiveCodes(net, dim, self.codes)


@register(Prior, "pixelcnn")
@dataclass(frozen=True)
class PixelCNN(CodePrior):
    """A masked convolutional net over codes in rows of `row` (None: the squarest grid)."""

    channels: int = 64
    blocks: int = 4
    row: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(channels=self.channels, blocks=self.blocks)

    def build(self, dim: int, context: int = 0) -> conditionals.Conditional:
        row = self.row or min(n for n in range(math.isqrt(dim - 1) + 1, dim + 1) if dim % n == 0)
        if row < 1 or dim % row:
            raise UserError(f"row={row}: {dim} codes do not fill rows of it; give a divisor of {dim}")
        net = nets.CausalConv((dim // row, row), self.codes, self.channels, self.blocks, context)
        return conditionals.AutoregressiveCodes(net, dim, self.codes)


@dataclass(frozen=True)
class Quantised(Latent):
    """`groups` vectors of the encoder's, each quantised; the prior over codes is uniform (None) or learned."""

    groups: int = 16
    prior: Prior | None = None

    def __post_init__(self) -> None:
        check_sizes(groups=self.groups)
        codes, _ = self.sizes
        if self.prior is not None and not isinstance(self.prior, CodePrior):
            raise UserError("prior is over vectors and these latents are codes: give transformer, or leave it out")
        if self.prior is not None and self.prior.codes != codes:
            raise UserError(f"prior.codes={self.prior.codes}: the quantiser has {codes} codes; give {codes}")

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """How many codes there are, and of how many numbers each stands for."""

    @abstractmethod
    def quantiser(self) -> latents.Quantiser:
        """The quantiser of one vector."""

    def build(self, net: Net, shape: tuple[int, ...], context: int = 0) -> latents.Latent:
        quantiser = self.quantiser()
        positions = self.groups * quantiser.depth
        uniform = conditionals.Fixed(positions, lambda zeros: distributions.UniformCodes(quantiser.codes, zeros))
        prior = self.prior.build(positions, context) if self.prior else uniform
        return latents.Quantised(prior, net.encoder(shape, self.features, context), len(shape), quantiser, self.groups)

    @property
    def features(self) -> int:
        return self.groups * self.sizes[1]


@register(Latent, "vq")
@dataclass(frozen=True)
class VQ(Quantised):
    """A codebook of `codes` vectors of `dim` numbers: a moving average of that `decay`, or trained by "gradient".

    `depth` above 1 is residual: so many codebooks in turn, each of what those before left over.
    """

    codes: int = 512
    dim: int = 8
    depth: int = 1
    decay: float | Literal["gradient"] = 0.99
    commitment: float = 0.25
    revive: float = 0.03

    def __post_init__(self) -> None:
        check_sizes(codes=self.codes, dim=self.dim, depth=self.depth)
        if not isinstance(self.decay, str) and not 0 <= self.decay < 1:
            raise UserError(f'decay={self.decay}: give 0 or more and below 1, or "gradient"')
        if self.commitment < 0 or not 0 <= self.revive < 1:
            raise UserError(
                f"commitment={self.commitment}, revive={self.revive}: give commitment >= 0 and 0 <= revive < 1"
            )
        super().__post_init__()

    @property
    def sizes(self) -> tuple[int, int]:
        return self.codes, self.dim

    def quantiser(self) -> latents.Quantiser:
        decay = None if isinstance(self.decay, str) else self.decay
        stages = [latents.VQ(self.codes, self.dim, decay, self.commitment, self.revive) for _ in range(self.depth)]
        return latents.ResidualVQ(stages) if self.depth > 1 else stages[0]


@register(Latent, "fsq")
@dataclass(frozen=True)
class FSQ(Quantised):
    """Each vector has one number for each of `levels`, rounded to so many values: prod(levels) codes."""

    levels: tuple[int, ...] = (8, 5, 5, 5)

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 3:
            raise UserError(f"levels={list(self.levels)}: give one number or more, each 3 or more; for 2 use lfq")
        super().__post_init__()

    @property
    def sizes(self) -> tuple[int, int]:
        return math.prod(self.levels), len(self.levels)

    def quantiser(self) -> latents.Quantiser:
        return latents.FSQ(self.levels)


@register(Latent, "lfq")
@dataclass(frozen=True)
class LFQ(Quantised):
    """Each vector has `bits` numbers, each taken to its sign; `entropy` weighs sure and varied choices."""

    bits: int = 10
    entropy: float = 0.1
    commitment: float = 0.25

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 62:
            raise UserError(f"bits={self.bits}: give 1 to 62")
        if min(self.entropy, self.commitment) < 0:
            raise UserError(f"entropy={self.entropy}, commitment={self.commitment}: give 0 or more")
        super().__post_init__()

    @property
    def sizes(self) -> tuple[int, int]:
        return 2**self.bits, self.bits

    def quantiser(self) -> latents.Quantiser:
        return latents.LFQ(self.bits, self.entropy, self.commitment)


CODE_PRIORS: dict[str, type[CodePrior]] = {"transformer": Transformer, "pixelcnn": PixelCNN}


def fit_code_prior(
    indices: Tensor,
    codes: int,
    kind: str = "transformer",
    epochs: int = 20,
    learning_rate: float = 2e-3,
    seed: int = 0,
    seconds: float = math.inf,
) -> tuple[conditionals.Conditional, CodePrior]:
    """A prior fitted by maximum likelihood to codes `(n, positions)` that a trained model chose, and its spec.

    Of the epochs, of which none begins after so many `seconds`, the weights are those that gave a held-out tenth the
    highest likelihood. Put the conditional in `Quantised.prior`, and the spec in the latent's `prior`.

    Raises `UserError` for an unknown kind or too few data.
    """
    if kind not in CODE_PRIORS:
        raise UserError(f"kind={kind!r}: {nearest(kind, CODE_PRIORS)}")
    if indices.dim() != 2 or len(indices) < 2 or epochs < 1:
        raise UserError(
            f"{tuple(indices.shape)} codes, epochs={epochs}: give codes (n, positions), n >= 2, epochs >= 1"
        )
    spec = CODE_PRIORS[kind](codes=codes)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        prior = spec.build(indices.shape[1]).to(indices.device)
        order = torch.randperm(len(indices)).to(indices.device)
        held, train = indices[order].tensor_split([max(1, len(indices) // 10)])
        _descend(prior, train, held, epochs, learning_rate, time.monotonic() + seconds)
    return prior.eval(), spec


def _descend(
    prior: conditionals.Conditional, train: Tensor, held: Tensor, epochs: int, learning_rate: float, end: float
) -> None:
    """Adam on batches of `train`; the weights kept are those of the epoch that is best on `held`."""
    adam = torch.optim.AdamW(prior.parameters(), learning_rate)
    best, weights = math.inf, prior.state_dict()
    for _ in watched(range(epochs), "fitting the prior", epochs):
        if time.monotonic() > end:
            break
        for rows in torch.randperm(len(train)).to(train.device).split(128):
            adam.zero_grad()
            (-prior().log_prob(train[rows]).mean()).backward()
            adam.step()
        with torch.no_grad():
            loss = -torch.cat([prior().log_prob(part) for part in held.split(500)]).mean().item()
        if loss < best:
            best, weights = loss, {name: value.clone() for name, value in prior.state_dict().items()}
    prior.load_state_dict(weights)
