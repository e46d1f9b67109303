"""Text: captions beside the same decoder without a code, and names that are new and yet like names.

    python benchmarks/text.py --data DIR [--only captions names] [--samples 500] [--work DIR] [--out FILE]

DIR holds Multi30k's English captions (train.en.gz, val.en.gz, test_2016_flickr.en.gz: 29 000, 1 014 and 1 000) and
names.txt (32 033 first names, of the project makemore). Settings were chosen on val; test is looked at once.

Captions: -log p(x) in nats a sentence by importance sampling, of a VAE by the recipe `text`; and of a language model:
the same decoder on h = 0, trained in the same loop by the same settings, of which -log p(x) is exact. Both keep the
epoch that is best on val. The proposal is the posterior with its standard deviation times WIDER, since free bits and
withheld words leave it narrower than the true one; any proposal gives a bound. The rate is the posterior's own. A unit
is active if the variance of its posterior mean over the test data is above 0.01 (Burda et al., 2016).

Names: how many of 2 000 samples are not among the training names, and -log p a name under a character model of another
kind, which saw the same training names: interpolated 5-grams (Witten, Bell, 1991). Beside it, the same of names held
out, of a 2-gram model's draws, which are no names, and of what `nelbo sample --exclude` gives at a lower temperature.

Models are kept in --work: a run goes on where it was ended.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import gzip
import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import nelbo
from nelbo.apps.synthesis.neighbours import sample_novel_lines
from nelbo.config.recipe import load as load_recipe
from nelbo.data import DataOptions, DataSplits, text
from nelbo.distributions import StandardNormal, temper
from nelbo.experiment.console import Lines
from nelbo.latents import Latent, LatentLevel
from nelbo.model import Model
from nelbo.posteriors import Posterior

SAMPLES = 2000  # names
CAPTIONS = {"epochs": 30}
STOP = "a an the is are in on of and with at to his her their its it by for from as while into that"
WIDER = 1.12  # chosen on val
NAMES = {"model.encoder.width": 256, "model.latent.dim": 16, "epochs": 12}
COOL = 0.6  # the temperature at which new lines of the model are as likely as the first half of the held-out names


class Nothing(Latent):
    """No code: h = 0, and log p(x) = log p(x | h)."""

    origin: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(features), persistent=False)

    def infer(
        self, x: Tensor, c: Tensor | None = None, shape: Sequence[int] = ()
    ) -> tuple[Tensor, tuple[LatentLevel, ...]]:
        p = StandardNormal(len(self.origin), self.origin[0])
        z = self.origin.expand(*shape, len(x), -1)
        return z, (LatentLevel(z, p, p),)

    def sample_prior(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        return self.origin.expand(n, -1)

    def embed(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.origin.expand(len(x), -1)


class Wider(nn.Module):
    """A posterior, its standard deviation multiplied."""

    def __init__(self, posterior: Posterior, factor: float) -> None:
        super().__init__()
        self.posterior, self.factor = posterior, factor

    def forward(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return temper(self.posterior(x, c), self.factor)


class LanguageModel(Model):
    """The decoder alone."""

    def compute_kl_per_latent(self, data: Any) -> np.ndarray:
        return np.zeros(len(self.kl_per_latent))


class NGrams:
    """p(c | the n - 1 characters before) by interpolation of all orders up to n, over characters and an end.

    p_n = (count(c) + kinds * p_{n-1}) / (total + kinds), kinds the number of characters seen after that context.
    """

    def __init__(self, names: Sequence[str], n: int) -> None:
        self.n = n
        self.after: dict[str, Counter[str]] = defaultdict(Counter)
        for name in names:
            for context, character in self._steps(name):
                for k in range(n):
                    self.after[context[len(context) - k :]][character] += 1
        self.characters = len(self.after[""])

    def _steps(self, name: str) -> list[tuple[str, str]]:
        padded = "^" * (self.n - 1) + name + "$"
        return [(padded[i - self.n + 1 : i], padded[i]) for i in range(self.n - 1, len(padded))]

    def p(self, context: str, character: str) -> float:
        found = 1 / self.characters
        for k in range(self.n):
            seen = self.after.get(context[len(context) - k :], Counter())
            if seen:
                found = (seen[character] + len(seen) * found) / (seen.total() + len(seen))
        return found

    def nll(self, names: Sequence[str]) -> np.ndarray:
        """-log p of each name, nats."""
        return np.array([-sum(math.log(self.p(*step)) for step in self._steps(name)) for name in names])

    def draw(self, rng: random.Random) -> str:
        name, alphabet = "", list(self.after[""])
        while not name.endswith("$"):
            context = ("^" * (self.n - 1) + name)[len(name) :]
            name += rng.choices(alphabet, [self.p(context, character) for character in alphabet])[0]
        return name[:-1]


def dataset(train: Sequence[str], held: Sequence[str], name: str) -> DataSplits:
    """Lines to train on and lines by which the best epoch is chosen."""
    schema = text.fit_vocabulary(train, DataOptions())
    return DataSplits(name, text.encode(train, schema, "train"), text.encode(held, schema, "held out"))


def trained(data: DataSplits, work: Path, settings: dict[str, Any], code: bool = True) -> Model:
    """A model by the recipe `text`: the VAE, or without a code the language model; as kept in `work`, if it is."""
    recipe = load_recipe("text", settings)
    model = Model.from_recipe(recipe, data.schema)
    if not code:
        model.vae.latent = Nothing(recipe.model.latent.options["dim"])
        model = LanguageModel(model.vae, data.schema, model.recipe)
    model.fit(data, work, [Lines()], resume=(work / "last.safetensors").is_file())
    return model


def read(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def captions(folder: Path, work: Path, samples: int, settings: dict[str, Any]) -> dict[str, Any]:
    train, val, test = (read(folder / f"{name}.en.gz") for name in ("train", "val", "test_2016_flickr"))
    data = dataset(train, val, "captions")
    settings = {**CAPTIONS, **settings}
    plain = trained(data, work / "lm", settings, code=False)
    model = trained(data, work / "vae", settings)
    widened = copy.deepcopy(model)
    widened.vae.latent.posterior = Wider(widened.vae.latent.posterior, WIDER)
    found: dict[str, Any] = {
        "recipe": dataclasses.asdict(model.recipe.training)
        | {"parameters": sum(p.numel() for p in model.vae.likelihood.parameters())}
    }
    for name, lines in (("val", val), ("test", test)):
        exact = -plain.log_likelihood(lines, 1)
        parts = model.evaluate(lines)
        bound = -widened.log_likelihood(lines, samples)
        means = model.embed(lines)
        difference = bound - exact
        found[name] = {
            "language model": float(exact.mean()),
            "vae": float(bound.mean()),
            "samples": samples,
            "difference": float(difference.mean()),
            "standard error": float(difference.std() / math.sqrt(len(lines))),
            "rate": parts["rate"],
            "elbo": -parts["loss"],
            "active units": int((means.var(0) > 0.01).sum()),
            "latents": means.shape[1],
            "words": float(np.mean([len(line.split()) for line in lines])),
        }
        print(name, json.dumps(found[name]), flush=True)
    rebuilt = model.reconstruct(test)
    found["words shared"] = {
        "with the likeliest line": shared(test, likeliest(model, test)),
        "with the line that tells the code": shared(test, rebuilt),
        "with that of another line": shared(test, [*rebuilt[1:], rebuilt[0]]),
    }
    found["reconstructions"] = [*zip(test[:10], rebuilt[:10], strict=True)]
    found["interpolation"] = model.interpolate(test[0], test[5], steps=7)
    found["samples"] = model.sample(10)
    return found


def likeliest(model: Model, lines: Sequence[str]) -> list[str]:
    """Each line from its code, every token the likeliest."""
    with torch.no_grad():
        x = model.map_batches(lines, lambda x, c: model.vae.decode(model.vae.encode(x, c), c).mean)
    found: list[str] = model._to_user(x)
    return found


def shared(lines: Sequence[str], others: Sequence[str]) -> float:
    """The words that two lines share, F1 in the mean over the pairs, but for those in STOP."""
    passed = set(STOP.split())

    def words(line: str) -> Counter[str]:
        return Counter(word for word in re.findall(r"[a-z]+", line.lower()) if word not in passed)

    both = [(words(a), words(b)) for a, b in zip(lines, others, strict=True)]
    return float(np.mean([2 * (a & b).total() / max(1, a.total() + b.total()) for a, b in both]))


def names(folder: Path, work: Path, settings: dict[str, Any]) -> dict[str, Any]:
    everyone = sorted({*(folder / "names.txt").read_text("utf-8").split()})
    random.Random(0).shuffle(everyone)
    held, train = everyone[:3000], everyone[3000:]
    model = trained(dataset(train, held[:1500], "names"), work / "names", {**NAMES, **settings})
    judge, poor = NGrams(train, 5), NGrams(train, 2)
    draws = random.Random(1)
    groups = {
        "held out": held[1500:],
        "samples": model.sample(SAMPLES, seed=1),
        f"new lines at {COOL}": sample_novel_lines(model, SAMPLES, train, seed=1, temperature=COOL),
        "2-gram draws": [poor.draw(draws) for _ in range(SAMPLES)],
    }
    found: dict[str, Any] = {}
    known = set(train)
    for name, group in groups.items():
        nll = judge.nll(group)
        found[name] = {
            "new": sum(line not in known for line in group) / len(group),
            "different": len(set(group)) / len(group),
            "nats a name": float(nll.mean()),
            "standard error": float(nll.std() / math.sqrt(len(group))),
            "nats a character": float(nll.sum() / sum(len(line) + 1 for line in group)),
            "examples": group[:20],
        }
        print(name, json.dumps(found[name]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=["captions", "names"], default=["captions", "names"])
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--work", type=Path, default=Path("text-models"))
    parser.add_argument("--settings", type=json.loads, default={}, help="fields of the recipe, as JSON")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    kept = json.loads(args.out.read_text()) if args.out.is_file() else {}
    kept["nelbo"] = nelbo.__version__
    for name in args.only:
        run = captions(args.data, args.work, args.samples, args.settings) if name == "captions" else None
        kept[name] = run or names(args.data, args.work, args.settings)
        args.out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(kept, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
