"""A small classifier of handwritten digits, shipped with the package, whose features compare samples with real digits.

Distances on its features are specific to this network: they are not an FID, and cannot be compared with those on other
networks. `benchmarks/digit_classifier.py` trained it on the 60 000 training digits of MNIST, and states its accuracy.
"""

from __future__ import annotations

from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn

from nelbo.errors import UserError

NAME = "nelbo digit classifier"
WIDTHS = (24, 48, 96)
FEATURES = 64


class DigitClassifier(nn.Module):
    """Pictures `(n, 1, 28, 28)` in [0, 1] -> (features `(n, 64)`, logits of the ten digits `(n, 10)`)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTHS[-1] * 9, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x)
        return features, self.head(features)


def digit_classifier() -> DigitClassifier:
    """The shipped classifier, in eval mode."""
    stored = resources.files("nelbo.metrics") / "files" / "digit_classifier.safetensors"
    net = DigitClassifier()
    net.load_state_dict({name: tensor.float() for name, tensor in load(stored.read_bytes()).items()})
    return net.eval()


@torch.no_grad()
def look(x: Tensor) -> tuple[Tensor, Tensor]:
    """Features `(n, 64)` and class probabilities `(n, 10)` of digits `(n, 1, 28, 28)` in [0, 1].

    Raises `UserError` for pictures of another shape.
    """
    if x.shape[1:] != (1, 28, 28):
        raise UserError(f"pictures of shape {tuple(x.shape[1:])}: the {NAME} needs grey pictures of 28x28: resize them")
    net = digit_classifier().to(x.device)
    found = [net(part) for part in x.split(1000)]
    return torch.cat([features for features, _ in found]), torch.cat([logits for _, logits in found]).softmax(1)
