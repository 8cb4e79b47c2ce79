"""What is stained around and between nuclei, as statistics: how often at which distance, and how coarse.

A Gaussian random field with the power spectrum of the real levels says where stain comes first; the share that is
stained at each distance from the nearest nucleus says how far it goes. So rims, cytoplasm and other stained
regions have the extent and grain of the real ones, but no real outline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtr

__all__ = ["StainModel"]

Values = NDArray[np.float64]

# Distance to the nearest nucleus in sides of the image; the last is also where there is no nucleus at all.
_DISTANCES = np.array([0.004, 0.012, 0.02, 0.03, 0.045, 0.07, 0.1, 0.15, 0.22, 0.32, 0.5, 1.0])
_NOWHERE = 2.0


@dataclass(frozen=True)
class StainModel:
    """Statistics of the levels between background and nucleus, of the masks of one class.

    Attributes
    ----------
    profiles : (N, L - 2, D), of each mask the share of level k + 1 or higher at each distance, nuclei left out.
    amplitudes : (S, S), amplitude spectrum of the random field; zeros where nothing is stained.
    """

    profiles: Values
    amplitudes: Values

    @classmethod
    def of(cls, maps: NDArray[np.uint8], levels: int) -> StainModel:
        """Measure maps (N, S, S)."""
        profiles = np.stack([_profile(levels_map, levels) for levels_map in maps])
        stained = [((levels_map > 0) & (levels_map < levels - 1)).astype(np.float64) for levels_map in maps]
        power = np.mean([np.abs(np.fft.fft2(field - field.mean())) ** 2 for field in stained], axis=0)
        return cls(profiles, np.sqrt(power))

    def draw(
        self, nucleus: NDArray[np.bool_], mask: int, levels: int, generator: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Draw a map (S, S) around given nuclei, as stained as training mask number `mask`."""
        size = len(nucleus)
        field = np.fft.ifft2(np.fft.fft2(generator.standard_normal((size, size))) * self.amplitudes).real
        spread = field.std()
        ranks = ndtr(field / spread) if spread > 0 else np.full((size, size), 0.5)
        logs = np.log(_distances(nucleus))
        drawn = np.zeros((size, size), np.uint8)
        for level, profile in enumerate(self.profiles[mask], start=1):
            drawn[ranks < np.interp(logs, np.log(_DISTANCES), profile)] = level
        if levels > 2:
            drawn = np.asarray(cv2.medianBlur(drawn, 3), dtype=np.uint8)
        drawn[nucleus] = levels - 1
        return drawn

    def state(self) -> dict[str, Values]:
        """Return the arrays by name."""
        return {"profiles": self.profiles, "amplitudes": self.amplitudes}

    @classmethod
    def from_state(cls, state: Mapping[str, Values]) -> StainModel:
        """Make the model from what `state` returned."""
        return cls(state["profiles"], state["amplitudes"])


def _distances(nucleus: NDArray[np.bool_]) -> Values:
    """Return each pixel's distance to the nearest nucleus in sides of the image, at least half a pixel."""
    if not nucleus.any():
        return np.full(nucleus.shape, _NOWHERE)
    pixels = ndimage.distance_transform_edt(~nucleus)
    return np.maximum(np.asarray(pixels, dtype=np.float64), 0.5) / len(nucleus)


def _profile(levels_map: NDArray[np.uint8], levels: int) -> Values:
    nucleus = levels_map == levels - 1
    logs, outside = np.log(_distances(nucleus))[~nucleus], levels_map[~nucleus]
    bins = np.abs(logs[:, None] - np.log(_DISTANCES)).argmin(axis=1) if len(logs) else np.zeros(0, int)
    counts = np.bincount(bins, minlength=len(_DISTANCES))
    seen = np.flatnonzero(counts)
    profile = np.zeros((levels - 2, len(_DISTANCES)))
    for level in range(1, levels - 1):
        shares = np.bincount(bins, weights=outside >= level, minlength=len(_DISTANCES)) / np.maximum(counts, 1)
        if len(seen):  # distances that do not occur in this mask take the nearest that does
            profile[level - 1] = np.interp(np.arange(len(_DISTANCES)), seen, shares[seen])
    return profile
