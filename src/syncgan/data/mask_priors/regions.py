"""Nuclei of a semantic map one by one: where they lie, what belongs to them, lifted out and put back.

`levels` is L everywhere: level L-1 is nucleus, and so are those above it, where nuclei are divided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = [
    "Nucleus",
    "clear_share",
    "dihedral",
    "disc",
    "fits",
    "nuclei_of",
    "objects_of",
    "place",
    "place_behind",
    "place_spread",
    "remove",
]

Map = NDArray[np.uint8]
Generator = np.random.Generator

_APART = 0.05  # in sides of the image: summits of depth that are nearer to each other are of one object
_REACH = 6  # standard deviations
_RIM = 0.5  # of the nucleus' radius: how far the stained surroundings go with it


@dataclass(frozen=True)
class Nucleus:
    """One nucleus and the stained rim that belongs to it.

    Attributes
    ----------
    levels : (h, w) uint8 crop: at least L-1 in the nucleus, the rim's level around it, 0 elsewhere.
    nucleus : (h, w) bool, the nucleus itself.
    reach : (h, w) bool, nucleus and rim, stained or not.
    top, left : of the crop in its map.
    inside : whether the nucleus stays clear of the border of the image; else it may go on beyond it.
    """

    levels: Map
    nucleus: NDArray[np.bool_]
    reach: NDArray[np.bool_]
    top: int
    left: int
    inside: bool

    @property
    def area_px(self) -> int:
        """Area of the nucleus alone."""
        return int(self.nucleus.sum())

    @property
    def centre(self) -> NDArray[np.float64]:
        """Row and column of the nucleus' centroid in its map."""
        return np.asarray(np.argwhere(self.nucleus).mean(axis=0) + np.array([self.top, self.left]))

    def seen(self, side: int) -> NDArray[np.int64]:
        """Return rows and columns (n, 2) of the nucleus' pixels that lie in a square map of `side`."""
        places = np.argwhere(self.nucleus) + np.array([self.top, self.left])
        return np.asarray(places[((places >= 0) & (places < side)).all(axis=1)])

    def moved(self, rows: int, columns: int) -> Nucleus:
        """Return the same nucleus elsewhere."""
        return Nucleus(self.levels, self.nucleus, self.reach, self.top + rows, self.left + columns, self.inside)

    def turned(self, symmetry: int) -> Nucleus:
        """Return it turned or flipped by one of the 8 symmetries, about its own centre to a pixel."""
        levels, nucleus, reach = (dihedral(part, symmetry) for part in (self.levels, self.nucleus, self.reach))
        turned = Nucleus(levels, nucleus, reach, 0, 0, self.inside)
        rows, columns = np.rint(self.centre - turned.centre).astype(int)
        return turned.moved(int(rows), int(columns))

    def reshaped(self, matrix: NDArray[np.float64]) -> Nucleus:
        """Return it under a linear map (2, 2) of (column, row) offsets, about its own centre to a pixel."""
        height, width = self.nucleus.shape
        side = int(np.ceil(np.hypot(height, width) * np.linalg.norm(matrix, 2))) + 2
        middle = np.full(2, (side - 1) / 2)
        centre = (self.centre - (self.top, self.left))[::-1]
        shifted = np.column_stack([matrix, middle - matrix @ (centre + 1)])  # of a crop with a pixel more around it

        def mapped(part: NDArray[np.bool_]) -> NDArray[np.bool_]:
            # Distances to the outline move smoothly; shares of pixels would wear off what is thin.
            wide = np.pad(part, 1).astype(np.uint8)
            heights = cv2.distanceTransform(wide, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - wide, cv2.DIST_L2, 5)
            moved = cv2.warpAffine(
                heights, shifted, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=-1
            )
            return np.asarray(moved > 0)

        levels = np.zeros((side, side), np.uint8)
        for level in range(1, int(self.levels.max()) + 1):
            levels[mapped(self.levels >= level)] = level
        nucleus = mapped(self.nucleus)
        if not nucleus.any():  # a speck of a pixel or two can fall between all others
            return self
        top, left = np.rint(self.centre - middle).astype(int)
        return Nucleus(levels, nucleus, mapped(self.reach), int(top), int(left), self.inside)


def disc(radius_px: int) -> NDArray[np.uint8]:
    """Return a filled disc (2 r + 1, 2 r + 1) to dilate with."""
    side = 2 * radius_px + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)


def dihedral(array: NDArray[Any], symmetry: int) -> NDArray[Any]:
    """Apply one of the 8 symmetries of the square, 0 .. 7, to the first two axes."""
    turned = np.rot90(array, symmetry % 4)
    return np.ascontiguousarray(turned[::-1] if symmetry >= 4 else turned)


def nuclei_of(
    levels_map: Map,
    levels: int,
    *,
    joined: float = 0.0,
    rim: float = _RIM,
    objects: NDArray[np.int32] | None = None,
    side: int | None = None,
) -> list[Nucleus]:
    """Cut an (H, W) map into its nuclei; each pixel of a rim belongs to the nucleus that is nearest.

    Parameters
    ----------
    joined : parts with a gap of less than twice this, in sides of the image, count as one nucleus, as lobes of one do.
    rim : how far what surrounds a nucleus goes with it, in radii of the nucleus.
    objects : (H, W) numbers of objects, 0 for none, as of `objects_of`: what lies in another object than the nucleus
        does not go with it.
    side : of the image in pixels, where the map shows more than it.
    """
    nuclear = levels_map >= levels - 1
    reach_px = round(joined * (side or len(levels_map)))
    grown = cv2.dilate(nuclear.astype(np.uint8), disc(reach_px)) if reach_px else nuclear.astype(np.uint8)
    count, labels = cv2.connectedComponents(grown, connectivity=8)
    if count == 1:
        return []
    labels = np.where(nuclear, labels, 0)
    distance, nearest = ndimage.distance_transform_edt(~nuclear, return_indices=True)
    owner = labels[nearest[0], nearest[1]]
    height, width = levels_map.shape
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        top, left = box[0].start, box[1].start
        box_height, box_width = box[0].stop - top, box[1].stop - left
        radius = max(2.0, rim * np.sqrt(np.count_nonzero(labels[box] == number) / np.pi))
        margin = int(np.ceil(radius))
        inside = left > 0 and top > 0 and left + box_width < width and top + box_height < height
        rows = slice(max(0, top - margin), top + box_height + margin)
        columns = slice(max(0, left - margin), left + box_width + margin)
        reach = (owner[rows, columns] == number) & (distance[rows, columns] <= radius)
        if objects is not None:
            around = objects[rows, columns]
            same = np.isin(around, np.unique(around[labels[rows, columns] == number])) & (around > 0)
            reach &= same | (labels[rows, columns] == number)
        own = np.where(reach, levels_map[rows, columns], 0).astype(np.uint8)
        found.append(Nucleus(own, labels[rows, columns] == number, reach, rows.start, columns.start, inside))
    return found


def objects_of(stained: NDArray[np.bool_], *, side: int | None = None) -> NDArray[np.int32]:
    """Return the number of the object of each pixel (H, W), 0 where nothing is stained.

    Objects that touch are parted between the places that lie deepest in them. `side` is that of the image in pixels,
    where `stained` shows more than it.
    """
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    # A border of the map is none of an object: what is cut there goes on.
    wide = np.pad(ndimage.binary_fill_holes(stained), 1, mode="edge")
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(wide)[1:-1, 1:-1], 1.0)
    components = ndimage.label(stained)[0]
    apart_px = max(2, round(_APART * (side or len(stained))))
    summits = peak_local_max(  # type: ignore[no-untyped-call]
        depth, min_distance=apart_px, labels=components, exclude_border=False
    )
    markers = np.zeros(stained.shape, np.int32)
    markers[tuple(summits.T)] = np.arange(1, len(summits) + 1)
    return np.asarray(
        watershed(  # type: ignore[no-untyped-call]
            -depth, markers, mask=stained
        ),
        dtype=np.int32,
    )


def remove(levels_map: Map, nucleus: Nucleus, levels: int) -> Map:
    """Return the map without a nucleus and its rim, filled from what surrounds them."""
    # The commonest level nearby: the nearest pixel's alone would leave rays where a large nucleus was.
    sigma = max(1.0, np.sqrt(nucleus.area_px / np.pi) / 2)
    margin = int(_REACH * sigma) + 1  # beyond it nothing is looked at
    height, width = nucleus.reach.shape
    rows = slice(max(0, nucleus.top - margin), nucleus.top + height + margin)
    columns = slice(max(0, nucleus.left - margin), nucleus.left + width + margin)
    around = levels_map[rows, columns]
    gone = np.zeros(around.shape, bool)
    top, left = nucleus.top - rows.start, nucleus.left - columns.start
    gone[top : top + height, left : left + width] = nucleus.reach
    known = ~gone & (around < levels - 1)
    kernel = (2 * margin + 1, 2 * margin + 1)
    shares = [
        cv2.GaussianBlur(((around == level) & known).astype(np.float32), kernel, sigma, borderType=cv2.BORDER_REFLECT)
        for level in range(levels - 1)
    ]
    without = levels_map.copy()
    without[rows, columns] = np.where(gone, np.argmax(shares, axis=0), around)
    return without


def fits(levels_map: Map, nucleus: Nucleus, levels: int) -> bool:
    """Tell whether a nucleus lies clear of every other nucleus, and of the border if it is one that does."""
    seen, side = nucleus.seen(len(levels_map)), len(levels_map)
    if nucleus.inside and (len(seen) < nucleus.area_px or seen.min() < 1 or seen.max() >= side - 1):
        return False
    return clear_share(levels_map, nucleus, levels) == 1


def clear_share(levels_map: Map, nucleus: Nucleus, levels: int) -> float:
    """Return the share of what is seen of a nucleus that lies clear of every nucleus of the map."""
    rows, columns = nucleus.seen(len(levels_map)).T
    return float(np.mean(~_near_nuclei(levels_map, levels)[rows, columns])) if len(rows) else 1.0


def place(levels_map: Map, nucleus: Nucleus) -> Map:
    """Return the map with a nucleus and its rim laid over it; nothing that is stained already is lowered."""
    placed = levels_map.copy()
    rows, columns, values = _lying_in(levels_map, nucleus, nucleus.levels > 0)
    placed[rows, columns] = np.maximum(placed[rows, columns], values)
    return placed


def place_behind(levels_map: Map, nucleus: Nucleus, levels: int) -> Map:
    """Return the map with a nucleus and all that lay within reach of it in its own map, stained or not.

    Nuclei of the map, and the pixels right beside them, stay as they are.
    """
    placed = levels_map.copy()
    rows, columns, values = _lying_in(levels_map, nucleus, nucleus.reach)
    clear = ~_near_nuclei(levels_map, levels)[rows, columns]
    placed[rows[clear], columns[clear]] = values[clear]
    return placed


def _near_nuclei(levels_map: Map, levels: int) -> NDArray[np.bool_]:
    return np.asarray(cv2.dilate((levels_map >= levels - 1).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def _lying_in(levels_map: Map, nucleus: Nucleus, part: NDArray[np.bool_]) -> tuple[NDArray[np.int64], ...]:
    """Return rows, columns and levels of those pixels of a part of a nucleus' crop that lie in the map."""
    height, width = levels_map.shape
    rows, columns = np.nonzero(part)
    values = nucleus.levels[rows, columns]
    rows, columns = rows + nucleus.top, columns + nucleus.left
    seen = (rows >= 0) & (columns >= 0) & (rows < height) & (columns < width)
    return rows[seen], columns[seen], values[seen]


def place_spread(maps: Map, levels: int) -> float:
    """Return how far the nuclei of maps (N, S, S) lie from their common centre, a standard deviation in sides.

    Where every image is centred on its nucleus it is near 0, and nothing may be moved far; spread all over it is 0.29.
    """
    positions = np.argwhere(maps >= levels - 1)[:, 1:] / maps.shape[-1]
    return float(np.sqrt(positions.var(axis=0).mean())) if len(positions) else 0.0
