"""A dataset with synthetic items after the real ones.

Synthetic items enter where the dataset's raw items do: they take the raw item's kind and then pass through the
dataset's own transforms. Which transforms those are, and how they are called, is seen rather than guessed: the first
item is read once through recorders in place of the transforms.
"""

from __future__ import annotations

import contextlib
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import index as as_index
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from syncgan.data.batch_transform import BatchTransform
from syncgan.data.items import ItemTemplate, Pixels, image_size, join_item, split_item
from syncgan.data.raw import RawData, class_names, read_dataset, read_targets, require_trainable
from syncgan.data.strategy import Strategy, resolve_strategy
from syncgan.data.views import HOOKS, leaves, let_through, locate, name_of, naming, raw_view, require_map_style
from syncgan.errors import ConfigError, DataError

__all__ = [
    "AugmentedDataset",
    "BatchTransform",
    "RawData",
    "Strategy",
    "read_dataset",
    "read_targets",
    "require_trainable",
    "resolve_strategy",
    "wrap_dataset",
]

Render = Callable[[int, int], tuple[Pixels, Pixels]]
"""``(label, n) -> images (n, 3, S, S) uint8, masks (n, S, S) uint8``."""

_SIZE_CHECKS = 5
_USER = 5  # stack level of the line that called `SynCGANAugmenter.wrap`


class AugmentedDataset(Dataset[Any]):
    """A map-style dataset: the items of another dataset, untouched and first, then synthetic items.

    A synthetic item has the kind of the dataset's raw item (PIL image, array, tensor or ``tv_tensors.Image``; gray
    stays gray; tuple, list or dict) and then passes through the dataset's own transforms. For ``Subset`` and
    ``ConcatDataset`` those are the transforms on the way of the first item. Everything is held as uint8 arrays, so
    the dataset can be pickled and needs no device in a worker.

    Parameters
    ----------
    dataset : map-style dataset of pairs (image, label) or mappings with the keys ``"image"`` and ``"label"``; never
        changed. A transform that is exchanged later (``dataset.transform = ...``) counts for both kinds of items.
    images : (n, 3, S, S) uint8.
    masks : (n, S, S) uint8 semantic maps.
    labels : n labels, the dataset's own integers.
    class_names : label -> name.
    provenance : one mapping a synthetic item: at least class, label, seed and index.
    targets : labels of the real items; read from the dataset by default.
    transform : applied to the image of real and synthetic items alike, after the dataset's own transforms.

    Attributes
    ----------
    classes, class_to_idx : the dataset's, or the model's where the dataset has none.
    targets : list of int, real then synthetic, before any ``target_transform``.
    is_synthetic : (len(self),) bool array.
    images, masks : the synthetic images and maps as given.

    Raises
    ------
    DataError
        The dataset is empty or iterable, or its items are of a kind that synthetic ones cannot take.

    Warns
    -----
    UserWarning
        Real and synthetic images differ in size after all transforms, or the parts of a ``ConcatDataset`` differ in
        their transforms.
    """

    def __init__(
        self,
        dataset: Any,
        images: Pixels,
        masks: Pixels,
        labels: Sequence[int],
        *,
        class_names: Mapping[int, str],
        provenance: Sequence[Mapping[str, Any]],
        targets: Sequence[int] | None = None,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.dataset = dataset
        self.images = images
        self.masks = masks
        self.transform = transform
        real = read_targets(dataset) if targets is None else list(targets)
        self.targets: list[int] = [*real, *map(int, labels)]
        self.is_synthetic: NDArray[np.bool_] = np.arange(len(self.targets)) >= len(real)
        self._n_real = len(real)
        self._class_names = dict(class_names)
        self._provenance = [dict(row) for row in provenance]
        self.classes, self.class_to_idx = _class_attributes(dataset, class_names)
        self._template, self._steps = _inspect(dataset)
        _warn_of_different_transforms(dataset)
        _warn_of_different_sizes(self)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        # Negative and integer-like indices are sorted out off the path of the common case.
        if type(index) is not int or not 0 <= index < self._n_real:
            index = self._position(index)
        item = self.dataset[index] if index < self._n_real else self._synthetic(index - self._n_real)
        return item if self.transform is None else _apply(_call_on_image, self.transform, item)

    def provenance(self, index: int) -> dict[str, Any]:
        """Return where an item comes from.

        Returns
        -------
        A dict with class, label, seed and index. A synthetic item is number `index` of those that its class and seed
        give; a real item has the seed None and its index in the dataset.
        """
        position = self._position(index)
        if position >= self._n_real:
            return dict(self._provenance[position - self._n_real])
        label = self.targets[position]
        return {"class": self._class_names[label], "label": label, "seed": None, "index": position}

    def __repr__(self) -> str:
        return f"<AugmentedDataset: {self._n_real} real items, {len(self) - self._n_real} synthetic>"

    def _position(self, index: int) -> int:
        position = as_index(index)
        position += len(self) if position < 0 else 0
        if not 0 <= position < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} items")
        return position

    def _synthetic(self, number: int) -> Any:
        label = self.targets[self._n_real + number]
        pixels = np.array(np.moveaxis(self.images[number], 0, -1), order="C")
        item = self._template.build(pixels, label, self._class_names[label])
        for step in self._steps:
            item = step(item)
        return item


def wrap_dataset(
    dataset: Any,
    *,
    classes: Sequence[str],
    label_values: Sequence[int],
    render: Render,
    strategy: Strategy = 2.0,
    transform: Callable[[Any], Any] | None = None,
    seed: int = 0,
) -> AugmentedDataset:
    """Append synthetic items to a dataset.

    Parameters
    ----------
    dataset : see `AugmentedDataset`.
    classes, label_values : names and labels of the model's classes, aligned.
    render : ``(label, n) -> images (n, 3, S, S) uint8, masks (n, S, S) uint8``; called once for each class that gets
        synthetic items, in ascending order of labels.
    strategy : see `resolve_strategy`.
    transform : see `AugmentedDataset`.
    seed : recorded as the items' provenance; `render` knows it already.

    Raises
    ------
    DataError
        As `AugmentedDataset`; also a label, or a name for a label, that the model does not know.
    ConfigError, UnknownNameError
        As `resolve_strategy`.
    """
    names = dict(zip(label_values, classes, strict=True))
    by_name = {name: label for label, name in names.items()}
    if transform is not None and not callable(transform):
        raise ConfigError(f"expected a callable as transform, got {type(transform).__name__}")
    template, _ = _inspect(dataset)  # whatever is wrong with the items is said before anything is rendered
    targets = read_targets(dataset, classes=by_name)
    _check_labels(dataset, targets, names)
    if not isinstance(template.label, str):
        _check_names(class_names(dataset) or {}, set(targets), names)
    wanted = {n: c for n, c in resolve_strategy(strategy, Counter(targets), classes=by_name).items() if c}
    rendered = [render(label, count) for label, count in wanted.items()]
    rows = [(label, index) for label, count in wanted.items() for index in range(count)]
    return AugmentedDataset(
        dataset,
        np.concatenate([images for images, _ in rendered]) if rendered else np.empty((0, 3, 0, 0), np.uint8),
        np.concatenate([masks for _, masks in rendered]) if rendered else np.empty((0, 0, 0), np.uint8),
        [label for label, _ in rows],
        class_names=names,
        provenance=[{"class": names[label], "label": label, "seed": seed, "index": index} for label, index in rows],
        targets=targets,
        transform=transform,
    )


def _check_labels(dataset: Any, targets: Sequence[int], names: Mapping[int, str]) -> None:
    known = ", ".join(f"{name} ({label})" for label, name in names.items())
    for position, label in enumerate(targets):
        if label not in names:
            item = name_of(position, locate(dataset)[position])
            raise DataError(
                f"{item}: expected a label of the model, which knows {known}, got {label}; leave such items out"
            )


def _check_names(own: Mapping[int, str], present: set[int], names: Mapping[int, str]) -> None:
    # A folder that lacks one class numbers the others anew: the same integer then means another class.
    for label in present & own.keys():
        # A model fitted on a dataset without class names knows label 3 as "3".
        if names[label] not in (own[label], str(label)):
            raise DataError(
                f"expected label {label} to be {names[label]!r} as in the model, got {own[label]!r} in the dataset; "
                f"give the dataset the model's class order: {', '.join(names.values())}"
            )


def _class_attributes(dataset: Any, names: Mapping[int, str]) -> tuple[list[Any], dict[Any, int]]:
    """Return `classes` and `class_to_idx` as the (innermost) dataset has them, otherwise the model's."""
    inner = next((leaf for leaf in leaves(dataset) if class_names(leaf)), None)
    classes = getattr(inner, "classes", None)
    class_to_idx = getattr(inner, "class_to_idx", None)
    if class_to_idx is None:
        class_to_idx = {name: label for label, name in (class_names(inner or ()) or names).items()}
    if classes is None:
        classes = list(class_to_idx)
    return list(classes), dict(class_to_idx)


# --- the dataset's own transforms, seen at work ----------------------------------------------------------------------

Call = Literal["image", "label", "pair", "item", "keyword"]


@dataclass(frozen=True)
class _Step:
    """One call of a transform, repeated on synthetic items: whose, in which attribute, and with what."""

    owner: Any
    hook: str
    call: Call

    def __call__(self, item: Any) -> Any:
        transform = getattr(self.owner, self.hook)
        return item if transform is None else _apply(_CALLS[self.call], transform, item)


def _call_on_image(transform: Callable[..., Any], image: Any, label: Any) -> tuple[Any, Any]:
    return transform(image), label


def _call_on_label(transform: Callable[..., Any], image: Any, label: Any) -> tuple[Any, Any]:
    return image, transform(label)


def _call_on_pair(transform: Callable[..., Any], image: Any, label: Any) -> tuple[Any, Any]:
    image, label = transform(image, label)
    return image, label


def _call_by_keyword(transform: Callable[..., Any], image: Any, label: Any) -> tuple[Any, Any]:
    return transform(image=image)["image"], label  # albumentations' way


_CALLS: dict[Call, Callable[..., tuple[Any, Any]] | None] = {
    "image": _call_on_image,
    "label": _call_on_label,
    "pair": _call_on_pair,
    "keyword": _call_by_keyword,
    "item": None,
}


def _apply(call: Callable[..., tuple[Any, Any]] | None, transform: Callable[..., Any], item: Any) -> Any:
    if call is None:
        return transform(item)
    image, label = split_item(item)
    image, label = call(transform, image, label)
    return {**item, "image": image, "label": label} if isinstance(item, Mapping) else join_item(item, image, label)


def _inspect(dataset: Any) -> tuple[ItemTemplate, tuple[_Step, ...]]:
    """Read the first item through recorders: what kind it is, and which transforms it meets in which order."""
    require_map_style(dataset)
    if len(dataset) == 0:
        raise DataError(
            "expected a dataset with items, got an empty one; synthetic items take their kind from the first"
        )
    steps: list[_Step] = []

    def recorder(owner: Any, hook: str) -> Callable[..., Any]:
        def record(*args: Any, **kwargs: Any) -> Any:
            steps.append(_Step(owner, hook, _kind_of_call(hook, args, kwargs)))
            return let_through(*args, **kwargs)

        return record

    with naming(name_of(0, locate(dataset)[0])):
        template = ItemTemplate.of(raw_view(dataset, recorder)[0])
    return template, tuple(steps)


def _kind_of_call(hook: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    if list(kwargs) == ["image"] and not args:
        return "keyword"
    if kwargs or len(args) not in (1, 2):
        raise DataError(
            f"`{hook}` is called in a way that cannot be repeated on synthetic items; give it to `wrap` instead"
        )
    if len(args) == 2:
        return "pair"
    if isinstance(args[0], (Mapping, tuple, list)):
        return "item"
    return "label" if hook == "target_transform" else "image"


# --- warnings ------------------------------------------------------------------------------------------------------


def _warn_of_different_transforms(dataset: Any) -> None:
    if len({_shown_transforms(leaf) for leaf in leaves(dataset)}) > 1:
        warnings.warn(
            "the parts of the dataset have different transforms; synthetic items take those of the first item's part",
            UserWarning,
            stacklevel=_USER,
        )


def _shown_transforms(leaf: Any) -> str:
    *single, joint = (getattr(leaf, hook, None) for hook in HOOKS)
    # torchvision makes the joint one of the others, and cannot show it when a class such as `float` is among them.
    return repr(joint if single == [None, None] else single)


def _warn_of_different_sizes(augmented: AugmentedDataset) -> None:
    """Compare the sizes of a few real images with a synthetic one; run the transforms only where raw sizes differ."""
    real, size = augmented._n_real, augmented.images.shape[-2:]
    if real == len(augmented):
        return
    checked = sorted({position * (real - 1) // (_SIZE_CHECKS - 1) for position in range(_SIZE_CHECKS)})
    view = raw_view(augmented.dataset)
    if {_size_of(view, index) for index in checked} <= {size, None}:
        return
    with _global_random_state_kept():
        found = {_size_of(augmented, index) for index in (*checked, real)} - {None}
    if len(found) > 1:
        shown = ", ".join(sorted(" x ".join(map(str, size)) for size in found if size))
        warnings.warn(
            f"images have different sizes after all transforms ({shown}; synthetic ones come as "
            f"{size[0]} x {size[1]}): a DataLoader cannot stack them; add a Resize to the transforms",
            UserWarning,
            stacklevel=_USER,
        )


def _size_of(dataset: Any, index: int) -> tuple[int, ...] | None:
    item = dataset[index]
    # A transform of the whole item may rename its image.
    return image_size(item.get("image") if isinstance(item, Mapping) else item[0])


@contextlib.contextmanager
def _global_random_state_kept() -> Iterator[None]:
    """Undo what random transforms in the block draw from the global generators, so that wrapping changes no result."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
