"""What counts as one item of a dataset, in both directions.

An item is a pair (image, label) or a mapping with the keys ``"image"`` and ``"label"``. Reading turns any accepted
image into RGB pixels and any accepted label into an integer or a name; an `ItemTemplate` turns synthetic pixels back
into an item of the kind that a dataset yields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from syncgan.arrays import Pixels
from syncgan.errors import DataError

__all__ = ["ItemTemplate", "image_size", "join_item", "kind_of", "label_of", "rgb_pixels", "split_item"]


# Pillow modes whose samples have 8 bits; deeper ones ("I;16", "I", "F") have no RGB meaning without their range.
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_DEEP = "scale all alike to 8 bits, by the camera's range (of files `syncgan.data.images.read_image` does so)"
_RAW = "pass the dataset without its transform, and give that to `wrap`"


def split_item(item: Any) -> tuple[Any, Any]:
    """Return the image and the label of an item; more elements or keys are ignored.

    Raises
    ------
    DataError
        The item is neither a pair nor a mapping with the keys ``"image"`` and ``"label"``.
    """
    if isinstance(item, Mapping):
        if "image" in item and "label" in item:
            return item["image"], item["label"]
        raise DataError(
            f"expected the keys 'image' and 'label', got {', '.join(sorted(map(repr, item))) or 'none'}; rename them"
        )
    if isinstance(item, (tuple, list)) and len(item) >= 2:
        return item[0], item[1]
    count = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
    raise DataError(
        f"expected (image, label) or a mapping with 'image' and 'label', got {type(item).__name__}{count}; "
        "let the dataset yield its label with the image"
    )


def join_item(like: Any, image: Any, label: Any) -> Any:
    """Return (image, label) in the container of the item `like`, which holds nothing else."""
    if isinstance(like, Mapping):
        values = {"image": image, "label": label}
        return {key: values[key] for key in like}
    if hasattr(like, "_make"):
        return type(like)._make((image, label))
    return [image, label] if isinstance(like, list) else (image, label)


def rgb_pixels(image: Any) -> Pixels:
    """Return an image as a contiguous (H, W, 3) uint8 RGB array.

    Parameters
    ----------
    image : PIL image; (H, W), (H, W, 1) or (H, W, 3) uint8 array; (H, W), (1, H, W) or (3, H, W) uint8 tensor or
        ``tv_tensors.Image``. Gray is replicated to RGB, transparency is composited on white.

    Raises
    ------
    DataError
        Another type, dtype or shape, or no pixels.
    """
    if isinstance(image, Image.Image):
        pixels = _from_pillow(image)
    elif isinstance(image, torch.Tensor):
        pixels = _from_array(image.detach().cpu().numpy(), channels_first=True)
    elif isinstance(image, np.ndarray):
        pixels = _from_array(image, channels_first=False)
    else:
        raise DataError(f"expected a PIL image, a uint8 array or a uint8 tensor, got {type(image).__name__}; {_RAW}")
    if pixels.size == 0:
        raise DataError(f"expected an image with pixels, got shape {pixels.shape}; remove the item")
    return pixels


def _from_pillow(image: Image.Image) -> Pixels:
    if image.mode not in _MODES:
        raise DataError(
            f"expected an 8-bit image, got a PIL image of mode {image.mode!r}; scale it to 8 bits by its real range"
        )
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _from_array(array: NDArray[Any], *, channels_first: bool) -> Pixels:
    if array.dtype != np.uint8:
        remedy = _DEEP if array.dtype in (np.uint16, np.int32) else _RAW
        raise DataError(f"expected uint8 images, got {array.dtype}; {remedy}")
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    elif channels_first:
        if array.ndim != 3 or shape[0] not in (1, 3):
            raise DataError(f"expected a (3, H, W), (1, H, W) or (H, W) tensor, got {shape}; put RGB channels first")
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        remedy = "leave transparency out, or give PIL images" if shape[2:] == (4,) else "put RGB channels last"
        raise DataError(f"expected an (H, W, 3), (H, W, 1) or (H, W) array, got {shape}; {remedy}")
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)), order="C")


def label_of(label: Any) -> int | str:
    """Return a label as a Python integer, or as the name that it is.

    Accepted are integers of Python, NumPy and torch (also as an array or tensor with one element) and strings.

    Raises
    ------
    DataError
        Anything else: booleans, floats, one-hot vectors, detection targets.
    """
    if isinstance(label, str):
        return str(label)
    if isinstance(label, torch.Tensor):
        label = label.detach().cpu().numpy()
    if isinstance(label, np.ndarray) and label.size == 1 and label.dtype.kind in "iu":
        return int(label.reshape(()))
    if isinstance(label, (int, np.integer)) and not isinstance(label, bool):
        return int(label)
    raise DataError(
        f"expected an integer or a class name as label, got {_shown(label)}; let the dataset yield class indices"
    )


def _shown(label: Any) -> str:
    if isinstance(label, np.ndarray) and label.size != 1:
        return f"{label.dtype} values of shape {label.shape}"
    return f"{type(label).__name__} {str(label)[:40]}"


def image_size(image: Any) -> tuple[int, ...] | None:
    """Return (H, W) of an image of any kind, gray or colour, before or after transforms; None when it is no image."""
    if isinstance(image, Image.Image):
        return image.height, image.width
    if isinstance(image, torch.Tensor):
        return tuple(image.shape[-2:])
    return tuple(image.shape[:2]) if isinstance(image, np.ndarray) else None


def kind_of(image: Any) -> str:
    """Say of which kind an image is, its size aside."""
    if isinstance(image, Image.Image):
        return f"a PIL image of mode {image.mode}"
    if not isinstance(image, (np.ndarray, torch.Tensor)):
        return type(image).__name__
    channels = 1 if image.ndim == 2 else image.shape[0 if isinstance(image, torch.Tensor) else -1]
    return f"{type(image).__name__} of {image.ndim} dimensions and {channels} channels"


@dataclass(frozen=True)
class ItemTemplate:
    """Makes synthetic items of the kind that a dataset yields: same container, image type, mode and label type.

    Attributes
    ----------
    container : an empty specimen of the container: a mapping with the keys in order, a tuple or a list.
    label : one label of the dataset.
    dress : turns (S, S, 3) uint8 pixels into an image of the dataset's kind.
    """

    container: Any
    label: Any
    dress: Callable[[Pixels], Any]

    @classmethod
    def of(cls, item: Any) -> ItemTemplate:
        """Take the kind of a raw item.

        Raises
        ------
        DataError
            The item holds more than an image and a label, or one of them is of no accepted kind.
        """
        image, label = split_item(item)
        if len(item) != 2:
            extra = f"the keys {', '.join(map(repr, item))}" if isinstance(item, Mapping) else f"{len(item)} elements"
            raise DataError(
                f"expected items of an image and a label only, got {extra}: synthetic items lack the rest; "
                "select only these two columns, or wrap the dataset in one that yields (image, label)"
            )
        rgb_pixels(image), label_of(label)
        return cls(join_item(item, None, None), label, _dress_like(image))

    def build(self, pixels: Pixels, label: int, name: str) -> Any:
        """Return an item with these (S, S, 3) uint8 pixels; owns its memory."""
        return join_item(self.container, self.dress(pixels), self._label(label, name))

    def _label(self, label: int, name: str) -> Any:
        if isinstance(self.label, str):
            return name
        if isinstance(self.label, torch.Tensor):
            return torch.full_like(self.label, label)
        if isinstance(self.label, np.ndarray):
            return np.full_like(self.label, label)
        return type(self.label)(label) if isinstance(self.label, np.integer) else label


@dataclass(frozen=True)
class _PillowLike:
    mode: str

    def __call__(self, pixels: Pixels) -> Image.Image:
        image = Image.fromarray(pixels)
        # Dithering would be a sign by which a classifier knows synthetic images.
        if self.mode == "P":
            return image.quantize(256, dither=Image.Dither.NONE)
        return image.convert(self.mode, dither=Image.Dither.NONE)


@dataclass(frozen=True)
class _ArrayLike:
    channels: int
    ndim: int

    def __call__(self, pixels: Pixels) -> Pixels:
        channels = _channels(pixels, self.channels)
        return np.array(channels[..., 0] if self.ndim == 2 else channels, order="C")


@dataclass(frozen=True)
class _TensorLike:
    channels: int
    ndim: int
    kind: type[torch.Tensor]
    device: torch.device

    def __call__(self, pixels: Pixels) -> torch.Tensor:
        channels_first = np.moveaxis(_channels(pixels, self.channels), -1, 0)
        channels_first = channels_first[0] if self.ndim == 2 else channels_first
        return torch.from_numpy(np.array(channels_first, order="C")).to(self.device).as_subclass(self.kind)


def _dress_like(image: Any) -> Callable[[Pixels], Any]:
    if isinstance(image, Image.Image):
        return _PillowLike(image.mode)
    if isinstance(image, torch.Tensor):
        return _TensorLike(image.shape[0] if image.ndim == 3 else 1, image.ndim, type(image), image.device)
    return _ArrayLike(image.shape[2] if image.ndim == 3 else 1, image.ndim)


def _channels(pixels: Pixels, channels: int) -> Pixels:
    return pixels if channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
