"""Where the images of an audit come from: a run that is sampled and the data that it was fitted on, or folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from syncgan.data.folders import load_class_folders, read_groups
from syncgan.data.safe_names import safe_folder_names
from syncgan.errors import DataError
from syncgan.evaluation.audit.comparing import audit
from syncgan.evaluation.audit.result import Audit
from syncgan.evaluation.run_pairs import fitted_pairs, split_pairs
from syncgan.evaluation.runs import check_model, load_run_data
from syncgan.training.run_folder import RunFolder

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.data.pairs import TrainingPairs

__all__ = [
    "SAMPLES_PER_CLASS",
    "AuditImages",
    "Groups",
    "Labelled",
    "audit_images",
    "folder_images",
    "holds_model",
    "run_images",
]

SAMPLES_PER_CLASS: Final = 100
"""Samples of every class that are rendered of a run, unless told otherwise."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Labelled:
    """Images with the names of their classes, and their groups where these are known."""

    images: Any
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True)
class AuditImages:
    """What an audit compares; `held_out` None where there is nothing, `notes` in a sentence each."""

    synthetic: Labelled
    training: Labelled
    held_out: Labelled | None
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[Any, Any, Any | None]:
        """The images alone."""
        return self.synthetic.images, self.training.images, None if self.held_out is None else self.held_out.images


@dataclass(frozen=True)
class Groups:
    """A table of groups with the name of its column."""

    table: Path
    column: str


def holds_model(path: str | PathLike[str]) -> bool:
    """Tell a run folder or model from a folder of images; imports no torch."""
    path = Path(path)
    return RunFolder(path).holds_run or any((path / part / "manifest.json").is_file() for part in (".", "model"))


def run_images(
    run: str | PathLike[str],
    data: str | PathLike[str],
    *,
    held_out: str | PathLike[str] | None = None,
    groups: Groups | None = None,
    masks: str | PathLike[str] | None = None,
    limit_per_class: int | None = None,
    leave_one_out: bool = False,
    per_class: int | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> AuditImages:
    """Sample a run, and read the images that it was fitted on.

    Parameters
    ----------
    run, data : run folder or model, and the class folders that it was fitted on.
    held_out : class folders of real images that it has not seen. None takes the share of `data` that the fit held out
        to choose the renderer by, where it did.
    groups : of `data`, and of `held_out`.
    masks, limit_per_class : as they were given to ``fit``.
    leave_one_out : do without held-out images.
    per_class : samples of every class; None for `SAMPLES_PER_CLASS`.

    Raises
    ------
    DataError
        `data` is not what the run was fitted on, or there are no held-out images.
    """
    model = check_model(run)
    from syncgan.augmenter import SynCGANAugmenter

    augmenter = SynCGANAugmenter.load(model, device=device)
    source = load_run_data(
        data,
        masks=masks,
        groups=None if groups is None else groups.table,
        group_column=None if groups is None else groups.column,
        limit_per_class=limit_per_class,
        levels=augmenter.config_.levels,
    )
    pairs = fitted_pairs(augmenter, source, data)
    training, own, notes = split_pairs(augmenter, pairs, source.groups)
    if held_out is not None:
        held: Labelled | None = _read_folder(held_out, augmenter.classes_, groups, min_images=2)
        training, notes = pairs, ()  # also what only chose the renderer
    elif own is not None:
        held = _labelled(augmenter, own, source.groups)
    elif leave_one_out:
        held = None
    else:
        raise DataError(
            f"{run}: was fitted on all of {data}, so no held-out images can say how near is near; give other real "
            "images with --held-out DIR, or take the weaker yardstick with --leave-one-out"
        )
    return AuditImages(
        synthetic=_sampled(augmenter, per_class or SAMPLES_PER_CLASS, seed, progress),
        training=_labelled(augmenter, training, source.groups),
        held_out=held,
        notes=(*notes, *(f"{name} could not be read" for name in source.skipped)),
    )


def folder_images(
    synthetic: str | PathLike[str],
    data: str | PathLike[str],
    *,
    held_out: str | PathLike[str] | None,
    groups: Groups | None = None,
    limit_per_class: int | None = None,
    leave_one_out: bool = False,
    per_class: int | None = None,
) -> AuditImages:
    """Read synthetic images, the images that their model was fitted on, and held-out ones, from class folders.

    Parameters
    ----------
    synthetic : class folders, or what ``syncgan sample`` wrote.
    per_class : only the first so many samples of each class; None takes all.

    Raises
    ------
    DataError
        No held-out images, a class that the training images do not have, or nothing that can be read.
    """
    if held_out is None and not leave_one_out:
        raise DataError(
            "expected held-out images for a folder of samples, got none; give real images that the model has not seen "
            "with --held-out DIR, or take the weaker yardstick with --leave-one-out"
        )
    training, classes = _read(data, groups, limit_per_class=limit_per_class)
    folder = Path(synthetic)
    if (folder / "export.json").is_file():
        folder = folder / "images"
    samples, _ = _read(folder, None, limit_per_class=per_class, names=_true_names(classes))
    held = None if held_out is None else _read_folder(held_out, classes, groups, min_images=2)
    return AuditImages(samples, training, held)


def audit_images(
    given: AuditImages, *, pixels_only: bool = False, seed: int = 0, progress: Progress | None = None
) -> Audit:
    """Call `audit` with the images of a run or of folders."""
    held = given.held_out
    found = audit(
        given.synthetic.images,
        given.training.images,
        None if held is None else held.images,
        synthetic_labels=given.synthetic.labels,
        training_labels=given.training.labels,
        held_out_labels=None if held is None else held.labels,
        training_groups=given.training.groups,
        held_out_groups=None if held is None else held.groups,
        pixels_only=pixels_only,
        seed=seed,
        progress=None if progress is None else lambda done, total: progress("distances", done, total),
    )
    return dataclasses.replace(found, notes=(*given.notes, *found.notes))


# --- a run -----------------------------------------------------------------------------------------------------------


def _labelled(augmenter: SynCGANAugmenter, pairs: TrainingPairs, groups: Sequence[Any] | None) -> Labelled:
    names = dict(zip(augmenter.label_values_, augmenter.classes_, strict=True))
    return Labelled(
        pairs.images,
        tuple(names[label] for label in pairs.labels.tolist()),
        None if groups is None else tuple(str(groups[index]) for index in pairs.indices),
    )


def _sampled(augmenter: SynCGANAugmenter, per_class: int, seed: int, progress: Progress | None) -> Labelled:
    import torch

    parts, labels = [], []
    for done, name in enumerate(augmenter.classes_):
        if progress is not None:
            progress("samples", done * per_class, len(augmenter.classes_) * per_class)
        parts.append(torch.as_tensor(augmenter.sample(name, per_class, seed=seed).images).cpu())
        labels += [name] * per_class
    return Labelled(torch.cat(parts), tuple(labels))


# --- folders ---------------------------------------------------------------------------------------------------------


def _read_folder(
    folder: str | PathLike[str], classes: Sequence[str], groups: Groups | None, *, min_images: int
) -> Labelled:
    """Read the held-out images of those classes that the training images have."""
    held, found = _read(folder, groups, min_images=min_images)
    if not set(found) & set(classes):
        raise DataError(
            f"{folder}: expected held-out images of the classes {', '.join(map(repr, classes))}, got "
            f"{', '.join(map(repr, found))}; name the folders alike"
        )
    known = [at for at, label in enumerate(held.labels) if label in classes]
    return Labelled(
        [held.images[at] for at in known],
        tuple(held.labels[at] for at in known),
        None if held.groups is None else tuple(held.groups[at] for at in known),
    )


def _read(
    folder: str | PathLike[str],
    groups: Groups | None,
    *,
    limit_per_class: int | None = None,
    min_images: int = 1,
    names: dict[str, str] | None = None,
) -> tuple[Labelled, list[str]]:
    dataset, _ = load_class_folders(
        folder, limit_per_class=limit_per_class, min_classes=1, min_images_per_class=min_images
    )
    images: list[NDArray[np.uint8]] = [dataset.image(index) for index in range(len(dataset))]
    true = [(names or {}).get(name, name) for name in dataset.classes]
    of = None if groups is None else tuple(read_groups(groups.table, groups.column, dataset.files))
    return Labelled(images, tuple(true[label] for label in dataset.targets), of), true


def _true_names(classes: Sequence[str]) -> dict[str, str]:
    """Return folder -> class, of an export."""
    return {folder: name for name, folder in safe_folder_names(classes).items()}
