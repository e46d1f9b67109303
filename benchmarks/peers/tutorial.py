"""The tutorial's pipeline as published: a PIL image and two transforms a digit, DataLoader, loss.item() at each step.

    python benchmarks/peers/tutorial.py MNIST.npz --epochs 3 [--out DIR]

Its own test loss is honest: one draw, targets in [0, 1]. --out makes its pictures, which count in wall_seconds alone.
"""

from __future__ import annotations

from pathlib import Path

import common
import torch
from torch import nn
from torch.utils.data import DataLoader
from vision import Digits, save_curves, save_image


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.fc4(torch.relu(self.fc3(z))))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        h = torch.relu(self.fc1(x.view(-1, 784)))
        mu, logvar = self.fc21(h), self.fc22(h)
        std = torch.exp(0.5 * logvar)
        return self.decode(mu + torch.randn_like(std) * std), mu, logvar


def loss_function(model: VAE, x: torch.Tensor) -> torch.Tensor:
    recon, mu, logvar = model(x)
    bce = nn.functional.binary_cross_entropy(recon, (x.view(-1, 784) + 1) / 2, reduction="sum")
    return bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def train(model: VAE, loader: DataLoader, optimizer: torch.optim.Optimizer) -> float:
    total = 0.0
    for step, (x, _) in enumerate(loader):
        optimizer.zero_grad()
        loss = loss_function(model, x)
        loss.backward()
        total += loss.item()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step} of {len(loader)}: {loss.item() / len(x):.6f}")
    return total / len(loader.dataset)


@torch.no_grad()
def test(model: VAE, loader: DataLoader) -> float:
    return sum(loss_function(model, x).item() for x, _ in loader) / len(loader.dataset)


@torch.no_grad()
def pictures(model: VAE, loader: DataLoader, epoch: int, out: Path) -> None:
    x = next(iter(loader))[0]
    recon = model(x)[0].view(-1, 1, 28, 28)  # the tutorial de-normalises what is in [0, 1] already: pale pictures
    save_image((torch.cat([x[:8], recon[:8]]) + 1) / 2, out / f"reconstruction_{epoch}.png")
    save_image((model.decode(torch.randn(64, 20)) + 1) / 2, out / f"sample_{epoch}.png")


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--out", type=Path, help="directory for the pictures of each epoch")
    args = parser.parse_args()
    record = common.Record("tutorial", ["torch"], args.batch_size)
    torch.manual_seed(args.seed)
    loader = DataLoader(Digits(args.mnist, "train"), args.batch_size, shuffle=True)
    test_loader = DataLoader(Digits(args.mnist, "test"), args.batch_size)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    averages: list[float] = []
    for _ in range(args.epochs):
        record.epoch_begins()
        averages.append(train(model, loader, optimizer))
        record.epoch_ends(lambda: test(model, test_loader))
        if args.out:
            pictures(model, test_loader, len(averages), args.out)
            save_curves(averages, record.test_loss, args.out / f"loss_curve_{len(averages)}.png")
    record.report()


if __name__ == "__main__":
    main()
