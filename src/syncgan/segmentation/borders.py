"""Where the picture is inside its letter-box.

Frames of one colour (letter-boxes, padding to a square) are no part of the specimen, yet they shift percentiles, local
means and colour clusters. What makes a flat edge a frame, not empty glass, is that its colour does not occur inside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["content_box"]

# Gray levels: JPEG ringing and dithering within a frame stay below, sensor noise on glass is usually above.
_FLAT_RANGE = 16
_SAMPLES_A_LINE = 64
_MAX_SHARE_INSIDE = 0.02
_MIN_SIDE_PX = 8


def content_box(image: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the rows and columns of an (H, W, 3) uint8 image without its flat frame.

    A line at the edge belongs to the frame if all its pixels are of one colour, and that colour is rare inside: the
    whole image is returned where it is not (empty glass), or where nothing would be left.
    """
    height, width = image.shape[:2]
    whole = slice(0, height), slice(0, width)
    if min(height, width) < _MIN_SIDE_PX or not _edge_colours(image):
        return whole
    rows = _between_flat_lines(image[:, _spread(width)])
    if rows.stop - rows.start < _MIN_SIDE_PX:
        return whole
    band = image[rows]
    columns = _between_flat_lines(band[_spread(len(band))].swapaxes(0, 1))
    if columns.stop - columns.start < _MIN_SIDE_PX:
        return whole
    inside = band[_spread(len(band)), columns]
    return whole if _occurs(_edge_colours(image), inside) else (rows, columns)


def _spread(length: int) -> slice:
    return slice(None, None, max(1, length // _SAMPLES_A_LINE))


def _edge_colours(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the colours of those of the four outermost lines that are flat."""
    edges = (image[0], image[-1], image[:, 0], image[:, -1])
    return [edge[0] for edge in edges if _is_flat(edge[_spread(len(edge))][None])[0]]


def _is_flat(lines: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say for each of (N, M, 3) lines whether its M pixels are of one colour."""
    spread = lines.max(axis=1) - lines.min(axis=1)
    return np.asarray(spread.max(axis=1) <= _FLAT_RANGE)


def _between_flat_lines(lines: NDArray[np.uint8]) -> slice:
    """Return the range from the first to the last of (N, M, 3) lines that is not flat."""
    textured = np.flatnonzero(~_is_flat(lines))
    return slice(int(textured[0]), int(textured[-1]) + 1) if len(textured) else slice(0, 0)


def _occurs(colours: list[NDArray[np.uint8]], inside: NDArray[np.uint8]) -> bool:
    distances = (np.abs(inside.astype(np.int16) - colour).max(axis=2) for colour in colours)
    return any(bool((distance <= _FLAT_RANGE).mean() > _MAX_SHARE_INSIDE) for distance in distances)
