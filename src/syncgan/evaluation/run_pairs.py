"""The pairs that a run was fitted on, made again from its data, and the part of them that it held out."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from syncgan.errors import DataError

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.data.pairs import TrainingPairs
    from syncgan.evaluation.runs import RunData

__all__ = ["fitted_pairs", "split_pairs"]


def fitted_pairs(augmenter: SynCGANAugmenter, source: RunData, data: str | PathLike[str]) -> TrainingPairs:
    """Return the pairs that a run was fitted on, and refuse others.

    The run keeps a fingerprint of images with their maps, so the masks are extracted again.

    Raises
    ------
    DataError
        `source`, which was read from the folder `data`, gives other pairs.
    """
    from syncgan.data.raw import read_dataset
    from syncgan.preparing import prepare

    pairs = prepare(read_dataset(source.dataset), source.masks, config=augmenter.config_).pairs
    if pairs.fingerprint() != augmenter.fingerprint_:
        raise DataError(
            f"{data}: is not the data that this run was fitted on, or not all of it, so nothing can be said of it; "
            "give the same folder, and --masks and --limit-per-class as for `fit`"
        )
    return pairs


def split_pairs(
    augmenter: SynCGANAugmenter, pairs: TrainingPairs, groups: Sequence[Any] | None
) -> tuple[TrainingPairs, TrainingPairs | None, tuple[str, ...]]:
    """Return training pairs and those that the fit held out to choose the renderer by, as it did it."""
    from syncgan.preparing import hold_out_pairs

    config = augmenter.config_
    if config.image_gan.selection == "last":
        return pairs, None, ()
    training, held_out = hold_out_pairs(pairs, None, groups, config=config, seed=augmenter.seed)
    note = (
        "held-out images are those that the fit held out to choose the renderer by"
        f"{'' if groups is not None else '; if `fit` was given groups, give the same ones here'}"
    )
    return training, held_out, () if held_out is None else (note,)
