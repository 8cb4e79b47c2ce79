"""A statistical shape model of nucleus outlines: principal components of signed distance maps.

An outline is brought to unit area, its centroid to the middle and its long axis upright, and described by the signed
distance to it on a small grid. Distance maps can be averaged and added, lobed outlines included, which contours cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["OutlineModel", "canonical_axes", "distance_map", "draw_outline"]

Values = NDArray[np.float64]

GRID = 32
_SPAN = 1.6  # half the side of the grid; the radius of a disc of unit area is 0.56
_CLIP = 0.6
_EXPLAINED, _MOST_COMPONENTS = 0.99, 32
_BANDWIDTH = 0.3  # of the kernel, in standard deviations of the outlines
_ROUGHNESS = 0.02  # at least, so that even a class of one nucleus is not drawn with that nucleus' outline
_ROUGH_CELLS = 10


@dataclass(frozen=True)
class OutlineModel:
    """Outlines of one kind as a mean map, components and the codes of the outlines it was made from.

    Attributes
    ----------
    mean : (GRID * GRID,).
    components : (K, GRID * GRID).
    codes : (M, K + 2): besides the components' weights the roughness that they miss, and the logarithm of the side,
        the square root of the area in pixels.
    """

    mean: Values
    components: Values
    codes: Values

    @classmethod
    def of(cls, maps: Values, log_sides: Values) -> OutlineModel:
        """Make the model from distance maps (M, GRID, GRID) and the logarithms (M,) of their sides."""
        flat = maps.reshape(len(maps), -1)
        mean = flat.mean(axis=0)
        _, strengths, components = np.linalg.svd(flat - mean, full_matrices=False)
        explained = np.cumsum(strengths**2) / max(float((strengths**2).sum()), 1e-12)
        count = min(int(np.searchsorted(explained, _EXPLAINED)) + 1, _MOST_COMPONENTS, max(len(maps) - 1, 0))
        weights = (flat - mean) @ components[:count].T
        missed = (flat - mean - weights @ components[:count]).std(axis=1)
        return cls(mean, components[:count], np.column_stack([weights, missed, log_sides]))

    def draw(self, base: int, generator: np.random.Generator) -> tuple[Values, float]:
        """Draw a distance map (GRID, GRID) and the logarithm of its side near those of outline `base`.

        A kernel density whose spread is that of the data: codes are drawn towards their mean by as much as the kernel
        widens them (Silverman, "Density Estimation for Statistics and Data Analysis", 1986, Sec. 6.4).
        """
        mean, spread = self.codes.mean(axis=0), self.codes.std(axis=0)
        noise = _BANDWIDTH * spread * generator.standard_normal(len(spread))
        code = mean + (self.codes[base] - mean + noise) / np.sqrt(1 + _BANDWIDTH**2)
        drawn = (self.mean + code[:-2] @ self.components).reshape(GRID, GRID)
        nodes = generator.standard_normal((_ROUGH_CELLS, _ROUGH_CELLS))
        rough = cv2.resize(nodes, (GRID, GRID), interpolation=cv2.INTER_CUBIC)
        return drawn + (_ROUGHNESS + max(float(code[-2]), 0.0)) * rough, float(code[-1])

    def state(self) -> dict[str, Values]:
        """Return the arrays by name."""
        return {"mean": self.mean, "components": self.components, "codes": self.codes}

    @classmethod
    def from_state(cls, state: Mapping[str, Values]) -> OutlineModel:
        """Make the model from what `state` returned."""
        return cls(state["mean"], state["components"], state["codes"])


def canonical_axes(nucleus: NDArray[np.bool_], sides: NDArray[np.bool_]) -> Values:
    """Return the axes of an outline as the columns of a (2, 2) orthogonal matrix, rows first.

    Parameters
    ----------
    nucleus : (H, W), one nucleus.
    sides : (4,), whether it is cut by the top, bottom, left and right border: then the first axis leads away from the
        border; otherwise it is the long axis. Signs follow the skewness, so that alike outlines lie alike.
    """
    if sides.any():
        top, bottom, left, right = sides
        rows, columns = (-1.0 if bottom and not top else 1.0), (-1.0 if right and not left else 1.0)
        upright = np.diag([rows, columns])
        return upright if top or bottom else upright[:, ::-1].copy()
    points = np.argwhere(nucleus).astype(np.float64)
    points -= points.mean(axis=0)
    axes = np.linalg.eigh(points.T @ points)[1][:, ::-1]
    skewness = ((points @ axes) ** 3).sum(axis=0)
    return np.asarray(axes * np.where(skewness < 0, -1.0, 1.0))


def distance_map(nucleus: NDArray[np.bool_], sides: NDArray[np.bool_], axes: Values) -> Values:
    """Describe one nucleus in an (H, W) mask by a signed distance map (GRID, GRID), positive inside.

    Beyond a border that cuts it, the nucleus is taken to go on: the cut is no part of its outline.
    """
    side = np.sqrt(nucleus.sum())
    rows, columns = np.nonzero(nucleus)
    centre = np.array([rows.mean(), columns.mean()])
    margin = int(np.ceil(_SPAN * 1.5 * side)) + 2
    outside = np.pad(~nucleus, margin, constant_values=True)
    for axis, (first, last) in enumerate((sides[:2], sides[2:])):
        widths = [(0, 0), (0, 0)]
        widths[axis] = (margin * int(first), margin * int(last))
        keep = [slice(None), slice(None)]
        keep[axis] = slice(margin if first else 0, -margin if last else None)
        outside = np.pad(outside[tuple(keep)], widths, mode="edge")
    window = _window(outside, centre + margin, margin)
    distances = ndimage.distance_transform_edt(~window[0]) - ndimage.distance_transform_edt(window[0])
    distances -= 0.5 * np.sign(distances)  # from centres of pixels to the edge between them
    ticks = np.linspace(-_SPAN, _SPAN, GRID)
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="ij"))
    places = window[1][:, None, None] + side * np.einsum("ij,jkl->ikl", axes, grid)
    drawn = ndimage.map_coordinates(distances, places, order=1, mode="nearest") / side
    return np.asarray(np.clip(drawn, -_CLIP, _CLIP))


def _window(array: NDArray[np.bool_], centre: Values, margin: int) -> tuple[NDArray[np.bool_], Values]:
    """Cut what lies around a point, so that large images with small nuclei stay cheap."""
    starts = np.maximum(np.floor(centre).astype(int) - margin, 0)
    part = array[starts[0] : starts[0] + 2 * margin + 2, starts[1] : starts[1] + 2 * margin + 2]
    return part, centre - starts


def draw_outline(drawn: Values, side: float, centre: Values, axes: Values, size: int) -> NDArray[np.bool_]:
    """Draw an outline with an area of ``side ** 2`` pixels into a (size, size) mask; what lies beyond is cut off.

    The threshold is the one that gives the part that is visible its area; of several pieces the largest is kept.
    """
    reach = int(np.ceil(_SPAN * 1.5 * side)) + 1
    low = np.clip(np.floor(centre).astype(int) - reach, 0, size)
    high = np.clip(np.floor(centre).astype(int) + reach + 1, 0, size)
    nucleus = np.zeros((size, size), bool)
    if (high <= low).any():
        return nucleus
    grid = np.stack(np.meshgrid(*[np.arange(*ends) for ends in zip(low, high, strict=True)], indexing="ij"))
    offsets = (grid - centre[:, None, None]) / side
    places = np.einsum("ji,jkl->ikl", axes, offsets) / (2 * _SPAN) * (GRID - 1) + (GRID - 1) / 2
    heights = ndimage.map_coordinates(drawn, places, order=1, mode="constant", cval=-_CLIP)
    pixels = min(max(1, round(side**2)), heights.size)
    threshold = np.partition(heights.ravel(), heights.size - pixels)[heights.size - pixels]
    window = ndimage.binary_fill_holes(heights >= max(threshold, -_CLIP / 2))
    nucleus[low[0] : high[0], low[1] : high[1]] = _largest(window)
    return nucleus


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if count > 2 else mask
