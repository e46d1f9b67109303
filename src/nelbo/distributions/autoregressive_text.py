"""An autoregressive distribution of lines of text, token by token up to the end of the line.

    log p(x) = sum_t log p(x_t | x_<t),  over the tokens of the line and, if it is shorter than the row, its END

Tokens after the END are padding and add nothing. A row without an END stands for all lines that begin with it, so that
the masses of all rows sum to one.

Source: Bowman et al. (2016), Generating Sentences from a Continuous Space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from nelbo.distributions import noise
from nelbo.distributions.base import Distribution
from nelbo.training.progress import track

END = 0
TEMPERATURES, LM_WEIGHT = (0.5, 0.7) * 6, 0.3  # of the candidate lines; the weight w of log p(x | h)
SCORED = 4096  # tokens whose logits are computed at once: more would not fit the processor's cache


class Net(Protocol):
    """Scores the next token of rows of `length` tokens: the interface of `nelbo.nets.TextDecoder`."""

    length: int

    @property
    def vocabulary(self) -> int: ...
    def read(self, line_state: Tensor, codes: Tensor, lengths: Tensor) -> Tensor: ...
    def step(self, line_state: Tensor, last: Tensor, state: Any) -> tuple[Tensor, Any]: ...
    def logits(self, read: Tensor) -> Tensor: ...


class Lines(constraints.Constraint):
    """Whole numbers from 0 to `vocabulary` - 1 in which nothing but END follows an END."""

    is_discrete, event_dim = True, 1

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def check(self, value: Tensor) -> Tensor:
        whole = (value == value.floor()) & (value >= 0) & (value < self.vocabulary)
        ended = (value[..., :-1] == END) & (value[..., 1:] != END)
        return whole.all(-1) & ~ended.any(-1)


class AutoregressiveText(Distribution):
    """p(x | h) of rows of token numbers, `(*batch, length)`.

    `mean` is the greedy line: each token is the most probable one after those before it.

    Args:
        net: maps the state and the tokens so far to logits of the next token.
        line_state: the state that `net` computes from h, `(*batch, width)`.
        temperature: divides the logits, in draws and in `log_prob`; below 1, draws are closer to the greedy line.
    """

    def __init__(self, net: Net, line_state: Tensor, temperature: float = 1.0) -> None:
        self.net, self.line_state, self.length, self.temperature = net, line_state, net.length, temperature
        self.support = Lines(net.vocabulary)
        super().__init__(torch.Size([*line_state.shape[:-1], net.length]), 1)

    def with_temperature(self, temperature: float) -> AutoregressiveText:
        """The same distribution with its logits divided by `temperature`: below 1, likely tokens are likelier."""
        return AutoregressiveText(self.net, self.line_state, self.temperature * temperature)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.element_log_prob(value).sum(-1)

    def element_log_prob(self, value: Tensor) -> Tensor:
        """log p(x_t | x_<t), `(*batch, length)`; 0 after the end of a line."""
        batch = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        codes = value.expand(*batch, self.length).reshape(-1, self.length).long()
        state = self.line_state.expand(*batch, self.line_state.shape[-1]).reshape(len(codes), -1)
        lengths = ((codes != END).cummin(-1).values.sum(-1) + 1).clamp_max(self.length)
        there = torch.arange(self.length, device=codes.device) < lengths[:, None]
        positions = int(lengths.max())
        read = self.net.read(state, codes[:, :positions], lengths)[there[:, :positions]]
        parts = zip(read.split(SCORED), codes[there].split(SCORED), strict=True)
        costs = [F.cross_entropy(self._logits(part), asked, reduction="none") for part, asked in parts]
        log_probs = torch.zeros(codes.shape, dtype=read.dtype, device=read.device)
        log_probs[there] = -torch.cat(costs)
        return log_probs.view(*batch, self.length)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        with torch.no_grad():
            state = self.line_state.expand(*sample_shape, *self.line_state.shape)
            shape = torch.Size([self.length])
            draws = noise.uniform(torch.Size(sample_shape), self.batch_shape, shape, state).reshape(-1, self.length)
            return self._written(state, draws)

    @property
    def mean(self) -> Tensor:
        return self._written(self.line_state)

    def reconstruct(self, log_q: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        return self.mean if log_q is None else self.mmi_decode(log_q)

    def mmi_decode(self, log_q: Callable[[Tensor], Tensor]) -> Tensor:
        """The line, among the greedy one and twelve draws, whose posterior is closest to h, `(*batch, length)`.

        It maximises log q(h | x) + w log p(x | h). As q(h | x) is about p(x | h) p(h) / p(x), that is, up to a
        constant, (1 + w) log p(x | h) - log p(x): generic lines, probable under any h, lose to specific ones.

        Args:
            log_q: log q(h | x) of lines x `(*batch, length)`, nats `(*batch,)`.

        Source: Li, Galley, Brockett, Gao, Dolan (2016), A Diversity-Promoting Objective Function for Neural
        Conversation Models.
        """
        others = track(TEMPERATURES, "rebuilding lines", len(TEMPERATURES))
        lines, shape = [self.mean], torch.Size((self.length,))
        with noise.seeded(0):  # one noise for all data, so that a line does not depend on the others
            for t in others:
                u = noise.uniform(torch.Size(), torch.Size((1,)), shape, self.line_state)
                lines.append(self.with_temperature(t)._written(self.line_state, u.expand(len(self.line_state), -1)))
        drawn = torch.stack(lines)
        best = torch.stack([log_q(x) + LM_WEIGHT * self.log_prob(x) for x in drawn]).argmax(0)
        return drawn.gather(0, best[None, ..., None].expand(1, *drawn.shape[1:]))[0]

    def _logits(self, read: Tensor) -> Tensor:
        logits = self.net.logits(read)
        return logits if self.temperature == 1 else logits / self.temperature

    def _written(self, line_state: Tensor, draws: Tensor | None = None) -> Tensor:
        """Rows sampled token by token from uniform noise `(rows, length)`, or greedy rows without noise."""
        flat, state = line_state.reshape(-1, line_state.shape[-1]), None
        rows = line_state.new_zeros(len(flat), self.length)
        last = torch.zeros(len(flat), dtype=torch.int64, device=line_state.device)
        for t in track(range(self.length), "writing lines", self.length):
            read, state = self.net.step(flat, last, state)
            logits = self._logits(read)
            token = logits.argmax(-1) if draws is None else noise.categorical(logits.softmax(-1), draws[:, t])
            last = token if t == 0 else token.masked_fill(last == END, END)
            rows[:, t] = last
            if not last.any():
                break
        return rows.view(*line_state.shape[:-1], self.length)
