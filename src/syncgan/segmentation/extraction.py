"""The masks of many images: in order, in parallel, and remembered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from syncgan.arrays import Pixels
from syncgan.errors import ContractError, DataError
from syncgan.segmentation.cache import MaskCache
from syncgan.segmentation.inputs import iterate_images, length_of, rgb_arrays
from syncgan.segmentation.parallel import map_images
from syncgan.segmentation.recipe import Masks, Recipe

__all__ = ["Progress", "extract_many"]

Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)


def extract_many(
    recipe: Recipe,
    images: Any,
    *,
    instances: bool,
    n_jobs: int | None = 2,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
) -> Iterator[Masks]:
    """Yield the masks of a collection of images; see `syncgan.MaskExtractor.extract`.

    Parameters
    ----------
    instances : also number the nuclei; otherwise ``instances`` is None.
    """
    total = length_of(images)
    work = partial(_extract_item, recipe, _cache(recipe, cache_dir), instances)
    results = map_images(work, _readable(iterate_images(images)), total=total, n_jobs=n_jobs)
    for done, masks in enumerate(results, start=1):
        yield masks
        if progress is not None:
            progress(done, total)


def _cache(recipe: Recipe, cache_dir: Path | str | None) -> MaskCache | None:
    if cache_dir is None:
        return None
    fingerprint = recipe.fingerprint()
    if fingerprint is None:
        _log.warning(
            "segmenter %r uses what cannot be told apart by content, and has no attribute `version` (or takes such a "
            "parameter): its masks are not cached",
            recipe.segmenter.name,
        )
        return None
    return MaskCache(cache_dir, recipe=fingerprint)


def _readable(images: Iterable[Any]) -> Iterator[Pixels]:
    """Yield images as arrays; RGB arrays as they are, because a worker copies them anyway."""
    for index, image in enumerate(images):
        if type(image) is np.ndarray and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
            yield image
        else:
            yield from rgb_arrays([image], start=index)


def _extract_item(recipe: Recipe, cache: MaskCache | None, instances: bool, index: int, given: Pixels) -> Masks:
    """Look one mask up or compute it; runs in a worker."""
    (image,) = rgb_arrays([given], start=index)  # a copy, into which a segmenter may write
    key = "" if cache is None else cache.key_of(image)
    known = None if cache is None else _known(cache, key, image.shape, instances)
    if known is not None:
        return known
    try:
        masks = recipe.masks(image, instances=instances)
    except ContractError as error:
        raise ContractError(f"item {index}: {error}") from error
    except DataError as error:
        raise DataError(f"item {index}: {error}") from error
    if cache is not None:
        cache.write(key, masks.mask)
        if instances:
            cache.write_instances(key, masks.instances)
    return masks if instances else Masks(masks.mask, None)


def _known(cache: MaskCache, key: str, shape: tuple[int, ...], instances: bool) -> Masks | None:
    mask = cache.read(key, shape)
    labels = cache.read_instances(key, shape) if instances else None
    return None if mask is None or (instances and labels is None) else Masks(mask, labels)
