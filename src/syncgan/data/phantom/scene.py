"""What lies on the slide: cells, red cells, stroma and debris as outlines in micrometres, before any stain or light.

Every outline is a *radial table*: the distance from the object's centre to its border in `ANGLES` directions. An
ellipse, waves, a cleft and the pressure of neighbouring cells are then a few lines each, and whether a point lies
inside is one subtraction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from syncgan.arrays import Floats32
from syncgan.data.phantom.recipes import CellRecipe

__all__ = ["ANGLES", "Blob", "Cell", "Scene", "arrange"]

ANGLES = 512

_DIRECTIONS = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
_ORDERS = np.arange(2, 8)
_WAVES = np.concatenate([np.cos(_ORDERS[:, None] * _DIRECTIONS), np.sin(_ORDERS[:, None] * _DIRECTIONS)])
_NEIGHBOURS = 12
_RELAXATION_STEPS = 40
_NUCLEAR_SHARE = (0.16, 0.30)
_RED_CELLS_PER_UM2 = 0.0045


@dataclass(frozen=True)
class Blob:
    """One outlined object: centre (2,) x, y in um; outline (`ANGLES`,) in um; stain concentration, 1 is usual."""

    center: Floats32
    outline: Floats32
    stain: float


@dataclass(frozen=True)
class Cell:
    """One cell; `cytoplasm` is None for a bare nucleus, `depth` in [-1, 1] decides its focal plane."""

    nucleus: Blob
    cytoplasm: Blob | None
    nucleoli: tuple[Blob, ...]
    eosinophilia: float
    depth: float


@dataclass(frozen=True)
class Scene:
    """Everything on one field of view, `extent_um` wide and high, in the order in which it is laid down."""

    extent_um: float
    cells: tuple[Cell, ...]
    red_cells: tuple[Blob, ...]
    specks: tuple[Blob, ...]


def arrange(recipe: CellRecipe, extent_um: float, rng: np.random.Generator) -> Scene:
    """Lay out one field of view.

    Parameters
    ----------
    recipe : the cells' class.
    extent_um : width and height of the field in micrometres.
    rng : the stream of this item.

    Returns
    -------
    Scene with at least one nucleus whose centre lies well inside the field.
    """
    nucleus_radii = _nucleus_radii(recipe, extent_um, rng)
    ratio = rng.uniform(*recipe.nuclear_cytoplasmic_ratio)
    cell_radii = nucleus_radii / np.sqrt(ratio) * rng.lognormal(0, 0.08, nucleus_radii.size)
    centers = _settle(recipe, _fall(recipe, cell_radii, extent_um, rng), cell_radii)
    centers = _bring_into_view(centers, extent_um, rng)
    cells = _cells(recipe, centers, nucleus_radii, cell_radii, rng)
    return Scene(extent_um, cells, _red_cells(centers, cell_radii, extent_um, rng), _specks(extent_um, rng))


def _nucleus_radii(recipe: CellRecipe, extent_um: float, rng: np.random.Generator) -> Floats32:
    """Draw nuclei until they fill the slide's nuclear share, which is the same for every class."""
    mean = rng.uniform(*recipe.nucleus_diameter_um) / 2
    target_area = rng.uniform(*_NUCLEAR_SHARE) * extent_um**2
    enough = int(np.ceil(2 * target_area / (np.pi * mean**2))) + 2
    radii = mean * np.clip(rng.lognormal(0, recipe.anisonucleosis, enough), 0.6, 1.5)
    count = int(np.searchsorted(np.cumsum(np.pi * radii**2), target_area)) + 1
    return np.asarray(radii[:count], np.float32)


def _fall(recipe: CellRecipe, radii: Floats32, extent_um: float, rng: np.random.Generator) -> Floats32:
    """Drop cells around the centres of one or a few groups; dyscohesive ones anywhere."""
    groups = rng.uniform(0.15, 0.85, (int(rng.integers(1, 3 + int(extent_um > 70))), 2)) * extent_um
    group = rng.integers(0, len(groups), radii.size)
    spread = 0.55 * np.sqrt(np.sum(radii**2) / len(groups))
    grouped = groups[group] + rng.normal(0, spread, (radii.size, 2))
    scattered = rng.uniform(-0.05, 1.05, (radii.size, 2)) * extent_um
    alone = rng.random(radii.size) < recipe.dyscohesion
    return np.where(alone[:, None], scattered, grouped).astype(np.float32)


def _settle(recipe: CellRecipe, centers: Floats32, radii: Floats32) -> Floats32:
    """Push overlapping cells apart; many small steps end in an even sheet, few leave a heap."""
    wanted = recipe.packing * (radii[:, None] + radii[None, :])
    for _ in range(round(4 + (1 - recipe.disorder) * _RELAXATION_STEPS)):
        apart = centers[:, None] - centers[None, :]
        distance = np.sqrt((apart**2).sum(-1)) + 1e-3
        push = np.clip(wanted - distance, 0, None) / distance
        np.fill_diagonal(push, 0)
        centers = centers + 0.22 * (push[..., None] * apart).sum(1)
    return centers


def _bring_into_view(centers: Floats32, extent_um: float, rng: np.random.Generator) -> Floats32:
    target = rng.uniform(0.35, 0.65, 2) * extent_um
    nearest = centers[np.argmin(((centers - target) ** 2).sum(1))]
    return np.asarray(centers + (target - nearest), np.float32)


def _cells(
    recipe: CellRecipe,
    centers: Floats32,
    nucleus_radii: Floats32,
    cell_radii: Floats32,
    rng: np.random.Generator,
) -> tuple[Cell, ...]:
    slack = np.clip(cell_radii - nucleus_radii, 0, None)[:, None]
    shifts = slack * np.clip(rng.normal(0, 0.18 + 0.15 * recipe.disorder, centers.shape), -0.6, 0.6)
    bodies = np.asarray(centers + shifts, np.float32)
    limits = _pressure(bodies, cell_radii, overlap=1.04 + 0.3 * recipe.disorder)
    eosinophilia = rng.uniform(0, 1)
    cells = []
    for center, body, limit, radius, reach in zip(centers, bodies, limits, nucleus_radii, cell_radii, strict=True):
        nucleus = _nucleus(recipe, center, float(radius), rng)
        cells.append(
            Cell(
                nucleus=nucleus,
                cytoplasm=_cytoplasm(body, float(reach), limit, rng) if rng.random() >= recipe.bare_nuclei else None,
                nucleoli=_nucleoli(recipe, nucleus, float(radius), rng),
                eosinophilia=float(np.clip(eosinophilia + rng.normal(0, 0.15), 0, 1)),
                depth=float(np.clip(rng.normal(0, 0.12 + 0.4 * recipe.disorder), -1, 1)),
            )
        )
    return tuple(cells)


def _pressure(bodies: Floats32, radii: Floats32, *, overlap: float) -> Floats32:
    """Return (N, ANGLES): how far each cell may spread before it meets a neighbour, as in a Voronoi diagram."""
    if len(bodies) == 1:
        return np.full((1, ANGLES), np.inf, np.float32)
    offsets = bodies[None, :] - bodies[:, None]
    distances = np.hypot(offsets[..., 0], offsets[..., 1])
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, : min(_NEIGHBOURS, len(bodies) - 1)]
    toward = np.take_along_axis(np.arctan2(offsets[..., 1], offsets[..., 0]), nearest, axis=1)
    share = radii[:, None] / (radii[:, None] + radii[nearest])
    border = overlap * share * np.take_along_axis(distances, nearest, axis=1)
    facing = np.cos(_DIRECTIONS - toward[..., None])
    limits = np.where(facing > 0.05, border[..., None] / np.maximum(facing, 0.05), np.inf)
    return np.asarray(limits.min(axis=1), np.float32)


def _nucleus(recipe: CellRecipe, center: Floats32, radius: float, rng: np.random.Generator) -> Blob:
    outline = _outline(radius, rng.uniform(*recipe.elongation), recipe.contour_irregularity, rng)
    if rng.random() < recipe.cleft_probability:
        outline = outline * _cleft(rng)
    return Blob(center, outline, recipe.hyperchromasia * rng.lognormal(0, 0.06 + 0.5 * recipe.anisonucleosis))


def _cytoplasm(center: Floats32, radius: float, limit: Floats32, rng: np.random.Generator) -> Blob:
    free = _outline(radius, rng.uniform(1.0, 1.5), 0.05, rng)
    return Blob(center, _smooth(np.minimum(free, np.maximum(limit, 0.45 * radius)), 9), rng.lognormal(0, 0.2))


def _nucleoli(recipe: CellRecipe, nucleus: Blob, radius: float, rng: np.random.Generator) -> tuple[Blob, ...]:
    blobs = []
    for _ in range(min(int(rng.poisson(recipe.nucleoli_per_nucleus)), 4)):
        angle, distance = rng.uniform(0, 2 * np.pi), radius * 0.55 * np.sqrt(rng.random())
        center = nucleus.center + distance * np.array([np.cos(angle), np.sin(angle)], np.float32)
        blobs.append(Blob(center, _outline(radius * rng.uniform(0.1, 0.2), 1.15, 0.04, rng), rng.uniform(0.5, 1.0)))
    return tuple(blobs)


def _red_cells(
    cell_centers: Floats32, cell_radii: Floats32, extent_um: float, rng: np.random.Generator
) -> tuple[Blob, ...]:
    """Scatter red cells, mostly beside the other cells: a smear leaves few on top of a group."""
    count = rng.poisson(rng.beta(0.8, 1.2) * _RED_CELLS_PER_UM2 * extent_um**2)
    elongation, crenation = rng.uniform(1.0, 1.25), rng.uniform(0.005, 0.03)
    blobs = []
    for center in rng.uniform(-0.05, 1.05, (count, 2)) * extent_um:
        clearance = np.hypot(*(cell_centers - center).T) - cell_radii
        if clearance.min() > 1.5 or rng.random() < 0.05:
            radius = 3.6 * rng.lognormal(0, 0.07)
            outline = _outline(radius, rng.uniform(1.0, elongation), crenation, rng)
            blobs.append(Blob(center.astype(np.float32), outline, rng.lognormal(0, 0.12)))
    return tuple(blobs)


def _specks(extent_um: float, rng: np.random.Generator) -> tuple[Blob, ...]:
    """Scatter stain precipitate and platelets: dark, but far too small for a nucleus."""
    count = rng.poisson(rng.exponential(0.0012) * extent_um**2)
    centers = (rng.uniform(0, 1, (count, 2)) * extent_um).astype(np.float32)
    return tuple(
        Blob(center, _outline(rng.uniform(0.25, 0.8), rng.uniform(1, 1.8), 0.1, rng), rng.uniform(0.3, 0.8))
        for center in centers
    )


def _outline(radius: float, elongation: float, irregularity: float, rng: np.random.Generator) -> Floats32:
    """Return the radial table of an ellipse of the same area as a disc of `radius`, with waves on its border."""
    turned = _DIRECTIONS - rng.uniform(0, np.pi)
    ellipse = radius / np.sqrt(np.cos(turned) ** 2 / elongation + np.sin(turned) ** 2 * elongation)
    amplitudes = irregularity * rng.normal(0, 0.7, (2, _ORDERS.size)) / np.sqrt(_ORDERS - 1)
    return np.asarray(ellipse * np.clip(1 + amplitudes.ravel() @ _WAVES, 0.6, 1.4), np.float32)


def _cleft(rng: np.random.Generator) -> Floats32:
    """Return a factor (ANGLES,) that indents an outline on one side."""
    away = np.abs(np.angle(np.exp(1j * (_DIRECTIONS - rng.uniform(0, 2 * np.pi)))))
    return np.asarray(1 - rng.uniform(0.15, 0.4) * np.exp(-((away / rng.uniform(0.25, 0.5)) ** 2)), np.float32)


def _smooth(outline: Floats32, width: int) -> Floats32:
    """Round the corners of a radial table by a circular moving average of `2 * width + 1` directions."""
    padded = np.concatenate([outline[-width:], outline, outline[:width]])
    kernel = np.full(2 * width + 1, 1 / (2 * width + 1), np.float32)
    return np.asarray(np.convolve(padded, kernel, "valid"), np.float32)
