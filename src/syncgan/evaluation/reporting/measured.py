"""The section on how near synthetic images are to real ones that the model has not seen."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from syncgan.errors import DataError
from syncgan.evaluation.report import FactTable, FigureEntry, Section
from syncgan.evaluation.reporting.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor

    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.data.pairs import TrainingPairs
    from syncgan.data.raw import RawData
    from syncgan.evaluation.metrics import ImageComparison, MetricRow

__all__ = ["METRICS", "Unseen", "metrics_section", "read_unseen", "require_other_groups", "unseen_of"]

METRICS = "metrics"

SAMPLES_PER_CLASS = 64
"""Samples of each class that are compared with real images."""

_TITLE = "How near to real images"
_COLUMNS, _ROWS = 6, 2

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Unseen:
    """Real images that the model was not fitted on.

    Attributes
    ----------
    images, maps : (N, 3, S, S) and (N, S, S) uint8; `maps` None where they are of another origin than the model's.
    labels : class names.
    groups : patients or slides, where known.
    notes : what must be said of them.
    of_the_fit : whether the fit held them out by itself.
    """

    images: Tensor
    maps: Tensor | None
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    of_the_fit: bool = False


def read_unseen(
    subject: Subject, folder: str | PathLike[str], groups: tuple[Any, str] | None, *, exclude: Sequence[str] = ()
) -> Unseen:
    """Read class folders of real images that the model has not seen, and find their masks.

    Parameters
    ----------
    groups : table and column of the patients or slides.
    exclude : patterns of files to leave out, see `scan_class_folders`.

    Raises
    ------
    DataError
        No image of a class of the model, fewer than 2 of one of its classes, or one that the model was fitted on.
    """
    import torch
    from torch.utils.data import Dataset, Subset

    from syncgan.data.folders import load_class_folders, read_groups
    from syncgan.data.pairs import TrainingPairs
    from syncgan.data.raw import read_dataset
    from syncgan.data.tensors import collect_images
    from syncgan.preparing import prepare

    augmenter = subject.augmenter
    depth = None if subject.source is None else getattr(subject.source.dataset, "bit_depth", None)
    dataset, skipped = load_class_folders(
        folder, exclude=exclude, min_classes=1, min_images_per_class=2, bit_depth=depth
    )
    names = [dataset.classes[label] for label in dataset.targets]
    known = [at for at, name in enumerate(names) if name in subject.labels]
    if not known:
        raise DataError(
            f"{folder}: expected images of the classes {', '.join(map(repr, augmenter.classes_))}, got "
            f"{', '.join(map(repr, dataset.classes))}; name the folders alike"
        )
    raw = read_dataset(Subset(cast("Dataset[Any]", dataset), known))
    origin = _other_origin(augmenter)
    if origin is None:
        pairs = prepare(raw, None, config=augmenter.config_, stain_classes=augmenter.stain_classes_).pairs
    else:
        config = augmenter.config_
        images = collect_images(raw.images, config.image_size, config.geometry)
        pairs = TrainingPairs(images, images[:, 0], torch.tensor(raw.labels), tuple(range(len(raw))), {})
    checked = _require_unseen(subject, pairs, raw, folder, same_masks=origin is None)
    positions = [known[index] for index in pairs.indices]
    own = None
    if groups is not None:
        # As `audit` does: rows that name the folder are of held-out images alone.
        elsewhere = () if subject.source is None else getattr(subject.source.dataset, "files", ())
        name = Path(folder).resolve().name
        own = read_groups(groups[0], groups[1], dataset.files, folder=name, elsewhere=elsewhere)
    notes = []
    if skipped:
        notes.append(f"{len(skipped)} files of the held-out images could not be used ({skipped[0]})")
    if depth is None and dataset.bit_depth is not None:
        notes.append(
            f"held-out images of 16 bits a sample were read as {dataset.bit_depth}-bit, "
            + (
                "whatever the training images were read as: give these (--data)"
                if subject.source is None
                else "the training images have 8: scale both to 8 bits alike"
            )
        )
    if pairs.excluded:
        notes.append(f"{len(pairs.excluded)} held-out images were left out because their mask failed")
    if origin is not None:
        notes.append(f"{origin}, so masks of held-out images would be of another origin: not compared")
    if not checked:
        notes.append(
            "whether the model was fitted on some of the held-out images could not be checked, because nothing tells "
            "what it was fitted on: give that with --data"
        )
    return Unseen(
        pairs.images,
        pairs.maps if origin is None else None,
        tuple(names[at] for at in positions),
        None if own is None else tuple(str(own[at]) for at in positions),
        tuple(notes),
    )


def _other_origin(augmenter: SynCGANAugmenter) -> str | None:
    """Say why the extractor of the configuration finds other masks than the model learned from; None where it does not.

    An extractor, or masks, may have been given to the fit; the model knows of these by a description alone.
    """
    from syncgan.errors import ConfigError, UnknownNameError
    from syncgan.extractor import MaskExtractor

    fitted = augmenter.extractor_description_
    if fitted["name"] == "given masks":
        return "masks were given to the fit"
    try:
        own = MaskExtractor.from_config(augmenter.config_.extractor, levels=augmenter.config_.levels).describe()
    except (ConfigError, UnknownNameError):
        own = {}
    if json.loads(json.dumps(own)) == json.loads(json.dumps(fitted)):
        return None
    return f"the fit was given an extractor of its own ({fitted['name']!r}), which the model does not hold"


def _require_unseen(subject: Subject, pairs: TrainingPairs, raw: RawData, folder: Any, *, same_masks: bool) -> bool:
    """Refuse images that the run was fitted on; return whether it is known what these are.

    By pixels where the training images are at hand. ``run.json`` has digests of images with their masks and labels: it
    tells only where masks are found as they were for the fit.
    """
    import torch

    if subject.has_pairs:
        fitted = {_pixel_digest(image) for image in subject.augmenter.pairs_.images}
        found = {
            index for index, image in zip(pairs.indices, pairs.images, strict=True) if _pixel_digest(image) in fitted
        }
    elif same_masks and subject.record.get("items"):
        fitted = set(subject.record["items"].values())
        found = set()
        for label in subject.labels.values():  # an image is the same under another class, too
            labelled = replace(pairs, labels=torch.full_like(pairs.labels, label))
            digests = labelled.digests(raw.names).values()
            found |= {index for index, own in zip(pairs.indices, digests, strict=True) if own in fitted}
    else:
        return False
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise DataError(
            f"{folder}: {raw.names[min(found)]}{more} belong to what the model was fitted on, so nothing can be "
            "measured on them; give images that it has not seen"
        )
    return True


def _pixel_digest(image: Tensor) -> str:
    return hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).hexdigest()


def require_other_groups(unseen: Unseen, fitted: Iterable[str]) -> None:
    """Refuse held-out images of patients or slides that the model was fitted on.

    Raises
    ------
    DataError
        Names the first of them.
    """
    shared = sorted(set(unseen.groups or ()) & set(fitted))
    if shared:
        more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
        raise DataError(
            f"expected held-out images of other patients or slides than the model was fitted on, both have {shared[0]}"
            f"{more}; hold whole groups out"
        )


def unseen_of(subject: Subject, pairs: TrainingPairs, groups: Sequence[Any] | None, notes: tuple[str, ...]) -> Unseen:
    """Return the pairs that a fit held out, in the same form."""
    names = {label: name for name, label in subject.labels.items()}
    return Unseen(
        pairs.images,
        pairs.maps,
        tuple(names[label] for label in pairs.labels.tolist()),
        None if groups is None else tuple(str(groups[index]) for index in pairs.indices),
        notes,
        of_the_fit=True,
    )


def metrics_section(subject: Subject, unseen: Unseen, progress: Progress | None = None) -> Section:
    """Compare samples with real images by every metric, beside what other real images get.

    Raises
    ------
    DataError
        Too few held-out images for halves.
    """
    import torch

    from syncgan.evaluation.features import available_features
    from syncgan.evaluation.metrics import compare_images

    augmenter, classes = subject.augmenter, tuple(dict.fromkeys(unseen.labels))
    images, masks = [], []
    for done, name in enumerate(classes):
        if progress is not None:
            progress("samples", done * SAMPLES_PER_CLASS, len(classes) * SAMPLES_PER_CLASS)
        found = augmenter.sample(name, SAMPLES_PER_CLASS, seed=subject.seed)
        images.append(torch.as_tensor(found.images).cpu())
        masks.append(torch.as_tensor(found.masks).cpu())
    synthetic, labels = torch.cat(images), [name for name in classes for _ in range(SAMPLES_PER_CLASS)]
    if progress is not None:
        progress("samples", len(labels), len(labels))
        progress("metrics", 0, 1)
    device = augmenter.device_ if augmenter.device_.type == "cuda" else "cpu"
    compared = compare_images(
        synthetic,
        unseen.images,
        labels=(labels, list(unseen.labels)),
        groups=unseen.groups,
        features=available_features(device),
        masks=None if unseen.maps is None else (torch.cat(masks).numpy(), unseen.maps.numpy()),
        levels=augmenter.levels_,
        seed=subject.seed,
    )
    if progress is not None:
        progress("metrics", 1, 1)
    return Section(
        METRICS,
        _TITLE,
        verdict=_verdict(compared),
        text=(_setting(unseen, compared),),
        tables=(*_image_tables(compared), *_mask_tables(compared)),
        figures=(_figure(synthetic, labels, unseen),) if subject.thumbnails else (),
        notes=(
            *unseen.notes,
            *_unseen_classes(augmenter.classes_, classes),
            "A copy of a real image is a perfect image to these metrics, and they do not tell whether samples help a "
            "classifier: see the sections on copies and on the benchmark",
        ),
    )


def _verdict(compared: ImageComparison) -> str:
    """Say in words what the rows come to, and the first row in figures."""
    counts = Counter(row.verdict for row in compared.rows)
    measured = sum(counts.values()) - counts["not measured"]
    worse = counts["worse than real"]
    other = measured - worse - counts["like real"]
    first = compared.rows[0]
    parts = f"{counts['like real']} of {measured} figures are like those of other real images, {worse} are worse"
    more = f", {other} differ otherwise" if other else ""
    return (
        f"{parts}{more}. The {first.metric} is {_figure_of(first)}; other real images of the same number have "
        f"{_baseline_of(first)}."
    )


def _setting(unseen: Unseen, compared: ImageComparison) -> str:
    counts = Counter(unseen.labels)
    named = ", ".join(f"{count} {name}" for name, count in counts.items())
    by = "" if unseen.groups is None else f" of {len(set(unseen.groups))} patients or slides"
    return (
        f"Compared with {len(unseen.labels)} real images{by} that the model was not fitted on ({named}), in "
        f"{compared.draws} random draws of {compared.size} images on each side. Each figure stands beside its real "
        "baseline: what other real images get in the place of the synthetic ones."
    )


def _image_tables(compared: ImageComparison) -> tuple[FactTable, ...]:
    """Return one table for each feature space, and one of what the metrics mean."""
    header = ("metric", "verdict", "synthetic (95 %)", "real (95 %)", "better")
    tables = [
        FactTable(
            f"Images, by {space}",
            header,
            tuple(
                (row.metric, row.verdict, _figure_of(row), _baseline_of(row), row.better)
                for row in compared.rows
                if row.features == space
            ),
            "Synthetic images, and other real images in their place, against the same real ones; 95 % over draws.",
        )
        for space in dict.fromkeys(row.features for row in compared.rows)
    ]
    meanings = tuple({row.metric: row.explanation for row in compared.rows}.items())
    return (*tables, FactTable("What the metrics mean", ("metric", "meaning"), meanings))


def _mask_tables(compared: ImageComparison) -> tuple[FactTable, ...]:
    rows = tuple(
        (str(name), row.diagnostic, row.verdict, f"{row.distance:.3g}", f"{row.real_mean:.3g}", f"{row.real_95:.3g}")
        for name, prior in compared.mask_priors.items()
        for row in prior.rows
    )
    header = ("class", "diagnostic", "verdict", "synthetic to real", "real to real, mean", "95 %")
    explanation = (
        "Distances of synthetic masks to those of the held-out images, beside distances between halves of these."
    )
    return (FactTable("Masks", header, rows, explanation),) if rows else ()


def _figure(synthetic: Tensor, labels: Sequence[str], unseen: Unseen) -> FigureEntry:
    """Draw held-out images above samples of the same classes, in turn."""
    from syncgan.evaluation.plots import draw_strips

    real = _in_turn(unseen.labels, _COLUMNS * _ROWS)
    made = _in_turn(tuple(labels), _COLUMNS * _ROWS)
    rows = []
    for caption, images, chosen in (("real, held out", unseen.images, real), ("synthetic", synthetic, made)):
        pixels = images[chosen].numpy().transpose(0, 2, 3, 1)
        rows += [
            (caption if start == 0 else "", list(pixels[start : start + _COLUMNS]))
            for start in range(0, len(pixels), _COLUMNS)
        ]
    return FigureEntry(
        section=_TITLE,
        title="Held-out images and samples",
        explanation="What was compared, classes in turn: the eye should find what the figures find.",
        png=draw_strips(rows, columns=_COLUMNS),
        file="held-out-and-synthetic.png",
        real=True,
    )


def _in_turn(labels: Sequence[str], most: int) -> list[int]:
    """Return positions of the first images of each class in turn."""
    seen: Counter[str] = Counter()
    order = []
    for at, label in enumerate(labels):
        order.append((seen[label], at))
        seen[label] += 1
    return [at for _, at in sorted(order)[:most]]


def _unseen_classes(classes: Sequence[str], compared: Sequence[str]) -> tuple[str, ...]:
    absent = [name for name in classes if name not in compared]
    if not absent:
        return ()
    return (f"there are no held-out images of {', '.join(absent)}, so nothing is said of these",)


def _figure_of(row: MetricRow) -> str:
    return f"{row.value:.3g} ({row.interval[0]:.3g} to {row.interval[1]:.3g})"


def _baseline_of(row: MetricRow) -> str:
    return f"{row.real_baseline:.3g} ({row.real_interval[0]:.3g} to {row.real_interval[1]:.3g})"
