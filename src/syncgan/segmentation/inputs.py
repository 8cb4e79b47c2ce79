"""What counts as an image, and as a collection of images, on the way into a segmenter.

Everything becomes an ``(H, W, 3)`` uint8 RGB array. torch is never imported: a tensor can only come in where torch has
been imported already.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syncgan.errors import DataError

__all__ = ["is_tensor", "iterate_images", "length_of", "rgb_array", "rgb_arrays"]

# Pillow modes that convert to 8-bit RGB without loss of meaning; deeper ones ("I;16", "I", "F") are refused.
_OPAQUE_MODES = frozenset({"1", "L", "RGB", "CMYK", "YCbCr", "LAB", "HSV"})
_TRANSPARENT_MODES = frozenset({"P", "PA", "LA", "RGBA", "RGBa", "RGBX"})


def is_tensor(image: object) -> bool:
    """Say whether `image` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


def rgb_array(image: Any) -> NDArray[np.uint8]:
    """Return one image as a new, contiguous (H, W, 3) uint8 RGB array.

    Parameters
    ----------
    image : PIL image; (H, W), (H, W, 1) or (H, W, 3) uint8 array; (1, H, W) or (3, H, W) uint8 tensor. Gray is
        replicated to RGB, transparency is composited on white.

    Raises
    ------
    DataError
        Another type, dtype or shape, or no pixels; says what was expected and what to do.
    """
    if isinstance(image, Image.Image):
        array = _from_pillow(image)
    elif is_tensor(image):
        array = _from_tensor(image)
    elif isinstance(image, np.ndarray):
        array = _from_array(image)
    else:
        raise DataError(f"expected a PIL image, an (H, W, 3) uint8 array or a (3, H, W) tensor, got {_kind(image)}")
    if array.size == 0:
        raise DataError(f"expected an image with pixels, got shape {array.shape}")
    return array


def rgb_arrays(images: Iterable[Any], *, start: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Yield images as `rgb_array` returns them; an error names the item, counted from `start`."""
    for index, image in enumerate(images, start):
        try:
            yield rgb_array(image)
        except DataError as error:
            raise DataError(f"item {index}: {error}") from None


def iterate_images(source: Any) -> Iterator[Any]:
    """Yield the images of a sequence, a stacked array or tensor, or a map-style dataset, one at a time.

    An item of a dataset may be the image, a tuple or list that starts with it, or a mapping with the key ``"image"``.

    Raises
    ------
    DataError
        A single image, or something without length and items.
    """
    for index in range(length_of(source)):
        yield _image_of(source[index], index)


def length_of(source: Any) -> int:
    """Return the number of images in `source`; refuses a single image and what has no length."""
    if _is_single_image(source):
        raise DataError(f"expected several images or a dataset, got one image ({_kind(source)}); put it in a list")
    if isinstance(source, (str, bytes, Mapping)) or not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise DataError(
            f"expected a sequence of images or a map-style dataset, got {_kind(source)}; "
            "turn an iterable into a list, and read files with syncgan's folder dataset first"
        )
    return len(source)


def _from_pillow(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _TRANSPARENT_MODES or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    elif image.mode not in _OPAQUE_MODES:
        raise DataError(
            f"expected an 8-bit image, got a PIL image of mode {image.mode!r}; "
            "scale it to 8 bits by its real range first"
        )
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _from_tensor(tensor: Any) -> NDArray[np.uint8]:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3) or str(tensor.dtype) != "torch.uint8":
        raise DataError(
            f"expected a (3, H, W) uint8 tensor, got {tuple(tensor.shape)} {tensor.dtype}; {_tensor_remedy(tensor)}"
        )
    channels_last = tensor.detach().permute(1, 2, 0).expand(-1, -1, 3).cpu()
    return np.array(channels_last.numpy(), dtype=np.uint8, order="C")


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    gray = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    colour = array.ndim == 3 and array.shape[2] == 3
    if array.dtype != np.uint8 or not (gray or colour):
        raise DataError(
            f"expected an (H, W, 3) uint8 RGB array, got {array.shape} {array.dtype}; {_array_remedy(array)}"
        )
    if gray:
        array = np.broadcast_to(array.reshape(*array.shape[:2], 1), (*array.shape[:2], 3))
    return np.array(array, dtype=np.uint8, order="C")


def _tensor_remedy(tensor: Any) -> str:
    if tensor.is_floating_point():
        return "pass the dataset without its transform, so that values stay 0..255"
    if tensor.ndim == 4:
        return "pass one image, or the batch to `extract`"
    return "convert it to three 8-bit channels, channels first"


def _array_remedy(array: NDArray[Any]) -> str:
    if np.issubdtype(array.dtype, np.floating):
        return "pass the images before any transform, so that values stay 0..255"
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.dtype == np.uint8:
        return "move the channels last: np.moveaxis(image, 0, -1)"
    if array.ndim == 3 and array.shape[2] == 4:
        return "drop or composite the alpha channel first: image[..., :3]"
    if array.ndim == 4:
        return "pass one image, or the stack to `extract`"
    return "convert it to three 8-bit channels first"


def _is_single_image(source: Any) -> bool:
    if isinstance(source, Image.Image):
        return True
    if isinstance(source, np.ndarray):
        return source.ndim < 3 or (source.ndim == 3 and source.shape[2] in (1, 3, 4))
    return is_tensor(source) and source.ndim < 4


def _image_of(item: Any, index: int) -> Any:
    if isinstance(item, Mapping):
        if "image" not in item:
            raise DataError(f"item {index}: expected a mapping with the key 'image', got keys {sorted(map(str, item))}")
        return item["image"]
    if isinstance(item, (tuple, list)):
        if not item:
            raise DataError(f"item {index}: expected (image, label), got an empty {type(item).__name__}")
        return item[0]
    return item


def _kind(value: object) -> str:
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} of shape {tuple(shape)}" if shape is not None else type(value).__name__
