"""Find what is burnt into images: scale bars, labels, dust on the camera.

Such things have the same edges at the same place in image after image, which no specimen has. So gradients are added
up over the images of a class: where each points elsewhere their sum is small, where all are one edge it is as long as
the sum of their lengths.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Pixels
from syncgan.data.folders import ImageFolderDataset
from syncgan.evaluation.same_images import ImagePrint
from syncgan.segmentation.borders import black_surround, content_box

__all__ = ["BurntIn", "constant_edges", "find_burnt_in"]

# Twenty images of one size can tell: of 8 or 12 real ones, some edges agree by chance. Forty are enough.
_FEWEST, _MOST = 20, 40
# Share of the gradients' length that points the same way, and its mean in gray levels a pixel.
_AGREEING, _CLEAR = 0.9, 8.0
_FEWEST_PX = 24
# Near copies agree everywhere; `doctor` tells of these elsewhere.
_MOST_SHARE = 0.05
_RIM_PX = 3


@dataclass(frozen=True)
class BurntIn:
    """What the images of a class have in common at one place.

    Attributes
    ----------
    images : how many were looked at.
    size : their (width, height) in pixels.
    box : (left, top, right, bottom) of the edges that they share, in pixels, the last ones included; None without.
    """

    images: int
    size: tuple[int, int]
    box: tuple[int, int, int, int] | None


def find_burnt_in(
    dataset: ImageFolderDataset, prints: Sequence[ImagePrint], classes: Sequence[str]
) -> dict[str, BurntIn]:
    """Look at the commonest size of each class that has at least 20 different images of one size.

    Parameters
    ----------
    prints, classes : of each item of the dataset.

    Returns
    -------
    Class name -> what was found; classes of fewer images are left out.
    """
    found = {}
    for name, members in _of_one_size(prints, classes).items():
        chosen = members[:: max(1, len(members) // _MOST)][:_MOST]
        edges = constant_edges(dataset.image(index) for index in chosen)
        found[name] = BurntIn(len(chosen), (edges.shape[1], edges.shape[0]), _box_of(edges))
    return found


def constant_edges(images: Iterable[Pixels]) -> NDArray[np.bool_]:
    """Return (H, W) bool, True where images (H, W, 3) uint8 of one size have the same edge.

    Flat frames and black surrounds have no part in it: segmenters leave them out.
    """
    along: NDArray[np.floating] = np.zeros((2, 1, 1), np.float32)
    lengths: NDArray[np.floating] = np.zeros((1, 1), np.float32)
    count = 0
    for image in images:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        gradient = np.stack([cv2.Sobel(gray, cv2.CV_32F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1))])
        gradient *= _inside(image)
        along, lengths, count = along + gradient, lengths + np.hypot(*gradient), count + 1
    together = np.hypot(*along)
    return np.asarray((together >= _AGREEING * lengths) & (together >= _CLEAR * max(count, 1)))


def _of_one_size(prints: Sequence[ImagePrint], classes: Sequence[str]) -> Mapping[str, list[int]]:
    """Return class name -> different images of the size that most of them have, where these are enough."""
    by_size: defaultdict[str, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for index, (found, name) in enumerate(zip(prints, classes, strict=True)):
        by_size[name][found.size].setdefault(found.digest, index)
    largest = {name: max(sizes.values(), key=len) for name, sizes in by_size.items()}
    return {name: list(members.values()) for name, members in largest.items() if len(members) >= _FEWEST}


def _inside(image: Pixels) -> NDArray[np.float32]:
    """Return 1 inside of a frame and a surround, and 0 on them and their rims."""
    inside = np.zeros(image.shape[:2], np.uint8)
    inside[content_box(image)] = 1
    surround = black_surround(image)
    if surround is not None:
        inside[surround] = 0
    if inside.all():
        return np.ones(inside.shape, np.float32)
    # What lies beyond the picture is no rim.
    return cv2.erode(inside, np.ones((2 * _RIM_PX + 1,) * 2, np.uint8)).astype(np.float32)


def _box_of(edges: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    if not _FEWEST_PX <= edges.sum() <= _MOST_SHARE * edges.size:
        return None
    rows, columns = (np.flatnonzero(edges.any(axis=axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
