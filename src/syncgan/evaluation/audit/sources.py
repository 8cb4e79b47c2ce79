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
from syncgan.data.tensors import collect_images
from syncgan.errors import ConfigError, DataError
from syncgan.evaluation.audit.comparing import audit
from syncgan.evaluation.audit.inputs import same_pixels
from syncgan.evaluation.audit.result import Audit
from syncgan.evaluation.real_sources import Sources
from syncgan.evaluation.run_pairs import fitted_pairs, split_pairs
from syncgan.evaluation.runs import RunData, check_model, load_run_data
from syncgan.training.run_folder import RunFolder

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.data.pairs import TrainingPairs

__all__ = [
    "SAMPLES_PER_CLASS",
    "AuditImages",
    "Labelled",
    "RealImages",
    "audit_images",
    "folder_images",
    "holds_model",
    "real_images",
    "run_images",
]

SAMPLES_PER_CLASS: Final = 100
"""Samples of every class that are rendered of a run, unless told otherwise."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Labelled:
    """Images with the names of their classes, and their groups and names where these are known.

    Attributes
    ----------
    images : (N, 3, H, W) uint8 tensor, or a list of (H, W, 3) uint8 arrays.
    labels, groups, names : one an image.
    """

    images: Any
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class RealImages:
    """What samples are compared with.

    Attributes
    ----------
    training : images that the model was fitted on.
    held_out : others; None where there are none.
    notes : what must be said of them, a sentence each.
    data : fingerprint of what the model was fitted on, where the training images are known to be that.
    """

    training: Labelled
    held_out: Labelled | None
    notes: tuple[str, ...] = ()
    data: str | None = None


@dataclass(frozen=True)
class AuditImages:
    """What an audit compares; `model` is the digest of the model that was sampled, where that is known."""

    synthetic: Labelled
    real: RealImages
    model: str | None = None

    @property
    def images(self) -> tuple[Any, Any, Any | None]:
        """The images alone: synthetic, training, held-out."""
        held_out = self.real.held_out
        return self.synthetic.images, self.real.training.images, None if held_out is None else held_out.images


def holds_model(path: str | PathLike[str]) -> bool:
    """Tell a run folder or model from a folder of images; imports no torch."""
    path = Path(path)
    return RunFolder(path).holds_run or any((path / part / "manifest.json").is_file() for part in (".", "model"))


def run_images(
    run: str | PathLike[str],
    sources: Sources,
    *,
    per_class: int | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> AuditImages:
    """Sample a run, and read the images that it was fitted on.

    Parameters
    ----------
    run : run folder or model.
    sources : see `real_images`.
    per_class : samples of every class; None for `SAMPLES_PER_CLASS`.
    """
    model = check_model(run)
    from syncgan.augmenter import SynCGANAugmenter

    augmenter = SynCGANAugmenter.load(model, device=device)
    real = real_images(augmenter, run, sources)
    synthetic = _sampled(augmenter, per_class or SAMPLES_PER_CLASS, seed, progress)
    return AuditImages(synthetic, real, augmenter.digest())


def real_images(augmenter: SynCGANAugmenter, run: str | PathLike[str], sources: Sources) -> RealImages:
    """Read the images that a model was fitted on, and images that it has not seen.

    Parameters
    ----------
    augmenter, run : the model, and the run folder or model that it was loaded from.
    sources : of the images.

    Raises
    ------
    DataError
        The data are not what the run was fitted on, or there are no held-out images.
    """
    data = sources.data
    source = load_run_data(
        data,
        masks=sources.masks,
        groups=sources.groups,
        group_column=sources.group_column,
        exclude=sources.exclude,
        limit_per_class=sources.limit_per_class,
        levels=augmenter.config_.levels,
    )
    pairs = fitted_pairs(augmenter, source, data)
    notes: tuple[str, ...] = ()
    training = pairs  # by other held-out images, also what only chose the renderer is training data
    held: Labelled | None
    if sources.held_out is not None:
        config = augmenter.config_
        depth = getattr(source.dataset, "bit_depth", None)
        held, unread_held = _read_held_out(sources, augmenter.classes_, source.dataset.files, depth)
        notes = unread_held
        # As the training images were, so that the same image has the same pixels.
        held = dataclasses.replace(held, images=collect_images(held.images, config.image_size, config.geometry))
    else:
        training, own, notes = split_pairs(augmenter, pairs, source.groups, run)
        own, repeated = (None, 0) if own is None else _without_training_images(own, training)
        if repeated:
            notes = (*notes, f"{repeated} of them have the pixels of a training image and were left out")
        held = None if own is None else _labelled(augmenter, own, source)
    if held is None and not sources.leave_one_out:
        raise DataError(
            f"{run}: was fitted on all of {data}, so no held-out images can say how near is near; give other real "
            "images with --held-out DIR, or take the weaker yardstick with --leave-one-out"
        )
    unread = tuple(f"{name} could not be used: {reason}" for name, reason in source.skipped.items())
    return RealImages(_labelled(augmenter, training, source), held, (*notes, *unread), augmenter.fingerprint_)


def folder_images(synthetic: str | PathLike[str], sources: Sources, *, per_class: int | None = None) -> AuditImages:
    """Read synthetic images, the images that their model was fitted on, and held-out ones, from class folders.

    Parameters
    ----------
    synthetic : class folders, or what ``syncgan sample`` wrote.
    sources : of the real images.
    per_class : only the first so many samples of each class; None takes all.

    Raises
    ------
    ConfigError
        Masks among the sources.
    DataError
        No held-out images, a class that the training images do not have, or nothing that can be read.
    """
    if sources.held_out is None and not sources.leave_one_out:
        raise DataError(
            "expected held-out images for a folder of samples, got none; give real images that the model has not seen "
            "with --held-out DIR, or take the weaker yardstick with --leave-one-out"
        )
    if sources.masks is not None:
        raise ConfigError(
            "masks are of no use for a folder of samples, whose training images are read as they are; leave them out"
        )
    training, classes, unread, depth = _read(sources.data, sources, limit_per_class=sources.limit_per_class)
    folder = Path(synthetic)
    if (folder / "export.json").is_file():
        folder = folder / "images"
    samples, _, damaged, _ = _read(folder, None, limit_per_class=per_class, names=_true_names(classes))
    held, unread_held = (
        (None, ()) if sources.held_out is None else _read_held_out(sources, classes, training.names, depth)
    )
    return AuditImages(samples, RealImages(training, held, (*unread, *unread_held, *damaged)))


def audit_images(
    given: AuditImages, *, pixels_only: bool = False, seed: int = 0, progress: Progress | None = None
) -> Audit:
    """Call `audit` with the images of a run or of folders."""
    training, held = given.real.training, given.real.held_out
    found = audit(
        given.synthetic.images,
        training.images,
        None if held is None else held.images,
        synthetic_labels=given.synthetic.labels,
        training_labels=training.labels,
        held_out_labels=None if held is None else held.labels,
        training_groups=training.groups,
        held_out_groups=None if held is None else held.groups,
        held_out_names=None if held is None else held.names,
        pixels_only=pixels_only,
        seed=seed,
        progress=None if progress is None else lambda done, total: progress("distances", done, total),
    )
    return dataclasses.replace(found, notes=(*given.real.notes, *found.notes), model=given.model, data=given.real.data)


# --- a run -----------------------------------------------------------------------------------------------------------


def _labelled(augmenter: SynCGANAugmenter, pairs: TrainingPairs, source: RunData) -> Labelled:
    names = dict(zip(augmenter.label_values_, augmenter.classes_, strict=True))
    groups = source.groups
    return Labelled(
        pairs.images,
        tuple(names[label] for label in pairs.labels.tolist()),
        None if groups is None else tuple(str(groups[index]) for index in pairs.indices),
        tuple(source.dataset.files[index] for index in pairs.indices),
    )


def _without_training_images(held: TrainingPairs, training: TrainingPairs) -> tuple[TrainingPairs, int]:
    """Leave out what the data held twice, once on each side; return the rest, and the number of those."""
    same = set(same_pixels(held.images, training.images))
    return held.take([at for at in range(len(held)) if at not in same]), len(same)


def _sampled(augmenter: SynCGANAugmenter, per_class: int, seed: int, progress: Progress | None) -> Labelled:
    import torch

    parts, labels = [], []
    for done, name in enumerate(augmenter.classes_):
        if progress is not None:
            progress("samples", done * per_class, len(augmenter.classes_) * per_class)
        parts.append(torch.as_tensor(augmenter.sample(name, per_class, seed=seed).images).cpu())
        labels += [name] * per_class
    if progress is not None:
        progress("samples", len(labels), len(labels))
    return Labelled(torch.cat(parts), tuple(labels))


# --- folders ---------------------------------------------------------------------------------------------------------


def _read_held_out(
    sources: Sources, classes: Sequence[str], training: Sequence[str] | None, bit_depth: int | None
) -> tuple[Labelled, tuple[str, ...]]:
    """Read the held-out images of those classes that the training images have, and what must be said of them.

    Parameters
    ----------
    training : files of the training images: a row of the groups for one of the same name is told by its folder.
    bit_depth : with which training images of 16 bits a sample were read.
    """
    folder = Path(sources.held_out or "")
    held, found, unread, _ = _read(folder, sources, min_images=2, elsewhere=training or (), bit_depth=bit_depth)
    if not set(found) & set(classes):
        raise DataError(
            f"{folder}: expected held-out images of the classes {', '.join(map(repr, classes))}, got "
            f"{', '.join(map(repr, found))}; name the folders alike"
        )
    known = [at for at, label in enumerate(held.labels) if label in classes]
    kept = Labelled(
        [held.images[at] for at in known],
        tuple(held.labels[at] for at in known),
        None if held.groups is None else tuple(held.groups[at] for at in known),
        None if held.names is None else tuple(held.names[at] for at in known),
    )
    return kept, unread


def _read(
    folder: str | PathLike[str],
    table: Sources | None,
    *,
    limit_per_class: int | None = None,
    min_images: int = 1,
    names: dict[str, str] | None = None,
    elsewhere: Sequence[str] = (),
    bit_depth: int | None = None,
) -> tuple[Labelled, list[str], tuple[str, ...], int | None]:
    """Return images, classes, a sentence for each file that could not be read, and the depth of 16-bit samples."""
    dataset, skipped = load_class_folders(
        folder,
        exclude=() if table is None else table.exclude,
        limit_per_class=limit_per_class,
        min_classes=1,
        min_images_per_class=min_images,
        bit_depth=bit_depth,
    )
    images: list[NDArray[np.uint8]] = [dataset.image(index) for index in range(len(dataset))]
    true = [(names or {}).get(name, name) for name in dataset.classes]
    of = None
    if table is not None and table.groups is not None and table.group_column is not None:
        # Rows that name the folder are of held-out images alone, since both folders may have one name.
        name = Path(folder).resolve().name if elsewhere else ""
        of = tuple(read_groups(table.groups, table.group_column, dataset.files, folder=name, elsewhere=elsewhere))
    unread = tuple(f"{Path(folder).name}/{error.path} could not be used: {error.reason}" for error in skipped)
    labelled = Labelled(images, tuple(true[label] for label in dataset.targets), of, tuple(dataset.files))
    return labelled, true, unread, dataset.bit_depth


def _true_names(classes: Sequence[str]) -> dict[str, str]:
    """Return folder -> class, of an export."""
    return {folder: name for name, folder in safe_folder_names(classes).items()}
