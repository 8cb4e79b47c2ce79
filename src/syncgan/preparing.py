"""From images to training pairs: masks are extracted or checked, what failed is left out, and a share is held out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from syncgan.arrays import Pixels
from syncgan.config import SynCGANConfig
from syncgan.data.image_pairs import require_held_out
from syncgan.data.pairs import TrainingPairs, collect_pairs, require_usable, split_by_class, split_by_group
from syncgan.data.raw import RawData
from syncgan.data.tensors import check_mask, unify_masks
from syncgan.errors import ConfigError, DataError, warn_user
from syncgan.extractor import MaskExtractor, Masks
from syncgan.image_cgan import MaskToImageCGAN, without_selection
from syncgan.mask_gan import MaskGAN
from syncgan.segmentation.diagnosis import MaskDiagnoses, MaskDiagnosis, diagnose_mask, mask_problem, remedy_for
from syncgan.segmentation.levels import stain_levels
from syncgan.segmentation.parallel import can_be_sent, pays_for_processes
from syncgan.segmentation.stain_classes import StainClasses

__all__ = ["Prepared", "divide_nuclei", "hold_out_pairs", "log_what_limits", "prepare"]

_Item: TypeAlias = tuple[Pixels, NDArray[Any], str | None]

_log = logging.getLogger(__name__)

_FEW_IMAGES = 5
_MUCH_LARGER = 2.0
_STAINED = 3  # levels of a map that says what is stained; its classes divide that further


@dataclass(frozen=True)
class Prepared:
    """What the models learn from.

    Attributes
    ----------
    pairs : usable pairs of image and map.
    levels : L of the maps, which a segmenter, given masks or stain classes may decide.
    extracted_levels : of the maps before stain classes divided them.
    description : of the extractor, JSON-compatible.
    stain_classes : that divide what is not nucleus, None where maps are as they were extracted. Those inside of nuclei
        are not in the maps, see `divide_nuclei`.
    """

    pairs: TrainingPairs
    levels: int
    extracted_levels: int
    description: dict[str, Any]
    stain_classes: StainClasses | None = None


def prepare(
    raw: RawData,
    masks: Sequence[Any] | None,
    *,
    config: SynCGANConfig,
    extractor: MaskExtractor | Callable[..., Any] | str | None = None,
    stain_classes: StainClasses | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Make the training pairs of a dataset.

    Parameters
    ----------
    raw : images and labels.
    masks : one (H, W) mask an item; None extracts them.
    config, extractor : see `SynCGANAugmenter`.
    stain_classes : those of a set that was prepared before; None finds the set's own, where the configuration asks for
        them.
    progress : called with (images segmented, images).

    Raises
    ------
    DataError
        Masks that do not fit their images, or too few images whose mask can be used.
    """
    rows: list[MaskDiagnosis] = []
    if masks is None:
        chosen = _extractor(extractor, config)
        levels, description, derived = chosen.levels, chosen.describe(), not chosen.declares_levels
        _require_levels(config, levels, str(description["name"]))
        is_shared = pays_for_processes(len(raw)) and can_be_sent(chosen.recipe)
        shown = _Shown(raw.images)
        maps = chosen.extract_lazily(shown, n_jobs=-1 if is_shared else None, progress=progress)
        found = _diagnosed(raw, shown, maps, levels, rows)
        items = found if config.extractor.exclude_failed else ((image, mask, None) for image, mask, _ in found)
    else:
        given, levels, derived = _given_masks(raw, masks, config.levels)
        items = _with_levels(raw, given, levels if derived else None)
        description = {"name": "given masks"}
    pairs = collect_pairs(
        items,
        raw.labels,
        raw.names,
        size=config.image_size,
        geometry=config.geometry,
        levels=levels,
        resolution=config.mask_resolution,
        # A small nucleus may be lost when its image shrinks.
        problem_of=lambda mask: mask_problem(mask, levels) if config.extractor.exclude_failed else None,
    )
    MaskDiagnoses.of(rows).warn_of_doubts()
    require_usable(pairs, raw, remedy=remedy_for)
    if not derived or levels != _STAINED:
        return Prepared(pairs, levels, levels, description)
    if stain_classes is None:
        if not config.stain_classes:
            return Prepared(pairs, levels, levels, description)
        nuclear = config.nuclear_classes if MaskGAN(config).knows_nuclear_levels() else 1
        stain_classes = StainClasses.fit(*_images_and_nuclei(pairs, levels), config.stain_classes, nuclear)
    divided = list(map(stain_classes.levels_of, *_images_and_nuclei(pairs, levels)))
    pairs = replace(pairs, maps=torch.from_numpy(np.stack(divided)))
    return Prepared(pairs, stain_classes.levels, levels, description, stain_classes)


def log_what_limits(raw: RawData, pairs: TrainingPairs, config: SynCGANConfig) -> None:
    """Log where the images can teach little: classes of very few, and images that are enlarged much."""
    counts = {name: int((pairs.labels == label).sum()) for label, name in raw.class_names.items()}
    if few := [f"{name!r} has {count}" for name, count in counts.items() if count < _FEW_IMAGES]:
        _log.warning(
            "expected at least %d usable images in every class, got fewer: %s; what is made of so few hardly differs "
            "from them: add images, or leave the class out",
            _FEW_IMAGES,
            ", ".join(few),
        )
    side = float(np.median(np.sqrt(np.prod(raw.images.sizes, axis=1))))
    if config.image_size > _MUCH_LARGER * side:
        _log.warning(
            "the median image (%.0f px) is enlarged %.1f-fold to image_size %d, which adds no detail; %s",
            side,
            config.image_size / side,
            config.image_size,
            config.advice_for(side),
        )


def divide_nuclei(pairs: TrainingPairs, stain_classes: StainClasses | None) -> TrainingPairs:
    """Return pairs with the maps that the models learn from: nuclei are divided where the classes say so."""
    if stain_classes is None or not stain_classes.nuclear:
        return pairs
    images = pairs.images.permute(0, 2, 3, 1).contiguous().numpy()
    divided = list(map(stain_classes.divided, images, pairs.maps.numpy()))
    return replace(pairs, maps=torch.from_numpy(np.stack(divided)))


def _images_and_nuclei(pairs: TrainingPairs, levels: int) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.bool_]]]:
    images = pairs.images.permute(0, 2, 3, 1).contiguous().numpy()
    return list(images), list(pairs.maps.numpy() == levels - 1)


def hold_out_pairs(
    pairs: TrainingPairs,
    validation: Callable[[], TrainingPairs] | None,
    groups: Sequence[Any] | None,
    *,
    config: SynCGANConfig,
    seed: int,
) -> tuple[TrainingPairs, TrainingPairs | None]:
    """Return the training pairs, and the held-out pairs where the renderer is chosen by them.

    Parameters
    ----------
    pairs : all of them.
    validation : makes the pairs of a validation set, where one was given.
    groups : one an item of the dataset; the held-out share then has none in common with the rest.

    Warns
    -----
    UserWarning
        A validation set or groups were given, but nothing is held out.
    """
    section = config.image_gan
    if section.selection == "last":
        if validation is not None or (groups is not None and not config.filters.samples):
            warn_user(
                "validation and groups are not used: image_gan.selection is 'last', so nothing is held out; "
                "set it to 'validation' or 'utility' to choose the renderer by held-out pairs",
            )
        return pairs, None
    if not MaskToImageCGAN(config).is_network(config.levels):
        warn_user(without_selection(section))
        return pairs, None
    training = pairs
    if validation is not None:
        held_out = validation()
    elif groups is not None:
        training, held_out = split_by_group(pairs, groups, share=section.validation_share, seed=seed)
    else:
        training, held_out = split_by_class(pairs, share=section.validation_share, seed=seed)
    require_held_out(len(held_out), section.selection)
    return training, held_out


def _extractor(given: MaskExtractor | Callable[..., Any] | str | None, config: SynCGANConfig) -> MaskExtractor:
    if isinstance(given, MaskExtractor):
        _warn_of_unused({**config.extractor.changed, **config.extractor.parameters}, "extractor=MaskExtractor(...)")
        return given.completed(config.levels)
    if given is not None:
        _warn_of_unused(config.extractor.parameters, f"extractor={given if isinstance(given, str) else '...'}")
    extractor = MaskExtractor.from_config(config.extractor, segmenter=given)
    if extractor.declares_levels or config.levels == extractor.levels:
        return extractor
    return MaskExtractor.from_config(config.extractor, segmenter=given, levels=config.levels)


def _require_levels(config: SynCGANConfig, levels: int, segmenter: str) -> None:
    """Refuse more levels than a configuration can have, before anything is extracted."""
    try:
        config.merged({"levels": levels})
    except ConfigError as error:
        raise ConfigError(
            f"segmenter {segmenter!r}: {levels} levels are not what a fit can take ({error}); join some of them"
        ) from None


def _warn_of_unused(settings: Iterable[str], given: str) -> None:
    if unused := sorted(settings):
        warn_user(f"settings under `extractor` are not used beside {given}: {', '.join(unused)}; give them to it")


class _Shown(Sequence[Pixels]):
    """Images that are asked for one after the other, and are remembered until they are taken."""

    def __init__(self, images: Sequence[Pixels]) -> None:
        self._images = images
        self._waiting: deque[Pixels] = deque()

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        self._waiting.append(self._images[index])
        return self._waiting[-1]

    def take(self) -> Pixels:
        """Return the first image that was asked for and not taken."""
        return self._waiting.popleft()


def _diagnosed(
    raw: RawData, shown: _Shown, extracted: Iterator[Any], levels: int, rows: list[MaskDiagnosis]
) -> Iterator[_Item]:
    """Yield each image with its map and what is wrong with that; `rows` gets the diagnoses."""
    for masks, name, label in zip(extracted, raw.names, raw.labels, strict=True):
        # An extractor that was given may return instances besides.
        image, found = shown.take(), masks.mask if isinstance(masks, Masks) else masks
        rows.append(diagnose_mask(image, found, name=name, levels=levels, class_name=str(raw.class_names[label])))
        yield image, found, rows[-1].problem


def _with_levels(raw: RawData, given: Sequence[NDArray[Any]], levels: int | None) -> Iterator[_Item]:
    """Yield each image with its given mask; nucleus masks become maps of `levels` levels by stain density."""
    for image, mask in zip(raw.images, given, strict=True):
        yield image, mask if levels is None else stain_levels(image, mask, levels=levels), None


def _given_masks(raw: RawData, masks: Sequence[Any], levels: int) -> tuple[list[NDArray[Any]], int, bool]:
    """Check given masks against their images; return them, L, and whether further levels are to be derived."""
    if not hasattr(masks, "__len__"):
        raise DataError(f"expected a sequence of masks, got {type(masks).__name__}; pass list(masks)")
    if len(masks) != len(raw):
        raise DataError(f"expected one mask an item, got {len(masks)} masks and {len(raw)} items")
    arrays: list[NDArray[Any]] = [check_mask(mask, name, levels) for name, mask in zip(raw.names, masks, strict=True)]
    for name, size, array in zip(raw.names, raw.images.sizes, arrays, strict=True):
        if array.shape != size:
            raise DataError(f"{name}: expected a mask of the image's size {size}, got {array.shape}")
    arrays, found = unify_masks(arrays, levels)
    derived = found == 2 and levels == _STAINED
    return arrays, _STAINED if derived else found, derived
