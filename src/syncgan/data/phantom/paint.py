"""Put the scene's objects on a grid: stain concentration for the image, labels for the mask.

Both read the same signed distance to the same outlines, so the mask is exact by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from syncgan.arrays import Floats32
from syncgan.data.phantom.recipes import CellRecipe
from syncgan.data.phantom.scene import ANGLES, Blob, Cell, Scene

__all__ = ["label_nuclei", "lay_stain"]

CHROMATIN, BASOPHILIC, EOSINOPHILIC, HAEMOGLOBIN, STROMA = range(5)
_PLANES = 3


@dataclass(frozen=True)
class _Window:
    """The part of the grid around one object: polar coordinates about its centre, in micrometres."""

    region: tuple[slice, slice]
    radius: Floats32
    angle: Floats32

    def depth_inside(self, outline: Floats32) -> Floats32:
        """Return the distance to the border along the ray from the centre, positive inside."""
        index = (self.angle * (ANGLES / (2 * np.pi))).astype(np.int32) % ANGLES
        return np.asarray(outline[index] - self.radius, np.float32)


def label_nuclei(scene: Scene, size: int) -> npt.NDArray[np.int32]:
    """Return (size, size) int32: 0 outside, 1..n for the visible nuclei; where nuclei overlap the upper one counts.

    A pixel belongs to a nucleus when at least half of it is covered.
    """
    factor = _supersampling(size)
    edge = size * factor
    fine = np.zeros((edge, edge), np.int32)
    for number, cell in enumerate(scene.cells, start=1):
        window = _window(cell.nucleus, edge, scene.extent_um)
        if window is not None:
            fine[window.region][window.depth_inside(cell.nucleus.outline) > 0] = number
    blocks = fine.reshape(size, factor, size, factor).swapaxes(1, 2).reshape(size, size, -1)
    covered = (blocks > 0).mean(-1) >= 0.5
    _, labels = np.unique(np.where(covered, blocks.max(-1), 0), return_inverse=True)
    # `unique` counts from 0, which is background only if some background is visible.
    return np.asarray(labels.reshape(size, size) + int(covered.all()), np.int32)


def lay_stain(scene: Scene, recipe: CellRecipe, size: int, rng: np.random.Generator) -> Floats32:
    """Return (W, W, 5) float32 stain concentration, W a multiple of `size`, focus blur included.

    Parameters
    ----------
    scene : what lies on the slide.
    recipe : its class, for the chromatin.
    size : edge of the image in pixels.
    rng : the stream of this item.
    """
    edge = size * _supersampling(size)
    px_per_um = edge / scene.extent_um
    noise = _Noise(edge, px_per_um, recipe, rng)
    planes = [np.zeros((edge, edge, 5), np.float32) for _ in range(_PLANES)]
    _lay_background(planes[0], noise, rng)
    for red_cell in scene.red_cells:
        _lay_red_cell(planes[1], red_cell, scene.extent_um, noise)
    for cell in scene.cells:
        plane = planes[int(np.clip(np.floor((cell.depth + 1) / 2 * _PLANES), 0, _PLANES - 1))]
        _lay_cytoplasm(plane, cell, scene.extent_um, noise)
        _lay_nucleus(plane, cell, recipe, scene.extent_um, noise)
    for speck in scene.specks:
        _lay_speck(planes[2], speck, scene.extent_um)
    return _focus(planes, px_per_um, rng)


def _supersampling(size: int) -> int:
    """Return grid points per pixel edge: many where pixels are coarse; borders are soft, so large images need none."""
    return int(np.clip(round(200 / size), 1, 4))


class _Noise:
    """Random textures of zero mean and unit variance, made once for an image and cut at random places."""

    def __init__(self, edge: int, px_per_um: float, recipe: CellRecipe, rng: np.random.Generator) -> None:
        self._rng = rng
        white = rng.standard_normal((edge, edge), np.float32)
        self.chromatin = _blurred(white, recipe.chromatin_grain_um * px_per_um / 2)
        self.grain = _blurred(white.T, 0.3 * px_per_um)
        self.cloud = _blurred(white[::-1], 1.6 * px_per_um)

    def cut(self, texture: Floats32, shape: tuple[int, ...]) -> Floats32:
        """Return a random part of `texture` of the given shape."""
        row, column = (
            int(self._rng.integers(0, have - want + 1)) for have, want in zip(texture.shape, shape, strict=True)
        )
        return texture[row : row + shape[0], column : column + shape[1]]


def _blurred(white: Floats32, sigma_px: float) -> Floats32:
    soft = cv2.GaussianBlur(np.ascontiguousarray(white), (0, 0), max(sigma_px, 0.4))
    return np.asarray((soft - soft.mean()) / soft.std(), np.float32)


def _window(blob: Blob, edge: int, extent_um: float, *, halo_um: float = 1.0) -> _Window | None:
    """Return the grid around `blob`, or None when it lies outside the field."""
    px_per_um = edge / extent_um
    reach = float(blob.outline.max()) + halo_um
    low = np.clip(np.floor((blob.center - reach) * px_per_um), 0, edge).astype(int)
    high = np.clip(np.ceil((blob.center + reach) * px_per_um), 0, edge).astype(int)
    if (high <= low).any():
        return None
    x, y = ((np.arange(a, b) + 0.5) / px_per_um - c for a, b, c in zip(low, high, blob.center, strict=True))
    xx, yy = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    radius, angle = cv2.cartToPolar(xx, yy)
    region = (slice(low[1], high[1]), slice(low[0], high[0]))
    return _Window(region, np.asarray(radius, np.float32), np.asarray(angle, np.float32))


def _step(value: npt.NDArray[np.floating], width: float) -> Floats32:
    """Rise from 0 to 1 while `value` goes from -width to width."""
    t = np.clip(value / (2 * width) + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _lay_cytoplasm(plane: Floats32, cell: Cell, extent_um: float, noise: _Noise) -> None:
    body = cell.cytoplasm
    window = None if body is None else _window(body, len(plane), extent_um)
    if body is None or window is None:
        return
    shape = window.radius.shape
    inside = window.depth_inside(body.outline) + 0.35 * noise.cut(noise.cloud, shape)
    cover = _step(inside, 0.55)
    thickness = 0.62 + 0.38 * _step(inside - 1.5, 2.5)
    border = 0.35 * np.exp(-((inside - 0.3) ** 2) / 0.25)
    texture = 1 + 0.16 * noise.cut(noise.cloud, shape) + 0.12 * noise.cut(noise.grain, shape)
    density = body.stain * cover * (thickness + border) * np.clip(texture, 0.2, None)
    plane[window.region][..., BASOPHILIC] += (1 - cell.eosinophilia) * density
    plane[window.region][..., EOSINOPHILIC] += cell.eosinophilia * density


def _lay_nucleus(plane: Floats32, cell: Cell, recipe: CellRecipe, extent_um: float, noise: _Noise) -> None:
    window = _window(cell.nucleus, len(plane), extent_um)
    if window is None:
        return
    inside = window.depth_inside(cell.nucleus.outline)
    dome = 0.8 + 0.2 * _step(inside - 1.2, 1.6)
    membrane = (0.10 + 0.5 * recipe.chromatin_contrast) * np.exp(-((inside - 0.25) ** 2) / 0.12)
    # Squashing the noise makes clumps with clear spaces between them instead of a smooth marble.
    clumps = np.tanh(noise.cut(noise.chromatin, inside.shape) + 0.45 * noise.cut(noise.grain, inside.shape))
    chromatin = dome + membrane + recipe.chromatin_contrast * clumps
    density = cell.nucleus.stain * _step(inside, 0.2) * np.clip(chromatin, 0.25, None)
    plane[window.region][..., CHROMATIN] += density
    for nucleolus in cell.nucleoli:
        _lay_nucleolus(plane, nucleolus, extent_um)


def _lay_nucleolus(plane: Floats32, nucleolus: Blob, extent_um: float) -> None:
    window = _window(nucleolus, len(plane), extent_um)
    if window is None:
        return
    inside = window.depth_inside(nucleolus.outline)
    halo = np.exp(-((inside + 0.35) ** 2) / 0.15)
    chromatin = plane[window.region][..., CHROMATIN]
    chromatin *= 1 - 0.12 * halo
    chromatin += nucleolus.stain * _step(inside, 0.25) * (chromatin > 0.2)


def _lay_red_cell(plane: Floats32, red_cell: Blob, extent_um: float, noise: _Noise) -> None:
    window = _window(red_cell, len(plane), extent_um)
    if window is None:
        return
    inside = window.depth_inside(red_cell.outline)
    relative = window.radius / np.maximum(window.radius + inside, 1e-3)
    biconcave = 0.45 + 0.55 * _step(relative - 0.45, 0.3)
    texture = 1 + 0.04 * noise.cut(noise.grain, inside.shape)
    plane[window.region][..., HAEMOGLOBIN] += red_cell.stain * _step(inside, 0.25) * biconcave * texture


def _lay_speck(plane: Floats32, speck: Blob, extent_um: float) -> None:
    window = _window(speck, len(plane), extent_um)
    if window is not None:
        plane[window.region][..., CHROMATIN] += speck.stain * _step(window.depth_inside(speck.outline), 0.3)


def _lay_background(plane: Floats32, noise: _Noise, rng: np.random.Generator) -> None:
    """Lay a thin, cloudy film of plasma, and on some slides a fibrous streak of stroma or mucus."""
    film = rng.uniform(0.02, 0.22)
    plane[..., EOSINOPHILIC] += film * np.clip(1 + 0.25 * noise.cloud + 0.10 * noise.grain, 0, None)
    if rng.random() < 0.45:
        plane[..., STROMA] += _streak(len(plane), rng)


def _streak(edge: int, rng: np.random.Generator) -> Floats32:
    """Return (edge, edge): a curved band of parallel fibres that fades at its sides."""
    axis = np.linspace(-0.5, 0.5, edge, dtype=np.float32)
    angle, offset, bend = rng.uniform(0, np.pi), rng.uniform(-0.45, 0.45), rng.normal(0, 0.5)
    along = axis[None, :] * np.cos(angle) + axis[:, None] * np.sin(angle)
    across = axis[:, None] * np.cos(angle) - axis[None, :] * np.sin(angle) - offset - bend * along**2
    band = np.exp(-((across / rng.uniform(0.06, 0.2)) ** 2))
    strands = rng.standard_normal((160, 8), np.float32)
    strands = strands + cv2.GaussianBlur(strands, (1, 9), 0) * 1.5
    columns, rows = ((along + 0.75) * 5).astype(np.float32), ((across + 1.2) * 60).astype(np.float32)
    fibres = cv2.remap(strands, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(rng.uniform(0.3, 0.9) * band * np.clip(0.6 + 0.35 * fibres, 0, None), np.float32)


def _focus(planes: list[Floats32], px_per_um: float, rng: np.random.Generator) -> Floats32:
    """Add up the focal planes, each blurred by its distance from the plane of focus."""
    in_focus = rng.normal(0, 0.35)
    total = np.zeros_like(planes[0])
    for depth, plane in zip(np.linspace(-1, 1, len(planes)), planes, strict=True):
        sigma_um = 0.12 + 0.32 * abs(depth - in_focus)
        total += cv2.GaussianBlur(plane, (0, 0), max(sigma_um * px_per_um, 0.3))
    return total
