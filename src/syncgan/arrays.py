"""Kinds of arrays that signatures name, and how many bytes of images are kept. Shapes stand where they are used."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["KEPT_BYTES", "Floats", "Floats32", "Labels", "Mask", "Pixels"]

Pixels: TypeAlias = NDArray[np.uint8]
"""Images, (..., H, W, 3) or (..., 3, H, W)."""

Mask: TypeAlias = NDArray[np.uint8]
"""Semantic maps (..., H, W), values 0 .. L-1; for two levels 1 is nucleus."""

Labels: TypeAlias = NDArray[np.int32]
"""Objects (H, W): 0 is none, every other value an object."""

Floats: TypeAlias = NDArray[np.float64]
"""Measurements."""

Floats32: TypeAlias = NDArray[np.float32]
"""Measurements of many items, in half the memory."""

KEPT_BYTES = 2**30
"""Of a dataset's images at their own sizes; what goes beyond it is read again when it is needed."""
