"""How samples compare with real data on the features of a network.

A distance on features is specific to that network: it is always named with its network and never called FID, which is
the distance on a network that nelbo does not ship. Two real sets are not at distance 0: pass as many real data to
`quality` as samples, and compare a model's distance with that between two sets of real data. The network that is
shipped is a small classifier of handwritten digits: `benchmarks/digit_classifier.py` trained it on the 60 000 training
digits of MNIST, and states its accuracy.

Source: Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter (2017), GANs Trained by a Two Time-Scale Update Rule Converge
to a Local Nash Equilibrium (the Fréchet distance); Kynkäänniemi, Karras, Laine, Lehtinen, Aila (2019), Improved
Precision and Recall Metric for Assessing Generative Models; Naeem, Oh, Uh, Choi, Yoo (2020), Reliable Fidelity and
Diversity Metrics for Generative Models (density and coverage).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn

from nelbo.errors import UserError, nearest

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


NEIGHBOURS = 5
CHUNK = 2000
SURE = 0.9


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of features `(n, d)` and `(m, d)`: means and covariances.

    It is the squared 2-Wasserstein distance of two Normals with these moments.

    >>> round(frechet_distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]])), 6)
    9.0

    Raises `UserError` for features of different widths, or fewer than 2 rows.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise UserError(f"features {tuple(a.shape)} and {tuple(b.shape)}: give (n, d) and (m, d), n and m 2 or more")
    a, b = a.double(), b.double()
    s_a, s_b = (torch.cov(x.T).reshape(x.shape[1], -1) for x in (a, b))
    values, vectors = torch.linalg.eigh(s_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ s_b @ root).clamp_min(0).sqrt().sum()
    return ((a.mean(0) - b.mean(0)).square().sum() + s_a.trace() + s_b.trace() - 2 * cross).item()


def neighbourhoods(real: Tensor, samples: Tensor, k: int = NEIGHBOURS) -> dict[str, float]:
    """Precision, recall, density and coverage of features `samples` `(m, d)` against `real` `(n, d)`.

    A datum's ball reaches to its k-th nearest neighbour in its own set.

        precision   share of samples that lie in a real ball            recall     the reverse
        density     mean number of real balls that hold a sample, / k   coverage   share of real balls with a sample

    Args:
        real: features of real data, `(n, d)`.
        samples: features of samples, `(m, d)`.
        k: the neighbour that sets the radius of a ball; at least 1.

    Raises `UserError` if a set has k examples or fewer.
    """
    if k < 1 or min(len(real), len(samples)) <= k:
        raise UserError(
            f"k={k} needs k >= 1 and more than {k} real examples and samples each: "
            f"there are {len(real)} real examples and {len(samples)} samples"
        )
    reach, reach_made = _radii(real, k), _radii(samples, k)
    inside, nearest, recalled = 0.0, torch.full_like(reach, torch.inf), torch.zeros(len(real), dtype=torch.bool)
    precise = 0.0
    for part, radius in zip(samples.split(CHUNK), reach_made.split(CHUNK), strict=True):
        distance = torch.cdist(real, part)
        within = distance <= reach.unsqueeze(1)
        inside += within.sum().item()
        precise += within.any(0).sum().item()
        nearest = torch.minimum(nearest, distance.amin(1))
        recalled |= (distance <= radius).any(1).cpu()
    return {
        "precision": precise / len(samples),
        "recall": recalled.float().mean().item(),
        "density": inside / (k * len(samples)),
        "coverage": (nearest <= reach).float().mean().item(),
    }


def _radii(features: Tensor, k: int) -> Tensor:
    """The distance of each datum to its k-th nearest neighbour, without itself."""
    return torch.cat([torch.cdist(part, features).kthvalue(k + 1, 1).values for part in features.split(CHUNK)])


def _values(x: Tensor) -> Tensor:
    """The numbers of each datum themselves, `(n, d)`."""
    return x.flatten(1)


FEATURE_MAPS: dict[str, Callable[[Tensor], Tensor]] = {"digits": lambda x: look(x)[0], "values": _values}


def quality(
    samples: Tensor, real: Tensor, features: str | Callable[[Tensor], Tensor] = "values"
) -> dict[str, float | str]:
    """Compare samples `(m, *shape)` with real data `(n, *shape)` by their features.

    Args:
        samples: data from a model, in the model's units (pictures in [0, 1]).
        real: real data, in the same units.
        features: "values", the numbers of each datum themselves; "digits", the shipped digit classifier, for pictures
            `(1, 28, 28)`; or a function that maps `(n, *shape)` to `(n, d)`, such as an Inception network.

    Returns:
        The name of the features, `frechet_distance` and `neighbourhoods`; with "digits" also `confident`: the share of
        samples that are classified with a probability above 0.9.

    Raises:
        UserError: for an unknown name, or pictures of another shape.
    """
    if isinstance(features, str) and features not in FEATURE_MAPS:
        raise UserError(f"features={features!r}: {nearest(features, FEATURE_MAPS)}")
    extract = FEATURE_MAPS[features] if isinstance(features, str) else features
    with torch.no_grad():
        of_samples, of_real = extract(samples), extract(real)
    result: dict[str, float | str] = {"features": features if isinstance(features, str) else "function"}
    result |= {"frechet": frechet_distance(of_samples, of_real), **neighbourhoods(of_real, of_samples)}
    if features == "digits":
        result["confident"] = (look(samples)[1].amax(1) > SURE).float().mean().item()
    return result
