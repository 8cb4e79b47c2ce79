"""Read a dataset's images, labels and class names, before its transforms and without changing it."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, overload

import numpy as np
import torch

from syncgan.arrays import KEPT_BYTES, Pixels
from syncgan.data.items import label_of, rgb_pixels, split_item
from syncgan.data.safe_names import require_unicode
from syncgan.data.views import (
    HOOKS,
    Location,
    column_of,
    leaves,
    locate,
    name_of,
    naming,
    raw_view,
    require_map_style,
    spread_indices,
)
from syncgan.errors import DataError, warn_user

__all__ = [
    "RawData",
    "ReadImages",
    "class_names",
    "item_groups",
    "read_dataset",
    "read_targets",
    "require_trainable",
]

Progress: TypeAlias = Callable[[int, int], None]
Label: TypeAlias = int | str

_MISSING = frozenset({"None", "nan", "NaT", "<NA>"})


@dataclass
class ReadImages(Sequence[Pixels]):
    """The images of a dataset, in memory as far as there is room for them.

    Attributes
    ----------
    view : yields the items without their transforms.
    names : of the items.
    sizes : (height, width) of each image that was added.
    """

    view: Any
    names: Sequence[str]
    sizes: list[tuple[int, int]] = field(default_factory=list)
    _kept: list[Pixels | None] = field(default_factory=list)
    _free: int = field(default_factory=lambda: KEPT_BYTES)

    def read(self, index: int) -> tuple[Pixels, Label]:
        """Return an item's image and label, read from the dataset; errors name the item."""
        with naming(self.names[index]):
            image, label = split_item(self.view[index])
            return rgb_pixels(image), label_of(label)

    def add(self, image: Pixels) -> None:
        """Take the next image, which is kept as long as all that were kept have room."""
        self._free -= image.nbytes
        self._kept.append(image if self._free >= 0 else None)
        self.sizes.append((image.shape[0], image.shape[1]))

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> Pixels: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pixels]: ...

    def __getitem__(self, index: int | slice) -> Pixels | list[Pixels]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        kept = self._kept[index]
        return self.read(range(len(self))[index])[0] if kept is None else kept


@dataclass(frozen=True)
class RawData:
    """Everything that training needs of a dataset.

    Attributes
    ----------
    images : (H, W, 3) uint8 arrays of native sizes, RGB in 0..255. Those that do not fit into a gibibyte are read again
        each time.
    labels : the dataset's own integers; for name labels the index into the sorted names.
    label_values : the distinct labels, ascending.
    classes : their names, aligned with `label_values`.
    names : one name an item for messages: the end of its file's path, otherwise "item 12".
    """

    images: ReadImages
    labels: list[int]
    label_values: tuple[int, ...]
    classes: tuple[str, ...]
    names: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def class_names(self) -> dict[int, str]:
        """Label -> name."""
        return dict(zip(self.label_values, self.classes, strict=True))

    @property
    def counts(self) -> dict[int, int]:
        """Label -> number of items."""
        return dict(sorted(Counter(self.labels).items()))


def read_dataset(
    dataset: Any, *, classes: Mapping[str, int] | None = None, progress: Progress | None = None
) -> RawData:
    """Read every image and label before the dataset's own transforms.

    Parameters
    ----------
    dataset : a map-style dataset, or a sequence, of pairs (image, label) or mappings with the keys ``"image"`` and
        ``"label"``. Images are PIL images, uint8 arrays (H, W[, 1 or 3]) or uint8 tensors ([1 or 3, ]H, W); labels are
        integers or class names.
    classes : name -> label, for datasets that yield names. By default names are numbered in sorted order.
    progress : called with (items done, items in all) after each item.

    Raises
    ------
    DataError
        An iterable dataset, an item that cannot be read or is of another kind (the message names it), or labels that
        do not fit the dataset's class names, or `classes`.
    """
    require_map_style(dataset)
    view, located = raw_view(dataset), locate(dataset)
    names = [name_of(index, location) for index, location in enumerate(located)]
    images, labels = ReadImages(view, names), list[Label]()
    changing, looked_at = None, set(spread_indices(len(names)))
    for index, name in enumerate(names):
        image, label = images.read(index)
        images.add(image)
        labels.append(label)
        if changing is None and index in looked_at and not np.array_equal(images.read(index)[0], image):
            changing = name
        if progress is not None:
            progress(index + 1, len(names))
    if changing is not None:
        _warn_of_random_items(changing)
    known = _known_names(dataset, labels, classes)
    integers = _as_integers(labels, known, names)
    values = tuple(sorted(set(integers)))
    found = known if known is not None else _names_of(labels, integers)
    return RawData(images, integers, values, tuple(found[value] for value in values), names)


def read_targets(dataset: Any, *, classes: Mapping[str, int] | None = None) -> list[int]:
    """Read every label, from the attribute ``targets``, ``labels`` or ``samples``, or a column, where there is one.

    Items are decoded only where nothing of that kind matches the items.

    Parameters
    ----------
    dataset : as for `read_dataset`.
    classes : name -> label, for datasets that yield names. By default names are numbered in sorted order.

    Returns
    -------
    The dataset's own integers, before its ``target_transform``.

    Raises
    ------
    DataError
        As `read_dataset`; also a name that is not in `classes`.
    """
    require_map_style(dataset)
    located = locate(dataset)
    names = [name_of(index, location) for index, location in enumerate(located)]
    labels = _stored_targets(dataset, located, names)
    if labels is None:
        view = raw_view(dataset)
        labels = [_read_label(view, index, name) for index, name in enumerate(names)]
    known = _known_names(dataset, labels, classes)
    return _as_integers(labels, known, names)


def _warn_of_random_items(name: str) -> None:
    """Warn of an item that differs when it is read again: it has met a random transform not recognised as one."""
    warn_user(
        f"{name}: read twice, it gave two images, so the dataset changes them at random: syncgan would "
        "learn these changes, and synthetic items would not go through them. Give it the images as they are "
        f"(the attributes {', '.join(HOOKS)} are taken out by themselves)"
    )


def require_trainable(raw: RawData, *, min_classes: int = 2, min_images: int = 2) -> None:
    """Check that there is enough to train on.

    Raises
    ------
    DataError
        No items, fewer than `min_classes` classes, or a class with fewer than `min_images` images.
    """
    if not raw.labels:
        raise DataError(
            "expected a dataset with images, got an empty one; check the path, or the indices of the subset"
        )
    if len(raw.classes) < min_classes:
        raise DataError(
            f"expected at least {min_classes} classes, got {len(raw.classes)} ({', '.join(raw.classes)}) "
            f"in {len(raw)} items; add images of another class"
        )
    few = [f"{raw.class_names[value]!r} has {count}" for value, count in raw.counts.items() if count < min_images]
    if few:
        raise DataError(
            f"expected at least {min_images} images in every class, got fewer: {', '.join(few)}; "
            "add images, or leave the class out"
        )


def item_groups(groups: Iterable[Any] | None, count: int) -> list[str] | None:
    """Return the group of each of `count` items as text, in the order given; None where there are no groups.

    A pandas Series is taken in its order, whatever its index says.

    Raises
    ------
    DataError
        Another number of groups, or an item without one (None, NaN or empty).
    """
    if groups is None:
        return None
    found = list(groups)
    if len(found) != count:
        raise DataError(f"expected one group an item, got {len(found)} groups and {count} items")
    without = [at for at, group in enumerate(found) if _is_missing(group)]
    if without:
        raise DataError(
            f"expected a group for each of {count} items, got none for {len(without)} (item {without[0]} first); "
            "give an item whose patient is not known a group of its own"
        )
    return [str(group) for group in found]


def _is_missing(group: Any) -> bool:
    """Whether a group is empty text, or what pandas and NumPy have for an empty cell."""
    return not group.strip() if isinstance(group, str) else str(group) in _MISSING


def _read_label(view: Any, index: int, name: str) -> Label:
    with naming(name):
        return label_of(split_item(view[index])[1])


def _known_names(dataset: Any, labels: Sequence[Label], classes: Mapping[str, int] | None) -> dict[int, str] | None:
    """Return label -> class name, by `classes` where labels are names."""
    if classes and _are_names(labels):
        return {label: name for name, label in classes.items()}
    return class_names(dataset)


def _stored_targets(dataset: Any, located: Sequence[Location], names: Sequence[str]) -> list[Label] | None:
    """Return the labels that the innermost datasets keep, where each of them keeps labels that match its items."""
    kept: dict[int, list[Label] | None] = {}
    compared: set[tuple[int, Label]] = set()
    view = raw_view(dataset)
    for index, (leaf, inner_index) in enumerate(located):
        if id(leaf) not in kept:
            kept[id(leaf)] = _kept_labels(leaf)
        labels = kept[id(leaf)]
        if labels is None:
            return None
        # A dataset may remap its labels on the way out: one item of each label is compared.
        stored = labels[inner_index]
        if (id(leaf), stored) not in compared:
            compared.add((id(leaf), stored))
            if stored != _read_label(view, index, names[index]):
                return None
    return [(kept[id(leaf)] or [])[inner_index] for leaf, inner_index in located]


def _kept_labels(leaf: Any) -> list[Label] | None:
    samples = getattr(leaf, "samples", None)
    pairs = isinstance(samples, (list, tuple)) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in samples)
    ends = [pair[1] for pair in samples] if pairs and samples else None
    candidates = (getattr(leaf, "targets", None), getattr(leaf, "labels", None), ends, column_of(leaf, "label"))
    return next((labels for values in candidates if (labels := _label_list(values, len(leaf))) is not None), None)


def _label_list(values: Any, length: int) -> list[Label] | None:
    if not isinstance(values, (list, tuple, np.ndarray, torch.Tensor)):
        return None
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # ragged lists
        return None
    if array.shape not in ((length,), (length, 1)) or array.dtype.kind not in "iuU":
        return None
    labels: list[Label] = array.reshape(length).tolist()
    return labels


# --- labels and class names ----------------------------------------------------------------------------------------


def class_names(dataset: Any) -> dict[int, str] | None:
    """Return label -> class name by ``class_to_idx``, ``classes`` or a ``ClassLabel``; None if nothing tells it.

    Raises
    ------
    DataError
        Two parts of a ``ConcatDataset`` give one label two names, two labels share a name, or a name is not Unicode.
    """
    known: dict[int, str] = {}
    for leaf in leaves(dataset):
        for label, name in _names_from(leaf).items():
            if known.setdefault(label, name) != name:
                raise DataError(
                    f"expected one name for label {label}, got {known[label]!r} and {name!r} in two parts; "
                    "give all parts the same classes in the same order"
                )
    if len(set(known.values())) < len(known):
        twice = sorted({name for name in known.values() if list(known.values()).count(name) > 1})
        raise DataError(
            f"expected one label for each class name, got several for {', '.join(map(repr, twice))}; rename"
        )
    for name in known.values():
        require_unicode(name)
    return known or None


def _names_from(leaf: Any) -> dict[int, str]:
    class_to_idx = getattr(leaf, "class_to_idx", None)
    if isinstance(class_to_idx, Mapping):
        names: dict[int, str] = {}
        for name, label in class_to_idx.items():
            if not isinstance(label, numbers.Integral) and isinstance(name, numbers.Integral):
                raise DataError(f"expected class_to_idx of name -> label, got {name!r} -> {label!r}; swap them")
            # Several names of one label (ImageNet's synonyms, merged classes) are joined.
            names[int(label)] = f"{names[int(label)]}+{name}" if int(label) in names else str(name)
        return names
    classes: Any = getattr(leaf, "classes", None)
    if hasattr(classes, "tolist"):  # an array, or an index of pandas
        classes = classes.tolist()
    if isinstance(classes, (tuple, list)) and all(isinstance(name, str) for name in classes):
        return dict(enumerate(map(str, classes)))  # NumPy's own strings are another text in a seed's address
    features = getattr(leaf, "features", None)  # of a Hugging Face dataset; its `ClassLabel` has names
    names_of_label = getattr(features.get("label"), "names", None) if isinstance(features, Mapping) else None
    return dict(enumerate(map(str, names_of_label or ())))


def _are_names(labels: Sequence[Label]) -> bool:
    return bool(labels) and isinstance(labels[0], str)


def _as_integers(labels: Sequence[Label], known: Mapping[int, str] | None, names: Sequence[str]) -> list[int]:
    """Check the labels against the class names and each other; number those that are names."""
    kind = "class names" if _are_names(labels) else "integers"
    integers = _numbers(labels, known)
    for label, name in zip(labels, names, strict=True):
        if isinstance(label, str) != _are_names(labels):
            raise DataError(f"{name}: expected all labels to be {kind}, got {label!r}; use one kind throughout")
        if isinstance(label, str):
            require_unicode(label)
        if label not in integers:
            raise DataError(f"{name}: {_unfitting(label, known or {})}")
    return [integers[label] for label in labels]


def _numbers(labels: Sequence[Label], known: Mapping[int, str] | None) -> dict[Label, int]:
    """Return label -> integer for every label that is allowed."""
    if _are_names(labels):
        return {name: value for value, name in (known or dict(enumerate(sorted(map(str, set(labels)))))).items()}
    return {value: int(value) for value in (known or set(labels)) if not isinstance(value, str)}


def _unfitting(label: Label, known: Mapping[int, str]) -> str:
    if isinstance(label, str):
        return f"expected one of the classes {', '.join(map(repr, known.values()))} as label, got {label!r}; correct it"
    return (
        f"expected a label of the dataset's classes ({min(known)}..{max(known)}), got {label}; "
        "correct it, or give the dataset a `class_to_idx` that holds it"
    )


def _names_of(labels: Sequence[Label], integers: Sequence[int]) -> dict[int, str]:
    return {integer: str(label) for label, integer in zip(labels, integers, strict=True)}
