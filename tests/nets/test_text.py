"""Laws of the likelihood of text, of its decoders and encoders."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fixtures.tokens import FEATURES, LENGTH, READERS, VOCABULARY, WIDTH, decoder, distribution, reader
from nelbo import likelihoods, nets
from nelbo.distributions import AutoregressiveText, Lines, noise
from nelbo.distributions.autoregressive_text import LM_WEIGHT, TEMPERATURES
from nelbo.errors import UserError
from nelbo.nets.text import END, UNKNOWN, token_mask
from nelbo.nets.transformer import Block
from zoo import assert_mean, perturb_parameters
from zoo.spaces import values

over_readers = pytest.mark.parametrize("kind", READERS)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def by_steps(d: AutoregressiveText, row: list[int]) -> float:
    """log p of one row under a distribution of one h, token by token with the decoder's `step`."""
    state, last, total = None, END, 0.0
    for token in row:
        read, state = d.net.step(d.line_state[None], torch.tensor([last]), state)
        total += d.net.logits(read).log_softmax(-1)[0, token].item()
        if (last := token) == END:
            break
    return total


def uncached(d: AutoregressiveText, draws: Tensor) -> Tensor:
    """Rows drawn from the logits of whole rows, each position anew, by inverting the cumulated masses."""
    codes = torch.zeros(len(draws), d.length, dtype=torch.int64)
    lengths = torch.full((len(draws),), d.length)
    for t in range(d.length):
        masses = d.net.logits(d.net.read(d.line_state, codes, lengths))[:, t].softmax(-1)
        codes[:, t] = (draws[:, t, None] >= masses.cumsum(-1)).sum(-1)
        codes[:, t] *= (codes[:, :t] != END).all(-1)
    return codes.double()


@over_readers
def test_the_masses_of_all_lines_sum_to_one(kind: str) -> None:
    """Lines of every length up to the row's, those cut included; (V^L+1 - 1) / (V - 1) of them for V words."""
    d = distribution(decoder(kind))
    every = values(d)
    words = VOCABULARY - 1
    assert len(every) == (words ** (LENGTH + 1) - 1) / (words - 1)
    torch.testing.assert_close(d.log_prob(every).exp().sum(), torch.ones((), dtype=torch.float64))


@over_readers
def test_teacher_forcing_is_the_chain_of_the_steps(kind: str) -> None:
    d = distribution(decoder(kind))
    every = values(d)
    expected = [by_steps(d, row) for row in every.long().tolist()]
    torch.testing.assert_close(d.log_prob(every), torch.tensor(expected, dtype=torch.float64))


@over_readers
def test_cached_sampling_is_uncached_sampling(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    d, draws = distribution(decoder(kind), 300), torch.rand(300, LENGTH, dtype=torch.float64)
    monkeypatch.setattr("nelbo.distributions.noise.uniform", lambda *shapes: draws)
    rows = d.sample()
    assert torch.equal(rows, uncached(d, draws)) and len(rows.unique(dim=0)) > 20


@over_readers
def test_the_mean_is_greedy(kind: str) -> None:
    d = distribution(decoder(kind), 5)
    rows = d.mean
    for row, begun in zip(rows, d.line_state, strict=True):
        one, line = AutoregressiveText(d.net, begun), [int(token) for token in row]
        for t in range(line.index(END) + 1 if END in line else LENGTH):
            scores = [by_steps(one, [*line[:t], token]) for token in range(VOCABULARY)]
            assert int(torch.tensor(scores).argmax()) == line[t]
    assert Lines(VOCABULARY).check(rows).all()


def test_a_temperature_divides_the_logits() -> None:
    """Near 0 a draw is the mean; at any other the masses are the powers p^(1/t), scaled to sum to one."""
    d = distribution(decoder("gru"), 3)
    assert torch.equal(d.with_temperature(1e-4).sample((20,)), d.mean.expand(20, 3, LENGTH))
    one = d.with_temperature(0.5).with_temperature(4.0)  # 2
    first = d.net.logits(d.net.step(d.line_state, torch.zeros(3, dtype=torch.int64), None)[0])
    ends = torch.zeros(3, LENGTH, dtype=torch.float64)
    torch.testing.assert_close(one.log_prob(ends), (first / 2).log_softmax(-1)[:, END])
    assert_mean((one.sample((20_000,)) == END).all(-1).double(), one.log_prob(ends).exp())


def test_a_line_that_tells_its_code_is_one_that_other_codes_do_not_write() -> None:
    """Of 40 codes of equal chance, log q is exact: the line has the highest (1 + w) log p(x | h) - log p(x)."""
    d = distribution(decoder("gru"), 40)

    def joint(x: Tensor) -> Tensor:
        return d.log_prob(x[:, None])  # of each line under each code

    def log_q(x: Tensor) -> Tensor:
        return joint(x).log_softmax(-1).diagonal()

    told = d.mmi_decode(log_q)
    with noise.seeded(0):
        u = [noise.uniform(torch.Size(), torch.Size((1,)), torch.Size((LENGTH,)), d.line_state) for _ in TEMPERATURES]
    drawn = zip(TEMPERATURES, u, strict=True)
    lines = [d.mean, *(d.with_temperature(t)._written(d.line_state, own.expand(40, -1)) for t, own in drawn)]
    of = [(1 + LM_WEIGHT) * d.log_prob(x) - joint(x).logsumexp(-1) for x in [*lines, told]]
    torch.testing.assert_close(of[-1], torch.stack(of[:-1]).max(0).values)
    assert log_q(told).mean() > log_q(d.mean).mean() + 0.1
    alone = AutoregressiveText(d.net, d.line_state[7:8]).mmi_decode(lambda x: joint(x).log_softmax(-1)[:, 7])
    assert torch.equal(alone[0], told[7])


@over_readers
def test_padding_changes_nothing(kind: str) -> None:
    """A line that ends within the row has the same mass in longer rows; and what follows an END is not looked at."""
    short, long = distribution(decoder(kind, 4), 2), distribution(decoder(kind, 7), 2)
    lines = values(short)
    lines = lines[(lines == END).any(-1)].unsqueeze(1)
    expected = short.log_prob(lines)
    torch.testing.assert_close(long.log_prob(F.pad(lines, (0, 3))), expected)
    beyond = lines.clone()
    beyond[..., -1] += 3 * ((lines == END).sum(-1) > 1)  # behind an END at the latest before the last place
    torch.testing.assert_close(short.log_prob(beyond), expected)
    assert not Lines(VOCABULARY).check(beyond).all()


@over_readers
def test_no_position_sees_itself_or_what_follows(kind: str) -> None:
    """d logits_t / d embedding of x_s = 0 for s >= t, and not for s < t."""
    net = decoder(kind)
    codes, begun = torch.tensor([[2, 3, 1, 2]]), net.init_state(torch.randn(1, FEATURES).double())
    vectors = net.embedding(codes).detach().requires_grad_()
    net.embedding.forward = lambda before: F.pad(vectors[:, :-1], (0, 0, 1, 0))  # type: ignore[method-assign]
    logits = net.logits(net.read(begun, codes, torch.tensor([4])))
    for t in range(4):
        (gradient,) = torch.autograd.grad(logits[0, t].square().sum(), vectors, retain_graph=True)
        assert (gradient[0].abs().sum(-1) > 0).tolist() == [s < t for s in range(4)]


@over_readers
def test_word_dropout_is_for_training_alone(kind: str) -> None:
    """In eval() it is off. In training, log p is that of rows in which some of the tokens read are unknown."""
    plain, dropped = decoder(kind), decoder(kind, word_dropout=0.3)
    x, begun = torch.tensor([[2.0, 3.0, 2.0, 3.0]]), distribution(plain).line_state
    score = AutoregressiveText(dropped, begun).log_prob
    torch.testing.assert_close(score(x), distribution(plain).log_prob(x))
    dropped.train()
    found = torch.cat([score(x) for _ in range(200)])
    assert len(found.unique()) == 2**LENGTH  # END, which begins the line, may be unknown, too
    codes, shares = x.long(), []
    for keep in torch.cartesian_prod(*[torch.tensor([0, 1])] * LENGTH):
        before = torch.where(keep.bool(), F.pad(codes[:, :-1], (1, 0)), UNKNOWN)
        read = plain.reader(plain.embedding(before) + begun[None, None, :WIDTH], torch.tensor([LENGTH]))
        logits = plain.logits(read + begun[WIDTH:]).log_softmax(-1)
        shares.append(0.7 ** int(keep.sum()) * 0.3 ** int((1 - keep).sum()))
        value = logits.gather(-1, codes[..., None]).sum()
        assert (found - value).abs().min() < 1e-9
    assert math.isclose(sum(shares), 1)


@over_readers
@pytest.mark.parametrize("context", [0, 2])
def test_the_encoder_reads_the_line_and_nothing_behind_it(kind: str, context: int) -> None:
    """Padding changes nothing, neighbours do not matter, every token and the context do, and each weight learns."""
    net = perturb_parameters(
        nets.TextEncoder(reader(kind, causal=False, length=8), VOCABULARY, 5, WIDTH, 0.5, context)
    ).eval()
    x = torch.tensor([[2, 3, 0, 0], [3, 3, 2, 1], [0, 0, 0, 0], [2, 2, 2, 0]]).double()
    given = [torch.randn(4, context).double()] if context else []
    found = net(x, *given)
    torch.testing.assert_close(net(F.pad(x, (0, 4)), *given)[[0, 2, 3]], found[[0, 2, 3]])
    torch.testing.assert_close(torch.cat([net(x[i : i + 1], *[g[i : i + 1] for g in given]) for i in range(4)]), found)
    weights = torch.autograd.grad((found * torch.randn_like(found)).sum(), [*net.parameters()])
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in weights)
    for t in range(4):
        other = x[1:2].clone()
        other[0, t] = 5 - other[0, t] if t < 3 else 2
        assert not torch.allclose(net(other, *[g[1:2] for g in given]), found[1])
    if context:
        assert ((net(x, given[0] + 1) - found).abs().amax(-1) > 1e-6).all()
    assert torch.equal(copy.deepcopy(net)(x, *given), found)
    net.train()
    assert not torch.equal(net(x, *given), net(x, *given))


@over_readers
@pytest.mark.parametrize("context", [0, 2])
def test_the_likelihood_uses_its_code_and_its_context(kind: str, context: int) -> None:
    """And leading dimensions are a loop, and each weight learns."""
    likelihood = likelihoods.TextLikelihood(decoder(kind, context=context), 1).eval()
    x = torch.tensor([[2, 3, 0, 0], [3, 3, 2, 1], [0, 0, 0, 0]]).double()
    h, c = torch.randn(3, 2, 3, FEATURES).double(), torch.randn(3, context).double() if context else None
    found = likelihood(h, c).log_prob(x)
    loop = torch.stack([likelihood(part, c).log_prob(x) for part in h.view(-1, 3, FEATURES)]).view(3, 2, 3)
    torch.testing.assert_close(found, loop)
    assert found.flatten(0, 1).std(0).min() > 1e-3
    gradients = torch.autograd.grad((found * torch.randn_like(found)).sum(), [*likelihood.parameters()])
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients)
    if c is not None:
        assert ((likelihood(h, c + 1).log_prob(x) - found).abs() > 1e-6).all()


def test_logits_start_at_the_shares_of_the_tokens() -> None:
    net = nets.TextDecoder(nets.GRU(WIDTH, 1, 0.0), VOCABULARY, LENGTH, FEATURES, WIDTH, 0.0)
    net.init_from_data(torch.tensor([[2.0, 0, 0, 0], [2.0, 3.0, 2.0, 2.0]]))
    expected = torch.tensor([1.5, 0.5, 4.5, 1.5]) / 8  # half a count more for each of four tokens
    torch.testing.assert_close(net.bias.softmax(-1), expected)


def test_what_belongs_to_a_line() -> None:
    x = torch.tensor([[[2, 0, 0], [3, 3, 3]], [[0, 0, 0], [2, 0, 3]]])
    assert token_mask(x).sum(-1).tolist() == [[2, 3], [1, 2]]


def test_a_block_step_by_step_is_the_block() -> None:
    block, x = perturb_parameters(Block(8, 2)), torch.randn(2, 5, 8).double()
    cache, found = None, []
    for t in range(5):
        step, cache = block.step(x[:, t : t + 1], cache)
        found.append(step)
    torch.testing.assert_close(torch.cat(found, 1), block(x))


def test_the_likelihood_refuses_other_nets() -> None:
    with pytest.raises(UserError, match=r'decoder over tokens: model.decoder = { kind = "text-gru" }'):
        likelihoods.TextLikelihood(nets.MLPDecoder(3, (5,), [4]), 1)


MUTANTS: dict[str, Any] = {
    "the first END is not scored": lambda self, value: _scored(self, value, lambda t: t),
    "padding is scored": lambda self, value: _scored(self, value, lambda t: torch.full_like(t, self.length)),
}


def _scored(d: AutoregressiveText, value: Tensor, lengths: Any) -> Tensor:
    codes = value.expand(*torch.broadcast_shapes(value.shape[:-1], d.batch_shape), d.length).long()
    tokens = (codes != END).cummin(-1).values.sum(-1)
    asked = torch.arange(d.length) < lengths(tokens)[..., None]
    flat = codes.reshape(-1, d.length)
    read = d.net.read(d.line_state.expand(len(flat), -1), flat, torch.full((len(flat),), d.length))
    found = d.net.logits(read).log_softmax(-1).gather(-1, flat[..., None]).view(codes.shape)
    return (found * asked).sum(-1)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_law_of_the_sum_rejects_wrong_likelihoods(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AutoregressiveText, "log_prob", MUTANTS[mutant])
    with pytest.raises(AssertionError):
        test_the_masses_of_all_lines_sum_to_one("gru")
