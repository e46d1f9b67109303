"""Laws of every encoder and decoder, at every shape of data it takes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nelbo.errors import UserError
from nelbo.nets import GridDecoder, GridEncoder
from nelbo.nets.common import Rescale, join
from nelbo.nets.conv import Residual, pyramid
from zoo import CONTEXT, DECODERS, ENCODERS, NetRow, Shape, context, perturb_parameters
from zoo.nets import FEATURES

BATCH = 4
over_encoders = pytest.mark.parametrize(
    ("row", "shape"), [pytest.param(row, s, id=f"{name}-{s}") for name, row in ENCODERS.items() for s in row.shapes]
)
over_decoders = pytest.mark.parametrize(
    ("row", "shape"), [pytest.param(row, s, id=f"{name}-{s}") for name, row in DECODERS.items() for s in row.shapes]
)
over_contexts = pytest.mark.parametrize("contexts", [0, CONTEXT])


def _inputs(contexts: int, *shape: int) -> list[Tensor]:
    x = torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(3)).double()
    return [x, context(BATCH)] if contexts else [x]


def _check(net: nn.Module, inputs: list[Tensor], output_shape: tuple[int, ...]) -> None:
    """The laws of a net: shape, gradients, independence of neighbours, use of every input, copies."""
    net = perturb_parameters(net)
    inputs = [x.requires_grad_() for x in inputs]
    output = net(*inputs)
    assert output.shape == (BATCH, *output_shape)

    weighted = (output * torch.randn_like(output)).sum()
    for name, gradient in zip(
        [name for name, _ in net.named_parameters()], torch.autograd.grad(weighted, [*net.parameters()]), strict=True
    ):
        assert gradient.isfinite().all() and gradient.abs().sum() > 0, f"{name} has no gradient"

    for x, gradient in zip(inputs, torch.autograd.grad(net(*inputs)[1].sum(), inputs), strict=True):
        others = torch.arange(BATCH) != 1
        assert gradient[1].abs().sum() > 0, f"an input of shape {tuple(x.shape)} is not used"
        assert gradient[others].abs().sum() == 0, "a datum's output depends on its neighbours"
    alone = torch.cat([net(*(x[i : i + 1] for x in inputs)) for i in range(BATCH)])
    torch.testing.assert_close(alone, output)

    twin = copy.deepcopy(net)
    assert torch.equal(twin(*inputs), output)
    with torch.no_grad():
        for value in twin.state_dict().values():
            value += 1
    assert not torch.allclose(twin(*inputs), output)
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin(*inputs), output)


@over_encoders
@over_contexts
def test_encoder(row: NetRow, shape: Shape, contexts: int) -> None:
    torch.manual_seed(0)
    _check(row.encoder(shape, contexts), _inputs(contexts, *shape), (FEATURES,))


@over_decoders
@over_contexts
@pytest.mark.parametrize("outputs", [1, 2])
def test_decoder(row: NetRow, shape: Shape, contexts: int, outputs: int) -> None:
    torch.manual_seed(0)
    net = row.decoder(shape, contexts, outputs)
    _check(net, _inputs(contexts, FEATURES), net.output_shape)
    assert net.output_shape[1:] == shape


@over_encoders
def test_every_element_of_the_datum_is_read(row: NetRow, shape: Shape) -> None:
    """No pixel is dropped by a stride, at odd sizes too."""
    torch.manual_seed(7)
    net = perturb_parameters(row.encoder(shape))
    x = torch.randn(64, *shape, generator=torch.Generator().manual_seed(4)).double().requires_grad_()
    gradient = torch.autograd.grad(net(x).square().sum(), x)[0]
    assert (gradient.abs().sum(0) > 0).all()


@pytest.mark.parametrize(
    ("row", "shape"), [(row, shape) for row in ENCODERS.values() for shape in row.shapes if row.kind != "table"]
)
def test_encoder_rescales_its_input(row: NetRow, shape: Shape) -> None:
    """A shift and scale in the net do what the same shift and scale of the data would do; they are saved."""
    torch.manual_seed(8)
    net = perturb_parameters(row.encoder(shape))
    (x,) = _inputs(0, *shape)
    expected = net((x - x.mean(0)) * 2.5)
    net.rescale.shift.copy_(x.mean(0))
    net.rescale.scale.fill_(2.5)
    torch.testing.assert_close(net(x), expected)
    assert {"rescale.shift", "rescale.scale"} <= set(net.state_dict())


@over_decoders
def test_output_bias_is_a_view_that_shifts_the_output(row: NetRow, shape: Shape) -> None:
    """Adding to the bias adds to the outputs, each to its own."""
    torch.manual_seed(9)
    net = perturb_parameters(row.decoder(shape, outputs=2))
    (h,) = _inputs(0, FEATURES)
    before, bias = net(h), net.output_bias
    step = torch.arange(1.0, bias.numel() + 1).view(bias.shape).double()
    with torch.no_grad():
        bias += step
    torch.testing.assert_close(net(h) - before, step.expand(before.shape))


def test_join_appends_constant_planes() -> None:
    torch.manual_seed(6)
    x, c = torch.randn(2, 3, 4, 5), torch.randn(2, 2)
    joined = join(x, c[:, :1], c[:, 1:])
    assert torch.equal(joined[:, :3], x)
    assert torch.equal(joined[:, 3:], c[:, :, None, None].expand(2, 2, 4, 5))
    assert join(x) is x and torch.equal(join(c, c), torch.cat([c, c], 1))
    assert torch.equal(Rescale((2,))(c), c)


@pytest.mark.parametrize("size", [(1, 1), (4, 9), (5, 5), (28, 27), (17, 3), (224, 100)])
def test_pyramid_is_what_strided_convolutions_make(size: tuple[int, int]) -> None:
    sizes = pyramid(*size)
    x = torch.zeros(1, 1, *size)
    for expected in sizes[1:]:
        x = F.conv2d(x, torch.zeros(1, 1, 3, 3), stride=2, padding=1)
        assert x.shape[2:] == expected
    assert min(sizes[-1]) <= 4 and (len(sizes) == 1 or min(sizes[-2]) > 4)


def test_a_residual_block_starts_as_the_identity() -> None:
    torch.manual_seed(5)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(Residual(3)(x), x)
    assert not torch.equal(perturb_parameters(Residual(3))(x.double()), x.double())


def test_a_grids_features_are_of_its_places_in_reading_order() -> None:
    """A pixel reaches the vectors of the places near it, and a vector the pixels near its place."""
    torch.manual_seed(4)
    encoder = perturb_parameters(GridEncoder((1, 32, 24), 8 * 6 * 2, 4, 0, patch=2, halvings=1))
    decoder = perturb_parameters(GridDecoder(8 * 6 * 2, (1, 32, 24), 4, 0, patch=2, halvings=1))
    x = torch.randn(1, 1, 32, 24).double()
    for row, column in [(0, 0), (9, 13), (31, 23)]:
        seen = torch.autograd.functional.jacobian(lambda x: encoder(x)[0], x)[:, 0, 0, row, column]
        places = (seen.view(8, 6, 2).abs().sum(2) > 0).nonzero()
        near = torch.tensor([row / 4, column / 4]) - 0.5
        assert len(places) and ((places - near).abs() <= 1.6).all(), "a place far from the pixel sees it"
        h = torch.zeros(1, 8, 6, 2).double()
        h[0, row // 4, column // 4] = 1
        told = (decoder(h.flatten(1)) - decoder(torch.zeros(1, 96).double()))[0, 0, 0].abs() > 0
        assert told[row, column] and told.float().mean() < 0.6
    with pytest.raises(UserError, match="a grid of 8 x 6"):
        GridEncoder((1, 32, 24), 49, 4, 0, patch=2, halvings=1)
