"""Settings as text: TOML and JSON files, ``KEY=VALUE`` assignments, and how they are laid over each other."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from syncgan.errors import ConfigError

__all__ = ["overlay", "parse_assignment", "parse_file", "without_none"]


def parse_file(path: Path) -> dict[str, Any]:
    """Return the settings in a ``.toml`` or ``.json`` file; whatever is wrong with it is a `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix == ".json":
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ConfigError(f"{path}: expected an object of settings, got {type(values).__name__}")
            return values
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not valid {path.suffix[1:].upper()} ({error})") from None
    raise ConfigError(f"{path}: expected a configuration file that ends in .toml or .json")


def parse_assignment(assignment: str) -> dict[str, Any]:
    """Return nested settings of ``"section.key=value"``; the value is read as TOML, else it is text."""
    key, separator, text = assignment.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"expected KEY=VALUE, got {assignment!r}; for example image_gan.steps=3000")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    nested: Any = value
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)


def overlay(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested settings over others; the parameters of a plug-in are replaced as a whole."""
    merged = dict(base)
    for key, value in values.items():
        inner = merged.get(key)
        nest = isinstance(inner, Mapping) and isinstance(value, Mapping)
        # A segmenter's parameters mean nothing to another one; those of filters stand under the name of each.
        nest = nest and (key != "parameters" or _holds_tables(value))
        merged[key] = overlay(inner, value) if nest else value  # type: ignore[arg-type]
    return merged


def _holds_tables(values: Any) -> bool:
    return bool(values) and all(isinstance(value, Mapping) for value in values.values())


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None, which TOML cannot say."""
    return {
        key: without_none(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }


def is_finite(value: object) -> bool:
    """Tell whether no number in nested values is infinite or NaN, which no file of a model could hold."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    return all(map(is_finite, value)) if isinstance(value, (list, tuple)) else True
