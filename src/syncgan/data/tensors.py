"""The only place where value ranges change: uint8 outside, float32 in [-1, 1] inside.

Images are uint8 (N, 3, H, W) outside and float32 in [-1, 1] inside networks. Semantic maps are uint8 (N, H, W) with
values 0 .. L-1 outside (the nucleus is always L-1) and one-hot inside. Any image shape becomes S x S here, by
`geometry`; images are area-interpolated, maps take the nearest pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from syncgan.errors import DataError, warn_user
from syncgan.resizing import resized

__all__ = [
    "Samples",
    "as_sampled",
    "binarise",
    "check_mask",
    "collect_images",
    "collect_masks",
    "fit_image",
    "fit_mask",
    "highest_level",
    "index_labels",
    "level_shares",
    "one_hot",
    "to_model",
    "to_uint8",
    "unify_masks",
]

Geometry = Literal["resize", "pad", "crop"]

_BINARY = 2  # levels: nucleus or not
_MANY_WITHOUT = 0.1  # share of maps without a nucleus


@dataclass(frozen=True)
class Samples:
    """Synthetic samples.

    Attributes
    ----------
    images : ``tv_tensors.Image``, uint8, (N, 3, S, S).
    masks : ``tv_tensors.Mask``, uint8, (N, S, S), values 0 .. L-1; the nucleus is L-1.
    labels : int64, (N,), the training dataset's own integers.
    """

    images: Tensor
    masks: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, images: Tensor, masks: Tensor, labels: Tensor) -> Samples:
        """Wrap plain tensors `images`, `masks` and `labels` as torchvision's ``tv_tensors``."""
        from torchvision import tv_tensors

        return cls(tv_tensors.Image(images), tv_tensors.Mask(masks), labels)


def to_model(images: Tensor) -> Tensor:
    """Map uint8 [0, 255] to float32 [-1, 1]; `to_uint8` is its exact inverse."""
    return images.to(torch.float32).mul_(2 / 255).sub_(1)


def to_uint8(x: Tensor) -> Tensor:
    """Map float [-1, 1] to uint8 [0, 255], rounding; values outside are clipped."""
    return x.to(torch.float32).add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def one_hot(maps: Tensor, levels: int) -> Tensor:
    """Map uint8 (N, H, W) with values 0 .. L-1 to float32 one-hot (N, L, H, W)."""
    return F.one_hot(maps.long(), levels).permute(0, 3, 1, 2).to(torch.float32)


def binarise(scores: Tensor, size: int) -> Tensor:
    """Turn a mask generator's logits into a semantic map: enlarge bilinearly, then take the highest level.

    With two levels this is a threshold at probability one half.

    Parameters
    ----------
    scores : (N, L, R, R) float.
    size : side S of the result.

    Returns
    -------
    (N, S, S) uint8, values 0 .. L-1.
    """
    return highest_level(scores.float().softmax(dim=1), size)


def as_sampled(maps: Tensor, levels: int, resolution: int) -> Tensor:
    """Return what `maps` (N, S, S) would be if they came from a mask generator of side `resolution`.

    Training pairs pass through the same `highest_level` as samples do, so that the renderer never meets a kind of
    outline that it has not seen.
    """
    size = maps.shape[-1]
    return maps if resolution >= size else highest_level(level_shares(maps, levels, resolution), size)


def level_shares(maps: Tensor, levels: int, resolution: int) -> Tensor:
    """Return each level's share of every cell of an R x R grid: (N, L, R, R) float in [0, 1]."""
    shares = one_hot(maps, levels)
    if shares.shape[-1] == resolution:
        return shares
    return resized(shares, (resolution, resolution), "area")


def highest_level(shares: Tensor, size: int) -> Tensor:
    """Enlarge (N, L, R, R) shares bilinearly to `size` and take the highest level: (N, S, S) uint8."""
    if shares.shape[-1] != size:
        shares = F.interpolate(shares, size=(size, size), mode="bilinear", align_corners=False)
    return shares.argmax(dim=1).to(torch.uint8)


def fit_image(image: np.ndarray[Any, Any], size: int, geometry: Geometry) -> np.ndarray[Any, Any]:
    """Bring one image (H, W, 3) uint8 to (S, S, 3): area interpolation when shrinking, bilinear when enlarging.

    ``resize`` scales both sides freely; ``pad`` keeps the proportions and repeats the border; ``crop`` keeps the
    proportions and cuts the centre.
    """
    target = _scaled_size(image.shape[:2], size, geometry)
    shrinks = target[0] <= image.shape[0] and target[1] <= image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = image if target == image.shape[:2] else cv2.resize(image, target[::-1], interpolation=interpolation)
    return _centred(scaled, size, cv2.BORDER_REPLICATE)


def fit_mask(mask: np.ndarray[Any, Any], size: int, geometry: Geometry) -> np.ndarray[Any, Any]:
    """Bring one semantic map (H, W) uint8 to (S, S) by nearest pixel; padding is background."""
    target = _scaled_size(mask.shape[:2], size, geometry)
    scaled = mask if target == mask.shape[:2] else cv2.resize(mask, target[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return _centred(scaled, size, cv2.BORDER_CONSTANT)


def _scaled_size(shape: tuple[int, ...], size: int, geometry: Geometry) -> tuple[int, int]:
    if geometry == "resize":
        return size, size
    reference = max(shape) if geometry == "pad" else min(shape)
    height, width = (max(1, round(side * size / reference)) for side in shape[:2])
    return height, width


def _centred(array: np.ndarray[Any, Any], size: int, border: int) -> np.ndarray[Any, Any]:
    height, width = array.shape[:2]
    top, left = max(0, height - size) // 2, max(0, width - size) // 2
    array = array[top : top + size, left : left + size]
    above, before = (size - array.shape[0]) // 2, (size - array.shape[1]) // 2
    below, after = size - array.shape[0] - above, size - array.shape[1] - before
    if above or before or below or after:
        array = cv2.copyMakeBorder(array, above, below, before, after, border, value=0)
    return np.ascontiguousarray(array)


def collect_images(images: Any, size: int, geometry: Geometry) -> Tensor:
    """Bring images to one (N, 3, S, S) uint8 CPU tensor.

    Parameters
    ----------
    images : uint8 tensor or array (N, 3, H, W), or a list of (H, W, 3) uint8 arrays of any size.

    Raises
    ------
    DataError
        Nothing, another dtype or shape.
    """
    if isinstance(images, Tensor | np.ndarray):
        array = as_array(images)
        if array.ndim != 4 or array.shape[1] != 3:
            raise DataError(f"expected images (N, 3, H, W), got {tuple(array.shape)}; use RGB, channels before rows")
        images = array.transpose(0, 2, 3, 1)
    if len(images) == 0:
        raise DataError("expected at least one image, got none")
    fitted = []
    for index, image in enumerate(images):
        item = as_array(image)
        if item.dtype == np.uint8 and item.ndim == 3 and item.shape[0] == 3 != item.shape[2]:
            raise DataError(
                f"expected a list of images (H, W, 3), got {item.shape} (item {index}); put the channels last, or "
                "stack the images to (N, 3, H, W)"
            )
        if item.dtype != np.uint8 or item.ndim != 3 or item.shape[2] != 3:
            raise DataError(
                f"expected uint8 RGB images in [0, 255], got {item.dtype} {item.shape} (item {index}); "
                "pass images before any ToTensor or normalisation"
            )
        fitted.append(fit_image(np.ascontiguousarray(item), size, geometry))
    return torch.from_numpy(np.stack(fitted)).permute(0, 3, 1, 2).contiguous()


def collect_masks(masks: Any, size: int, geometry: Geometry, levels: int, *, maps: bool = False) -> tuple[Tensor, int]:
    """Bring masks to one (N, S, S) uint8 CPU tensor, and say how many levels they have.

    Parameters
    ----------
    masks : integers or bool (N, H, W) or (N, 1, H, W), or a list of (H, W) arrays of any size; see `unify_masks`.
    levels : the configured L.
    maps : they are maps of `levels` levels, even if no more than two occur.

    Returns
    -------
    maps, levels : the tensor, and the L that `unify_masks` found.

    Raises
    ------
    DataError
        Nothing, another dtype or shape, or values outside.
    """
    if len(masks) == 0:
        raise DataError("expected at least one mask, got none")
    checked = [check_mask(mask, f"item {index}", levels) for index, mask in enumerate(masks)]
    arrays, found = unify_masks(checked, levels, maps=maps)
    return torch.from_numpy(np.stack([fit_mask(array, size, geometry) for array in arrays])), found


def unify_masks(
    arrays: Sequence[np.ndarray[Any, Any]], levels: int, *, maps: bool = False
) -> tuple[list[np.ndarray[Any, Any]], int]:
    """Turn masks that `check_mask` let pass into maps of one number of levels.

    Nothing but 0 and 1, or 0 and 255, in each of them: nucleus or not, two levels. Otherwise, or with `maps` of more
    than two levels, they are maps of `levels` levels, in which 255 is the nucleus, the highest.

    Warns
    -----
    UserWarning
        Many of the maps have something but no nucleus, as labels of single nuclei (1, 2, ...) look.
    """
    values = [set(np.unique(array).tolist()) for array in arrays]
    if not (maps and levels > _BINARY) and all(own <= {0, 1} or own <= {0, 255} for own in values):
        return [(array > 0).astype(np.uint8) for array in arrays], 2
    without = sum(bool(own - {0}) and not own & {levels - 1, 255} for own in values)
    if not maps and without > _MANY_WITHOUT * len(arrays):
        warn_user(
            f"masks were read as maps of {levels} levels, in which {levels - 1} is nucleus, and {without} of "
            f"{len(arrays)} have none; if they number the nuclei (1, 2, ...), give `mask > 0` in their place",
        )
    return [np.where(array == 255, levels - 1, array).astype(np.uint8) for array in arrays], levels


def index_labels(labels: Any, count: int) -> tuple[tuple[int, ...], Tensor]:
    """Return the distinct labels, sorted, and the index of each item's label among them.

    Without labels: an empty tuple and zeros.
    """
    if labels is None:
        return (), torch.zeros(count, dtype=torch.int64)
    array = as_array(labels)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise DataError(f"expected {count} integer labels, one an item, got {array.dtype} {array.shape}")
    values, indices = np.unique(array, return_inverse=True)
    return tuple(int(value) for value in values), torch.from_numpy(indices.astype(np.int64))


def check_mask(mask: Any, name: str, levels: int) -> np.ndarray[Any, Any]:
    """Return one mask as (H, W) uint8, values 0 .. L-1 or 0 and 255; `DataError` names the item `name` otherwise.

    Integers of any size are taken. What is true in a mask of bool is nucleus: 255.
    """
    array = as_array(mask)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.dtype.kind not in "biu":
        raise DataError(f"{name}: expected a mask (H, W) of integers or bool, got {array.dtype} {array.shape}")
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    if low < 0 or (high >= levels and not np.isin(array, (0, 255)).all()):
        raise DataError(
            f"{name}: expected mask values 0 to {levels - 1} (or 0 and 255), got {low} to {high}; set `levels` for "
            "maps of more levels, and where the values number the nuclei (1, 2, ...), give `mask > 0`"
        )
    return np.ascontiguousarray(array.astype(np.uint8))


def as_array(value: Any) -> np.ndarray[Any, Any]:
    """Return a tensor of any device, or what NumPy understands, as an array."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
