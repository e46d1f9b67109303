"""Random changes of pictures in training, drawn anew for each picture and step; test data are not changed.

    flip        mirror left to right, with this probability          0.5
    vflip       mirror top to bottom, with this probability          0.5
    shift       move by up to this fraction of the sides             0.1     in whole pixels
    rotate      rotate by up to so many degrees, either way          15
    scale       enlarge by up to 1 + this factor, or shrink by it    0.1
    brightness  add or subtract up to this from all values           0.1
    contrast    scale about the mean by up to 1 + this, or by less   0.2

All changes of position are one map from places of the new picture to places of the old one,

    place_old = F R(angle) place_new / scale + shift,    in pixels from the centre, F the mirrorings,

where the old picture is read by cubic interpolation, so that nothing is blurred twice. If all moves are by whole
pixels, and for black and white pictures, the nearest pixel is used. Beyond the edge, the edge is repeated. Values stay
in [0, 1], and on the levels of integers. torchvision was weighed: here the draws depend on (seed, step) alone, and
torchvision pins the version of torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from nelbo.data.schema import Schema
from nelbo.errors import UserError

USUAL = {"flip": 0.5, "vflip": 0.5, "shift": 0.1, "rotate": 15.0, "scale": 0.1, "brightness": 0.1, "contrast": 0.2}
MOST = {"flip": 1.0, "vflip": 1.0, "shift": 1.0, "rotate": 180.0, "brightness": 1.0}
DRAWS = 8  # random numbers per picture


@dataclass(frozen=True)
class Augment:
    """The strength of each change of pictures, 0 for none; see the top of this module.

    >>> Augment.parse("flip,rotate=5").rotate
    5.0
    """

    flip: float = 0.0
    vflip: float = 0.0
    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Augment:
        """Parse comma-separated names, each with its strength if it differs from the default: "flip,rotate=5".

        Raises `UserError` for an unknown name or a strength out of range.
        """
        found = cls()
        for word in filter(None, (word.strip() for word in text.split(","))):
            name, equals, value = (part.strip() for part in word.partition("="))
            if name not in USUAL:
                raise UserError(f"augment={text!r}: {name!r} is unknown: use some of {', '.join(USUAL)}")
            try:
                strength = float(value) if equals else USUAL[name]
            except ValueError:
                strength = math.nan
            if not 0 <= strength <= MOST.get(name, 10.0):
                most = f"{MOST.get(name, 10.0):g}"
                raise UserError(f"augment={text!r}: {word!r}: use a number from 0 to {most}, as {name}={USUAL[name]}")
            found = replace(found, **{name: strength})
        return found

    def check(self, schema: Schema) -> None:
        """Raise `UserError` for data that do not support these changes."""
        if schema.kind != "image":
            raise UserError(f"augment supports pictures, and the data are of kind {schema.kind}: leave it out")
        if schema.support == "binary" and (self.brightness or self.contrast):
            raise UserError("augment: black and white pictures have no brightness or contrast: leave these two out")

    def __call__(self, x: Tensor, schema: Schema, u: Tensor) -> Tensor:
        """Change pictures `(n, channels, height, width)` in model units by random numbers `u` `(n, 8)`, in [0, 1)."""
        v = (2 * u - 1).to(x.device)  # in [-1, 1)
        if any((self.flip, self.vflip, self.shift, self.rotate, self.scale)):
            x = self._moved(x, v, schema)
        if not any((self.rotate, self.scale, self.brightness, self.contrast)):
            return x  # moved by whole pixels
        if self.brightness or self.contrast:
            x = self._shaded(x, v)
        levels = schema.scale[0]
        return x.clamp(0, 1).mul_(levels).round_().div_(levels) if levels >= 255 else x.clamp(0, 1)

    def _moved(self, x: Tensor, v: Tensor, schema: Schema) -> Tensor:
        height, width = x.shape[2:]
        angle = v[:, 0] * math.radians(self.rotate)
        size = (1 + self.scale) ** -v[:, 1]
        cos, sin = angle.cos() * size, angle.sin() * size
        across, down = (torch.where(v[:, i] < 2 * p - 1, -1.0, 1.0) for i, p in ((2, self.flip), (3, self.vflip)))
        right, below = (_whole(v[:, i], round(self.shift * side)) for i, side in ((4, width), (5, height)))
        # affine_grid's places range from -1 to 1 over each side
        rows = (
            torch.stack([across * cos, -across * sin * height / width, 2 * right / width], 1),
            torch.stack([down * sin * width / height, down * cos, 2 * below / height], 1),
        )
        grid = affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        between = (self.rotate or self.scale) and schema.support != "binary"
        return grid_sample(x, grid, "bicubic" if between else "nearest", "border", align_corners=False)

    def _shaded(self, x: Tensor, v: Tensor) -> Tensor:
        colours = x[:, :3]  # transparency is unchanged
        mean = colours.mean((1, 2, 3), keepdim=True)
        spread = ((1 + self.contrast) ** v[:, 6]).view(-1, 1, 1, 1)
        changed = (colours - mean) * spread + mean + self.brightness * v[:, 7].view(-1, 1, 1, 1)
        return torch.cat([changed, x[:, 3:]], 1)


def _whole(v: Tensor, most: int) -> Tensor:
    """Integers from -most to most, with equal probability."""
    return ((v + 1) / 2 * (2 * most + 1)).floor().clamp(max=2 * most) - most


def draws(n: int, seed: int, step: int) -> Tensor:
    """The random numbers `(n, 8)` of the pictures of a step's batch, independent of micro-batches."""
    # counted from above: the orders of the epochs use seeds from below
    return torch.rand(n, DRAWS, generator=torch.Generator().manual_seed(2**63 - 1 - (seed * 1_000_003 + step)))
