"""pythae's VAE and BaseTrainer with its own kind of MLP nets at this benchmark's sizes (its defaults are 512 wide).

    python benchmarks/peers/pythae_vae.py MNIST.npz --epochs 3

A callback times the epochs. The trainer's copy of the best model after each epoch is within that time. pythae 0.1.2
needs no shim with torch 2.13, pydantic 2 and numpy 2.
"""

from __future__ import annotations

import tempfile
from typing import Any

import common
import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import nn


class Encoder(BaseEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mean, self.log_variance = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)

    def forward(self, x: torch.Tensor) -> ModelOutput:
        h = torch.relu(self.hidden(x))
        return ModelOutput(embedding=self.mean(h), log_covariance=self.log_variance(h))


class Decoder(BaseDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=torch.sigmoid(self.output(torch.relu(self.hidden(z)))))


class ScheduledValue(TrainingCallback):
    def __init__(self, record: common.Record, test: np.ndarray, seed: int) -> None:
        self.record, self.test, self.seed = record, test, seed

    def on_epoch_begin(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
        self.record.epoch_begins()

    def on_epoch_end(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
        self.record.epoch_ends(lambda: common.honest_loss(layers(kwargs["model"]), self.test, self.seed))


def layers(model: VAE) -> list[tuple[np.ndarray, np.ndarray]]:
    encoder, decoder = model.encoder, model.decoder
    parts = (encoder.hidden, encoder.mean, encoder.log_variance, decoder.hidden, decoder.output)
    return [(part.weight.detach().T.numpy(), part.bias.detach().numpy()) for part in parts]


def main() -> None:
    args = common.parser(__doc__).parse_args()
    record = common.Record("pythae_vae", ["pythae", "torch"], args.batch_size)
    torch.manual_seed(args.seed)
    train, test = common.digits(args.mnist)
    config = VAEConfig(input_dim=(784,), latent_dim=20, reconstruction_loss="bce")
    with tempfile.TemporaryDirectory() as directory:  # pythae saves its model
        trainer = BaseTrainer(
            VAE(config, Encoder(), Decoder()),
            BaseDataset(torch.from_numpy(train), torch.zeros(len(train))),
            training_config=BaseTrainerConfig(
                output_dir=directory,
                per_device_train_batch_size=args.batch_size,
                num_epochs=args.epochs,
                learning_rate=1e-3,
                seed=args.seed,
            ),
            callbacks=[ScheduledValue(record, test, args.seed)],
        )
        trainer.train()
    record.report()


if __name__ == "__main__":
    main()
