"""Semi-supervised learning: the context c is a one-hot class, or a row of NaN where the class is unknown.

    known y:    L(x, y) = distortion(x, y) + rate(x, y) - log p(y),  p(y) = 1 / classes,  + weight * (-log q(y | x))
    unknown y:  sum_y q(y | x) (L(x, y) + log q(y | x))

Source: Kingma, Rezende, Mohamed, Welling (2014), Semi-Supervised Learning with Deep Generative Models (M2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nelbo.config.registry import Count, NonNegative, register
from nelbo.errors import UserError
from nelbo.nets import MLP, Net
from nelbo.objectives.base import Losses, Objective
from nelbo.vae import VAE


@register("objective", "semi-supervised", cite="kingma2014semi")
class SemiSupervised(Objective):
    """A VAE conditioned on a class, with a classifier q(y | x) as the second player of one loss.

    Each datum is scored once under every class. Without a context all labels are unknown. Reported terms are means
    under the known class, or under q(y | x). Training raises `UserError` for another number of classes.

    Args:
        classes: number of classes.
        weight: weight of the classifier's loss on labelled data.
        classifier: architecture of the classifier.
    """

    accepts_missing_context = True

    def __init__(self, *, classes: Count = 10, weight: NonNegative = 1.0, classifier: Net = MLP((256,))) -> None:
        super().__init__()
        self.classifier_net, self.classes, self.weight = classifier, classes, weight
        self.classifier: nn.Module = nn.Sequential()

    def setup(self, vae: VAE, x: Tensor, n: int, c: Tensor | None = None) -> None:
        if c is not None and c.shape[1] != self.classes:
            raise UserError(
                f"objective.classes={self.classes}: the data have {c.shape[1]}: --set objective.classes={c.shape[1]}"
            )
        self.classifier = self.classifier_net.encoder(tuple(x.shape[1:]), self.classes).to(next(vae.parameters()))

    def forward(self, vae: VAE, x: Tensor, c: Tensor | None = None) -> Losses:
        labels = x.new_full((len(x), self.classes), math.nan) if c is None else c
        known = ~labels.isnan().any(1)
        log_q = self.classifier(x).log_softmax(1)
        share = torch.where(known.unsqueeze(1), labels.nan_to_num(), log_q.exp())
        each = torch.eye(self.classes, dtype=x.dtype, device=x.device)
        traces = [
            vae(x, y.expand(len(x), -1)) for y in each
        ]  # one by one, since noise is drawn for the rows of a batch

        def mean(values: list[Tensor]) -> Tensor:
            return (share * torch.stack(values, 1)).sum(1).mean()

        distortion, rate = mean([t.distortion for t in traces]), mean([t.rate for t in traces])
        penalty = mean([t.penalty for t in traces])
        entropy = -(share * log_q).sum(1)  # for a known class, the cross-entropy
        label = torch.where(known, self.weight * entropy, -entropy).mean() + math.log(self.classes)
        loss = distortion + rate + penalty + label
        parts = {"loss": loss, "distortion": distortion, "rate": rate, "label": label}
        return Losses({"vae": loss, "classifier": loss}, {name: value.detach() for name, value in parts.items()})

    def param_groups(self, vae: VAE) -> dict[str, list[nn.Parameter]]:
        return {**super().param_groups(vae), "classifier": list(self.classifier.parameters())}
