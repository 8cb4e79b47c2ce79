"""What users ask a model for, as indices and whole numbers: a class by name or label, counts, seeds."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from syncgan.errors import ConfigError, UnknownNameError

__all__ = ["class_index", "wanted_counts", "whole_number", "whole_seed"]


def class_index(name: str | int, classes: Sequence[str], label_values: Sequence[int]) -> int:
    """Return the place of a class that goes by its name or its label.

    Examples
    --------
    >>> class_index("HSIL", ("NILM", "HSIL"), (3, 7)), class_index(3, ("NILM", "HSIL"), (3, 7))
    (1, 0)

    Raises
    ------
    UnknownNameError
        No such class; lists the classes.
    """
    if isinstance(name, str) and name in classes:
        return classes.index(name)
    if not isinstance(name, str | bool) and name in label_values:
        return label_values.index(int(name))
    known = ", ".join(f"{own} ({label})" for own, label in zip(classes, label_values, strict=True))
    nearest = difflib.get_close_matches(str(name), classes, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise UnknownNameError(f"unknown class {name!r}: the model knows {known}{hint}")


def wanted_counts(
    counts: Mapping[Any, int] | int, classes: Sequence[str], label_values: Sequence[int]
) -> dict[int, int]:
    """Return class index -> number of images, in class order.

    Parameters
    ----------
    counts : class, by name or label, -> number, or one number for every class.

    Raises
    ------
    ConfigError, UnknownNameError
        A class that is asked for twice or not there, or a number that is none.
    """
    if not isinstance(counts, Mapping):
        counts = dict.fromkeys(classes, counts)
    wanted: dict[int, int] = {}
    for name, count in counts.items():
        index = class_index(name, classes, label_values)
        if index in wanted:
            raise ConfigError(f"class {classes[index]!r} is asked for twice, by name and by label")
        wanted[index] = whole_number(count)
    return dict(sorted(wanted.items()))


def whole_number(count: Any) -> int:
    """Return a number of images as int; NumPy's integers are welcome, all else is a `ConfigError`."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
        raise ConfigError(f"expected a whole number of images of at least 0, got {count!r}")
    return int(count)


def whole_seed(seed: Any) -> int:
    """Return a seed as int; NumPy's integers are welcome, all else is a `ConfigError`."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ConfigError(f"expected a whole number as seed, got {seed!r}")
    return int(seed)
