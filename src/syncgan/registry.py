"""Registries: named plug-ins, listed without importing them and loaded only when asked for by name.

A plug-in is a plain callable. It gets its name in one of three ways: built in (a row in the table at the end of this
file), registered at run time (``@syncgan.SEGMENTERS.register("mine")``), or declared by an installed distribution as
an entry point of the registry's group (``syncgan.segmenters``).
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeVar

from syncgan.errors import ConfigError, ContractError, PluginError, UnknownNameError

__all__ = [
    "ARMS",
    "CLASSIFIERS",
    "DISCRIMINATORS",
    "IMAGE_GENERATORS",
    "MASK_GENERATORS",
    "REGISTRIES",
    "SAMPLE_FILTERS",
    "SEGMENTERS",
    "PluginInfo",
    "Registry",
    "accepted",
    "is_registered",
    "make",
    "require_methods",
    "require_plugins",
]

_log = logging.getLogger(__name__)
Plugin = TypeVar("Plugin", bound=Callable[..., Any])


@dataclass(frozen=True)
class PluginInfo:
    """One row of a registry's listing: where a name comes from. Nothing has been imported to make it.

    Attributes
    ----------
    registry, name : such as "segmenter" and "gmm".
    origin : "built-in", "registered" here, or the distribution with its version.
    target : where the plug-in is, as module:name.
    """

    registry: str
    name: str
    origin: str
    target: str


class Registry:
    """A table of named callables.

    Parameters
    ----------
    kind : what one entry is, in the singular ("segmenter"); used in messages.
    group : entry-point group in which installed distributions declare their plug-ins.
    builtins : name -> ``"module:attribute"``, imported on first use.
    """

    def __init__(self, kind: str, *, group: str, builtins: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._builtins = dict(builtins)
        self._registered: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Plugin], Plugin]:
        """Return a decorator that adds a callable under `name`.

        Registering a name again replaces the earlier callable (as a notebook cell run twice does).

        Raises
        ------
        ConfigError
            `name` is empty, is a built-in, or the object is not callable.

        Examples
        --------
        >>> stains = Registry("stain", group="example.stains", builtins={})
        >>> @stains.register("plain")
        ... def plain(image):
        ...     return image
        >>> stains.get("plain") is plain
        True
        """
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"expected a name for the {self.kind}, got {name!r}; use register('my_name')")
        if name in self._builtins:
            raise ConfigError(f"{self.kind} {name!r} is built in and cannot be replaced; choose another name")

        def add(plugin: Plugin) -> Plugin:
            if not callable(plugin):
                raise ConfigError(f"expected a callable as {self.kind} {name!r}, got {type(plugin).__name__}")
            self._registered[name] = plugin
            return plugin

        return add

    def unregister(self, name: str) -> None:
        """Remove a name that `register` added; other names are refused with `UnknownNameError`."""
        if name not in self._registered:
            raise UnknownNameError(f"no {self.kind} was registered at run time as {name!r}")
        del self._registered[name]

    def get(self, name: str) -> Callable[..., Any]:
        """Return the callable registered as `name`, importing it if need be.

        Raises
        ------
        UnknownNameError
            No such name; the message lists what exists and the nearest match.
        PluginError
            The plug-in exists but its import fails, or two distributions claim the name.
        """
        if name in self._builtins:
            return _load(self._builtins[name])
        if name in self._registered:
            return self._registered[name]
        candidates = [point for point in self._entry_points() if point.name == name]
        if not candidates:
            raise UnknownNameError(self._unknown(name))
        if len({point.value for point in candidates}) > 1:
            owners = ", ".join(sorted(_distribution(point) for point in candidates))
            raise PluginError(
                f"{self.kind} {name!r} is declared by several distributions ({owners}); remove all but one"
            )
        return self._load_entry_point(candidates[0])

    def require(self, name: str) -> None:
        """Refuse an unknown name, without importing a known one.

        Raises
        ------
        UnknownNameError
            Lists what exists and the nearest match.
        """
        if name not in self:
            raise UnknownNameError(self._unknown(name))

    def names(self) -> list[str]:
        """Return every known name, sorted; imports no plug-in."""
        return sorted({info.name for info in self.describe()})

    def describe(self) -> list[PluginInfo]:
        """Return where each name comes from, sorted by name; imports no plug-in."""
        rows = [PluginInfo(self.kind, name, "built-in", target) for name, target in self._builtins.items()]
        for name, plugin in self._registered.items():
            target = f"{plugin.__module__}:{getattr(plugin, '__qualname__', type(plugin).__name__)}"
            rows.append(PluginInfo(self.kind, name, "registered", target))
        taken = {row.name for row in rows}
        rows += [
            PluginInfo(self.kind, point.name, _distribution(point), point.value)
            for point in self._entry_points()
            if point.name not in taken
        ]
        return sorted(rows, key=lambda row: (row.name, row.origin))

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __repr__(self) -> str:
        return f"<Registry of {self.kind}s: {', '.join(self.names()) or 'empty'}>"

    def _entry_points(self) -> list[metadata.EntryPoint]:
        try:
            return list(metadata.entry_points(group=self.group))
        except Exception:
            _log.debug("entry points cannot be read at once", exc_info=True)
            return _readable_entry_points(self.group)

    def _load_entry_point(self, point: metadata.EntryPoint) -> Callable[..., Any]:
        try:
            plugin = point.load()
        except Exception as error:
            raise PluginError(
                f"{self.kind} {point.name!r} of {_distribution(point)} cannot be imported ({point.value}): "
                f"{type(error).__name__}: {error}; repair or uninstall that distribution"
            ) from error
        if not callable(plugin):
            raise PluginError(
                f"{self.kind} {point.name!r} of {_distribution(point)} is {type(plugin).__name__}, "
                f"expected a callable ({point.value})"
            )
        loaded: Callable[..., Any] = plugin
        return loaded

    def _unknown(self, name: object) -> str:
        names = self.names()
        nearest = difflib.get_close_matches(str(name), names, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        return f"unknown {self.kind} {name!r}: available are {', '.join(names) or 'none'}{hint}"


def _load(target: str) -> Callable[..., Any]:
    module, _, attribute = target.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return loaded


def _readable_entry_points(group: str) -> list[metadata.EntryPoint]:
    """Return the entry points of every distribution with undamaged metadata; of one that is there twice, the first."""
    found: dict[tuple[str, str], metadata.EntryPoint] = {}
    for distribution in metadata.distributions():
        try:
            points = [point for point in distribution.entry_points if point.group == group]
            name = distribution.metadata["Name"]
        except Exception as error:
            # The installer's file may hold anything, and every kind of error comes of it.
            _log.warning("plug-ins of one distribution cannot be listed: its metadata is damaged (%s)", error)
            continue
        for point in points:
            found.setdefault((re.sub(r"[-_.]+", "-", str(name)).lower(), point.name), point)
    return list(found.values())


def _distribution(point: metadata.EntryPoint) -> str:
    try:
        return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown distribution"
    except Exception:
        _log.debug("metadata of %s is damaged", point.value, exc_info=True)
        return "a distribution with damaged metadata"


def make(factory: Callable[..., Any], **offered: Any) -> Any:
    """Call a plug-in's factory with those of the `offered` keyword arguments that it accepts.

    Raises
    ------
    ContractError
        The factory asks for something that is not offered.

    Examples
    --------
    >>> make(lambda levels: levels + 1, levels=2, classes=5)
    3
    """
    lacking = [
        parameter.name
        for parameter in inspect.signature(factory, follow_wrapped=False).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.name not in offered
    ]
    if lacking:
        raise ContractError(
            f"plug-in {getattr(factory, '__qualname__', repr(factory))}: asks for {', '.join(lacking)}, which nothing "
            f"gives it (offered are {', '.join(sorted(offered))}); give these parameters defaults"
        )
    return factory(**accepted(factory, offered))


def accepted(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the `offered` keyword arguments that a function accepts."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(offered)
    return {name: value for name, value in offered.items() if name in parameters}


def require_methods(made: object, kind: str, name: str, *methods: str) -> None:
    """Refuse what a factory made if it is no network and lacks `methods`, ``state_dict`` or ``load_state_dict``.

    Raises
    ------
    ContractError
        Names the plug-in and what is missing.
    """
    needed = (*methods, "state_dict", "load_state_dict")
    missing = [method for method in needed if not callable(getattr(made, method, None))]
    if missing:
        raise ContractError(
            f"{kind} {name!r}: expected an nn.Module or an object with {', '.join(needed)}, "
            f"got {type(made).__name__} without {', '.join(missing)}"
        )


SEGMENTERS = Registry(
    "segmenter",
    group="syncgan.segmenters",
    builtins={
        "auto": "syncgan.segmentation.auto:AutoSegmenter",
        "gmm": "syncgan.segmentation.gmm:GMMSegmenter",
        "hed": "syncgan.segmentation.hed:HEDSegmenter",
        "kmeans": "syncgan.segmentation.kmeans:KMeansSegmenter",
        "otsu": "syncgan.segmentation.otsu:MultiOtsuSegmenter",
        "watershed": "syncgan.segmentation.watershed:WatershedSegmenter",
    },
)
MASK_GENERATORS = Registry(
    "mask generator",
    group="syncgan.mask_generators",
    builtins={
        "decoder": "syncgan.networks.mask_generators:decoder",
        "mosaic": "syncgan.data.mask_priors.mosaic:MosaicMasks",
        "shapes": "syncgan.data.mask_priors.shapes:ShapeSampler",
        "unet": "syncgan.networks.mask_generators:unet",
        "warp": "syncgan.data.mask_priors.warp:WarpedMasks",
    },
)
IMAGE_GENERATORS = Registry(
    "image generator",
    group="syncgan.image_generators",
    builtins={
        "plain_gan": "syncgan.evaluation.plain_gan:plain_gan",
        "unet": "syncgan.networks.image_generators:unet",
    },
)
DISCRIMINATORS = Registry(
    "discriminator",
    group="syncgan.discriminators",
    builtins={"patchgan": "syncgan.networks.patchgan:patchgan"},
)
SAMPLE_FILTERS = Registry(
    "sample filter",
    group="syncgan.sample_filters",
    builtins={
        "centroid": "syncgan.evaluation.filters.centroid:Centroid",
        "confidence": "syncgan.evaluation.filters.confidence:Confidence",
        "dark_nuclei": "syncgan.evaluation.filters.contrast:dark_nuclei",
        "mask_consistency": "syncgan.evaluation.filters.consistency:MaskConsistency",
        "not_a_copy": "syncgan.evaluation.filters.copies:NotACopy",
    },
)
CLASSIFIERS = Registry(
    "classifier",
    group="syncgan.classifiers",
    builtins={
        name: f"syncgan.evaluation.classifiers:{name}"
        for name in ("densenet161", "inception_v3", "probe", "resnet18", "resnet152", "small_cnn")
    },
)
ARMS = Registry(
    "arm",
    group="syncgan.arms",
    builtins={
        "CutMix": "syncgan.evaluation.arms:cutmix",
        "GAN": "syncgan.evaluation.arms:gan",
        "MixUp": "syncgan.evaluation.arms:mixup",
        "Oracle": "syncgan.evaluation.arms:oracle",
        "Oracle+Trad": "syncgan.evaluation.arms:oracle_trad",
        "Orig": "syncgan.evaluation.arms:orig",
        "Orig+GAN": "syncgan.evaluation.arms:orig_gan",
        "Orig+Prop": "syncgan.evaluation.arms:orig_prop",
        "Orig+Trad": "syncgan.evaluation.arms:orig_trad",
        "Orig+Trad+Prop": "syncgan.evaluation.arms:orig_trad_prop",
        "Orig+Warp": "syncgan.evaluation.arms:orig_warp",
        "Oversample": "syncgan.evaluation.arms:oversample",
        "Pretrain": "syncgan.evaluation.arms:pretrain",
        "Pretrain+Trad": "syncgan.evaluation.arms:pretrain_trad",
        "Prop": "syncgan.evaluation.arms:prop",
    },
)
REGISTRIES = (
    SEGMENTERS,
    MASK_GENERATORS,
    IMAGE_GENERATORS,
    DISCRIMINATORS,
    SAMPLE_FILTERS,
    CLASSIFIERS,
    ARMS,
)


def is_registered(kind: str, name: str) -> bool:
    """Tell whether a name was registered at run time, so that other processes do not know it."""
    return any(name in registry._registered for registry in REGISTRIES if registry.kind == kind)


def require_plugins(names: Iterable[tuple[str, str]]) -> None:
    """Refuse names that do not exist; imports no plug-in.

    Parameters
    ----------
    names : kind ("mask generator") and name of each plug-in, as `SynCGANConfig.plugin_names` gives them.

    Raises
    ------
    UnknownNameError
        Lists what exists and the nearest match.
    """
    by_kind = {registry.kind: registry for registry in REGISTRIES}
    for kind, name in names:
        by_kind[kind].require(name)
