"""Which images of a set are the same: fingerprints of decoded pixels, compared all with all.

Two images are *copies* when they decode to the same pixels, and *near copies* when their small gray versions agree in
one of the eight flips and quarter turns. A slight blur is taken off these versions before: what is left, edges and
texture, differs between any two cells, where the rough layout (one dark nucleus in the middle) does not.

Where both images lie in a flat surround, as single cells on black and round fields of view do, what is inside must
agree too: different cells share the outline of the surround.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
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
    "inside_likeness",
    "joined",
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
# A surround is flat where half of the border lies within so many gray levels of its median. It reaches inwards to half
# the contrast, and the rim, as far as the blur does. It is that of a cell or a round field of view where the rest fills
# so much of its convex hull; the background between several cells is none.
_FLAT, _FLAT_SHARE = 6.0, 0.5
_RIM_PX = 2
_SOLID = 0.9
_MIN_INSIDE = 0.05
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
    inside : the same of what a flat surround leaves; None without such a surround.
    palest : (3,) mean red, green and blue, in [0, 255], of the palest tenth of the small image; None where only copies
        are looked for, and where the image is bright on dark, so that nothing pale is bare.
    """

    height: int
    width: int
    kind: str
    digest: str
    structure: Floats32
    inside: Floats32 | None = None
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
    copies : those of them that decode to the same pixels, two or more each.
    likeness : the lowest correlation with the one that all others are like, 1 for copies.
    """

    members: tuple[int, ...]
    copies: tuple[tuple[int, ...], ...]
    likeness: float

    @property
    def exact(self) -> bool:
        """Whether all decode to the same pixels."""
        return self.copies == (self.members,)


def joined(codes: NDArray[np.int64], sets: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return (N,) codes of items, one for all whose codes hang together by sets of items that are the same.

    Parameters
    ----------
    codes : (N,) integers from 0 on; equal for items that belong together anyway.
    sets : positions of items that are the same; they may overlap.

    Examples
    --------
    >>> joined(np.array([0, 1, 2, 3]), [(0, 1), (1, 2)]).tolist()
    [0, 0, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = [(codes[first], codes[other]) for first, *others in sets for other in others]
    if not links:
        return codes
    rows, columns = np.array(links).T
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(codes.max() + 1,) * 2)
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)[codes]


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
    gray = _small_gray(pixels)
    structure = _edges_of(gray, np.ones_like(gray))
    palest = None if is_bright_on_dark(pixels) else _palest_of(pixels)
    return ImagePrint(height, width, kind, digest_of(pixels), structure, _inside_of(gray), palest)


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
    Pieces cut elsewhere from one picture are not found; they are different images that share a part. All images of a
    set are like one of them, so that a chain of pairs does not join what is not alike; an image that is like a member
    of a set but not like this one makes a set with that member.
    """
    digests, first, owners = np.unique([found.digest for found in prints], return_index=True, return_inverse=True)
    if not len(digests):
        return []
    pairs, likeness = _near_pairs([prints[at] for at in first], limit)
    files = np.split(np.argsort(owners, kind="stable"), np.cumsum(np.bincount(owners))[:-1])
    sets = _stars(pairs, likeness)
    alone = set(range(len(digests))) - {at for members, _ in sets for at in members}
    sets += [([at], 1.0) for at in alone if len(files[at]) > 1]
    found = [_same([files[at] for at in members], lowest) for members, lowest in sets]
    return sorted(found, key=lambda same: same.members)


def _same(files: Sequence[NDArray[np.int64]], likeness: float) -> SameImages:
    members = tuple(sorted(int(at) for own in files for at in own))
    return SameImages(members, tuple(tuple(own.tolist()) for own in files if len(own) > 1), likeness)


def inside_likeness(some: Floats32, others: Floats32) -> Floats32:
    """Return the correlation of (N, D) with (M, D) `ImagePrint.inside`, (N, M), each where both are inside.

    An edit may move the edge of the surround. Where they share less than half of one of them, the outlines differ, and
    nothing speaks against what the whole images say: 1. Where one has no structure inside, nothing speaks for it: 0.
    """
    masks, other_masks = (some != 0).astype(np.float32), (others != 0).astype(np.float32)
    shared = masks @ other_masks.T
    differ = 2 * shared < np.maximum(masks.sum(1)[:, None], other_masks.sum(1)[None])
    lengths = np.sqrt((some**2 @ other_masks.T) * (masks @ (others**2).T))
    likeness = np.divide(some @ others.T, lengths, out=np.zeros_like(shared), where=lengths > 0)
    return np.where(differ & (lengths > 0), np.float32(1), likeness)


def structure_of(pixels: NDArray[np.uint8]) -> Floats32:
    """Return edges and texture of the small gray version of an image, (32 * 32,) of length 1; see `ImagePrint`."""
    gray = _small_gray(pixels)
    return _edges_of(gray, np.ones_like(gray))


def _small_gray(pixels: NDArray[np.uint8]) -> Floats32:
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(gray, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


def _inside_of(gray: Floats32) -> Floats32 | None:
    """Return the structure of what a flat surround leaves of the small gray image, None where there is none."""
    border = np.ones(gray.shape, np.bool_)
    border[1:-1, 1:-1] = False
    contrast = np.abs(gray - np.median(gray[border]))
    other = contrast > _FLAT
    if np.mean(other[border]) > 1 - _FLAT_SHARE or not other.any():
        return None
    near = contrast <= max(_FLAT, float(np.median(contrast[other])) / 2)
    _, names = cv2.connectedComponents(near.astype(np.uint8), connectivity=4)
    outside = np.isin(names, np.unique(names[border & near]))
    if not _is_solid(~outside):
        return None
    rim = np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)
    inside = np.asarray(1 - cv2.dilate(outside.astype(np.uint8), rim), dtype=np.float32)
    return None if inside.mean() < _MIN_INSIDE else _edges_of(gray, inside)


def _is_solid(content: NDArray[np.bool_]) -> bool:
    """Tell whether pixels nearly fill their convex hull, as those of one cell or field of view do."""
    rows_and_columns = np.argwhere(content).astype(np.int32)
    return len(rows_and_columns) > _SOLID * cv2.contourArea(cv2.convexHull(rows_and_columns))


def _edges_of(gray: Floats32, inside: Floats32) -> Floats32:
    """Take a blur and the mean off the part where `inside` is 1; return a vector of length 1, with 0 elsewhere."""

    def blurred(image: Floats32) -> Any:
        return cv2.GaussianBlur(image, (0, 0), _BLUR_PX, borderType=cv2.BORDER_REFLECT)

    edges = (gray - blurred(gray * inside) / np.maximum(blurred(inside), 1e-6)) * inside
    vector = np.asarray(edges - inside * (edges.sum() / inside.sum()), dtype=np.float32).ravel()
    length = float(np.linalg.norm(vector))
    return np.zeros_like(vector) if length < _MIN_STRUCTURE * np.sqrt(inside.sum()) else vector / length


def _palest_of(pixels: NDArray[np.uint8]) -> Floats32:
    """Return the mean colour (3,) where all of red, green and blue pass: what is bare, in most images."""
    small = cv2.resize(pixels, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    passing = small.min(axis=1)
    return np.asarray(small[passing >= np.percentile(passing, 90)].mean(axis=0), dtype=np.float32)


def _near_pairs(prints: Sequence[ImagePrint], limit: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (2, N) pairs whose correlation reaches the limit in one of the eight symmetries, and their best one.

    Turning one image is as good as turning the other back, so the half above the diagonal tells all.
    """
    count = len(prints)
    structures = np.stack([own.structure for own in prints])
    surrounded = np.flatnonzero([own.inside is not None for own in prints])
    insides = np.stack([np.zeros_like(own.structure) if own.inside is None else own.inside for own in prints])
    found, values = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for turned, turned_inside in zip(_symmetries(structures), _symmetries(insides), strict=True):
        for start in range(0, count, _ROWS):
            likeness = structures[start : start + _ROWS] @ turned[start:].T
            inner = surrounded[surrounded >= start]
            outer = inner[inner < start + _ROWS]
            both = np.ix_(outer - start, inner - start)
            likeness[both] = np.minimum(likeness[both], inside_likeness(insides[outer], turned_inside[inner]))
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


def _stars(pairs: NDArray[np.int64], likeness: NDArray[np.float64]) -> list[tuple[list[int], float]]:
    """Gather pairs to sets, each of one that is like many and of those that are like it, with the lowest correlation.

    The ones that are like most others come first. What these leave makes a set with the one that it is most like.
    """
    like: dict[int, dict[int, float]] = {}
    for first, second, value in zip(*pairs.tolist(), likeness.tolist(), strict=True):
        like.setdefault(first, {})[second] = value
        like.setdefault(second, {})[first] = value
    taken: set[int] = set()
    sets = []
    queue = [(-len(own), at) for at, own in like.items()]
    heapify(queue)
    while queue:
        size, at = heappop(queue)
        if at in taken:
            continue
        others = [other for other in like[at] if other not in taken]
        if len(others) < -size:
            heappush(queue, (-len(others), at))
            continue
        others = others or [max(like[at], key=like[at].__getitem__)]
        taken.update((at, *others))
        sets.append(([at, *others], min(like[at][other] for other in others)))
    return sets
