"""Every preset on MNIST after a short training: docs/gallery.md and its pictures.

    python benchmarks/gallery.py [--seconds 40] [--only vae beta-tc ...]

Each is trained by the `mnist` recipe for 2 epochs (the slow ones on 10 000 digits), or until `--seconds` are over, then
shown as test digits, their reconstructions, and three lines of samples. Deterministic autoencoders and codebooks have
no prior of their own: theirs is fitted after training to the codes of 5000 training digits.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import torch

from nelbo.config import presets
from nelbo.config import recipe as recipes
from nelbo.config.presets import PRESETS
from nelbo.data import condition, load, subset
from nelbo.latents import QuantizedLatent
from nelbo.model import Model
from nelbo.model.post_hoc import fit_prior
from nelbo.plotting.images import FIGURES

SLOW = {"rhvae", "m2", "vdvae", "nvae", "vae-gan"}
DOCS = Path(__file__).parents[1] / "docs"
HEAD = """# Gallery

Every preset on MNIST after a short training: the `mnist` recipe (a 784-400 perceptron unless the preset brings its own
networks), 2 epochs of one cycle, at most {seconds:.0f} seconds on one core. From above: test digits, their
reconstructions, three lines of samples from the model's own prior, or where the text names one, from a prior fitted
after training. A first look, not a contest: losses of different likelihoods and objectives do not compare.

Made by `python benchmarks/gallery.py`; numbers in nats per test digit.

"""


def train(name: str, seconds: float) -> tuple[Model, dict[str, object]]:
    """The trained model of a preset, and its row of the table."""
    recipe = recipes.load("mnist", {"epochs": 2, "max_seconds": seconds})
    recipe = presets.find(name).apply_to(recipe, name)
    data = load("mnist")
    if name in SLOW:
        data = dataclasses.replace(data, train=subset(data.train, range(10_000)))
    context = condition(data, recipe.data.condition) if recipe.data.condition else None
    model = Model.from_recipe(recipe, data.schema, context)
    began = time.monotonic()
    state = model.fit(data)
    row: dict[str, object] = {"preset": name, "seconds": round(time.monotonic() - began), "ended": state.reason}
    row["digits"] = len(data.train)
    row |= {k: round(v, 2) for k, v in model.evaluate(data.test).items() if k in ("distortion", "rate")}
    latent = model.recipe.model.latent
    codes = isinstance(model.vae.latent, QuantizedLatent)
    point = latent.kind == "flat" and latent.options["posterior"].kind == "point-mass"
    if codes or (point and name not in ("aae", "wae-mmd", "swae")):
        kind = "transformer" if codes else "gmm"
        model, row["prior"] = fit_prior(model, subset(data.train, range(5000)), kind), kind
    return model, row


def picture(model: Model, path: Path) -> None:
    """Digits, reconstructions, and samples on one sheet."""
    test = load("mnist").test
    if model.context:
        test.context = model.context.encode(test.labels)
    first = subset(test, torch.arange(8))
    originals = model.schema.decode(first.batch(torch.arange(8))).numpy()
    FIGURES.sheet(np.concatenate([originals, model.reconstruct(first), model.sample(24)]), model.schema).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--only", nargs="*", default=list(PRESETS))
    options = parser.parse_args()
    (DOCS / "gallery").mkdir(exist_ok=True)
    store = Path(__file__).with_suffix(".json")
    rows = {row["preset"]: row for row in json.loads(store.read_text())} if store.is_file() else {}
    for name in options.only:
        model, rows[name] = train(name, options.seconds)
        picture(model, DOCS / "gallery" / f"{name}.png")
        store.write_text(json.dumps(list(rows.values()), indent=1) + "\n")
        print(json.dumps(rows[name]), flush=True)
    page = HEAD.format(seconds=options.seconds)
    for name, row in ((name, rows[name]) for name in PRESETS if name in rows):
        prior = f"; prior fitted after training: {row['prior']}" if "prior" in row else ""
        page += f"## {name}\n\n{PRESETS[name].summary} Distortion {row['distortion']}, rate {row['rate']}"
        fewer = "; on 10,000 digits" if name in SLOW else ""
        page += f" ({row['seconds']} s{fewer}{prior}).\n\n![{name}](gallery/{name}.png)\n\n"
    (DOCS / "gallery.md").write_text(page.rstrip() + "\n")


if __name__ == "__main__":
    main()
