"""What a segmenter is, and the check of what one returns.

A segmenter is a plain callable of one image, an ``(H, W, 3)`` uint8 RGB array. It returns one ``(H, W)`` array:

* a nucleus mask: bool, ``{0, 1}`` or ``{0, 255}``; or
* integer instance labels: 0 is background, every other value one nucleus; or
* a semantic map with values ``0..L-1``, if the callable carries an attribute ``levels = L``. The nucleus is level L-1.

No base class is needed: a function, a model with ``__call__`` or a bound method will do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from syncgan.errors import ContractError

__all__ = ["MAX_LEVELS", "declared_levels", "normalise_output", "segmenter_name"]

MAX_LEVELS = 256
"""Semantic maps are uint8."""


def declared_levels(segmenter: object, *, name: str) -> int | None:
    """Return the number of levels that a segmenter declares, or None for a nucleus mask or instance labels.

    Raises
    ------
    ContractError
        The attribute ``levels`` is not an integer in 2..256.
    """
    levels = getattr(segmenter, "levels", None)
    if levels is None:
        return None
    if isinstance(levels, bool) or not isinstance(levels, (int, np.integer)) or not 2 <= levels <= MAX_LEVELS:
        raise ContractError(f"segmenter {name!r} declares levels = {levels!r}; expected an integer in 2..{MAX_LEVELS}")
    return int(levels)


def segmenter_name(segmenter: object) -> str:
    """Return the qualified name by which an unregistered callable is recorded, ``module:name``."""
    target: Any = getattr(segmenter, "func", segmenter)  # functools.partial
    if not hasattr(target, "__qualname__"):
        target = type(target)
    return f"{target.__module__}:{target.__qualname__}"


def normalise_output(
    output: object, image_shape: tuple[int, ...], *, levels_declared: int | None = None, name: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Check what a segmenter returned and bring it to one form.

    Parameters
    ----------
    output : what the segmenter returned.
    image_shape : ``(H, W)`` or ``(H, W, C)`` of the image that it was given.
    levels_declared : L of a semantic map; None if the segmenter declares none.
    name : the segmenter's name, for messages.

    Returns
    -------
    map : (H, W) uint8; {0, 1} for a nucleus mask or instance labels, 0..L-1 for a semantic map.
    instances : (H, W) int64 labels as returned, or None if the output had none. Labels beyond int64 are renumbered.

    Raises
    ------
    ContractError
        Not an array, wrong shape, floats, negative values, or values beyond the declared levels.
    """
    array = _as_array(output, name)
    height, width = image_shape[:2]
    if array.shape != (height, width):
        raise ContractError(
            f"segmenter {name!r} returned shape {array.shape} for an image of {height} x {width} pixels; "
            f"expected {(height, width)}, one value a pixel"
        )
    if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
        raise ContractError(f"segmenter {name!r} returned {array.dtype}{_float_remedy(array)}")
    if array.size == 0:
        return np.zeros((height, width), np.uint8), None
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0:
        raise ContractError(f"segmenter {name!r} returned negative values (lowest {lowest}); 0 must be background")
    if levels_declared is None:
        return (array != 0).astype(np.uint8), _instances(array, highest)
    if highest >= levels_declared:
        raise ContractError(
            f"segmenter {name!r} declares levels = {levels_declared} but returned the value {highest}; "
            f"expected values in 0..{levels_declared - 1}"
        )
    return array.astype(np.uint8), None


def _as_array(output: object, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(output)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ContractError(f"segmenter {name!r} returned {type(output).__name__}, not an array ({error})") from error
    if array.dtype == object:
        raise ContractError(f"segmenter {name!r} returned {type(output).__name__}; expected an (H, W) array")
    return array


def _float_remedy(array: NDArray[Any]) -> str:
    expected = "; expected bool, {0, 1}, {0, 255} or integer labels"
    if not np.issubdtype(array.dtype, np.floating):
        return expected
    if not np.isfinite(array).all():
        return f" with NaN or infinite values{expected}"
    return f"{expected}; threshold probabilities first, for example `probability > 0.5`"


def _instances(array: NDArray[Any], highest: int) -> NDArray[np.int64] | None:
    if array.dtype == np.bool_ or highest <= 1:
        return None
    if highest == 255 and bool(np.isin(array, (0, 255)).all()):
        return None
    if highest > np.iinfo(np.int64).max:
        values, positions = np.unique(array, return_inverse=True)
        return positions.reshape(array.shape).astype(np.int64) + int(values[0] != 0)
    return array.astype(np.int64)
