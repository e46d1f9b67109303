"""pythae's VAE, with its own default nets, and its GMM sampler: digits made after so many seconds of training.

    python benchmarks/peers/pythae_samples.py MNIST.npz --seconds 600 --out samples.npy

Whatever is not named is pythae's default but the learning rate 1e-3 and batches of 128; its nets are perceptrons with
512 units, with `--latent-dim` latents. Writes 10 000 digits, `(n, 28, 28)` in [0, 1], and prints how far it came.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.samplers import GaussianMixtureSampler, GaussianMixtureSamplerConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback


class OutOfTime(Exception):
    pass


class ScheduledValue(TrainingCallback):
    """Ends training when the time is over."""

    def __init__(self, seconds: float) -> None:
        self.end, self.epochs = time.monotonic() + seconds, 0

    def on_train_step_end(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
        if time.monotonic() > self.end:
            raise OutOfTime

    def on_epoch_end(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
        self.epochs += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--out", default="samples.npy")
    parser.add_argument("--loss", default="bce", help="pythae's reconstruction_loss: bce or mse")
    parser.add_argument("--latent-dim", type=int, default=16)
    parser.add_argument("--components", type=int, default=10)
    options = parser.parse_args()
    torch.manual_seed(42)
    with np.load(options.mnist) as stored:
        digits = torch.from_numpy(stored[next(name for name in stored if stored[name].ndim == 3)]).float().div(255)
    digits = digits.unsqueeze(1)
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=options.latent_dim, reconstruction_loss=options.loss)
    model, clock = VAE(config), ScheduledValue(0.97 * options.seconds)
    with tempfile.TemporaryDirectory() as directory:
        settings = BaseTrainerConfig(
            output_dir=directory,
            per_device_train_batch_size=128,
            num_epochs=10_000,
            learning_rate=1e-3,
            seed=42,
        )
        trainer = BaseTrainer(
            model, BaseDataset(digits, torch.zeros(len(digits))), training_config=settings, callbacks=[clock]
        )
        with contextlib.suppress(OutOfTime):
            trainer.train()
    model = trainer.model.eval()
    sampler = GaussianMixtureSampler(model, GaussianMixtureSamplerConfig(n_components=options.components))
    sampler.fit(digits)
    made = sampler.sample(10_000, batch_size=500, return_gen=True).cpu().clamp(0, 1)
    np.save(options.out, made.reshape(-1, 28, 28).numpy())
    print(json.dumps({"epochs": clock.epochs, "latent_dim": options.latent_dim, "loss": options.loss}))


if __name__ == "__main__":
    main()
