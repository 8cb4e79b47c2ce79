"""Training pairs: images and semantic maps of one size, with labels, names and what was left out."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from syncgan import rng
from syncgan.data.raw import RawData
from syncgan.data.tensors import Geometry, as_sampled, collect_images, fit_mask
from syncgan.data.views import unique_names
from syncgan.errors import DataError, warn_user

__all__ = ["TrainingPairs", "collect_pairs", "require_usable", "split_by_class", "split_by_group"]

_MANY_EXCLUDED = 0.2


@dataclass(frozen=True)
class TrainingPairs:
    """What the GANs learn from.

    Attributes
    ----------
    images : (N, 3, S, S) uint8.
    maps : (N, S, S) uint8, values 0 .. L-1.
    labels : (N,) int64, the dataset's own integers.
    indices : position of each pair in the dataset.
    excluded : name -> reason, for the items that were left out.
    """

    images: Tensor
    maps: Tensor
    labels: Tensor
    indices: tuple[int, ...]
    excluded: dict[str, str]

    def __len__(self) -> int:
        return len(self.labels)

    def of_label(self, label: int) -> Tensor:
        """Return the maps of one label."""
        return self.maps[self.labels == label]

    def fingerprint(self) -> str:
        """Return a sha256 over images, maps and labels: two runs on the same pairs have the same."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.maps, self.labels):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def group_fingerprint(self, groups: Sequence[Any]) -> str:
        """Return a sha256 over which pairs share a group, and the order of the groups' names, but not the names.

        Two assignments with the same one are split alike by `split_by_group`.

        Parameters
        ----------
        groups : one an item of the dataset (not of the pairs).
        """
        numbers = np.unique([str(groups[index]) for index in self.indices], return_inverse=True)[1]
        return hashlib.sha256(numbers.astype("<i8").tobytes()).hexdigest()

    def digests(self, names: Sequence[str]) -> dict[str, str]:
        """Return item -> the first digits of a sha256 over its image, map and label; to name what has changed.

        Parameters
        ----------
        names : one an item of the dataset; a name that occurs twice is told apart by the item's number.
        """
        found: dict[str, str] = {}
        for position, index in enumerate(self.indices):
            parts = (self.images[position], self.maps[position], self.labels[position])
            digest = hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts)).hexdigest()
            name = names[index] if names[index] not in found else f"{names[index]} (item {index})"
            found[name] = digest[:12]
        return found

    def take(self, positions: Sequence[int]) -> TrainingPairs:
        """Return some of the pairs."""
        chosen = torch.tensor(list(positions), dtype=torch.int64)
        indices = tuple(self.indices[position] for position in positions)
        return TrainingPairs(self.images[chosen], self.maps[chosen], self.labels[chosen], indices, self.excluded)


def collect_pairs(
    items: Iterable[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], str | None]],
    labels: Sequence[int],
    names: Sequence[str],
    *,
    size: int,
    geometry: Geometry,
    levels: int,
    resolution: int,
    problem_of: Callable[[np.ndarray[Any, Any]], str | None],
) -> TrainingPairs:
    """Bring images and masks to S x S, one after the other, and leave out those with a problem.

    Parameters
    ----------
    items : (H, W, 3) uint8 image, (H, W) uint8 map, and why the item cannot be used, or None, as far as is known.
    labels, names : of each item.
    resolution : side at which masks are learned; maps are brought to what can be sampled from it.
    problem_of : (S, S) map -> why it cannot be used, or None.
    """
    images, maps = (
        [torch.zeros((0, 3, size, size), dtype=torch.uint8)],
        [torch.zeros((0, size, size), dtype=torch.uint8)],
    )
    problems: list[str | None] = []
    for image, mask, known in items:
        own = as_sampled(torch.from_numpy(fit_mask(mask, size, geometry)[None]), levels, resolution)
        problems.append(known or problem_of(own[0].numpy()))
        if problems[-1] is None:
            images.append(collect_images([image], size, geometry))
            maps.append(own)
    told = unique_names(names)
    kept = [index for index, problem in enumerate(problems) if problem is None]
    return TrainingPairs(
        images=torch.cat(images),
        maps=torch.cat(maps),
        labels=torch.tensor([labels[index] for index in kept], dtype=torch.int64),
        indices=tuple(kept),
        excluded={told[index]: problem for index, problem in enumerate(problems) if problem is not None},
    )


def require_usable(pairs: TrainingPairs, raw: RawData, *, remedy: Callable[[Sequence[str], int], str]) -> None:
    """Refuse a class that is left with fewer than two pairs; warn when many of its items were left out.

    Parameters
    ----------
    remedy : says what to do about a class, given why its images were left out, and how many images it has.

    Raises
    ------
    DataError
        Names the class, the counts and the first reasons.
    """
    for label, name in raw.class_names.items():
        left, of = int((pairs.labels == label).sum()), raw.counts[label]
        items = [item for item, own in zip(unique_names(raw.names), raw.labels, strict=True) if own == label]
        found = {item: pairs.excluded[item] for item in items if item in pairs.excluded}
        if left < 2:
            reasons = "; ".join(f"{item}: {reason}" for item, reason in list(found.items())[:3])
            raise DataError(
                f"class {name!r}: expected at least 2 images with a usable mask, got {left} of {of} ({reasons}); "
                f"look at the masks with `syncgan masks`; {remedy(list(found.values()), of)}"
            )
        if of - left > _MANY_EXCLUDED * of:
            warn_user(
                f"class {name!r}: {of - left} of {of} images are left out because their mask failed; "
                f"look at the masks with `syncgan masks`; {remedy(list(found.values()), of)}",
            )


def split_by_group(
    pairs: TrainingPairs, groups: Sequence[Any], *, share: float, seed: int
) -> tuple[TrainingPairs, TrainingPairs]:
    """Hold out about `share` of the pairs so that no group (patient, slide) is on both sides, classes kept in ratio.

    Parameters
    ----------
    groups : one an item of the dataset (not of the pairs).

    Raises
    ------
    DataError
        Fewer than two groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    own = np.array([str(groups[index]) for index in pairs.indices])
    distinct = len(set(own))
    if distinct < 2:
        raise DataError(f"expected at least two groups to hold some out, got {distinct}; leave groups out")
    largest = int(np.unique(pairs.labels.numpy(), return_counts=True)[1].max())
    folds = min(distinct, largest, max(2, round(1 / share)))
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=rng.seed_for(seed, "groups") % 2**32)
    with warnings.catch_warnings():
        # A class may have fewer groups than there are folds; the split is then only approximately stratified.
        warnings.simplefilter("ignore", UserWarning)
        training, held_out = next(splitter.split(own, pairs.labels.numpy(), own))
    kept, held = pairs.take(training.tolist()), pairs.take(held_out.tolist())
    if set(kept.labels.tolist()) != set(pairs.labels.tolist()):
        raise DataError("a class lies in one group alone, so it cannot be held out by group; leave groups out")
    return kept, held


def split_by_class(pairs: TrainingPairs, *, share: float, seed: int) -> tuple[TrainingPairs, TrainingPairs]:
    """Hold out `share` of the pairs of every class, at least one and never all."""
    held: set[int] = set()
    for label in sorted(set(pairs.labels.tolist())):
        members = torch.nonzero(pairs.labels == label).flatten()
        order = torch.randperm(len(members), generator=rng.torch_generator(seed, "validation", label))
        count = min(len(members) - 1, max(1, round(share * len(members))))
        held.update(members[order[:count]].tolist())
    return (
        pairs.take([position for position in range(len(pairs)) if position not in held]),
        pairs.take(sorted(held)),
    )
