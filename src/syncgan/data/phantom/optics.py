"""Stain, light and camera: what turns stain on a slide into pixels.

The one idea is Beer-Lambert: every object adds stain *concentration*, and light is multiplied by
``exp(-concentration @ absorbance)``. Cells that lie on one another are therefore translucent and darker where they
overlap, as under a microscope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from syncgan.arrays import Floats32

__all__ = ["STAINS", "Stain", "absorbance", "photograph"]

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Stain:
    """Colours (RGB, 0-255) in which each substance appears on white light at its usual concentration."""

    chromatin: RGB
    basophilic: RGB
    eosinophilic: RGB
    haemoglobin: RGB
    stroma: RGB


STAINS: Mapping[str, Stain] = MappingProxyType(
    {
        "giemsa": Stain((98, 59, 146), (186, 182, 219), (213, 180, 208), (209, 168, 166), (214, 158, 200)),
        "papanicolaou": Stain((86, 75, 120), (150, 196, 200), (233, 172, 150), (232, 160, 92), (190, 205, 212)),
        "haematoxylin_eosin": Stain((92, 66, 142), (205, 190, 220), (232, 180, 204), (224, 128, 128), (238, 190, 208)),
    }
)
"""The staining protocols: May-Gruenwald-Giemsa, Papanicolaou, haematoxylin and eosin."""


def absorbance(stain: Stain, rng: np.random.Generator) -> Floats32:
    """Return (5, 3) absorbance of the substances per colour channel, with one slide's variation of the protocol."""
    colors = np.array([stain.chromatin, stain.basophilic, stain.eosinophilic, stain.haemoglobin, stain.stroma])
    strength = rng.lognormal(0, 0.16) * rng.lognormal(0, 0.10, (len(colors), 1))
    tint = rng.lognormal(0, 0.07, 3)
    return np.asarray(-np.log(colors / 255) * strength * tint, np.float32)


def photograph(
    concentration: Floats32, absorbances: Floats32, size: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Shine light through the slide and read the camera.

    Parameters
    ----------
    concentration : (W, W, 5) float32 stain on the slide, W a multiple of `size`.
    absorbances : (5, 3) float32, see `absorbance`.
    size : edge of the photograph in pixels.
    rng : the stream of this item.

    Returns
    -------
    (size, size, 3) uint8 RGB.
    """
    transmitted = cv2.exp(cv2.transform(concentration, -np.ascontiguousarray(absorbances.T)))
    pixels = cv2.resize(transmitted, (size, size), interpolation=cv2.INTER_AREA) * _illumination(size, rng)
    pixels = _sharpen(pixels, rng.uniform(0, 0.5))
    noise = rng.normal(0, 1, pixels.shape).astype(np.float32) * np.sqrt(np.clip(pixels, 0.02, None))
    return np.clip(255 * (pixels + rng.uniform(0.006, 0.018) * noise) + 0.5, 0, 255).astype(np.uint8)


def _illumination(size: int, rng: np.random.Generator) -> Floats32:
    """Return (size, size, 3): exposure, white balance, a slope and a vignette about an off-centre axis."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    center = rng.normal(0, 0.3, 2)
    vignette = 1 - rng.uniform(0, 0.10) * ((x - center[0]) ** 2 + (y - center[1]) ** 2)
    slope = 1 + rng.normal(0, 0.025) * x + rng.normal(0, 0.025) * y
    exposure = rng.uniform(0.86, 1.0) * np.array([1.0, 0.975, 0.95]) * rng.lognormal(0, 0.02, 3)
    return np.asarray((vignette * slope)[..., None] * exposure, np.float32)


def _sharpen(pixels: Floats32, amount: float) -> Floats32:
    """Exaggerate edges as microscope cameras do."""
    return np.asarray(pixels + amount * (pixels - cv2.GaussianBlur(pixels, (0, 0), 1.2)), np.float32)
