"""A new datum near each of some, of its class, for the training of another net.

    nearby = Nearby(model, (x, y))
    for rows in torch.randperm(len(x)).split(100):
        more = nearby.draw(rows, seed)  # of classes y[rows]

A code is moved along the difference of two of the codes nearest to it within its class, so that it varies as they do
there, and what that changes of the picture is added to the picture itself:

    x' = x + m(z + A (z_a - z_b)) - m(z),   m(z) the mean of p(x | z),   cut off where data end

What the code does not hold of x, x' has unchanged. m(z) alone loses it, and with it, at times, what makes a 4 a 4: then
draws teach a wrong class, and just where classes are hard to tell.

Source: DeVries, Taylor (2017), Dataset Augmentation in Feature Space, for differences of codes; Norouzi, Fleet, Norouzi
(2020), Exemplar VAE, for a draw beside each datum that a net is trained on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nelbo.apps.variations import neighbours
from nelbo.data import subset
from nelbo.errors import UserError
from nelbo.latents import Quantised
from nelbo.model import Model

NEAREST = 12  # codes that differences are taken of
ALONG = 1.0  # A


class Nearby:
    """Draws near data of any form that training takes, whose classes, if they have labels, are kept.

    Raises `UserError` for a table, for text, and for a model whose codes are entries of a codebook.
    """

    def __init__(self, model: Model, data: Any) -> None:
        if model.schema.kind in ("table", "text"):
            raise UserError(f"nearby: the model is of data of kind {model.schema.kind}: train on pictures or arrays")
        if isinstance(model.vae.latent, Quantised):
            raise UserError("nearby: the model's codes are entries of a codebook, between which is nothing")
        self.model, self.rows = model, model.rows(data)
        self.codes = torch.from_numpy(model.embed(self.rows))
        self.counts = torch.empty(len(self.codes), dtype=torch.int64)  # how many codes of the class are near
        self.nearest = torch.empty(len(self.codes), NEAREST, dtype=torch.int64)  # which, itself among them
        labels = torch.zeros_like(self.counts) if self.rows.labels is None else self.rows.labels
        for label in labels.unique():
            own = (labels == label).nonzero().flatten()
            found = own[neighbours(self.codes[own], self.codes[own], NEAREST)]
            self.counts[own] = found.shape[1]
            self.nearest[own, : found.shape[1]] = found

    @torch.no_grad()
    def draw(self, rows: Tensor, seed: int = 0, along: float = ALONG) -> np.ndarray:
        """One datum near each of the numbers `rows` `(n,)`, `(n, *shape)` in the data's units; `along` is A."""
        u = torch.rand(2, len(rows), generator=torch.Generator().manual_seed(seed))
        a, b = (self.codes[self.nearest[rows, (part * self.counts[rows]).long()]] for part in u)
        size, show = self.model.schema.at_once, self.model.vae.show
        codes = zip(self.codes[rows].split(size), (along * (a - b)).split(size), strict=True)

        def changed(x: Tensor, c: Tensor | None) -> Tensor:
            z, step = (part.to(x) for part in next(codes))
            more = x + show(z + step, c) - show(z, c)
            return self.model.schema.decode(more if self.model.schema.support == "real" else more.clamp(0, 1))

        return self.model.over(subset(self.rows, rows), changed)
