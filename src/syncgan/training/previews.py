"""What a network makes of the same inputs again and again while it learns, for people to look at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["PREVIEWED", "Preview", "evaluating"]

PREVIEWED = 8
"""Items in one preview."""


@dataclass(frozen=True)
class Preview:
    """A few results of a network in training, made by the weights that would sample.

    Attributes
    ----------
    stage, step, total : name of the training, steps done and in all.
    maps : (n, S, S) uint8, values 0 .. levels-1: sampled masks, or the maps that were rendered.
    levels : L.
    images : (n, 3, S, S) uint8 renderings of `maps`, or None.
    real : (n, 3, S, S) uint8 real images of `maps`, or None.
    """

    stage: str
    step: int
    total: int
    maps: Tensor
    levels: int
    images: Tensor | None = None
    real: Tensor | None = None


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in eval mode without gradients inside the block, and back after it whatever happens."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
