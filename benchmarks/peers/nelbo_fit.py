"""nelbo, in the form of a peer: one of its recipes, trained on the same digits and judged by the same test loss.

    python benchmarks/peers/nelbo_fit.py MNIST.npz --recipe fast

`--epochs` and `--batch-size` are the recipe's own unless they are given. `epoch_seconds` is what nelbo itself reports;
the test loss of all epochs but the last is nelbo's own, of the same formula.
"""

from __future__ import annotations

import time

import common
import numpy as np

from nelbo.config import recipe as recipes
from nelbo.data import load
from nelbo.model import Model
from nelbo.vae import VAE


def layers(vae: VAE) -> list[tuple[np.ndarray, np.ndarray]]:
    """The weights as `common.honest_loss` takes them; the centring of the input goes into the first bias."""
    values = {name: value.numpy() for name, value in vae.state_dict().items()}
    parts = [f"{half}.net.layers.{i}" for half in ("latent.posterior", "likelihood") for i in (0, 2)]
    hidden, code, decoder, output = [(values[f"{part}.weight"].T, values[f"{part}.bias"]) for part in parts]
    shift, scale = (values[f"latent.posterior.net.rescale.{name}"] for name in ("shift", "scale"))
    first = hidden[0] * scale
    mean, log_variance = zip(*(np.split(value, 2, -1) for value in code), strict=True)
    return [(first, hidden[1] - shift.reshape(-1) @ first), mean, log_variance, decoder, output]


def main() -> None:
    parser = common.parser(__doc__)
    parser.set_defaults(epochs=None, batch_size=None)
    parser.add_argument("--recipe", default="mnist")
    args = parser.parse_args()
    given = {"epochs": args.epochs, "batch_size": args.batch_size, "seed": args.seed}
    recipe = recipes.load(args.recipe, {name: value for name, value in given.items() if value is not None})
    data = load(str(args.mnist))
    model = Model.from_recipe(recipe, data.schema)
    record = common.Record(f"nelbo {args.recipe}", ["nelbo", "torch"], recipe.training.batch_size)
    record.ready_seconds = round(common.AGE + time.perf_counter() - common.IMPORTED, 3)
    rows = model.fit(data).rows
    record.epoch_seconds = [round(row["seconds"], 3) for row in rows if row["split"] == "train"]
    record.test_loss = [round(row["loss"], 3) for row in rows if row["split"] == "test"]
    test = common.digits(args.mnist)[1]
    record.test_loss[-1] = round(common.honest_loss(layers(model.vae), test, args.seed), 3)
    record.report()


if __name__ == "__main__":
    main()
