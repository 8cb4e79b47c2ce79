"""Sample filter ``mask_consistency``: the image shows the nuclei of its mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, validate_call
from torch import Tensor

from syncgan.config import CleaningConfig
from syncgan.errors import ConfigError, warn_user
from syncgan.evaluation.filters.reference import CHECKED, Percentile, Reference
from syncgan.extractor import MaskExtractor
from syncgan.registry import SEGMENTERS

__all__ = ["MaskConsistency"]


class MaskConsistency:
    """Dice coefficient of the sample's nuclei and those that the model's extractor finds in the image.

    Parameters
    ----------
    levels : L.
    extractor : what `MaskExtractor.describe` says of the extractor that made the training masks.
    percentile, floor, enough : see the annotations.

    Raises
    ------
    ConfigError
        The segmenter has no name in ``SEGMENTERS``, so it cannot be made again.
    """

    @validate_call(config=CHECKED)
    def __init__(
        self,
        *,
        levels: int,
        extractor: dict[str, Any],
        percentile: Percentile = 5.0,
        floor: Annotated[
            float, Field(ge=0, le=1, description="Dice that is asked for even where real images reach less.")
        ] = 0.3,
        enough: Annotated[
            float,
            Field(
                ge=0,
                le=1,
                description="Dice that is enough even where real images reach more: their masks were made from them.",
            ),
        ] = 0.8,
    ) -> None:
        self._levels, self._described, self._extractor = levels, extractor, _rebuilt(extractor)
        self._percentile, self._floor, self._enough = percentile, floor, enough

    def fit(self, images: Tensor, masks: Tensor, labels: Tensor, *, groups: Sequence[Any] | None = None) -> Self:
        """See what real images at S x S reach against their training masks. Nothing is learned from one image alone.

        Warns
        -----
        UserWarning
            In most real images the extractor does not find the nuclei again, so the filter would refuse most samples.
        """
        scores = self.score(images, masks, labels)
        self._reference = Reference.of(scores.numpy(), labels)
        lost = int((scores < self._floor).sum())
        if 2 * lost > len(scores):
            warn_user(
                f"sample filter mask_consistency: at {images.shape[-1]} px the extractor does not find the nuclei of "
                f"{lost} of {len(scores)} real images again, so it will refuse most samples; give parameters of the "
                "segmenter in pixels as shares of the image, or leave the filter out"
            )
        return self

    def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """Return the Dice coefficient of the nuclei, in [0, 1]; 1 where neither has any."""
        pixels = images.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        nuclei = (masks == self._levels - 1).cpu().numpy()
        pairs = zip(pixels, nuclei, strict=True)
        return torch.tensor([_dice(self._nuclei(image), own) for image, own in pairs], dtype=torch.float64)

    def keep(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Tell which reach the percentile of the real images of their class, within `floor` and `enough`."""
        bounds = self._floor, max(self._floor, self._enough)
        return self._reference.keep(scores, labels, self._percentile, bounds=bounds)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the real images' scores, and the extractor by which they were found."""
        return self._reference.tensors(), {"extractor": self._described}

    def load_state(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Take what `state` returned."""
        if "extractor" in description:
            self._described = dict(description["extractor"])
            self._extractor = _rebuilt(self._described)
        self._reference = Reference.restored(tensors)
        return self

    def _nuclei(self, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.asarray(self._extractor(image)) == self._extractor.levels - 1
        return found


def _rebuilt(description: Mapping[str, Any]) -> MaskExtractor:
    name = description["name"]
    if name not in SEGMENTERS:
        raise ConfigError(
            f"the segmenter {name!r} has no name in SEGMENTERS, so that images cannot be segmented again; register it "
            "(`@syncgan.SEGMENTERS.register(...)`) and name it in extractor.segmenter, or leave the filter out"
        )
    own = {key: value for key, value in description.items() if key in CleaningConfig.model_fields}
    cleaning = CleaningConfig.from_mapping(own).changed
    return MaskExtractor(name, levels=description.get("levels"), **{**cleaning, **description["parameters"]})


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0
