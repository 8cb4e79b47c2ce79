"""A dataset with synthetic items after the real ones.

Synthetic items enter where the dataset's raw items do: they take the raw item's kind and then pass through the
dataset's own transforms (`transform_steps`). `sample_store` holds them and renders what is missing.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import index as as_index
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from syncgan import rng
from syncgan.arrays import Pixels
from syncgan.data.batch_transform import BatchTransform
from syncgan.data.items import image_size, kind_of, split_item
from syncgan.data.raw import RawData, class_names, read_dataset, read_targets, require_trainable
from syncgan.data.rejections import Account, Rejections
from syncgan.data.sample_store import Render, SampleStore
from syncgan.data.strategy import Strategy, resolve_strategy
from syncgan.data.transform_steps import inspect, on_image, require_unset, unset_hooks
from syncgan.data.views import HOOKS, leaves, locate, name_of, raw_view, spread_indices
from syncgan.errors import ConfigError, DataError, warn_user

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


class AugmentedDataset(Dataset[Any]):
    """A map-style dataset: the items of another dataset, untouched and first, then synthetic items.

    A synthetic item has the kind of the dataset's raw item (PIL image, array, tensor or ``tv_tensors.Image``; gray
    stays gray; tuple, list or dict) and then passes through the dataset's own transforms. For ``Subset`` and
    ``ConcatDataset`` those are the transforms on the way of the first item. Synthetic images lie as uint8 arrays in
    memory or in memory-mapped files, so the dataset can be pickled and needs no device in a worker.

    Parameters
    ----------
    dataset : map-style dataset of pairs (image, label) or mappings with the keys ``"image"`` and ``"label"``; never
        changed. A transform that is exchanged later (``dataset.transform = ...``) counts for both kinds of items; where
        there was none, wrap the dataset again.
    store : the synthetic items, class after class.
    class_names : label -> name.
    targets : labels of the real items; read from the dataset by default.
    transform : applied to the image of real and synthetic items alike, after the dataset's own transforms.
    seed : that the samples were drawn with; for `provenance`.
    refresh : share in [0, 1] of the synthetic items that `set_epoch` replaces from one epoch to the next.
    progress : called with (samples rendered, samples to render) while the store is filled.
    account : what the store's renderer adds refused samples to.

    Attributes
    ----------
    classes, class_to_idx : the dataset's, or the model's where the dataset has none.
    targets : list of int, real then synthetic, before any ``target_transform``.
    is_synthetic : (len(self),) bool array.
    images, masks : (n, 3, S, S) and (n, S, S) uint8, the synthetic images and maps.
    epoch : int, the last one that `set_epoch` was told.

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
        store: SampleStore,
        *,
        class_names: Mapping[int, str],
        targets: Sequence[int] | None = None,
        transform: Callable[[Any], Any] | None = None,
        seed: int = 0,
        refresh: float = 0.0,
        progress: Callable[[int, int], None] | None = None,
        account: Account | None = None,
    ) -> None:
        self._account = account or Account()
        self.dataset = dataset
        self.transform = transform
        self.epoch = 0
        real = read_targets(dataset) if targets is None else list(targets)
        self.targets: list[int] = [*real, *store.labels.tolist()]
        self.is_synthetic: NDArray[np.bool_] = np.arange(len(self.targets)) >= len(real)
        self._n_real = len(real)
        self._class_names = dict(class_names)
        self._store, self._seed, self._refresh = store, seed, refresh
        self.classes, self.class_to_idx = _class_attributes(dataset, class_names)
        self._template, self._steps = inspect(dataset)
        self._unset = unset_hooks(dataset)
        store.bring(_numbers(store.labels, seed, refresh, 0), progress)
        _warn_of_different_transforms(dataset)
        _warn_of_different_items(self)

    @property
    def images(self) -> Pixels:
        """(n, 3, S, S) uint8, the synthetic images."""
        return self._store.images

    @property
    def rejections(self) -> Rejections:
        """What filters refused while the items were rendered, by class; nothing for items found in a store."""
        return self._account.total

    @property
    def masks(self) -> Pixels:
        """(n, S, S) uint8, the semantic maps of the synthetic images."""
        return self._store.masks

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        # Negative and integer-like indices are sorted out off the path of the common case.
        if type(index) is not int or not 0 <= index < self._n_real:
            index = self._position(index)
        item = self.dataset[index] if index < self._n_real else self._synthetic(index - self._n_real)
        return item if self.transform is None else on_image(self.transform, item)

    def set_epoch(self, epoch: int) -> None:
        """Replace the share `refresh` of the synthetic items; call it before the loader is iterated, every epoch.

        Which items are new, and what they show, depends on the seed and the epoch alone: any epoch can be set at any
        time. Each item is replaced in turn, by a sample that was not shown before. The new samples are rendered here,
        in the main process. Workers that live on (``persistent_workers=True``) see them only in a store on disk.

        Raises
        ------
        ConfigError
            `epoch` is not a whole number of at least 0, or this is a pickled copy (a worker's, for example), which
            has no model to render with.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, (int, np.integer)) or epoch < 0:
            raise ConfigError(f"expected a whole number of at least 0 as epoch, got {epoch!r}")
        if self._refresh:
            self._store.bring(_numbers(self._store.labels, self._seed, self._refresh, int(epoch)))
        self.epoch = int(epoch)

    def provenance(self, index: int) -> dict[str, Any]:
        """Return where an item comes from.

        Returns
        -------
        A dict with class, label, seed and index, for a synthetic item also its scores (``nucleus_share``, ``nuclei``
        and those of the sample filters). A synthetic item is number `index` of those that its class and seed give; a
        real item has the seed None and its index in the dataset.
        """
        position = self._position(index)
        label, slot = self.targets[position], position - self._n_real
        known = {"class": self._class_names[label], "label": label}
        if slot < 0:
            return {**known, "seed": None, "index": position}
        return {**known, "seed": self._seed, "index": int(self._store.numbers[slot]), **self._store.scores(slot)}

    def __repr__(self) -> str:
        return f"<AugmentedDataset: {self._n_real} real items, {len(self) - self._n_real} synthetic>"

    def _position(self, index: int) -> int:
        position = as_index(index)
        position += len(self) if position < 0 else 0
        if not 0 <= position < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} items")
        return position

    def _synthetic(self, slot: int) -> Any:
        label = self.targets[self._n_real + slot]
        pixels = np.array(np.moveaxis(self._store.images[slot], 0, -1), order="C")
        item = self._template.build(pixels, label, self._class_names[label])
        require_unset(self._unset)
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
    refresh: float = 0.0,
    store: Path | str | None = None,
    request: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    account: Account | None = None,
) -> AugmentedDataset:
    """Append synthetic items to a dataset.

    Parameters
    ----------
    dataset : see `AugmentedDataset`.
    classes, label_values : names and labels of the model's classes, aligned.
    render : ``(label, numbers of samples) -> images (n, 3, S, S) uint8, masks (n, S, S) uint8, scores``; called in
        chunks, class by class in ascending order of labels.
    strategy : see `resolve_strategy`.
    transform, seed, refresh, progress, account : see `AugmentedDataset`; `render` knows the seed already.
    store : folder for memory-mapped files; None keeps the synthetic items in memory.
    request : what else, besides labels and seed, decides what the samples look like; a store of another is refused.

    Raises
    ------
    DataError
        As `AugmentedDataset`; also a label, or a name for a label, that the model does not know.
    ConfigError, UnknownNameError
        As `resolve_strategy`; also a share `refresh` outside [0, 1].
    RunExistsError, ArtefactError
        As `SampleStore`.
    """
    names = dict(zip(label_values, classes, strict=True))
    by_name = {name: label for label, name in names.items()}
    if transform is not None and not callable(transform):
        raise ConfigError(f"expected a callable as transform, got {type(transform).__name__}")
    if (
        isinstance(refresh, bool)
        or not isinstance(refresh, (int, float, np.integer, np.floating))
        or not 0 <= refresh <= 1
    ):
        raise ConfigError(f"expected a share in [0, 1] as refresh, got {refresh!r}")
    template, _ = inspect(dataset)  # whatever is wrong with the items is said before anything is rendered
    targets = read_targets(dataset, classes=by_name)
    _check_labels(dataset, targets, names)
    if not isinstance(template.label, str):
        _check_names(class_names(dataset) or {}, set(targets), names)
    wanted = resolve_strategy(strategy, Counter(targets), classes=by_name)
    labels = np.repeat(list(wanted), list(wanted.values()))
    return AugmentedDataset(
        dataset,
        SampleStore(
            labels,
            render,
            folder=store,
            request={**(request or {}), "seed": seed, "refresh": float(refresh)},
            exclusive=store is not None and refresh > 0,
        ),
        class_names=names,
        targets=targets,
        transform=transform,
        seed=seed,
        refresh=float(refresh),
        progress=progress,
        account=account,
    )


def _numbers(labels: NDArray[np.int64], seed: int, refresh: float, epoch: int) -> NDArray[np.int64]:
    """Return which sample of its class each slot shows in an epoch.

    A slot has had ``floor(refresh * epoch + phase)`` turns, with phases spread evenly over the slots of a class in
    random order; its first sample is its own position, each turn takes one from the next block of as many samples.
    """
    numbers = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        slots = np.flatnonzero(labels == label)
        order = rng.numpy_generator(seed, "refresh", int(label)).permutation(len(slots))
        turns = np.floor(refresh * epoch + (order + 0.5) / len(slots)).astype(np.int64)
        numbers[slots] = np.arange(len(slots)) + turns * len(slots)
    return numbers


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


# --- warnings ------------------------------------------------------------------------------------------------------


def _warn_of_different_transforms(dataset: Any) -> None:
    if len({_shown_transforms(leaf) for leaf in leaves(dataset)}) > 1:
        warn_user(
            "the parts of the dataset have different transforms; synthetic items take those of the first item's part",
        )


def _shown_transforms(leaf: Any) -> str:
    *single, joint = (getattr(leaf, hook, None) for hook in HOOKS)
    # torchvision makes the joint one of the others, and cannot show it when a class such as `float` is among them.
    return repr(joint if single == [None, None] else single)


def _warn_of_different_items(augmented: AugmentedDataset) -> None:
    """Compare kind and size of a few real images with a synthetic one; run the transforms only where these differ."""
    real, size = augmented._n_real, augmented.images.shape[-2:]
    if real == len(augmented):
        return
    checked = spread_indices(real)
    view = raw_view(augmented.dataset)
    items = [view[index] for index in checked]
    has_kinds = len({kind_of(split_item(item)[0]) for item in items}) > 1
    if not has_kinds and set(map(_size_of, items)) <= {size, None}:
        return
    with _global_random_state_kept():
        shown_items = [augmented[index] for index in (*checked, real)]
    kinds = [kind_of(_image_of(item)) for item in shown_items]
    if has_kinds and len(set(kinds)) > 1:
        index, other = next((at, kind) for at, kind in zip(checked, kinds, strict=False) if kind != kinds[-1])
        warn_user(
            f"{name_of(index, locate(augmented.dataset)[index])} is {other}, and all synthetic items are {kinds[-1]}, "
            "as the first item: a classifier may tell them apart by that; give all items one kind",
        )
    found = {_size_of(item) for item in shown_items} - {None}
    if len(found) > 1:
        shown = ", ".join(sorted(" x ".join(map(str, size)) for size in found if size))
        warn_user(
            f"images have different sizes after all transforms ({shown}; synthetic ones come as "
            f"{size[0]} x {size[1]}): a DataLoader cannot stack them; add a Resize to the transforms",
        )


def _size_of(item: Any) -> tuple[int, ...] | None:
    return image_size(_image_of(item))


def _image_of(item: Any) -> Any:
    # A transform of the whole item may rename its image.
    return item.get("image") if isinstance(item, Mapping) else item[0]


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
