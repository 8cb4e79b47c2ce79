"""Masks without annotations: `MaskExtractor` (paper Sec. 3.2).

A segmenter knows one image as an array. The extractor is what lies around it: it accepts PIL images, arrays and
tensors, checks and cleans what the segmenter returned, derives the semantic levels, works through a dataset in
parallel, and remembers masks by the content of the image. torch is imported only when a tensor comes in.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from syncgan.arrays import Pixels
from syncgan.config import CleaningConfig, ExtractorConfig
from syncgan.errors import ConfigError, DataError
from syncgan.segmentation.diagnosis import (
    MAX_NUCLEUS_SHARE,
    ClassDiagnosis,
    MaskDiagnoses,
    MaskDiagnosis,
    diagnose_mask,
)
from syncgan.segmentation.extraction import Progress, extract_many
from syncgan.segmentation.inputs import is_tensor, iterate_images, length_of, rgb_array, rgb_arrays
from syncgan.segmentation.recipe import Masks, Recipe
from syncgan.segmentation.resolve import has_parameter, resolve

__all__ = ["ClassDiagnosis", "MaskDiagnoses", "MaskDiagnosis", "MaskExtractor", "Masks"]


_log = logging.getLogger(__name__)


class MaskExtractor:
    """Extracts a semantic map of nuclei from an image, unsupervised.

    Parameters
    ----------
    segmenter : name in ``syncgan.SEGMENTERS`` ("auto" adapts to the stain, "gmm" is the paper's), or a callable of one
        (H, W, 3) uint8 RGB array (see `syncgan.segmentation.protocol` for what it may return), or a class of such.
    levels : L of the map. 2: {0, 1}, nucleus = 1. 3: 1 is stained but not nucleus, nucleus = 2. A segmenter that
        declares ``levels`` returns its own L; asking for another one is an error. None: the segmenter's own, else 2,
        and in a `SynCGANAugmenter` those of its configuration.
    min_nucleus_area, max_nucleus_area : smaller and larger nuclei are removed; below 1 a share of the image area, from
        1 on pixels. None leaves it to the segmenter.
    max_hole_share : holes up to this share of the area inside their nucleus' outline are filled. None: as segmented.
    border_objects : "remove" takes away the nuclei that touch the image border.
    split_touching : separate touching nuclei in a plain mask; instance labels are separate already.
    return_instances : return `Masks`, pairs of the map and instance labels, where only the map is returned otherwise.
    **parameters : the segmenter's own parameters.

    Attributes
    ----------
    levels : L of the maps that the extractor returns.
    returns_instances : whether it returns `Masks`.

    Raises
    ------
    UnknownNameError
        No segmenter of that name.
    ConfigError
        An unknown parameter (with the nearest match), a value out of bounds, or levels or clean-up that do not fit the
        segmenter.

    Notes
    -----
    Clean-up comes after the segmenter, in this order: holes, splitting, border, areas. It is not for segmenters that
    return semantic maps. A setting that the segmenter has as a parameter of its own is given to the segmenter, in whose
    units it then is, and not applied a second time; but nuclei that were split must have `min_nucleus_area` again.
    Areas are in the same units everywhere: below 1 a share of the image area, from 1 on pixels.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.full((64, 64, 3), 230, np.uint8)
    >>> image[20:40, 20:40] = (90, 40, 140)
    >>> mask = MaskExtractor()(image)
    >>> mask.shape, mask.dtype, int(mask.max())
    ((64, 64), dtype('uint8'), 1)
    >>> mask, instances = MaskExtractor(return_instances=True)(image)
    >>> int(instances.max())
    1
    """

    def __init__(
        self,
        segmenter: str | Callable[..., Any] = "auto",
        *,
        levels: int | None = None,
        min_nucleus_area: float | None = None,
        max_nucleus_area: float | None = None,
        max_hole_share: float | None = None,
        border_objects: Literal["keep", "remove"] = "keep",
        split_touching: bool = False,
        return_instances: bool = False,
        **parameters: Any,
    ) -> None:
        areas = {"min_nucleus_area": min_nucleus_area, "max_nucleus_area": max_nucleus_area}
        asked: dict[str, Any] = {**areas, "max_hole_share": max_hole_share}
        asked = {key: value for key, value in asked.items() if value is not None}
        asked |= {"border_objects": border_objects} if border_objects != "keep" else {}
        asked |= {"split_touching": split_touching} if split_touching is not False else {}
        own = {key: value for key, value in asked.items() if has_parameter(segmenter, key)}
        # Areas are compared before they are divided; a word is a setting that only the segmenter understands.
        words = {key for key, value in own.items() if isinstance(value, str) or key not in areas}
        checked = CleaningConfig.from_mapping({key: value for key, value in asked.items() if key not in words})
        # Pieces are smaller than what was split, so a segmenter's own lower limit is not the last word.
        again = {"min_nucleus_area"} if checked.split_touching else set()
        applied = (set(asked) - set(own) | again) & checked.model_fields_set
        cleaning = CleaningConfig.from_mapping({key: getattr(checked, key) for key in applied})
        self._recipe = Recipe.of(resolve(segmenter, parameters | own), cleaning, levels)
        self.levels = self._recipe.levels
        self._leaves_levels_open = levels is None and not self.declares_levels
        if not isinstance(return_instances, bool):
            raise ConfigError(f"return_instances: expected True or False, got {return_instances!r}")
        self.returns_instances = return_instances

    @classmethod
    def from_config(
        cls,
        config: ExtractorConfig,
        *,
        levels: int | None = None,
        segmenter: str | Callable[..., Any] | None = None,
    ) -> Self:
        """Return the extractor that a configuration describes.

        Parameters
        ----------
        config : segmenter, its parameters and clean-up.
        levels : as for the constructor.
        segmenter : used instead of the configuration's, without that one's parameters.

        Raises
        ------
        ConfigError
            A parameter that is set twice, that the segmenter does not take, or that is out of bounds.
        """
        parameters = config.parameters if segmenter is None else {}
        twice = sorted(set(config.changed) & set(parameters))
        if twice:
            raise ConfigError(
                f"extractor: {', '.join(twice)} set twice, here and under parameters; leave one of them out"
            )
        settings = {**config.changed, **parameters}
        return cls(config.segmenter if segmenter is None else segmenter, levels=levels, **settings)

    def __call__(self, image: Any) -> Any:
        """Extract the map of one image.

        Parameters
        ----------
        image : PIL image; (H, W, 3), (H, W, 1) or (H, W) uint8 RGB or gray array; (3, H, W) uint8 tensor or
            ``tv_tensors.Image``.

        Returns
        -------
        (H, W) uint8 map with values 0..levels-1, the nucleus highest: an ndarray, or for a tensor a
        ``tv_tensors.Mask`` on its device. With `return_instances`, `Masks` of this map and (H, W) int32 labels.

        Raises
        ------
        DataError
            Not an 8-bit image of one or three channels.
        ContractError
            The segmenter returned something that its contract does not allow, or raised an error of its own.
        """
        masks = self._recipe.masks(rgb_array(image), instances=self.returns_instances)
        _log_full(self._is_full(masks.mask), 1)
        if is_tensor(image):
            masks = _as_tensors(masks, image)
        return masks if self.returns_instances else masks.mask

    def extract(
        self,
        images_or_dataset: Any,
        n_jobs: int | None = 2,
        cache_dir: Path | str | None = None,
        *,
        progress: Progress | None = None,
    ) -> list[Any]:
        """Extract the maps of many images, in order and at their own sizes.

        Parameters
        ----------
        images_or_dataset : sequence of images as for `__call__`, an (N, H, W, 3) array, an (N, 3, H, W) tensor, or a
            map-style dataset whose items are the image, a tuple that starts with it, or a mapping with ``"image"``.
            Items are read here, one after the other; only segmentation is shared out.
        n_jobs : parallel jobs, as in joblib (-1: all processors; None: what ``joblib.parallel_config`` says, else one);
            its backend (loky, threading, dask, ray; not multiprocessing) is used too. Masks do not depend on it. Other
            processes use one thread each.
        cache_dir : folder in which masks are remembered by the content of the image and by segmenter, parameters,
            clean-up and levels. A function is known by its code and all that it uses; a callable of which that cannot
            be known, and a function that reads files, is not cached unless it has an attribute ``version``.
        progress : called with (done, total) after each image.

        Returns
        -------
        list of (H, W) uint8 maps; with `return_instances` list of `Masks`. All are arrays.

        Raises
        ------
        DataError, ContractError
            As for `__call__`, with the index of the item.
        ConfigError
            `n_jobs` is no number of jobs, or joblib's backend is ``multiprocessing``.
        ArtefactError
            The cache folder cannot be written.
        """
        return list(self.extract_lazily(images_or_dataset, n_jobs, cache_dir, progress=progress))

    def extract_lazily(
        self,
        images_or_dataset: Any,
        n_jobs: int | None = 2,
        cache_dir: Path | str | None = None,
        *,
        progress: Progress | None = None,
    ) -> Iterator[Any]:
        """Yield what `extract` returns, one after the other; parameters and errors: see `extract`.

        Images are read in this thread, up to about 1 GiB of them ahead of what is taken; with more than 32 jobs, 32 MiB
        for each.
        """
        full = total = 0
        for masks in extract_many(
            self._recipe,
            images_or_dataset,
            instances=self.returns_instances,
            n_jobs=n_jobs,
            cache_dir=cache_dir,
            progress=progress,
        ):
            full += self._is_full(masks.mask)
            total += 1
            yield masks if self.returns_instances else masks.mask
        _log_full(full, total)

    def diagnose(
        self,
        images: Any,
        masks: Sequence[Any] | None = None,
        names: Iterable[str] | None = None,
        labels: Iterable[Any] | None = None,
    ) -> MaskDiagnoses:
        """Say of each mask how many nuclei it holds, how large they are, and whether it can be used.

        A warning names each class in which more than a fifth of the masks cannot be used.

        Parameters
        ----------
        images : as for `extract`.
        masks : their maps, or `Masks`; None extracts them, nuclei one by one.
        names : their names; None numbers them.
        labels : their classes, for the summary and for what is unusual in a class; None puts all into one.

        Returns
        -------
        `MaskDiagnoses`: a sequence of one `MaskDiagnosis` an image, with ``classes``, ``problems`` and ``doubts``.

        Raises
        ------
        DataError
            Images, masks, names and labels differ in number, or a mask from its image in size.
        """
        total = length_of(images)
        masks = list(extract_many(self._recipe, images, instances=True)) if masks is None else list(masks)
        named = [str(index) for index in range(total)] if names is None else [str(name) for name in names]
        classes = [""] * total if labels is None else [str(label) for label in labels]
        if not total == len(masks) == len(named) == len(classes):
            counts = f"{total}, {len(masks)}, {len(named)} and {len(classes)}"
            raise DataError(f"expected one mask and name an image (and one label), got {counts}")
        rows = zip(rgb_arrays(iterate_images(images)), masks, named, classes, strict=True)
        found = MaskDiagnoses.of(self._diagnosis(*row) for row in rows)
        found.warn()
        return found

    @property
    def declares_levels(self) -> bool:
        """Whether the segmenter returns semantic maps of its own, so that `levels` cannot be chosen."""
        return self._recipe.segmenter.levels is not None

    def completed(self, levels: int) -> MaskExtractor:
        """Return this extractor, with `levels` where neither its segmenter nor its caller said how many.

        Raises
        ------
        ConfigError
            So many cannot be derived from nucleus masks.
        """
        if not self._leaves_levels_open:
            return self
        other = copy.copy(self)
        other._recipe = Recipe.of(self._recipe.segmenter, self._recipe.cleaning, levels)
        other.levels = other._recipe.levels
        return other

    @property
    def recipe(self) -> Recipe:
        """Segmenter, clean-up and levels as one value, which can be sent to other processes."""
        return self._recipe

    def describe(self) -> dict[str, Any]:
        """Return what decides a mask, JSON-compatible: name, parameters, levels and clean-up. Models record it."""
        return self._recipe.describe()

    def __repr__(self) -> str:
        described = self.describe()
        name, parameters = described.pop("name"), described.pop("parameters")
        settings = ", ".join(f"{key}={value!r}" for key, value in {**described, **parameters}.items())
        return f"MaskExtractor({name!r}, {settings})"

    def _is_full(self, mask: Pixels) -> bool:
        return bool(np.count_nonzero(mask == self.levels - 1) > MAX_NUCLEUS_SHARE * mask.size)

    def _diagnosis(self, image: Pixels, mask: Any, name: str, class_name: str) -> MaskDiagnosis:
        mask, instances = mask if isinstance(mask, tuple) else (mask, None)
        mask = np.asarray(mask)
        if mask.shape != image.shape[:2]:
            raise DataError(f"{name}: expected a mask of the image's size {image.shape[:2]}, got {mask.shape}")
        return diagnose_mask(image, mask, name=name, levels=self.levels, instances=instances, class_name=class_name)


def _log_full(full: int, of: int) -> None:
    """Log how many masks are of nearly everything, which no field of nuclei is."""
    if full:
        _log.warning(
            "%d of %d masks cover more than %.0f %% of their image; look at them with "
            "`syncgan masks` or MaskExtractor.diagnose",
            full,
            of,
            100 * MAX_NUCLEUS_SHARE,
        )


def _as_tensors(masks: Masks, image: Any) -> Masks:
    import torch
    from torchvision import tv_tensors

    return Masks(
        *(None if part is None else tv_tensors.Mask(torch.from_numpy(part).to(image.device)) for part in masks)
    )
