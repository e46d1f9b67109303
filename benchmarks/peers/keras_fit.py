"""Keras 3 on JAX: a keras.Model trained by model.fit, as a user of Keras would write it.

    python benchmarks/peers/keras_fit.py MNIST.npz --epochs 3

The step is compiled ahead on a full batch and a partial one, after which every variable is set back; that counts in
ready_seconds. The weights start as Keras starts them (Glorot). The last, partial batch is trained on.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"

import common
import keras
import numpy as np
from keras import layers, ops


class VAE(keras.Model):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.hidden, self.mean, self.log_variance = layers.Dense(400, "relu"), layers.Dense(20), layers.Dense(20)
        self.decoder, self.logits = layers.Dense(400, "relu"), layers.Dense(784)
        self.noise = keras.random.SeedGenerator(seed)

    def call(self, x: keras.KerasTensor) -> tuple[keras.KerasTensor, ...]:
        h = self.hidden(x)
        mu, logvar = self.mean(h), self.log_variance(h)
        z = mu + ops.exp(0.5 * logvar) * keras.random.normal(ops.shape(mu), seed=self.noise)
        return self.logits(self.decoder(z)), mu, logvar

    def compute_loss(
        self,
        x: keras.KerasTensor | None = None,
        y: None = None,
        y_pred: tuple[keras.KerasTensor, ...] = (),
        sample_weight: None = None,
        training: bool = True,
    ) -> keras.KerasTensor:
        """BCE + KL, mean over the batch."""
        logits, mu, logvar = y_pred
        bce = ops.sum(ops.softplus(logits) - x * logits, axis=1)
        return ops.mean(bce - 0.5 * ops.sum(1 + logvar - ops.square(mu) - ops.exp(logvar), axis=1))


class ScheduledValue(keras.callbacks.Callback):
    def __init__(self, record: common.Record, test: np.ndarray, seed: int) -> None:
        super().__init__()
        self.record, self.test, self.seed = record, test, seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.record.epoch_begins()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        float((logs or {})["loss"])  # waits for the last step
        self.record.epoch_ends(self.test_loss)

    def test_loss(self) -> float:
        model = self.model
        parts = (model.hidden, model.mean, model.log_variance, model.decoder, model.logits)
        weights = [(np.asarray(part.kernel), np.asarray(part.bias)) for part in parts]
        return common.honest_loss(weights, self.test, self.seed)


def main() -> None:
    args = common.parser(__doc__).parse_args()
    record = common.Record("keras_fit", ["keras", "jax"], args.batch_size)
    keras.utils.set_random_seed(args.seed)
    train, test = common.digits(args.mnist)
    model = VAE(args.seed)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    model(train[:1])
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    model.fit(train[: args.batch_size + len(train) % args.batch_size], batch_size=args.batch_size, verbose=0)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    clock = ScheduledValue(record, test, args.seed)
    model.fit(train, batch_size=args.batch_size, epochs=args.epochs, verbose=0, callbacks=[clock])
    record.report()


if __name__ == "__main__":
    main()
