"""A mask generator without a network: real masks, turned, mirrored and shifted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["TurnedMasks"]

Masks = NDArray[np.uint8]

_MAX_SHIFT = 0.1  # of the side


class TurnedMasks:
    """Draw a real mask of the class, under one of the 8 symmetries, shifted by up to a tenth of its side."""

    def __init__(self) -> None:
        self.masks: Masks = np.zeros((0, 1, 1), np.uint8)
        self.classes: NDArray[np.int64] = np.zeros(0, np.int64)

    def fit(self, masks: Masks, labels: NDArray[np.int64] | None = None, seed: int = 0) -> None:
        """Keep masks (N, S, S) by class index (N,)."""
        self.masks = np.array(masks)
        self.classes = np.zeros(len(masks), np.int64) if labels is None else np.array(labels, np.int64)

    def sample(self, n: int, label: int | None = None, seed: int = 0) -> Masks:
        """Draw masks (n, S, S) of one class, or of all; each is a function of `seed` and its position alone."""
        own = self.masks if label is None else self.masks[self.classes == label]
        return np.stack([_turned(own, np.random.default_rng([seed, position])) for position in range(n)])

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that `sample` needs."""
        return {"masks": torch.from_numpy(self.masks), "classes": torch.from_numpy(self.classes)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state_dict` returned."""
        self.masks, self.classes = state["masks"].cpu().numpy(), state["classes"].cpu().numpy()


def _turned(masks: Masks, draw: np.random.Generator) -> Masks:
    mask = masks[draw.integers(len(masks))]
    mask = np.rot90(mask, draw.integers(4))
    if draw.integers(2):
        mask = mask.T
    reach = int(len(mask) * _MAX_SHIFT)
    down, right = draw.integers(-reach, reach + 1, size=2)
    padded = np.pad(mask, reach, mode="reflect")
    return padded[reach + down : reach + down + len(mask), reach + right : reach + right + len(mask)]
