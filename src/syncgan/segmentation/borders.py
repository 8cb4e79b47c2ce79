"""Where the specimen is inside its picture, and whether the picture is of the kind that segmenters expect.

Frames of one colour (letter-boxes, padding to a square) are no part of the specimen, yet they shift percentiles, local
means and colour clusters. What makes a flat edge a frame, not empty glass, is that its colour does not occur inside.
A black surround (a round field of view, a cell cut out on black) has any outline, and is darker than every nucleus.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Mask

__all__ = ["black_surround", "border_of", "content_box", "is_black", "is_bright_on_dark", "segmented_inside"]

# Gray levels: JPEG ringing and dithering within a frame stay below, sensor noise on glass is usually above.
_FLAT_RANGE = 16
_SAMPLES_A_LINE = 64
_MAX_SHARE_INSIDE = 0.02
_MIN_SIDE_PX = 8

# No channel of a surround is brighter than this gray level; nuclei let some blue light pass.
_BLACK = 24

# A nucleus that the border cuts may be black, but does not reach so far along it, nor into two corners.
_MIN_SHARE_OF_BORDER = 0.25
_MIN_CORNERS = 2
_MIN_SURROUND = 0.01

# What a surround leaves is one piece, in colour (a gray picture may as well be of something that shines on black), and
# the palest tenth of it lets all of red, green and blue pass.
_MIN_CONTENT = 0.2
_IN_ONE_PIECE = 0.9
_MIN_PASSING = 32
_GRAY_RANGE = 8

# The rim of a surround is blurred. It reaches to where the mean brightness is nearly that of further inside, and at
# most this share of the shorter side.
_RIM_SHARE = 0.05
_MIN_RIM_PX = 2
_NEARLY = 0.9

# Local means are taken on an image of this longer side, over a standard deviation of an eighth of it.
_GRID_PX = 64
_MIN_WEIGHT = 1e-4

# In a dark field the border is this dark, and most of the image in some channel; objects are brighter by so much.
_DARK_BORDER = 48
_DARK = 80
_MIN_SHINE = 10

# That is judged on every so many pixels of a large image that this shorter side is left.
_OVERVIEW_PX = 128


def segmented_inside(image: Mask, segment: Callable[[Mask], Mask | None]) -> Mask:
    """Segment an image without its frame and its black surround.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB.
    segment : (h, w, 3) contiguous uint8 RGB -> (h, w) uint8 nucleus mask {0, 1}, or None for no nucleus. In place of a
        surround it sees the local mean of what lies inside.

    Returns
    -------
    (H, W) uint8 mask {0, 1}; frame and surround are 0.
    """
    mask = np.zeros(image.shape[:2], np.uint8)
    box = content_box(image)
    inside = np.ascontiguousarray(image[box])
    surround = black_surround(inside)
    if surround is not None:
        rows, columns = _bounds(~surround)
        box = _part(box[0], rows), _part(box[1], columns)
        surround = surround[rows, columns]
        inside = _papered(inside[rows, columns], surround)
    nuclei = segment(inside)
    if nuclei is not None:
        mask[box] = nuclei if surround is None else np.where(surround, 0, nuclei)
    return mask


def black_surround(image: Mask) -> NDArray[np.bool_] | None:
    """Return (H, W) bool, True in the black surround of an (H, W, 3) uint8 image and on its rim; None without one.

    It is black and flat, reaches far along the border or into two corners, and surrounds one piece that lets light
    pass.
    """
    if min(image.shape[:2]) < _MIN_SIDE_PX or not _is_black_at_border(image):
        return None
    brightest = image.max(axis=2)
    _, labels = cv2.connectedComponents(is_black(image).astype(np.uint8), connectivity=4)
    outside = np.isin(labels, np.setdiff1d(border_of(labels), [0]))
    content = _largest_piece(~outside)
    flat = np.subtract(*np.percentile(brightest[outside], (95, 5))) <= _FLAT_RANGE
    whole = content.mean() >= _MIN_CONTENT and content.sum() >= _IN_ONE_PIECE * (~outside).sum()
    if not flat or not whole or outside.mean() < _MIN_SURROUND or not _lets_light_pass(image[content]):
        return None
    surround = _with_rim(content, brightest)
    return None if surround.all() else surround


def is_bright_on_dark(image: Mask) -> bool:
    """Say whether an (H, W, 3) uint8 image is of something that shines in the dark (fluorescence), not bright field.

    The border and most of the image are dark, something is brighter, and the dark is no surround.
    """
    if image.size == 0:
        return False
    step = max(1, min(image.shape[:2]) // _OVERVIEW_PX)
    image = np.ascontiguousarray(image[::step, ::step])
    brightest, passing = image.max(axis=2), image.min(axis=2)
    at_border = float(np.median(border_of(brightest)))
    if at_border > _DARK_BORDER or (passing <= _DARK).mean() < 0.5:
        return False
    return bool(np.percentile(brightest, 99) - at_border >= _MIN_SHINE) and black_surround(image) is None


def border_of(plane: NDArray[Any]) -> NDArray[Any]:
    """Return the values of an (H, W) plane along its border."""
    return np.concatenate([plane[[0, -1]].ravel(), plane[:, [0, -1]].ravel()])


def is_black(colours: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say for each of (..., 3) colours whether none of red, green and blue is brighter than in a surround."""
    return np.asarray(colours.max(axis=-1) <= _BLACK)


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


def _is_black_at_border(image: Mask) -> bool:
    if is_black(image[[0, 0, -1, -1], [0, -1, 0, -1]]).sum() >= _MIN_CORNERS:
        return True
    edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return bool(is_black(edges).mean() >= _MIN_SHARE_OF_BORDER)


def _largest_piece(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    _, labels, rows, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    areas = rows[1:, cv2.CC_STAT_AREA]
    return np.asarray(labels == 1 + areas.argmax()) if len(areas) else np.zeros_like(region)


def _with_rim(content: NDArray[np.bool_], brightest: Mask) -> NDArray[np.bool_]:
    """Return what is not content, and its rim."""
    most_px = max(2 * _MIN_RIM_PX, round(_RIM_SHARE * min(content.shape)))
    depth_px = _depth_px(content, edge=1)
    sums, counts = (np.bincount(depth_px.ravel(), weights) for weights in (brightest.ravel(), None))
    levels = sums[1 : 2 * most_px] / np.maximum(counts[1 : 2 * most_px], 1)
    further_inside = levels[most_px:] if len(levels) > most_px else levels
    reached = np.flatnonzero(levels[:most_px] >= _NEARLY * further_inside.mean())
    rim_px = max(_MIN_RIM_PX, 1 + int(reached[0]) if len(reached) else most_px)
    # What is cut out on black and touches the border has a rim there too.
    cut_out = border_of(content).mean() < 0.5
    return np.asarray(_depth_px(content, edge=0 if cut_out else 1) <= rim_px)


def _depth_px(content: NDArray[np.bool_], *, edge: int) -> NDArray[np.int64]:
    """Return the (H, W) distance to what is not content, which lies beyond the border too where `edge` is 0."""
    padded = np.pad(content.astype(np.uint8), 1, constant_values=edge)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1].round(), dtype=np.int64)


def _lets_light_pass(colours: NDArray[np.uint8]) -> bool:
    """Say whether (N, 3) pixels are in colour, and the palest tenth of them lets all of red, green and blue pass."""
    lowest = colours.min(axis=1)
    coloured = np.percentile(colours.max(axis=1) - lowest, 99) > _GRAY_RANGE
    return bool(coloured and np.percentile(lowest, 90) >= _MIN_PASSING)


def _bounds(region: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _part(whole: slice, part: slice) -> slice:
    return slice(whole.start + part.start, whole.start + part.stop)


def _papered(image: Mask, surround: NDArray[np.bool_]) -> Mask:
    """Return the image with the mean of what is near and inside in place of its surround."""
    height, width = surround.shape
    inside = (~surround).astype(np.float32)[..., None]
    factor = min(1.0, _GRID_PX / max(height, width))
    grid = max(1, round(factor * width)), max(1, round(factor * height))
    kept = np.concatenate([image * inside, inside], axis=2)
    small = cv2.GaussianBlur(cv2.resize(kept, grid, interpolation=cv2.INTER_AREA), (0, 0), max(grid) / 8)
    mean = kept.reshape(-1, 4).sum(axis=0)
    near = small + _MIN_WEIGHT * mean / mean[3]
    paper = cv2.resize(near[..., :3] / near[..., 3:], (width, height))
    return np.where(surround[..., None], paper.round().astype(np.uint8), image)
