"""Look behind a dataset's transforms without changing it.

A dataset keeps its transforms in the attributes ``transform``, ``target_transform`` and ``transforms``. `raw_view`
returns a shallow copy in which each of them lets its input through, so the copy yields what would have been
transformed. ``Subset`` and ``ConcatDataset`` are followed to the datasets inside. A Hugging Face dataset keeps its
transform, a function of a batch of rows, in its format.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

from torch.utils.data import ConcatDataset, IterableDataset, Subset

from syncgan.errors import DataError, ImageReadError

__all__ = [
    "HOOKS",
    "Location",
    "column_of",
    "leaves",
    "let_through",
    "locate",
    "name_of",
    "naming",
    "raw_view",
    "require_map_style",
]

HOOKS = ("transform", "target_transform", "transforms")
"""Attributes in which datasets keep their transforms."""

Location: TypeAlias = tuple[Any, int]
"""An innermost dataset and an index in it."""


def require_map_style(dataset: Any) -> None:
    """Raise `DataError` unless the dataset has a length and items."""
    indexable = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if isinstance(dataset, IterableDataset) or (hasattr(dataset, "__iter__") and not indexable):
        raise DataError(
            f"expected a map-style dataset, got the iterable {type(dataset).__name__}; "
            "pass list(dataset), or a dataset with __len__ and __getitem__"
        )
    if isinstance(dataset, Mapping):
        raise DataError(
            f"expected a map-style dataset or a list of (image, label), got the mapping {type(dataset).__name__} with "
            f"{', '.join(map(repr, list(dataset)[:5])) or 'nothing'}; pass one of its datasets"
        )
    if isinstance(dataset, (str, bytes, PurePath)) or not indexable:
        raise DataError(
            f"expected a map-style dataset or a list of (image, label), got {type(dataset).__name__}; "
            "pass torchvision.datasets.ImageFolder(path) for a folder"
        )


def let_through(*args: Any, **kwargs: Any) -> Any:
    """Return what came in: one argument as it is, several as a tuple, keywords as a dict."""
    if kwargs:
        return kwargs
    return args[0] if len(args) == 1 else args


def raw_view(dataset: Any, replace: Callable[[Any, str], Callable[..., Any]] = lambda owner, hook: let_through) -> Any:
    """Return a shallow copy of the dataset whose transforms are replaced; the dataset itself where it has none.

    Parameters
    ----------
    dataset : map-style dataset; ``Subset`` and ``ConcatDataset`` are followed inward.
    replace : gives the replacement of one transform from its owner and the attribute's name. By default it lets
        its input through: unlike None, that also serves datasets that call their transform unasked.

    Raises
    ------
    DataError
        The dataset cannot be copied, or does not let its transforms be replaced.
    """
    if _holds_rows(dataset):
        return _rows_view(dataset, replace)
    changes: dict[str, Any] = {hook: replace(dataset, hook) for hook in HOOKS if callable(getattr(dataset, hook, None))}
    if isinstance(dataset, Subset):
        changes["dataset"] = raw_view(dataset.dataset, replace)
    elif isinstance(dataset, ConcatDataset):
        changes["datasets"] = [raw_view(part, replace) for part in dataset.datasets]
    if not changes:
        return dataset
    try:
        view = copy.copy(dataset)
        for attribute, value in vars(view).items():
            # A dataset that remembers its items must not remember in its own cache what the view yields.
            if type(value) in (dict, list, set):
                setattr(view, attribute, value.copy())
        for attribute, value in changes.items():
            setattr(view, attribute, value)
    except Exception as error:
        raise DataError(
            f"the transforms of {type(dataset).__name__} cannot be set aside ({_reason(error)}); "
            "pass the dataset without its transforms, and give them to `wrap`"
        ) from error
    return view


def _holds_rows(dataset: Any) -> bool:
    """Tell whether this is a Hugging Face dataset: they all have these, and nothing is imported to ask."""
    return all(hasattr(dataset, name) for name in ("features", "column_names", "format", "with_transform"))


def _rows_view(dataset: Any, replace: Callable[[Any, str], Callable[..., Any]]) -> Any:
    hook = _RowTransform(dataset)
    if hook.transform is None:
        return dataset
    return dataset.with_transform(
        replace(hook, "transform"),
        columns=dataset.format["columns"],
        output_all_columns=dataset.format["output_all_columns"],
    )


@dataclass(frozen=True)
class _RowTransform:
    """Shows what a Hugging Face dataset got by ``set_transform``, columns to columns, as a transform of one item."""

    dataset: Any

    @property
    def transform(self) -> Callable[[Mapping[str, Any]], dict[str, Any]] | None:
        """Item -> item, as the dataset would do it now; None without a transform."""
        how = self.dataset.format
        of_columns = how["format_kwargs"].get("transform") if how["type"] == "custom" else None
        if of_columns is None:
            return None

        def of_item(item: Mapping[str, Any]) -> dict[str, Any]:
            columns = of_columns({name: [item[name]] for name in item if name in how["columns"]})
            kept = item if how["output_all_columns"] else {}
            return {**kept, **{name: values[0] for name, values in columns.items()}}

        return of_item


def column_of(dataset: Any, name: str) -> list[Any] | None:
    """Return a column of a Hugging Face dataset without decoding others; None where there is no such column."""
    if not _holds_rows(dataset) or name not in dataset.column_names:
        return None
    return list(dataset.with_format(None)[name])


def leaves(dataset: Any) -> list[Any]:
    """Return the innermost datasets, each once, in order of their first item."""
    return list({id(leaf): leaf for leaf, _ in locate(dataset)}.values())


def locate(dataset: Any) -> list[Location]:
    """Return, for each item, the innermost dataset that holds it and its index there."""
    located: list[Location] | None = None
    if isinstance(dataset, Subset):
        inner = locate(dataset.dataset)
        located = [inner[int(index)] for index in dataset.indices]
    elif isinstance(dataset, ConcatDataset):
        located = list(itertools.chain.from_iterable(map(locate, dataset.datasets)))
    # A subclass of Subset may count its items in its own way; then it is a dataset like any other.
    if located is None or len(located) != len(dataset):
        located = [(dataset, index) for index in range(len(dataset))]
    return located


def spread_indices(total: int, count: int = 5) -> list[int]:
    """Return up to `count` indices of `total` items, the first, the last, and evenly between.

    Examples
    --------
    >>> spread_indices(9)
    [0, 2, 4, 6, 8]
    >>> spread_indices(2)
    [0, 1]
    """
    return sorted({position * (total - 1) // (count - 1) for position in range(count)}) if total else []


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all items; where several have one, each with its number.

    Examples
    --------
    >>> unique_names(["a/1.png", "b/1.png", "a/1.png"])
    ('a/1.png (item 0)', 'b/1.png', 'a/1.png (item 2)')
    """
    often = Counter(names)
    return tuple(f"{name} (item {index})" if often[name] > 1 else name for index, name in enumerate(names))


def name_of(index: int, location: Location) -> str:
    """Return an item's name for messages: the end of its file's path, otherwise "item 12"."""
    leaf, inner_index = location
    samples = getattr(leaf, "samples", None)
    if isinstance(samples, Sequence) and len(samples) == len(leaf):
        sample = samples[inner_index]
        path = sample[0] if isinstance(sample, (tuple, list)) and sample else sample
        if isinstance(path, (str, PurePath)):
            # Names that are not Unicode must not keep a report from being written.
            return "/".join(PurePath(path).parts[-2:]).encode("utf-8", "backslashreplace").decode()
    return f"item {index}"


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Turn whatever goes wrong with one item inside the block into a `DataError` that starts with its name."""
    try:
        yield
    except ImageReadError:  # names its file already
        raise
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    # A dataset runs arbitrary code, and the user needs to know which item to look at.
    except Exception as error:
        raise DataError(f"{name}: cannot be loaded ({_reason(error)}); repair or remove it") from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}".rstrip(": ")
