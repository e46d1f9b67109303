"""The memory that training needs, estimated from one forward pass of two rows.

weights, gradients, two moments and their average: 5 numbers for each parameter
activations: what autograd keeps of a row, times the rows of a step
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from nelbo.data import Dataset
from nelbo.distributions import noise
from nelbo.training.config import TrainingConfig
from nelbo.vae import VAE

COPIES = 5  # of the parameters
ROWS = 2


def training_bytes(vae: VAE, data: Dataset, settings: TrainingConfig) -> int:
    """The estimate in bytes; the data themselves and the libraries are not included.

    Args:
        vae: the model; it is not changed.
        data: training data.
        settings: for the rows of a step.
    """
    parameters = list(vae.parameters())
    known = {parameter.data_ptr() for parameter in parameters}
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        if tensor.data_ptr() not in known:
            known.add(tensor.data_ptr())
            kept += tensor.numel() * tensor.element_size()
        return tensor

    index = torch.arange(min(ROWS, len(data)))
    device = parameters[0].device
    context = None if data.context is None else data.context[index].to(device)
    was_training = vae.training
    vae.eval()  # running statistics and codebooks stay as they are
    try:
        with noise.seeded(0), saved_tensors_hooks(pack, lambda tensor: tensor):
            trace = vae(data.batch(index).to(device), context)
            _ = trace.distortion.sum() + trace.rate.sum()
    finally:
        vae.train(was_training)
    rows = min(settings.batch_size, settings.samples_per_epoch or len(data)) / settings.gradient_accumulation_steps
    return int(COPIES * sum(p.numel() * p.element_size() for p in parameters) + kept / len(index) * rows)
