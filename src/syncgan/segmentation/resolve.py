"""From a name, a class or a callable, with parameters, to one segmenter ready to be called.

======================================  ==========================================================
a pydantic model or another class       built with the parameters, then called with each image
a function of one image                 parameters are bound to its keywords, if it has such
======================================  ==========================================================
"""

from __future__ import annotations

import difflib
import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ValidationError

from syncgan.config import ConfigSection
from syncgan.config.text import is_finite
from syncgan.errors import ConfigError
from syncgan.registry import SEGMENTERS
from syncgan.segmentation.content import digest_of, digest_of_class, reads_files
from syncgan.segmentation.protocol import declared_levels, segmenter_name

__all__ = ["ResolvedSegmenter", "has_parameter", "resolve"]


@dataclass(frozen=True)
class ResolvedSegmenter:
    """A segmenter ready to be called.

    Attributes
    ----------
    name : its name in SEGMENTERS, or the qualified name of an unregistered callable.
    call : callable of one (H, W, 3) uint8 image.
    parameters : JSON-compatible parameters, defaults included where they are known.
    levels : L if it returns semantic maps, else None.
    content : digest of the parameters as they were given; None if their content cannot be known.
    """

    name: str
    call: Callable[[Any], Any]
    parameters: dict[str, Any]
    levels: int | None
    content: str | None

    def fingerprint(self) -> str | None:
        """Return a text that changes when the masks may change, or None if that cannot be known.

        A class or object is known by its attribute ``version``, a model without one by its methods, a function by its
        code and all that it uses (`syncgan.segmentation.content`); each with its parameters.
        """
        target = self.call.func if isinstance(self.call, functools.partial) else self.call
        version = getattr(self.call, "version", getattr(target, "version", None))
        code = digest_of_class(type(target)) if isinstance(target, BaseModel) else digest_of(target)
        if self.content is None or (version is None and (code is None or reads_files(target))):
            return None
        parts = [segmenter_name(self.call), self.parameters, self.content, digest_of(version) or repr(version), code]
        return json.dumps(parts, sort_keys=True)


def has_parameter(segmenter: str | Callable[..., Any], key: str) -> bool:
    """Say whether a segmenter, or the class that it is built from, takes a parameter `key` by name."""
    plugin = SEGMENTERS.get(segmenter) if isinstance(segmenter, str) else segmenter
    try:
        return key in _keywords(plugin)
    except (TypeError, ValueError):  # not callable, or a compiled callable without a signature
        return False


def resolve(segmenter: str | Callable[..., Any], parameters: Mapping[str, Any]) -> ResolvedSegmenter:
    """Find a segmenter and give it its parameters.

    Raises
    ------
    UnknownNameError, PluginError
        From the registry.
    ConfigError
        Not a name or callable; a parameter that it does not have (with the nearest match), a value out of bounds, or a
        number that is not finite, which no file of a model could hold.
    """
    if isinstance(segmenter, str):
        name, plugin = segmenter, SEGMENTERS.get(segmenter)
    elif callable(segmenter):
        name, plugin = segmenter_name(segmenter), segmenter
    else:
        raise ConfigError(
            f"expected the name of a segmenter ({', '.join(SEGMENTERS.names())}) or a callable of one image, "
            f"got {type(segmenter).__name__}"
        )
    for key, value in parameters.items():
        if not is_finite(value):
            raise ConfigError(f"segmenter {name!r}, parameter {key!r}: expected finite numbers, got {value!r}")
    call = _build(plugin, parameters, name) if inspect.isclass(plugin) else _bind(plugin, parameters, name)
    known = call.model_dump(mode="json") if isinstance(call, BaseModel) else _jsonable(parameters)
    given = known if isinstance(call, BaseModel) else dict(parameters)
    return ResolvedSegmenter(name, call, known, declared_levels(_unbound(call), name=name), digest_of(given))


def _build(plugin: type[Any], parameters: Mapping[str, Any], name: str) -> Callable[[Any], Any]:
    _check_keywords(plugin, parameters, name)
    try:
        built: Any = plugin.from_mapping(parameters) if issubclass(plugin, ConfigSection) else plugin(**parameters)
    except ConfigError as error:
        raise ConfigError(f"segmenter {name!r}: {error}") from None
    except (ValidationError, TypeError, ValueError) as error:
        raise ConfigError(f"segmenter {name!r} refuses its parameters: {error}") from error
    if not callable(built):
        raise ConfigError(f"segmenter {name!r} builds a {type(built).__name__} that cannot be called with an image")
    segment: Callable[[Any], Any] = built
    return segment


def _bind(function: Callable[..., Any], parameters: Mapping[str, Any], name: str) -> Callable[[Any], Any]:
    if not parameters:
        return function
    _check_keywords(function, parameters, name)
    return functools.partial(function, **parameters)


def _check_keywords(plugin: Callable[..., Any], parameters: Mapping[str, Any], name: str) -> None:
    try:
        signature = inspect.signature(plugin).parameters
    except (TypeError, ValueError):  # some compiled callables have no signature
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.values()):
        return
    keywords = _keywords(plugin)
    for key in parameters:
        if key not in keywords:
            raise ConfigError(f"segmenter {name!r} has no parameter {key!r}: {_listed(key, keywords)}")


def _keywords(plugin: Callable[..., Any]) -> list[str]:
    """Return the names that a callable takes as keywords, without the image of a function."""
    signature = inspect.signature(plugin).parameters
    first = None if inspect.isclass(plugin) else next(iter(signature), None)
    return [
        key
        for key, parameter in signature.items()
        if key != first and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]


def _listed(key: str, keywords: Iterable[str]) -> str:
    keywords = list(keywords)
    nearest = difflib.get_close_matches(key, keywords, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"it takes {', '.join(keywords) or 'none besides the image'}{hint}"


def _unbound(call: Callable[..., Any]) -> Callable[..., Any]:
    return call.func if isinstance(call, functools.partial) and not hasattr(call, "levels") else call


def _jsonable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(parameters), default=_described))
    return plain


def _described(value: object) -> str:
    """Describe what JSON has no form for: in full where it is short, by its digest where it may be abridged."""
    digest = digest_of(value)
    if digest is None or isinstance(value, PurePath):
        return repr(value)
    return f"{type(value).__name__} sha256:{digest}"
