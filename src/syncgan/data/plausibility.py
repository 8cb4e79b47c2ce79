"""The mask filter: what nucleus masks of a class look like in the training set, and whether a new one does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

__all__ = ["MaskRange", "nucleus_scores"]

_SLACK = 1.25


@dataclass(frozen=True)
class MaskRange:
    """Ranges that the training masks of one class span.

    Attributes
    ----------
    min_share, max_share : nucleus area as a share of the image.
    max_count : number of 8-connected nucleus regions.
    """

    min_share: float
    max_share: float
    max_count: int

    @classmethod
    def of(cls, maps: Tensor, levels: int) -> MaskRange:
        """Measure training maps (N, S, S) uint8; a quarter is added on either side."""
        shares, counts = _measure(maps, levels)
        return cls(
            min_share=float(shares.min() / _SLACK),
            max_share=float(min(shares.max() * _SLACK, 1.0)),
            max_count=int(np.ceil(counts.max() * _SLACK)),
        )

    def admits(self, maps: Tensor, levels: int) -> Tensor:
        """Tell for each map (N, S, S) uint8 whether it lies inside: (N,) bool on the CPU."""
        shares, counts = _measure(maps, levels)
        inside = (self.min_share <= shares) & (shares <= self.max_share) & (counts <= self.max_count) & (counts > 0)
        return torch.from_numpy(inside)

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers, JSON-compatible."""
        return asdict(self)


def nucleus_scores(maps: Tensor, levels: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return nucleus share and count of maps (n, S, S) uint8, for a manifest."""
    shares, counts = _measure(maps, levels)
    return {"nucleus_share": shares.round(4), "nuclei": counts}


def _measure(maps: Tensor, levels: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    nuclei = (maps == levels - 1).to(torch.uint8).cpu().numpy()
    counts = np.array([cv2.connectedComponents(nucleus, connectivity=8)[0] - 1 for nucleus in nuclei])
    return nuclei.mean(axis=(1, 2)), counts
