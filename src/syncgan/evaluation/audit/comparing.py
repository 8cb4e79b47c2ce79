"""`audit`: compare samples with training images, by the distances of held-out images to these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from syncgan import rng
from syncgan.arrays import Floats32
from syncgan.evaluation.audit import rates
from syncgan.evaluation.audit.control import choose_copied, jittered, run_control
from syncgan.evaluation.audit.inputs import ImageSets, collect_sets, require_apart, require_unseen
from syncgan.evaluation.audit.judging import SIGNIFICANCE, Yardstick, copies_among, repeats
from syncgan.evaluation.audit.result import Audit, ClosestPair, Nearness
from syncgan.evaluation.audit.wording import HELD_OUT, LEFT_OUT, notes_on, verdict_on
from syncgan.evaluation.features import Features, default_features
from syncgan.evaluation.nearest_images import (
    STRUCTURE,
    Nearest,
    Space,
    feature_space,
    image_sets,
    nearest,
    structures,
    thumbnail_space,
)
from syncgan.evaluation.same_images import NEAR_COPY

__all__ = ["audit"]

Labels = NDArray[np.int64]
Progress = Callable[[int, int], None]

_PAIRS = 6
_FEATURE_SIDES = 64, 128


def audit(
    synthetic: Any,
    training: Any,
    held_out: Any | None,
    *,
    synthetic_labels: Sequence[Any] | None = None,
    training_labels: Sequence[Any] | None = None,
    held_out_labels: Sequence[Any] | None = None,
    training_groups: Sequence[Any] | None = None,
    held_out_groups: Sequence[Any] | None = None,
    held_out_names: Sequence[str] | None = None,
    features: Features | None = None,
    pixels_only: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Audit:
    """Tell whether synthetic images are copies of training images.

    Nearest neighbours are sought over the 8 flips and quarter turns, in thumbnails, in edges and texture (shifts and
    brightness do not matter there), and in features. Real images that were held out say how near is near.

    Parameters
    ----------
    synthetic, training, held_out : uint8 (N, 3, H, W), or lists of (H, W, 3) uint8 arrays of any size; all are brought
        to the side of the first synthetic image. `held_out` None takes the distances of training images to each other
        instead, a weaker yardstick.
    synthetic_labels, training_labels, held_out_labels : class of each image; all or none. Distances are judged within
        the class, so that its share among the samples does not matter.
    training_groups, held_out_groups : patient or slide of each image.
    held_out_names : for messages; None for numbers.
    features : None for `default_features` at a side that suits the images.
    pixels_only : leave the features out, which take most of the time.
    seed : of the control and of the bootstrap.
    progress : called with (steps done, steps).

    Raises
    ------
    DataError
        Too few images, labels or groups that do not fit, or a group or the very same image on both sides.

    Examples
    --------
    >>> import torch
    >>> images = torch.randint(0, 256, (90, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    >>> found = audit(images[:30], images[30:60], images[60:], pixels_only=True)
    >>> found.outcome, found.control.passed
    ('no copy found', True)
    >>> audit(images[30:60].flip(3), images[30:60], images[60:], pixels_only=True).outcome
    'copies'
    """
    sets = collect_sets(synthetic, training, held_out, (synthetic_labels, training_labels, held_out_labels))
    require_apart(sets, training_groups, held_out_groups)
    require_unseen(sets, held_out_names)
    spaces = [thumbnail_space(), structures()]
    if not pixels_only:
        spaces.append(feature_space(features or _suited_features(sets.synthetic)))
    copied = choose_copied(sets.synthetic_labels, sets.training_labels, seed=seed)
    control_images = jittered(sets.training[copied], seed=seed)
    same = image_sets(sets.training)
    found = {}
    for step, space in enumerate(spaces):
        if progress is not None:
            progress(step, len(spaces))
        found[space.name] = _compare(space, sets, control_images, same, seed)
    if progress is not None:
        progress(len(spaces), len(spaces))
    yard_groups = held_out_groups if sets.held_out is not None else training_groups
    if sets.held_out is None and yard_groups is not None:
        yard_groups = [yard_groups[row] for row in sets.spread_rows(seed)]
    control = run_control(
        {name: own.control for name, own in found.items()},
        sets.training_labels[copied],
        {name: own.reference for name, own in found.items()},
        {name: own.yardstick for name, own in found.items()},
        yard_groups,
        seed=seed,
    )
    nearness = tuple(_nearness(space, found[space.name], sets, yard_groups, len(spaces), seed=seed) for space in spaces)
    structural = found[STRUCTURE]
    repeated = tuple(np.flatnonzero(repeats(structural.samples, structural.yardstick)).tolist())
    yardstick = LEFT_OUT if sets.held_out is None else HELD_OUT
    outcome, verdict = verdict_on(nearness, len(repeated), control, len(sets.synthetic), yardstick)
    chance = rates.chance_of(sets.synthetic_labels, structural.yardstick.labels)
    fewest = rates.fewest_at(chance, SIGNIFICANCE / len(spaces))
    notes = notes_on(
        nearness,
        leaks=int((structural.reference.distance <= 1 - NEAR_COPY).sum()),
        fewest=fewest,
        samples=len(sets.synthetic),
        yardstick=yardstick,
        grouped=yard_groups is not None,
    )
    return Audit(
        outcome=outcome,
        verdict=verdict,
        notes=notes,
        samples=len(sets.synthetic),
        training=len(sets.training),
        held_out=0 if sets.held_out is None else len(sets.held_out),
        yardstick=yardstick,
        spaces=nearness,
        repeated=repeated,
        fewest=fewest,
        control=control,
        pairs=tuple(pair for space in spaces for pair in _pairs(space.name, found[space.name], sets)),
        originals=_originals(nearness, repeated, found),
    )


def _suited_features(images: Tensor) -> Features:
    smallest, largest = _FEATURE_SIDES
    return default_features(side=min(largest, max(smallest, images.shape[-1])))


# --- distances -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Compared:
    """Nearest training images of samples, control copies and real images in one space."""

    samples: Nearest
    control: Nearest
    reference: Nearest
    yardstick: Yardstick
    nearer: int | None


def _compare(space: Space, sets: ImageSets, control: Tensor, same: Labels, seed: int) -> _Compared:
    known, points = space.known(sets.training), space.points(sets.synthetic)
    rows = sets.spread_rows(seed)
    spread = nearest(known[0][rows], known, space.compare, same, own=same[rows])
    samples = nearest(points, known, space.compare, same)
    reference, labels, nearer = spread, sets.training_labels[rows], None
    if sets.held_out is not None:
        of_held_out = space.known(sets.held_out)
        reference = nearest(of_held_out[0], known, space.compare, same)
        labels = sets.held_out_labels
        nearer = _nearer(points, known, of_held_out, space, sets, seed)
    yardstick = Yardstick(reference.distance, reference.ratio, labels, spread.distance, sets.training_labels[rows])
    return _Compared(samples, nearest(space.points(control), known, space.compare, same), reference, yardstick, nearer)


def _nearer(points: Floats32, known: Floats32, held_out: Floats32, space: Space, sets: ImageSets, seed: int) -> int:
    """Count samples nearer to a training image than to a held-out one, of equally many of both in every class."""
    draws = rng.numpy_generator(seed, "audit", "equal")
    distances = []
    rows: tuple[list[Labels], list[Labels]] = [], []
    for label in np.unique(sets.held_out_labels):
        both = [np.flatnonzero(own == label) for own in (sets.training_labels, sets.held_out_labels)]
        count = min(map(len, both))
        for chosen, own in zip(rows, both, strict=True):
            chosen.append(draws.permutation(own)[:count])
    for turned, chosen in zip((known, held_out), rows, strict=True):
        some = turned[:, np.concatenate(chosen)]
        distances.append(nearest(points, some, space.compare, np.arange(some.shape[1])).distance)
    return int((distances[0] < distances[1]).sum())


def _nearness(
    space: Space, found: _Compared, sets: ImageSets, groups: Sequence[Any] | None, spaces: int, *, seed: int
) -> Nearness:
    labels, yardstick, count = sets.synthetic_labels, found.yardstick, len(sets.synthetic)
    distance, limits = found.samples.distance, rates.thresholds(yardstick.distance, yardstick.labels)
    near = int((distance < np.array([limits[int(label)] for label in labels])).sum())
    chance = rates.chance_of(labels, yardstick.labels)
    copies = np.flatnonzero(copies_among(found.samples, labels, yardstick))
    copies_p_value = rates.at_least(chance, len(copies))
    interval = (
        rates.share(near, count)
        if groups is None
        else rates.group_interval(
            distance, labels, yardstick.distance, yardstick.labels, groups, seed=rng.seed_for(seed, "audit", space.name)
        )
    )
    return Nearness(
        space=space.name,
        meaning=space.meaning,
        thresholds={sets.names[label]: limit for label, limit in limits.items()},
        near=near,
        rate=near / count,
        interval=interval,
        expected=float(chance @ np.arange(count + 1)) / count,
        p_value=rates.at_least(chance, near),
        mann_whitney=rates.mann_whitney(distance, labels, yardstick.distance, yardstick.labels),
        ratio=float(np.median(found.samples.ratio)),
        held_out_ratio=float(np.median(yardstick.ratio)),
        nearer=None if found.nearer is None else found.nearer / count,
        nearer_interval=None if found.nearer is None else rates.share(found.nearer, count),
        copies=tuple(copies.tolist()),
        copies_p_value=copies_p_value,
        flagged=copies_p_value <= SIGNIFICANCE / spaces,
        distances=np.sort(distance).astype(np.float64),
        held_out_distances=np.sort(yardstick.distance).astype(np.float64),
    )


def _originals(nearness: Sequence[Nearness], repeated: Sequence[int], found: Mapping[str, _Compared]) -> dict[int, int]:
    by_space = {space.space: space.copies for space in nearness if space.flagged}
    copies = {at: space for space, own in by_space.items() for at in own} | dict.fromkeys(repeated, STRUCTURE)
    return {at: int(found[space].samples.index[at]) for at, space in sorted(copies.items())}


def _pairs(space: str, found: _Compared, sets: ImageSets) -> list[ClosestPair]:
    """Return the closest pairs, by distance in units of the class's threshold."""
    limits = rates.thresholds(found.yardstick.distance, found.yardstick.labels)
    kinds = [(found.samples, sets.synthetic_labels, False)]
    if sets.held_out is not None:
        kinds.append((found.reference, sets.held_out_labels, True))
    return [
        ClosestPair(
            space=space,
            image=at,
            training=int(own.index[at]),
            turn=int(own.turn[at]),
            distance=float(own.distance[at]),
            ratio=float(own.ratio[at]),
            held_out=held_out,
        )
        for own, labels, held_out in kinds
        for at in _closest(own, np.array([limits[int(label)] for label in labels]))
    ]


def _closest(found: Nearest, limits: NDArray[Any]) -> list[int]:
    chosen: list[int] = np.argsort(found.distance / np.maximum(limits, 1e-9), kind="stable")[:_PAIRS].tolist()
    return chosen
