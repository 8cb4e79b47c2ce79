"""Mask generator ``mosaic``: parts of several real masks of a class, put together to an arrangement that none has.

The image is divided at random; each part takes the nuclei and the stained objects that have their centres there from
another mask, whole, so that nothing is cut but what is larger than a cell. Every nucleus is turned by any angle, with
what of its cell lies around it; one that the border cuts goes on beyond it as its own mirror image. In images of single
cells, the cell comes from one mask and what is around from others. In images that are about what lies in their middle,
that comes from one mask too, and is put there first: it is what has the label.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syncgan.data.mask_priors.regions import (
    Map,
    Nucleus,
    clear_share,
    dihedral,
    fits,
    nuclei_of,
    objects_of,
    place_behind,
    place_spread,
)
from syncgan.data.mask_priors.stored import StoredMasks, warped

__all__ = ["MosaicMasks"]

_FEWEST_PARTS, _MOST_PARTS = 3, 8  # where nuclei lie in one place, and where they lie everywhere
_EVERYWHERE = 1 / np.sqrt(12)  # the spread of nuclei that lie everywhere, in sides of the image
_ROUGHNESS, _ROUGHNESS_CELLS = 0.06, 5  # of the lines between parts, in sides of the image; nodes of the grid
_WHOLE_AREA = 0.15  # stained objects up to this share of the image are not cut
_OVERLAP = 0.1  # share of an object that may lie on objects of other masks
_JOINED = 0.03  # in sides of the image: half of the gap within which lobes are of one nucleus
_BODY = 1.0  # in radii of a nucleus: how far what surrounds it goes with it
_IN_THE_MIDDLE = 0.5 * _EVERYWHERE  # less spread are nuclei of single cells, one in the middle of each image
_CORE, _FILLED, _RICHER = 0.06, 0.6, 2.0  # radius in sides; share that is nucleus there; and times that of the image
_MIDDLE = 0.25  # radius in sides of what is taken from one mask where images are about their middle
_TRIES = 8
_LEAST_SEEN, _MOST_SEEN = 0.5, 1.5  # share of what was seen of a nucleus that the border cuts
_STEP = 0.1  # standard deviation of a move, as a share of the spread of the nuclei over the image
_SCALE, _STRETCH = 0.05, 0.05  # standard deviations of the logarithms


class MosaicMasks(StoredMasks):
    """Put together parts of several real masks of the class.

    The image is divided into parts with rough borders: three where images were cut out around a nucleus, elsewhere the
    more the farther nuclei lie apart, up to eight. Each takes from another mask, which is turned or flipped first, the
    nuclei and the stained objects whose centres lie in it; objects that touch are parted before. Nuclei are turned by
    any angle together with what of their object lies within a radius around them, made a little smaller or larger or
    longer, and moved, never onto another nucleus; lobes of one nucleus stay together. Those that the border cuts are
    completed by their mirror images before, and cut again; where there is no room these go on behind others, and the
    rest is left out. Then the whole map is warped as by `WarpedMasks`.

    Where the nuclei of the set lie in the middle, parts would give an image no cell or two. There the nuclei come from
    one mask, the parts from others, and nothing is warped: maps of many levels lose by it what is one pixel wide, and
    classifiers feel that. Where nuclei lie everywhere but every image was cut out around one, the first part is the
    middle, and the nucleus that covers it, which the label is of, is put there before all others. In such sets, nuclei
    that lie near each other are moved one by one: in a dense smear most are near others.

    Neither the arrangement of a training mask nor the outline of one of its nuclei as it lies there is repeated, but it
    stores and saves the real masks: a model with this generator gives away the masks (not the pixels) of its
    training set.

    Parameters
    ----------
    levels, nuclear_levels : number of levels, of which the last so many are nucleus.
    """

    address = "mosaic"

    def _draw(self, members: NDArray[np.int64], spread: float, generator: np.random.Generator) -> Map:
        order = generator.permutation(members).tolist()
        sources = self._sources(order, spread)
        parts = _parts(self._masks.shape[-1], len(sources), generator, middle=self._is_about_the_middle)
        symmetries = generator.integers(8, size=len(sources)).tolist()
        drawn = self._surroundings(sources, symmetries, parts)
        if self._shows_single_cells:
            return self._put_all(drawn, self._cells(order[0], int(generator.integers(8))), spread, generator)
        subject = self._subject_of(sources[0]) if self._is_about_the_middle else None
        if subject is not None:
            carried = _carried(subject, symmetries[0], len(drawn))
            turned = _turned_about_the_middle(carried, len(drawn), spread, generator)
            drawn = place_behind(drawn, turned, self._levels)
        cells = self._cells_by_part(sources, symmetries, parts, but=subject)
        return warped(self._put_all(drawn, cells, spread, generator), spread, generator)

    def _sources(self, order: list[int], spread: float) -> list[int]:
        """Return the masks that the parts are of; in images of single cells, the first one gives the cell alone."""
        if self._is_about_the_middle:
            return self._first_with_subject(order, _FEWEST_PARTS)
        wanted = round(_FEWEST_PARTS + (_MOST_PARTS - _FEWEST_PARTS) * min(1.0, spread / _EVERYWHERE))
        around = order[1:] if self._shows_single_cells else order
        return around[:wanted] or order

    @functools.cached_property
    def _shows_single_cells(self) -> bool:
        """Whether images are of single cells; the same for all classes, so that it tells none."""
        return bool(place_spread(self._masks, self._levels) < _IN_THE_MIDDLE)

    @functools.cached_property
    def _is_about_the_middle(self) -> bool:
        """Whether images of many cells were cut out around a nucleus; the same for all classes."""
        if self._shows_single_cells:
            return False
        nuclear = self._masks >= self._levels - 1
        core = float(nuclear[:, _from_middle(nuclear.shape[-1]) <= _CORE * nuclear.shape[-1]].mean())
        return core >= max(_FILLED, _RICHER * float(nuclear.mean()))

    def _surroundings(self, sources: list[int], symmetries: list[int], parts: NDArray[np.int64]) -> Map:
        """Return a patchwork of masks without their nuclei."""
        empty = self._empty
        drawn = np.full(parts.shape, empty, np.uint8)
        for number, (source, symmetry) in enumerate(zip(sources, symmetries, strict=True)):
            bare, objects = (dihedral(of, symmetry) for of in (self._without_nuclei(source), self._objects_of(source)))
            taken = _taken(objects, parts == number, drawn > empty)
            drawn = np.where(taken, bare, drawn)
        return drawn

    def _cells(self, source: int, symmetry: int, *, but: Nucleus | None = None) -> list[Nucleus]:
        """Return the nuclei of a mask, or all but one, with what goes with them, where they lie once it is turned."""
        nuclei = [nucleus for nucleus in self._whole_nuclei_of(source) if nucleus is not but]
        return [_carried(nucleus, symmetry, self._masks.shape[-1]) for nucleus in nuclei]

    def _cells_by_part(
        self, sources: list[int], symmetries: list[int], parts: NDArray[np.int64], *, but: Nucleus | None
    ) -> list[Nucleus]:
        """Return of each mask the nuclei in its part, but one that is there already."""
        cells = [
            (cell, number)
            for number, (source, symmetry) in enumerate(zip(sources, symmetries, strict=True))
            for cell in self._cells(source, symmetry, but=but)
        ]
        # Where each mask has its nuclei in another's part there would be none.
        centres = [cell.seen(len(parts)).mean(axis=0) for cell, _ in cells]
        lying = [cell for (cell, number), at in zip(cells, centres, strict=True) if _lies_in(at, parts == number)]
        return lying if lying or but is not None else [cell for cell, _ in cells[:1]]

    def _whole_nuclei_of(self, mask: int) -> list[Nucleus]:
        """Return the nuclei of a mask, of which those that the border cuts go on beyond it, mirrored by it."""
        if mask not in self._whole:
            cut, side = self._nuclei_of(mask), self._masks.shape[-1]
            whole = [nucleus for nucleus in cut if nucleus.inside]
            if len(whole) < len(cut):
                whole += _completed(self._cut(np.pad(self._masks[mask], side, mode="symmetric")), whole, side)
            self._whole.setdefault(mask, whole)  # threads must agree on the nuclei, which are told apart by identity
        return self._whole[mask]

    def _first_with_subject(self, order: list[int], wanted: int) -> list[int]:
        """Return the first masks that have a nucleus in the middle, and others where there are not enough of them."""
        having = list(itertools.islice((mask for mask in order if self._subject_of(mask) is not None), wanted))
        others = (mask for mask in order if mask not in having)
        return [*having, *itertools.islice(others, wanted - len(having))]

    def _subject_of(self, mask: int) -> Nucleus | None:
        """Return the nucleus of a mask that covers more of the middle than others do, None where none reaches it."""
        if mask not in self._subjects:
            side = self._masks.shape[-1]
            core = _from_middle(side) <= _CORE * side
            nuclei = self._whole_nuclei_of(mask)
            covered = [np.count_nonzero(core[tuple(nucleus.seen(side).T)]) for nucleus in nuclei]
            self._subjects[mask] = nuclei[int(np.argmax(covered))] if any(covered) else None
        return self._subjects[mask]

    def _objects_of(self, mask: int) -> NDArray[np.int32]:
        """Return the numbers of the objects of a mask without its nuclei."""
        if mask not in self._objects:
            self._objects[mask] = objects_of(self._without_nuclei(mask) > self._empty)
        return self._objects[mask]

    def _cut(self, levels_map: Map) -> list[Nucleus]:
        joined, side = 0.0 if self._is_about_the_middle else _JOINED, self._masks.shape[-1]
        objects = objects_of(levels_map > self._empty, side=side)
        return nuclei_of(levels_map, self._levels, joined=joined, rim=_BODY, objects=objects, side=side)

    def _put_all(self, drawn: Map, cells: list[Nucleus], spread: float, generator: np.random.Generator) -> Map:
        """Return the map with nuclei near their places, those that need most room first."""
        for cell in sorted(cells, key=lambda one: len(one.seen(len(drawn))), reverse=True):
            drawn = self._put(drawn, cell, spread, generator)
        return drawn

    def _put(self, drawn: Map, nucleus: Nucleus, spread: float, generator: np.random.Generator) -> Map:
        """Return the map with a nucleus near its place, reshaped; as it is, or without it, when there is no room.

        One that goes on beyond the border may go on behind others as well, as long as half of it is seen.
        """
        for _ in range(_TRIES):
            rows, columns = np.rint(generator.normal(0, _STEP * spread * len(drawn), 2)).astype(int)
            moved = nucleus.reshaped(_linear_map(generator)).moved(int(rows), int(columns))
            if _shows_enough(moved, nucleus, len(drawn)) and fits(drawn, moved, self._levels):
                return place_behind(drawn, moved, self._levels)
        if nucleus.inside:
            as_it_is = fits(drawn, nucleus, self._levels)
        else:
            as_it_is = clear_share(drawn, nucleus, self._levels) >= _LEAST_SEEN
        return place_behind(drawn, nucleus, self._levels) if as_it_is else drawn


def _turned_about_the_middle(nucleus: Nucleus, side: int, spread: float, generator: np.random.Generator) -> Nucleus:
    """Return a nucleus reshaped, and turned about the middle of its map rather than its own."""
    matrix = _linear_map(generator)
    offset = (nucleus.centre - (side - 1) / 2)[::-1]
    columns, rows = np.rint(matrix @ offset - offset + generator.normal(0, _STEP * spread * side, 2)).astype(int)
    return nucleus.reshaped(matrix).moved(int(rows), int(columns))


def _completed(nuclei: list[Nucleus], known: list[Nucleus], side: int) -> list[Nucleus]:
    """Return those nuclei of a map, mirrored on all sides, that the border of the unmirrored one cuts."""
    inside = np.zeros((side, side), bool)
    for nucleus in known:
        rows, columns = nucleus.seen(side).T
        inside[rows, columns] = True
    completed = []
    for nucleus in nuclei:
        shifted = replace(nucleus.moved(-side, -side), inside=False)
        rows, columns = shifted.seen(side).T
        if not inside[rows, columns].all():
            completed.append(shifted)
    return completed


def _shows_enough(moved: Nucleus, before: Nucleus, side: int) -> bool:
    """Whether about as much of a nucleus is seen as before; one that lies inside has to fit anyway."""
    share = len(moved.seen(side)) / len(before.seen(side))
    return before.inside or _LEAST_SEEN <= share <= _MOST_SEEN


def _parts(side: int, count: int, generator: np.random.Generator, *, middle: bool) -> NDArray[np.int64]:
    """Divide the image: each pixel belongs to the nearest of some random points, by distances that wander a little.

    With `middle`, all within a radius around it, which wanders as well, is part 0.
    """
    points = generator.uniform(0, side, (count, 2))
    rows, columns = np.mgrid[:side, :side]
    distances = [np.hypot(rows - row, columns - column) + _rough(side, generator) for row, column in points]
    if middle:
        distances[0] = np.where(_from_middle(side) + _rough(side, generator) < _MIDDLE * side, -np.inf, np.inf)
    return np.asarray(np.argmin(distances, axis=0))


def _rough(side: int, generator: np.random.Generator) -> NDArray[np.float64]:
    nodes = generator.normal(0, _ROUGHNESS * side, (_ROUGHNESS_CELLS, _ROUGHNESS_CELLS))
    return np.asarray(cv2.resize(nodes, (side, side), interpolation=cv2.INTER_CUBIC))


def _from_middle(side: int) -> NDArray[np.float64]:
    """Return each pixel's distance (side, side) from the middle of the image in pixels."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    return np.asarray(np.hypot(rows, columns))


def _taken(objects: NDArray[np.int32], part: NDArray[np.bool_], occupied: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what a part takes of a map: objects by their centre where there is room, larger ones as far as it reaches.

    Objects of two masks that overlap would be one of a shape that neither has.
    """
    kept = part & ~occupied
    for number, box in enumerate(ndimage.find_objects(objects), start=1):
        own = objects[box] == number
        area = np.count_nonzero(own)
        if area <= _WHOLE_AREA * part.size:
            centre = np.argwhere(own).mean(axis=0) + np.array([box[0].start, box[1].start])
            room = np.count_nonzero(own & occupied[box]) <= _OVERLAP * area
            kept[box][own] = room and _lies_in(centre, part)
    return kept


def _lies_in(centre: NDArray[np.float64], part: NDArray[np.bool_]) -> bool:
    last = len(part) - 1
    return bool(part[min(max(round(centre[0]), 0), last), min(max(round(centre[1]), 0), last)])


def _carried(nucleus: Nucleus, symmetry: int, side: int) -> Nucleus:
    """Return a nucleus where it lies after its square map of `side` was turned or flipped."""
    levels, own, reach = (dihedral(p, symmetry) for p in (nucleus.levels, nucleus.nucleus, nucleus.reach))
    height, width = nucleus.nucleus.shape
    top, left = nucleus.top, nucleus.left
    for _ in range(symmetry % 4):  # what np.rot90 does to a corner
        top, left, height, width = side - left - width, top, width, height
    if symmetry >= 4:
        top = side - top - height
    return Nucleus(levels, own, reach, top, left, nucleus.inside)


def _linear_map(generator: np.random.Generator) -> NDArray[np.float64]:
    angle = generator.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale, stretch = generator.normal(0, _SCALE), generator.normal(0, _STRETCH)
    return np.asarray(turn @ np.diag(np.exp([scale + stretch, scale - stretch])))
