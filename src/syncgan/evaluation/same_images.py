"""Which images of a set are the same: fingerprints of decoded pixels, compared all with all.

Two images are *copies* when they decode to the same pixels, and *near copies* when their small gray versions agree in
one of the eight flips and quarter turns. A slight blur is taken off these versions before: what is left, edges and
texture, differs between any two cells, where the rough layout (one dark nucleus in the middle) does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Floats32
from syncgan.data.images import decode_image, image_kind
from syncgan.segmentation.borders import is_bright_on_dark

__all__ = [
    "NEAR_COPY",
    "ImagePrint",
    "SameImages",
    "digest_of",
    "find_same",
    "print_files",
    "print_of",
    "print_of_pixels",
    "structure_of",
]


NEAR_COPY: Final = 0.85
"""Correlation from which two images count as near copies; ``benchmarks/near_copies.py`` measures what lies on either
side of it."""

_SIDE_PX = 32
_BLUR_PX = 2.0
# Below this much structure, in gray levels, noise and dust on the lens would be compared.
_MIN_STRUCTURE = 1.0
_ROWS = 512


@dataclass(frozen=True)
class ImagePrint:
    """What is kept of an image to compare it with others.

    Attributes
    ----------
    height, width : in pixels, as decoded.
    kind : how the file is stored, for example "PNG, RGB, 8 bits".
    digest : of the decoded pixels.
    structure : (32 * 32,) of length 1, edges and texture of the small gray image; zeros for an empty field.
    palest : (3,) mean red, green and blue, in [0, 255], of the palest tenth of the small image; None where only copies
        are looked for, and where the image is bright on dark, so that nothing pale is bare.
    """

    height: int
    width: int
    kind: str
    digest: str
    structure: Floats32
    palest: Floats32 | None = None

    @property
    def size(self) -> str:
        """Width and height in words."""
        return f"{self.width} x {self.height} px"


@dataclass(frozen=True)
class SameImages:
    """Images that are one image.

    Attributes
    ----------
    members : their positions, ascending; at least two.
    exact : whether all decode to the same pixels.
    likeness : the lowest correlation by which one of them was found to be like another, 1 for copies.
    """

    members: tuple[int, ...]
    exact: bool
    likeness: float


def print_files(
    root: str | PathLike[str],
    files: Sequence[str],
    *,
    bit_depth: int | None = None,
    n_jobs: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[ImagePrint]:
    """Decode files and return the print of each.

    Parameters
    ----------
    root, files : folder, and paths relative to it.
    bit_depth : see `decode_image`.
    n_jobs : threads that decode.
    progress : called with (done, total).

    Raises
    ------
    ImageReadError
        A file cannot be read.
    """
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    prints: list[ImagePrint] = []
    for found in parallel(delayed(print_of)(Path(root) / file, bit_depth=bit_depth) for file in files):
        prints.append(found)
        if progress is not None:
            progress(len(prints), len(files))
    return prints


def print_of(path: str | PathLike[str], *, bit_depth: int | None = None) -> ImagePrint:
    """Decode one file and return its print."""
    return print_of_pixels(decode_image(path, bit_depth=bit_depth).pixels, image_kind(path))


def print_of_pixels(pixels: NDArray[np.uint8], kind: str = "pixels") -> ImagePrint:
    """Return the print of (H, W, 3) uint8 pixels."""
    height, width = pixels.shape[:2]
    palest = None if is_bright_on_dark(pixels) else _palest_of(pixels)
    return ImagePrint(height, width, kind, digest_of(pixels), structure_of(pixels), palest)


def digest_of(pixels: NDArray[np.uint8]) -> str:
    """Return what tells these (H, W, 3) uint8 pixels from any others."""
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(f"{height} {width} ".encode(), digest_size=16)
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def find_same(prints: Sequence[ImagePrint], *, limit: float = NEAR_COPY) -> list[SameImages]:
    """Return every set of images that are one image, copies and near copies, in the order of their first member.

    Parameters
    ----------
    limit : correlation from which two images count as near copies, in (0, 1].

    Notes
    -----
    All pairs are compared by matrix products: 5,000 images take some seconds, and memory grows with their number only.
    Pieces cut elsewhere from one picture are not found; they are different images that share a part.
    """
    digests, first, owners = np.unique([found.digest for found in prints], return_index=True, return_inverse=True)
    if not len(digests):
        return []
    structures = np.stack([prints[at].structure for at in first])
    near, likeness = _near_pairs(structures, limit)
    copies = np.stack([first[owners], np.arange(len(prints))])
    copies = copies[:, copies[0] != copies[1]]
    links = np.concatenate([copies, first[near]], axis=1)
    return _joined(links, np.concatenate([np.ones(copies.shape[1]), likeness]), prints)


def structure_of(pixels: NDArray[np.uint8]) -> Floats32:
    """Return edges and texture of the small gray version of an image, (32 * 32,) of length 1; see `ImagePrint`."""
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small: Any = cv2.resize(gray, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    small = small - cv2.GaussianBlur(small, (0, 0), _BLUR_PX, borderType=cv2.BORDER_REFLECT)
    vector = np.asarray(small - small.mean(), dtype=np.float32).ravel()
    length = float(np.linalg.norm(vector))
    return np.zeros_like(vector) if length < _MIN_STRUCTURE * _SIDE_PX else vector / length


def _palest_of(pixels: NDArray[np.uint8]) -> Floats32:
    """Return the mean colour (3,) where all of red, green and blue pass: what is bare, in most images."""
    small = cv2.resize(pixels, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    passing = small.min(axis=1)
    return np.asarray(small[passing >= np.percentile(passing, 90)].mean(axis=0), dtype=np.float32)


def _near_pairs(structures: Floats32, limit: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (2, N) pairs whose correlation reaches the limit in one of the eight symmetries, and their best one.

    Turning one image is as good as turning the other back, so the half above the diagonal tells all.
    """
    count = len(structures)
    found, values = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for turned in _symmetries(structures):
        for start in range(0, count, _ROWS):
            likeness = structures[start : start + _ROWS] @ turned[start:].T
            rows, columns = np.nonzero(np.triu(likeness, 1) >= limit)
            found.append((start + rows) * count + start + columns)
            values.append(likeness[rows, columns])
    pairs, of_pair = np.unique(np.concatenate(found), return_inverse=True)
    best = np.zeros(len(pairs))
    np.maximum.at(best, of_pair, np.concatenate(values))
    return np.stack(np.divmod(pairs, count)), np.minimum(best, 1.0)


def _symmetries(structures: Floats32) -> Iterator[Floats32]:
    images = structures.reshape(-1, _SIDE_PX, _SIDE_PX)
    for turns in range(4):
        turned = np.rot90(images, turns, axes=(1, 2))
        for image in (turned, turned[:, :, ::-1]):
            yield np.ascontiguousarray(image).reshape(len(images), -1)


def _joined(links: NDArray[np.int64], likeness: NDArray[np.float64], prints: Sequence[ImagePrint]) -> list[SameImages]:
    """Join links to sets: what is like a third image is one with it."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(links.shape[1]), (links[0], links[1])), shape=(len(prints), len(prints)))
    count, names = connected_components(graph, directed=False)
    lowest = np.ones(count)
    np.minimum.at(lowest, names[links[0]], likeness)
    order = np.argsort(names, kind="stable")
    sets = np.split(order, np.cumsum(np.bincount(names))[:-1])
    return [
        SameImages(tuple(members.tolist()), len({prints[at].digest for at in members}) == 1, float(lowest[name]))
        for name, members in sorted(enumerate(sets), key=lambda named: int(named[1][0]))
        if len(members) > 1
    ]
