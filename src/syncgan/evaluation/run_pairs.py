"""The pairs that a run was fitted on, made again from its data, and the part of them that it held out."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncgan.errors import ArtefactError, DataError
from syncgan.training.run_folder import RunFolder

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.data.pairs import TrainingPairs
    from syncgan.evaluation.runs import RunData

__all__ = ["fitted_pairs", "held_out_count", "split_pairs"]


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

    pairs = prepare(
        read_dataset(source.dataset), source.masks, config=augmenter.config_, stain_classes=augmenter.stain_classes_
    ).pairs
    if pairs.fingerprint() != augmenter.fingerprint_:
        raise DataError(
            f"{data}: is not the data that this run was fitted on, or not all of it, so nothing can be said of it; "
            "give the same folder, and --masks, --exclude and --limit-per-class as for `fit`"
        )
    return pairs


def split_pairs(
    augmenter: SynCGANAugmenter, pairs: TrainingPairs, groups: Sequence[Any] | None, run: str | PathLike[str]
) -> tuple[TrainingPairs, TrainingPairs | None, tuple[str, ...]]:
    """Return training pairs and those that the fit held out to choose the renderer by, as it did it.

    Parameters
    ----------
    augmenter, pairs : a fitted one, and what it was fitted on.
    groups : of the items, which must be those of the fit.
    run : run folder or model, whose record says whether groups and validation images were given.

    Raises
    ------
    DataError
        The fit had other groups.
    """
    from syncgan.preparing import hold_out_pairs

    config, identity = augmenter.config_, _identity_of(run, augmenter.fingerprint_)
    if config.image_gan.selection == "last" or identity.get("validation") is not None:
        return pairs, None, ()
    if "groups" in identity:
        _require_groups(identity["groups"], None if groups is None else pairs.group_fingerprint(groups), run)
    training, held_out = hold_out_pairs(pairs, None, groups, config=config, seed=augmenter.seed)
    note = "held-out images are those that the fit held out to choose the renderer by"
    if "groups" not in identity:
        note += "; no run folder tells whether `fit` was given groups or validation images: give the same groups here"
    return training, held_out, () if held_out is None else (note,)


def held_out_count(
    augmenter: SynCGANAugmenter, pairs: TrainingPairs, groups: Sequence[Any] | None, run: str | PathLike[str]
) -> int | None:
    """Return how many of the pairs the fit held out to choose the renderer by; None where that cannot be told.

    Parameters
    ----------
    augmenter, pairs, groups, run : see `split_pairs`.
    """
    from torch import nn

    if augmenter.config_.image_gan.selection == "last" or not isinstance(augmenter.image_gan_.generator_, nn.Module):
        return 0
    if "validation" not in _identity_of(run, augmenter.fingerprint_):
        return None  # a validation set may have been given
    try:
        _, held_out, _ = split_pairs(augmenter, pairs, groups, run)
    except DataError:
        return None  # other groups than the fit had
    return 0 if held_out is None else len(held_out)


def _identity_of(run: str | PathLike[str], fingerprint: str) -> dict[str, Any]:
    """Return what the run folder of a model tells of its fit; nothing where there is none."""
    path = Path(run)
    for folder in (path, path.parent):
        try:
            identity = RunFolder(folder).identity
        except ArtefactError:
            if folder == path:
                raise
            identity = {}  # above a saved model may lie anything
        if identity.get("data") == fingerprint:
            return identity
    return {}


def _require_groups(fitted: str | None, given: str | None, run: str | PathLike[str]) -> None:
    """Refuse other groups than the fit held out by: what it held out could not be told then."""
    if fitted == given:
        return
    if fitted is None:
        what, remedy = "without groups", "leave --groups out"
    else:
        what = "with groups" if given is None else "with other groups"
        remedy = "give --groups and --group-column as for `fit`"
    raise DataError(
        f"{run}: was fitted {what}, so what it held out is not what these options tell; {remedy}, or give other real "
        "images with --held-out DIR"
    )
