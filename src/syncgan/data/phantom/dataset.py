"""The phantom as a dataset: images, labels and exact masks, each a pure function of seed, class and index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import index as as_index
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from syncgan.data.phantom.optics import STAINS, absorbance, photograph
from syncgan.data.phantom.paint import label_nuclei, lay_stain
from syncgan.data.phantom.recipes import RECIPES, CellRecipe
from syncgan.data.phantom.scene import Scene, arrange
from syncgan.errors import ConfigError
from syncgan.rng import numpy_generator

__all__ = ["Phantom"]


class Phantom:
    """Simulate cytological smears of several classes, with the exact mask of every nucleus.

    A map-style dataset after torchvision's conventions that needs neither files nor torch. Classes differ in what a
    cytologist looks at (nuclear size and its variation, outline, chromatin, nucleoli, crowding), not in stain or light.

    Parameters
    ----------
    n_per_class : images a class, at least 1. Item k of a class does not depend on it.
    image_size : edge of the square images in pixels, at least 16.
    classes : names of built-in recipes ("benign", "atypical", "malignant"), or a mapping from name to `CellRecipe`.
    seed : names the whole data set.
    transform : applied to the PIL image.
    target_transform : applied to the label.
    transforms : applied to image and label together; excludes the other two.
    field_of_view_um : width of the field in micrometres. By default it grows more slowly than `image_size` (34 um at
        32 px, 60 um at 128 px), so that small images show fewer cells instead of illegible ones.
    stains : staining protocols, of which each item draws one: "giemsa", "papanicolaou", "haematoxylin_eosin".

    Attributes
    ----------
    classes : list of str.
    class_to_idx : dict from class name to label.
    targets : list of int, class after class.
    samples : list of (item id, label), the id being "class/number".
    masks : lazy sequence of `mask` of every item.

    Raises
    ------
    ConfigError
        When an argument is out of range, or a class or stain is unknown.

    Examples
    --------
    >>> phantom = Phantom(2, image_size=32)
    >>> len(phantom), phantom.classes, phantom.targets
    (4, ['benign', 'malignant'], [0, 0, 1, 1])
    >>> image, label = phantom[3]
    >>> image.size, label
    ((32, 32), 1)
    >>> phantom.mask(3).shape, phantom.mask(3).dtype
    ((32, 32), dtype('uint8'))
    """

    def __init__(
        self,
        n_per_class: int = 24,
        *,
        image_size: int = 128,
        classes: Iterable[str] | Mapping[str, CellRecipe] = ("benign", "malignant"),
        seed: int = 0,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        transforms: Callable[[Any, Any], tuple[Any, Any]] | None = None,
        field_of_view_um: float | None = None,
        stains: Sequence[str] = ("giemsa",),
    ) -> None:
        if transforms is not None and (transform is not None or target_transform is not None):
            raise ConfigError("expected either transforms or transform and target_transform, got both; drop one")
        self.n_per_class = _at_least(1, "n_per_class", n_per_class)
        self.image_size = _at_least(16, "image_size", image_size)
        self.recipes = _recipes(classes)
        self.classes = list(self.recipes)
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self.seed = as_index(seed)
        self.transform = transform
        self.target_transform = target_transform
        self.transforms = transforms
        self.field_of_view_um = _field_of_view(field_of_view_um, self.image_size)
        self.stains = _stains(stains)

    @property
    def targets(self) -> list[int]:
        """Labels of all items, class after class."""
        return [label for label in range(len(self.classes)) for _ in range(self.n_per_class)]

    @property
    def samples(self) -> list[tuple[str, int]]:
        """Pairs of item id and label, class after class."""
        return [(f"{name}/{k:04d}", y) for y, name in enumerate(self.classes) for k in range(self.n_per_class)]

    @property
    def masks(self) -> Sequence[npt.NDArray[np.uint8]]:
        """The nucleus masks of all items, drawn when asked for."""
        return _Masks(self)

    def __len__(self) -> int:
        return self.n_per_class * len(self.classes)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image: Any = Image.fromarray(self.image(index))
        label: Any = self._place(index)[0]
        if self.transforms is not None:
            return self.transforms(image, label)
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def __repr__(self) -> str:
        return f"Phantom({self.n_per_class}, image_size={self.image_size}, classes={self.classes}, seed={self.seed})"

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """Return the photograph of one item.

        Parameters
        ----------
        index : the item, -len(self) to len(self) - 1.

        Returns
        -------
        (H, W, 3) uint8 RGB.
        """
        recipe, stream = self._recipe(index), self._stream(index, "image")
        concentration = lay_stain(self._scene(index), recipe, self.image_size, stream)
        stain = STAINS[self.stains[int(stream.integers(len(self.stains)))]]
        return photograph(concentration, absorbance(stain, stream), self.image_size, stream)

    def mask(self, index: int) -> npt.NDArray[np.uint8]:
        """Return the exact nucleus mask of item `index`, (H, W) uint8 in {0, 1}."""
        return (self.instances(index) > 0).astype(np.uint8)

    def instances(self, index: int) -> npt.NDArray[np.int32]:
        """Return the labels of the nuclei of item `index`, (H, W) int32: 0 background, 1..n the visible nuclei."""
        return label_nuclei(self._scene(index), self.image_size)

    def _place(self, index: int) -> tuple[int, int]:
        """Return label and number within the class."""
        index = as_index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an index from {-len(self)} to {len(self) - 1}, got {index}")
        return divmod(index % len(self), self.n_per_class)

    def _recipe(self, index: int) -> CellRecipe:
        return self.recipes[self.classes[self._place(index)[0]]]

    def _stream(self, index: int, part: str) -> np.random.Generator:
        label, number = self._place(index)
        return numpy_generator(self.seed, "phantom", self.classes[label], number, part)

    def _scene(self, index: int) -> Scene:
        return arrange(self._recipe(index), self.field_of_view_um, self._stream(index, "scene"))


class _Masks(Sequence[npt.NDArray[np.uint8]]):
    """The masks of a phantom as a sequence."""

    def __init__(self, phantom: Phantom) -> None:
        self._phantom = phantom

    def __len__(self) -> int:
        return len(self._phantom)

    @overload
    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> list[npt.NDArray[np.uint8]]: ...
    def __getitem__(self, index: int | slice) -> npt.NDArray[np.uint8] | list[npt.NDArray[np.uint8]]:
        if isinstance(index, slice):
            return [self._phantom.mask(i) for i in range(*index.indices(len(self)))]
        return self._phantom.mask(index)


def _at_least(low: int, name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise ConfigError(f"expected {name} to be a whole number of at least {low}, got {value!r}; pass a larger one")
    return int(value)


def _recipes(classes: Iterable[str] | Mapping[str, CellRecipe]) -> dict[str, CellRecipe]:
    if isinstance(classes, Mapping):
        named = dict(classes)
    else:
        names = [classes] if isinstance(classes, str) else list(classes)
        _check_known("classes", names, RECIPES)
        named = {name: RECIPES[name] for name in names}
    if not named:
        raise ConfigError(f"expected at least one class, got none; choose from {', '.join(RECIPES)}")
    for name, recipe in named.items():
        if not isinstance(recipe, CellRecipe):
            raise ConfigError(f"expected a CellRecipe for class {name!r}, got {type(recipe).__name__}; build one")
    return named


def _stains(stains: Sequence[str]) -> tuple[str, ...]:
    names = (stains,) if isinstance(stains, str) else tuple(stains)
    _check_known("stains", names, STAINS)
    if not names:
        raise ConfigError(f"expected at least one stain, got none; choose from {', '.join(STAINS)}")
    return names


def _check_known(what: str, names: Sequence[str], known: Mapping[str, object]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"expected {what} among {', '.join(known)}, got {unknown}; correct the name")
    if len(set(names)) < len(names):
        raise ConfigError(f"expected each of {what} once, got {list(names)}; drop the repetition")


def _field_of_view(field_of_view_um: float | None, image_size: int) -> float:
    if field_of_view_um is None:
        return float(60 * (image_size / 128) ** 0.4)
    if not 15 <= field_of_view_um <= 400:
        raise ConfigError(f"expected field_of_view_um within [15, 400], got {field_of_view_um}; a nucleus measures 8")
    return float(field_of_view_um)
