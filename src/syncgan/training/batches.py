"""Which items make up the batch of a step: a pure function of (seed, step)."""

from __future__ import annotations

import torch
from torch import Tensor

from syncgan import rng

__all__ = ["batch_indices"]


def batch_indices(step: int, *, items: int, batch_size: int, seed: int, address: tuple[str | int, ...]) -> Tensor:
    """Return the item indices of one step.

    Epoch after epoch is shuffled anew and laid end to end; step `s` takes positions ``s * B`` to ``(s + 1) * B``. So
    every item is seen equally often, a batch may straddle epochs, and nothing needs to be remembered for a resume.

    Parameters
    ----------
    step, items, batch_size : step number from 0, number of items, items in a batch.
    seed, address : name of the random stream.

    Returns
    -------
    (batch_size,) int64 tensor.
    """
    first = step * batch_size
    epochs = range(first // items, (first + batch_size - 1) // items + 1)
    orders = [torch.randperm(items, generator=rng.torch_generator(seed, *address, "order", epoch)) for epoch in epochs]
    start = first - epochs[0] * items
    return torch.cat(orders)[start : start + batch_size]
