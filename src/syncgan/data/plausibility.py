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
    min_region_share : area of the smallest such region, as a share of the image.
    """

    min_share: float
    max_share: float
    max_count: int
    min_region_share: float = 0.0

    @classmethod
    def of(cls, maps: Tensor, levels: int) -> MaskRange:
        """Measure training maps (N, S, S) uint8; a quarter is added on either side."""
        shares, counts = _measure(maps, levels)
        regions = [area for nucleus in _nuclei(maps, levels) for area in _regions(nucleus)[1]]
        return cls(
            min_share=float(shares.min() / _SLACK),
            max_share=float(min(shares.max() * _SLACK, 1.0)),
            max_count=int(np.ceil(counts.max() * _SLACK)),
            min_region_share=float(min(regions, default=0) / _SLACK / maps[0].numel()),
        )

    def admits(self, maps: Tensor, levels: int) -> Tensor:
        """Tell for each map (N, S, S) uint8 whether it lies inside: (N,) bool on the CPU.

        Maps without nuclei do where a training map has none.
        """
        shares, counts = _measure(maps, levels)
        inside = (self.min_share <= shares) & (shares <= self.max_share) & (counts <= self.max_count)
        return torch.from_numpy(inside)

    def without_specks(self, maps: Tensor, levels: int) -> Tensor:
        """Return maps (N, S, S) uint8 without nucleus regions smaller than any in the training masks.

        Such a region takes the level around it. A generator leaves a speck now and then where extraction, which cleans
        its masks, never does.
        """
        cleaned = maps.cpu().numpy().copy()
        for one in cleaned:
            labels, areas = _regions((one >= levels - 1).astype(np.uint8))
            for region in np.flatnonzero(areas < self.min_region_share * one.size) + 1:
                speck = labels == region
                around = cv2.dilate(speck.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~speck
                one[speck] = np.bincount(one[around], minlength=levels)[: levels - 1].argmax()
        return torch.from_numpy(cleaned).to(maps.device)

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers, JSON-compatible."""
        return asdict(self)


def nucleus_scores(maps: Tensor, levels: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return nucleus share and count of maps (n, S, S) uint8, for a manifest."""
    shares, counts = _measure(maps, levels)
    return {"nucleus_share": shares.round(4), "nuclei": counts}


def _measure(maps: Tensor, levels: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    nuclei = _nuclei(maps, levels)
    counts = np.array([len(_regions(nucleus)[1]) for nucleus in nuclei])
    return nuclei.mean(axis=(1, 2)), counts


def _nuclei(maps: Tensor, levels: int) -> np.ndarray[Any, Any]:
    return (maps >= levels - 1).to(torch.uint8).cpu().numpy()


def _regions(nucleus: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the labels 1 .. n of the 8-connected regions of a 0/1 map, and their areas in pixels."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(nucleus, connectivity=8)
    return labels, statistics[1:, cv2.CC_STAT_AREA]
