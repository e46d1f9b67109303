"""Train the digit classifier that the package ships, on MNIST's training digits, and say how well it does on the test.

    python benchmarks/digit_classifier.py [--epochs 12]

Writes src/nelbo/metrics/files/digit_classifier.safetensors (half precision). Each digit is shifted by up to two pixels
anew in each epoch; Adam, one cycle of the learning rate.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

import nelbo  # noqa: F401  before torch, as it sets how threads wait
from nelbo.data import load
from nelbo.metrics.samples import DigitClassifier, digit_classifier

TARGET = Path(__file__).parent.parent / "src" / "nelbo" / "files" / "digit_classifier.safetensors"
BATCH = 128


def train(epochs: int) -> DigitClassifier:
    torch.manual_seed(42)
    data = load("mnist").train
    x, y = data.batch(torch.arange(len(data))), data.labels
    assert y is not None
    net = DigitClassifier()
    steps = epochs * (len(x) // BATCH)
    adam = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, 4e-3, steps)
    for epoch in range(epochs):
        began, seen = time.perf_counter(), 0.0
        order = torch.randperm(len(x))
        for index in order[: len(x) // BATCH * BATCH].split(BATCH):
            shift = torch.randint(-2, 3, (2,)).tolist()
            _, logits = net(torch.roll(x[index], shift, (2, 3)))
            loss = torch.nn.functional.cross_entropy(logits, y[index])
            adam.zero_grad()
            loss.backward()
            adam.step()
            cycle.step()
            seen += loss.item()
        print(
            f"epoch {epoch + 1}: loss {seen / (len(x) // BATCH):.4f}, {time.perf_counter() - began:.0f} s", flush=True
        )
    return net


@torch.no_grad()
def measure(net: DigitClassifier) -> dict[str, float]:
    """Accuracy on the test digits, and the share of them of which it is more than 0.9 sure."""
    test = load("mnist").test
    assert test.labels is not None
    sure, answer = net(test.batch(torch.arange(len(test))))[1].softmax(1).max(1)
    return {
        "accuracy": (answer == test.labels).float().mean().item(),
        "confident": (sure > 0.9).float().mean().item(),
        "parameters": sum(p.numel() for p in net.parameters()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12, help="0: only measure the shipped one")
    options = parser.parse_args()
    if options.epochs:
        net = train(options.epochs).eval()
        save_file({name: tensor.half() for name, tensor in net.state_dict().items()}, TARGET)
    print(measure(digit_classifier()))


if __name__ == "__main__":
    main()
