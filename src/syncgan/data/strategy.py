"""How many synthetic items each class gets: imbalanced-learn's habit of a number, a name, a mapping or a callable."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from syncgan.errors import ConfigError, UnknownNameError

__all__ = ["Strategy", "resolve_strategy"]

Counts: TypeAlias = dict[int, int]
Strategy: TypeAlias = float | str | Mapping[str | int, int] | Callable[[Counts], Mapping[str | int, int]]
_EXPECTED = "expected a ratio, 'balance', a mapping class -> count or a callable on the counts as strategy"


def resolve_strategy(strategy: Strategy, counts: Mapping[int, int], *, classes: Mapping[str, int]) -> Counts:
    """Return the number of synthetic items of every label.

    Parameters
    ----------
    strategy : a float is the ratio synthetic : real within each class (2.0 in the paper), rounded half up;
        ``"balance"`` brings every class that occurs up to the largest; a mapping gives the count for class names or
        labels, 0 where it is silent; a callable gets `counts` and returns such a mapping.
    counts : label -> number of real items.
    classes : class name -> label, every class of the model.

    Raises
    ------
    ConfigError
        The strategy is of another type, or a ratio or count is negative, not finite or not a number.
    UnknownNameError
        The mapping holds a name or label that is not a class of the model.

    Examples
    --------
    >>> classes = {"benign": 0, "malignant": 1}
    >>> resolve_strategy(2.0, {0: 30, 1: 10}, classes=classes)
    {0: 60, 1: 20}
    >>> resolve_strategy("balance", {0: 30, 1: 10}, classes=classes)
    {0: 0, 1: 20}
    >>> resolve_strategy({"malignant": 5}, {0: 30, 1: 10}, classes=classes)
    {0: 0, 1: 5}
    """
    real = {label: counts.get(label, 0) for label in sorted(classes.values())}
    if isinstance(strategy, str):
        return _balanced(strategy, real)
    if callable(strategy):
        strategy = strategy(dict(real))
        if not isinstance(strategy, Mapping):
            raise ConfigError(f"expected the strategy to return a mapping class -> count, got {_shown(strategy)}")
    if isinstance(strategy, Mapping):
        return _mapped(strategy, real, classes)
    return _proportional(strategy, real)


def _balanced(strategy: str, real: Counts) -> Counts:
    if strategy != "balance":
        raise ConfigError(f"{_EXPECTED}, got {strategy!r}")
    largest = max(real.values(), default=0)
    return {label: largest - count if count else 0 for label, count in real.items()}


def _proportional(ratio: Any, real: Counts) -> Counts:
    if isinstance(ratio, (bool, np.bool_)) or not isinstance(ratio, (int, float, np.integer, np.floating)):
        raise ConfigError(f"{_EXPECTED}, got {_shown(ratio)}")
    if not (math.isfinite(ratio) and ratio >= 0):
        raise ConfigError(f"expected a finite ratio of at least 0 as strategy, got {ratio}")
    return {label: math.floor(float(ratio) * count + 0.5) for label, count in real.items()}


def _mapped(wanted: Mapping[Any, Any], real: Counts, classes: Mapping[str, int]) -> Counts:
    resolved = dict.fromkeys(real, 0)
    named: dict[int, Any] = {}
    for key, count in wanted.items():
        label = _label(key, classes)
        if label in named:
            raise ConfigError(
                f"expected each class once in the strategy, got {named[label]!r} and {key!r} for one class"
            )
        named[label] = key
        if isinstance(count, (bool, np.bool_)) or not isinstance(count, (int, np.integer)) or count < 0:
            raise ConfigError(f"expected a whole number of at least 0 for class {key!r} in the strategy, got {count!r}")
        resolved[label] = int(count)
    return resolved


def _label(key: Any, classes: Mapping[str, int]) -> int:
    if isinstance(key, str) and key in classes:
        return classes[key]
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool) and key in classes.values():
        return int(key)
    nearest = difflib.get_close_matches(str(key), classes, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    available = ", ".join(f"{name} ({label})" for name, label in classes.items())
    raise UnknownNameError(f"unknown class {key!r} in the strategy: the model knows {available}{hint}")


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:40]}"
