"""Masks without annotations: `MaskExtractor` (paper Sec. 3.2).

A segmenter knows one image as an array. The extractor is what lies around it: it accepts PIL images, arrays and
tensors, checks what the segmenter returned, derives the semantic levels, works through a dataset in parallel, and
remembers masks by the content of the image. torch is imported only when a tensor comes in.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syncgan.errors import ConfigError, DataError
from syncgan.segmentation.cache import MaskCache
from syncgan.segmentation.cleaning import clean_mask, mask_problem, nucleus_areas_px, nucleus_of, stain_levels
from syncgan.segmentation.inputs import is_tensor, iterate_images, length_of, rgb_array
from syncgan.segmentation.protocol import normalise_output
from syncgan.segmentation.resolve import has_parameter, resolve

if TYPE_CHECKING:
    import torch
    from torchvision import tv_tensors

__all__ = ["MaskDiagnosis", "MaskExtractor"]

Mask = NDArray[np.uint8]
Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)

# Part of every cache key: raise it when masks change without a change of parameters.
_CACHE_VERSION = 1


@dataclass(frozen=True)
class MaskDiagnosis:
    """What one mask holds.

    Attributes
    ----------
    name : the image's name.
    nuclei : number of 8-connected nucleus regions.
    areas_px : their areas in pixels, largest first.
    nucleus_share : share of the image covered by nuclei, in [0, 1].
    problem : why the mask cannot be used for training (`syncgan.segmentation.cleaning.mask_problem`), or None.
    """

    name: str
    nuclei: int
    areas_px: tuple[int, ...]
    nucleus_share: float
    problem: str | None


class MaskExtractor:
    """Extracts a semantic map of nuclei from an image, unsupervised.

    Parameters
    ----------
    segmenter : name in ``syncgan.SEGMENTERS`` ("gmm" is the paper's), or a callable of one (H, W, 3) uint8 RGB array
        (see `syncgan.segmentation.protocol` for what it may return), or a class of such callables.
    levels : L of the map. 2 (default): {0, 1}, nucleus = 1. 3: 1 is stained but not nucleus, nucleus = 2. A segmenter
        that declares ``levels`` returns its own L; asking for another one is an error.
    min_nucleus_area : nuclei smaller than this are removed; below 1 a share of the image area, from 1 on pixels.
        None leaves it to the segmenter. Not for segmenters that return semantic maps.
    **parameters : the segmenter's own parameters.

    Attributes
    ----------
    levels : L of the maps that the extractor returns.

    Raises
    ------
    UnknownNameError
        No segmenter of that name.
    ConfigError
        An unknown parameter (with the nearest match), a value out of bounds, or levels that do not fit the segmenter.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.full((64, 64, 3), 230, np.uint8)
    >>> image[20:40, 20:40] = (90, 40, 140)
    >>> mask = MaskExtractor("gmm")(image)
    >>> mask.shape, mask.dtype, int(mask.max())
    ((64, 64), dtype('uint8'), 1)
    """

    def __init__(
        self,
        segmenter: str | Callable[..., Any] = "gmm",
        *,
        levels: int | None = None,
        min_nucleus_area: float | None = None,
        **parameters: Any,
    ) -> None:
        if min_nucleus_area is not None and not min_nucleus_area >= 0:
            raise ConfigError(f"min_nucleus_area: expected a share or pixels, 0 or more, got {min_nucleus_area!r}")
        if min_nucleus_area is not None and has_parameter(segmenter, "min_nucleus_area"):
            parameters["min_nucleus_area"], min_nucleus_area = min_nucleus_area, None
        self._segmenter = resolve(segmenter, parameters)
        self._min_nucleus_area = min_nucleus_area
        self.levels = self._checked_levels(levels)

    @overload
    def __call__(self, image: torch.Tensor) -> tv_tensors.Mask: ...

    @overload
    def __call__(self, image: Image.Image | NDArray[np.uint8]) -> Mask: ...

    def __call__(self, image: Any) -> Any:
        """Extract the map of one image.

        Parameters
        ----------
        image : PIL image; (H, W, 3), (H, W, 1) or (H, W) uint8 RGB or gray array; (3, H, W) uint8 tensor or
            ``tv_tensors.Image``.

        Returns
        -------
        (H, W) uint8 map with values 0..levels-1, the nucleus highest: an ndarray, or for a tensor a
        ``tv_tensors.Mask`` on its device.

        Raises
        ------
        DataError
            Not an 8-bit image of one or three channels.
        ContractError
            The segmenter returned something that its contract does not allow.
        """
        mask = self._segment(rgb_array(image))
        return _as_tensor_mask(mask, image) if is_tensor(image) else mask

    def extract(
        self,
        images_or_dataset: Any,
        n_jobs: int | None = 2,
        cache_dir: Path | str | None = None,
        *,
        progress: Progress | None = None,
    ) -> list[Mask]:
        """Extract the maps of many images, in order and at their own sizes.

        Parameters
        ----------
        images_or_dataset : sequence of images as for `__call__`, an (N, H, W, 3) array, an (N, 3, H, W) tensor, or a
            map-style dataset whose items are the image, a tuple that starts with it, or a mapping with ``"image"``.
            Items are read here, one after the other; only segmentation is shared out.
        n_jobs : parallel jobs, as in joblib (-1: all processors; None: what ``joblib.parallel_config`` says, else one);
            its backend (loky, threading, dask, ray) is used too. Masks do not depend on it.
        cache_dir : folder in which masks are remembered by the content of the image and by segmenter, parameters and
            levels. A callable whose code cannot be inspected is not cached unless it has an attribute ``version``.
        progress : called with (done, total) after each image.

        Returns
        -------
        list of (H, W) uint8 maps.

        Raises
        ------
        DataError, ContractError
            As for `__call__`, with the index of the item.
        ArtefactError
            The cache folder cannot be written.
        """
        from joblib import Parallel, delayed

        total = length_of(images_or_dataset)
        cache = self._cache(cache_dir)
        tasks = (
            delayed(_extract_item)(self, array, cache, index)
            for index, array in enumerate(_arrays(iterate_images(images_or_dataset)))
        )
        # Only streaming can report progress, and not every backend can stream.
        jobs = n_jobs if total > 1 else 1  # a process costs more than one image
        streamed = Parallel(n_jobs=jobs, return_as="list" if progress is None else "generator")(tasks)
        masks: list[Mask] = []
        for mask in streamed:
            masks.append(mask)
            if progress is not None:
                progress(len(masks), total)
        return masks

    def diagnose(
        self, images: Any, masks: Sequence[Mask] | None = None, names: Iterable[str] | None = None
    ) -> list[MaskDiagnosis]:
        """Say of each mask how many nuclei it holds, how large they are, and whether it can be used.

        Parameters
        ----------
        images : as for `extract`.
        masks : their maps; None extracts them.
        names : their names; None numbers them.

        Raises
        ------
        DataError
            Images, masks and names differ in number.
        """
        total = length_of(images)
        masks = self.extract(images) if masks is None else list(masks)
        labels = [str(index) for index in range(total)] if names is None else [str(name) for name in names]
        if not total == len(masks) == len(labels):
            raise DataError(f"expected one mask and name an image, got {total}, {len(masks)} and {len(labels)}")
        return [_diagnosis(name, mask, self.levels) for name, mask in zip(labels, masks, strict=True)]

    @property
    def declares_levels(self) -> bool:
        """Whether the segmenter returns semantic maps of its own, so that `levels` cannot be chosen."""
        return self._segmenter.levels is not None

    def describe(self) -> dict[str, Any]:
        """Return what decides a mask, JSON-compatible: name, parameters and levels. Models record it."""
        return {
            "name": self._segmenter.name,
            "parameters": self._segmenter.parameters,
            "levels": self.levels,
            "min_nucleus_area": self._min_nucleus_area,
        }

    def __repr__(self) -> str:
        given = {**self.describe(), **self._segmenter.parameters}
        settings = ", ".join(f"{key}={value!r}" for key, value in given.items() if key not in ("name", "parameters"))
        return f"MaskExtractor({self._segmenter.name!r}, {settings})"

    def _checked_levels(self, levels: int | None) -> int:
        declared, name = self._segmenter.levels, self._segmenter.name
        if declared is not None:
            if levels not in (None, declared):
                raise ConfigError(
                    f"segmenter {name!r} returns {declared} levels, asked for {levels}; leave `levels` out"
                )
            if self._min_nucleus_area is not None:
                raise ConfigError(f"min_nucleus_area is not for segmenter {name!r}, which returns semantic maps")
            return declared
        if levels not in (None, 2, 3):
            raise ConfigError(
                f"segmenter {name!r} returns nucleus masks, from which 2 or 3 levels can be derived, asked "
                f"for {levels}; use a segmenter that declares `levels`"
            )
        return levels or 2

    def _segment(self, image: Mask) -> Mask:
        # The segmenter gets a copy where the image is needed again: a plug-in may write into what it is given.
        given = image.copy() if self.levels > 2 else image
        name, declared = self._segmenter.name, self._segmenter.levels
        mask, _ = normalise_output(self._segmenter.call(given), image.shape, levels_declared=declared, name=name)
        if declared is not None:
            return mask
        if self._min_nucleus_area is not None:
            mask = clean_mask(mask, min_nucleus_area=self._min_nucleus_area, max_hole_share=0.0)
        return stain_levels(image, mask, levels=self.levels)

    def _cache(self, cache_dir: Path | str | None) -> MaskCache | None:
        if cache_dir is None:
            return None
        fingerprint = self._segmenter.fingerprint()
        if fingerprint is None:
            _log.warning("segmenter %r has no attribute `version`: its masks are not cached", self._segmenter.name)
            return None
        recipe = [_CACHE_VERSION, fingerprint, self.levels, self._min_nucleus_area]
        return MaskCache(cache_dir, recipe=json.dumps(recipe))


def _arrays(images: Iterable[Any]) -> Iterable[Mask]:
    for index, image in enumerate(images):
        try:
            yield rgb_array(image)
        except DataError as error:
            raise DataError(f"item {index}: {error}") from None


def _extract_item(extractor: MaskExtractor, image: Mask, cache: MaskCache | None, index: int) -> Mask:
    """Look one mask up or compute it; runs in a worker."""
    key = cache.key_of(image) if cache is not None else ""
    known = cache.read(key, image.shape) if cache is not None else None
    if known is not None:
        return known
    try:
        mask = extractor._segment(image)
    except DataError as error:
        raise type(error)(f"item {index}: {error}") from error
    if cache is not None:
        cache.write(key, mask)
    return mask


def _as_tensor_mask(mask: Mask, image: torch.Tensor) -> tv_tensors.Mask:
    import torch
    from torchvision import tv_tensors

    return tv_tensors.Mask(torch.from_numpy(mask).to(image.device))


def _diagnosis(name: str, mask: Mask, levels: int) -> MaskDiagnosis:
    areas = nucleus_areas_px(mask, levels=levels)
    share = float(nucleus_of(mask, levels=levels).mean())
    return MaskDiagnosis(name, len(areas), tuple(areas.tolist()), share, mask_problem(mask, levels))
