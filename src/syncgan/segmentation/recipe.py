"""Everything that decides a mask, as one value: segmenter, clean-up and levels. It can be sent to another process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Labels, Mask
from syncgan.config import CleaningConfig
from syncgan.errors import ConfigError, ContractError, SyncganError
from syncgan.segmentation.instances import clean_labels, consecutive, fill_label_holes, labels_of_mask, regions_of
from syncgan.segmentation.levels import stain_levels
from syncgan.segmentation.protocol import normalise_output
from syncgan.segmentation.resolve import ResolvedSegmenter

__all__ = ["Masks", "Recipe"]


# Part of every cache key: raise it when masks change without a change of parameters.
_VERSION = 3


class Masks(NamedTuple):
    """The map of an image and its nuclei one by one.

    Attributes
    ----------
    mask : (H, W) uint8 map 0..L-1, the nucleus highest.
    instances : (H, W) int32, 0 background, 1..N one number a nucleus; nonzero exactly where the map is L-1.
    """

    mask: Any
    instances: Any


@dataclass(frozen=True)
class Recipe:
    """From an image to its map and its nuclei; a pure function of the image.

    Attributes
    ----------
    segmenter : what finds nuclei.
    cleaning : what is done to them afterwards.
    levels : L of the map.
    """

    segmenter: ResolvedSegmenter
    cleaning: CleaningConfig
    levels: int

    @classmethod
    def of(cls, segmenter: ResolvedSegmenter, cleaning: CleaningConfig, levels: int | None) -> Recipe:
        """Check that the segmenter's kind of output, the clean-up and the levels go together."""
        declared, name = segmenter.levels, segmenter.name
        if levels is not None and (isinstance(levels, bool) or not isinstance(levels, (int, np.integer))):
            raise ConfigError(f"levels: expected an integer, got {levels!r}")
        levels = None if levels is None else int(levels)
        if declared is None:
            if levels not in (None, 2, 3):
                raise ConfigError(
                    f"segmenter {name!r} returns nucleus masks, from which 2 or 3 levels can be derived, asked "
                    f"for {levels}; use a segmenter that declares `levels`"
                )
            return cls(segmenter, cleaning, levels or 2)
        if levels not in (None, declared):
            raise ConfigError(f"segmenter {name!r} returns {declared} levels, asked for {levels}; leave `levels` out")
        if cleaning.changed:
            raise ConfigError(f"{', '.join(cleaning.changed)}: not for segmenter {name!r}, which returns semantic maps")
        return cls(segmenter, cleaning, declared)

    def masks(self, image: Mask, *, instances: bool = True) -> Masks:
        """Segment one (H, W, 3) uint8 image; `instances` are None where neither asked for nor needed."""
        # The segmenter gets a copy where the image is needed again: a plug-in may write into what it is given.
        given = image.copy() if self.levels > 2 else image
        name, declared = self.segmenter.name, self.segmenter.levels
        mask, labels = normalise_output(self._segmented(given), image.shape, levels_declared=declared, name=name)
        if declared is not None:
            return Masks(mask, regions_of(mask == declared - 1) if instances else None)
        if labels is None and not self.cleaning.changed and not instances:
            return Masks(stain_levels(image, mask, levels=self.levels), None)
        nuclei = self._nuclei(mask, labels)
        return Masks(stain_levels(image, nuclei, levels=self.levels), nuclei)

    def describe(self) -> dict[str, Any]:
        """Return what decides a mask, JSON-compatible: name, parameters, levels and clean-up."""
        return {
            "name": self.segmenter.name,
            "parameters": self.segmenter.parameters,
            "levels": self.levels,
            **self.cleaning.cleaning,
        }

    def fingerprint(self) -> str | None:
        """Return a text that changes when the masks may change, or None if that cannot be known."""
        segmenter = self.segmenter.fingerprint()
        if segmenter is None:
            return None
        return json.dumps([_VERSION, segmenter, self.levels, self.cleaning.cleaning])

    def _segmented(self, image: Mask) -> Any:
        try:
            return self.segmenter.call(image)
        except SyncganError:
            raise
        except Exception as error:
            kind = type(error).__name__
            raise ContractError(f"segmenter {self.segmenter.name!r} raised {kind}: {error}") from error

    def _nuclei(self, mask: Mask, labels: NDArray[np.int64] | None) -> Labels:
        if labels is None:
            return clean_labels(labels_of_mask(mask, self.cleaning), self.cleaning)
        nuclei = consecutive(labels)
        if self.cleaning.max_hole_share:
            nuclei = fill_label_holes(nuclei, max_hole_share=self.cleaning.max_hole_share)
        return clean_labels(nuclei, self.cleaning)
