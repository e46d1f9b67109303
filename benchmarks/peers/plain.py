"""A plain PyTorch loop: one float tensor in memory, fused Adam, randperm and index, no DataLoader, no .item() per step.

    python benchmarks/peers/plain.py MNIST.npz --epochs 3

The last, partial batch is trained on.
"""

from __future__ import annotations

import common
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mean, self.log_variance = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.decoder, self.output = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """BCE + KL, summed over the batch."""
        h = F.relu(self.hidden(x))
        mu, logvar = self.mean(h), self.log_variance(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        logits = self.output(F.relu(self.decoder(z)))
        bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return bce - 0.5 * torch.sum(1 + logvar - mu.square() - logvar.exp())

    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        parts = (self.hidden, self.mean, self.log_variance, self.decoder, self.output)
        return [(part.weight.detach().T.numpy(), part.bias.detach().numpy()) for part in parts]


def main() -> None:
    args = common.parser(__doc__).parse_args()
    record = common.Record("plain", ["torch"], args.batch_size)
    torch.manual_seed(args.seed)
    train, test = common.digits(args.mnist)
    data = torch.from_numpy(train)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    for _ in range(args.epochs):
        record.epoch_begins()
        for index in torch.randperm(len(data)).split(args.batch_size):
            x = data[index]
            optimizer.zero_grad()
            (model(x) / len(x)).backward()
            optimizer.step()
        record.epoch_ends(lambda: common.honest_loss(model.layers(), test, args.seed))
    record.report()


if __name__ == "__main__":
    main()
