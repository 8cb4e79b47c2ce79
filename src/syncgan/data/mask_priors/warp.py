"""Mask generator ``warp``: real masks, warped and recombined.

The honest baseline for every learned prior: whatever a GAN draws should be worth more than this. It stores the
training masks themselves, and so does every model that is saved with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from syncgan.data.mask_priors.regions import Map, Nucleus, dihedral, fits, place, remove
from syncgan.data.mask_priors.stored import StoredMasks, warped

__all__ = ["WarpedMasks"]

_EXCHANGED, _MOVED = 0.3, 0.5  # share of the nuclei that lie clear of the border
_SIMILAR_AREA = 2.0
_TRIES = 4
_STEP = 0.15  # standard deviation of a move, as a share of the spread of the nuclei over the image


class WarpedMasks(StoredMasks):
    """Draw a real mask of the class, exchange and move some of its nuclei, and warp what results.

    Some nuclei, with the stained rim around them, are exchanged for nuclei of similar size from other masks of the
    class, others are moved, never onto another nucleus. Then the map is turned or flipped, and stretched by a small
    affine map and a smooth random displacement, all levels alike.

    It stores and saves the real masks: a model with this generator gives away the masks (not the pixels) of its
    training set, and its samples keep the arrangement of a real mask.

    Parameters
    ----------
    levels, nuclear_levels : number of levels, of which the last so many are nucleus.
    """

    address = "warp"

    def _draw(self, members: NDArray[np.int64], spread: float, generator: np.random.Generator) -> Map:
        chosen = int(generator.choice(members))
        levels_map = self._masks[chosen]
        for nucleus in self._nuclei_of(chosen):
            fate = generator.random()
            if not nucleus.inside or fate >= _EXCHANGED + _MOVED:
                continue
            other = self._donor(members, nucleus, generator) if fate < _EXCHANGED else nucleus
            if other is not None:
                levels_map = _put(levels_map, nucleus, other, self._levels, spread, generator)
        levels_map = dihedral(levels_map, int(generator.integers(8)))
        return warped(levels_map, spread, generator)

    def _donor(self, members: NDArray[np.int64], like: Nucleus, generator: np.random.Generator) -> Nucleus | None:
        """Return a nucleus of similar size from another mask, turned, where `like` lies; None if there is none."""
        donors = self._nuclei_of(int(generator.choice(members)))
        similar = [
            donor
            for donor in donors
            if donor.inside and 1 / _SIMILAR_AREA <= donor.area_px / like.area_px <= _SIMILAR_AREA
        ]
        if not similar:
            return None
        donor = similar[int(generator.integers(len(similar)))].turned(int(generator.integers(8)))
        rows, columns = np.rint(like.centre - donor.centre).astype(int)
        return donor.moved(int(rows), int(columns))


def _put(
    levels_map: Map, old: Nucleus, new: Nucleus, levels: int, spread: float, generator: np.random.Generator
) -> Map:
    """Return the map with `new` near the place of `old`, or as it is when there is no room."""
    without = remove(levels_map, old, levels)
    for _ in range(_TRIES):
        rows, columns = np.rint(generator.normal(0, _STEP * spread * len(levels_map), 2)).astype(int)
        moved = new.moved(int(rows), int(columns))
        if fits(without, moved, levels):
            return place(without, moved)
    return levels_map
