"""The decoder that moves a picture's points: nowhere at its start, elsewhere as it is told."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nelbo.conditionals import DiagonalNormal, Normal, StandardNormal
from nelbo.latents import Flat
from nelbo.nets import MLPEncoder, WarpDecoder
from nelbo.vae import VAE

SHAPES = [(1, 6, 6), (3, 8, 5)]


def told(shape: tuple[int, ...], right: float, down: float) -> WarpDecoder:
    """A decoder that moves every point alike, by so many pixels."""
    net = WarpDecoder(2, shape, [4], grid=3).double()
    last: nn.Linear = net.layers[-1]  # type: ignore[assignment]
    with torch.no_grad():
        last.bias.view(2, -1)[0] = 2 * right / shape[2]
        last.bias.view(2, -1)[1] = 2 * down / shape[1]
    return net


def pictures(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_it_starts_as_the_identity(shape: tuple[int, ...]) -> None:
    x = pictures(shape)
    made = WarpDecoder(2, shape, [4]).double()(torch.randn(4, 2, dtype=torch.float64), x.flatten(1))
    torch.testing.assert_close(made, x[:, None])


@pytest.mark.parametrize("shape", SHAPES)
def test_points_are_fetched_from_where_it_says(shape: tuple[int, ...]) -> None:
    """From one pixel to the right and two down; beyond the edge is 0."""
    x = pictures(shape)
    made = told(shape, 1.0, 2.0)(torch.zeros(4, 2, dtype=torch.float64), x.flatten(1))[:, 0]
    torch.testing.assert_close(made[..., :-2, :-1], x[..., 2:, 1:])
    assert made[..., -2:, :].abs().max() < 1e-12 and made[..., -1:].abs().max() < 1e-12


def test_a_vae_learns_a_shift_of_the_picture_it_is_given() -> None:
    """log p(target | z, source): z says which way, and draws of it move a picture both ways."""
    torch.manual_seed(0)
    shape = (1, 8, 8)
    source = torch.zeros(64, *shape)
    source[:, :, 2:6, 3:5] = 1
    target = torch.where(torch.arange(64).view(-1, 1, 1, 1) % 2 == 0, source.roll(1, 3), source.roll(-1, 3))
    posterior = DiagonalNormal(MLPEncoder(shape, 4, [32], context=64), 3)
    vae = VAE(Flat(StandardNormal(2), posterior), Normal(WarpDecoder(2, shape, [32], grid=3), 3, sigma=0.1))
    optimizer = torch.optim.Adam(vae.parameters(), 1e-2)
    for _ in range(200):
        trace = vae(target, source.flatten(1))
        optimizer.zero_grad()
        (trace.distortion + trace.rate).mean().backward()
        optimizer.step()
    with torch.no_grad():
        made = vae.generate(64, source.flatten(1)).mean
    assert (vae(target, source.flatten(1)).likelihood.mean - target).square().mean() < 0.01
    column = (made * torch.arange(8)).sum((1, 2, 3)) / made.sum((1, 2, 3)) - 3.5
    assert (column > 0.5).float().mean() > 0.2 and (column < -0.5).float().mean() > 0.2
