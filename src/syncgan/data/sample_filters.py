"""Sample filters: which of the samples that a model renders are good enough to be given out.

Two kinds have one name each in ``SAMPLE_FILTERS``: a function of samples, and an object that first learns from the
training pairs what real images get (`FittedFilter`, where its contract is written down).
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch
from pydantic import ValidationError
from torch import Tensor

from syncgan.errors import ConfigError, ContractError
from syncgan.registry import SAMPLE_FILTERS, make

__all__ = ["Filter", "FittedFilter", "SampleFilter", "Verdict", "judge", "make_filter", "storable_state"]

SampleFilter = Callable[[Tensor, Tensor, int], Tensor]
"""``(images (n, 3, S, S) uint8, masks (n, S, S) uint8, levels) -> (n,) bool``, True for the samples to keep."""


@runtime_checkable
class FittedFilter(Protocol):
    """A filter that learns from real images what it may ask of synthetic ones.

    ``SAMPLE_FILTERS`` holds a factory of it, usually its class. The factory is called with those of these keywords that
    it accepts: `levels` (L), `classes` (their number), `image_size` (S), `seed`, `device`, `extractor` (what
    `MaskExtractor.describe` says of the extractor of the training masks), `shared` (a dict that the filters of one
    model share, for what is costly to make, such as a network), and the filter's own parameters from
    ``filters.parameters``. An own parameter is a keyword with a default.

    Then it is used in this order:

    1. `fit` once, on the training pairs; or `load_state` with what `state` returned earlier. In between lie a
       restart and another machine, so everything else must come from the factory's keywords.
    2. `score` on synthetic samples; then `keep` on these scores.

    Everywhere images are (n, 3, S, S) uint8, masks (n, S, S) uint8 with values 0 .. L-1, and labels (n,) int64 class
    indices, all plain tensors that are not to be changed; images and masks may be on any device. What is returned
    is on the CPU. `score` and `keep` judge each sample by itself, to the last bit: what one gets may not depend on the
    others, or on how many there are, since one seed gives one sample whatever the batch. A network has to see them one
    by one, or in batches padded to a fixed size.
    """

    def fit(self, images: Tensor, masks: Tensor, labels: Tensor, *, groups: Sequence[Any] | None = None) -> Self:
        """Learn from real pairs, and choose by what they get when left out how much `keep` asks of each class.

        Parameters
        ----------
        images, masks, labels : the training pairs.
        groups : patient or slide of each; pairs of one group are left out together.
        """

    def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """Return (n,) finite float numbers, higher for better samples of their class."""

    def keep(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Tell which scores are good enough for their class: (n,) bool."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and a JSON-compatible description: all that was learned, and no image."""

    def load_state(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Take what `state` returned, perhaps under other parameters."""


Filter = SampleFilter | FittedFilter


@dataclass(frozen=True)
class Verdict:
    """What filters say of n samples.

    Attributes
    ----------
    refused : filter -> (n,) bool.
    scores : filter -> (n,) float64, of those that score.
    """

    refused: Mapping[str, Tensor]
    scores: Mapping[str, Tensor]

    def kept(self, count: int) -> Tensor:
        """Return (n,) bool, True where no filter refuses; `count` is n, for when there is no filter."""
        kept = torch.ones(count, dtype=torch.bool)
        for refused in self.refused.values():
            kept &= ~refused
        return kept


def judge(filters: Mapping[str, Filter], images: Tensor, masks: Tensor, labels: Tensor, levels: int) -> Verdict:
    """Ask every filter about samples; all of them, so that their rates can be compared.

    Raises
    ------
    ContractError
        A filter returned what its contract does not allow.
    """
    refused: dict[str, Tensor] = {}
    scores: dict[str, Tensor] = {}
    count = len(images)
    if not count:
        return Verdict(refused, scores)
    # Rendering may run in reduced precision; what is compared with real images may not.
    with torch.autocast(images.device.type, enabled=False):
        for name, one in filters.items():
            scored, refused[name] = _asked(name, one, images, masks, labels, levels)
            scores |= {} if scored is None else {name: scored}
    return Verdict(refused, scores)


def make_filter(name: str, parameters: Mapping[str, Any] | None = None, /, **offered: Any) -> Filter:
    """Return the filter of a name in ``SAMPLE_FILTERS``, with its parameters.

    A callable that can be called with keywords alone is a factory; one that asks for images is a filter itself, and
    its keywords with a default are its parameters.

    Parameters
    ----------
    parameters : the filter's own.
    **offered : what a factory may take besides; see `FittedFilter`.

    Raises
    ------
    UnknownNameError, PluginError
        From the registry.
    ConfigError
        A parameter that the filter does not have (with the nearest match), or a value that it refuses.
    ContractError
        The factory makes something else.
    """
    plugin, own = SAMPLE_FILTERS.get(name), dict(parameters or {})
    _check_parameters(name, plugin, own, offered)
    if not _is_factory(plugin, offered):
        return (lambda images, masks, levels: plugin(images, masks, levels, **own)) if own else plugin
    try:
        made = make(plugin, **offered, **own)
    except ConfigError as error:
        raise ConfigError(f"sample filter {name!r}: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"sample filter {name!r}: {_readable(error)}") from None
    if not isinstance(made, FittedFilter) and (hasattr(made, "fit") or not callable(made)):
        missing = [method for method in _METHODS if not callable(getattr(made, method, None))]
        raise ContractError(
            f"sample filter {name!r}: expected a callable of samples or an object with {', '.join(_METHODS)}, "
            f"got {type(made).__name__} without {', '.join(missing)}"
        )
    filter_made: Filter = made
    return filter_made


def _asked(
    name: str, one: Filter, images: Tensor, masks: Tensor, labels: Tensor, levels: int
) -> tuple[Tensor | None, Tensor]:
    """Return the scores of a filter that gives some, and which samples it refuses."""
    if not isinstance(one, FittedFilter):
        kept = _checked(one(images, masks, levels), len(images), f"sample filter {name!r}", floating=False)
        return None, ~kept.cpu()
    scores = _checked(one.score(images, masks, labels), len(images), f"sample filter {name!r}, score", floating=True)
    kept = _checked(one.keep(scores, labels), len(images), f"sample filter {name!r}, keep", floating=False)
    return scores.double().cpu(), ~kept.cpu()


_METHODS = ("fit", "score", "keep", "state", "load_state")


def parameters_key(parameters: Mapping[str, Any]) -> str:
    """Return a text that is the same for the same parameters."""
    return json.dumps(parameters, sort_keys=True, default=repr)


def storable_state(name: str, fitted: FittedFilter) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what a filter learned, unless no model could be saved with it: hours of training would follow.

    Raises
    ------
    ContractError
        `state` returned other things than tensors under names and a description that JSON can hold.
    """
    tensors, description = fitted.state()
    wrong = [key for key, value in tensors.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if wrong:
        raise ContractError(f"sample filter {name!r}: expected tensors under names from state, got {wrong}")
    try:
        json.dumps(description, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ContractError(
            f"sample filter {name!r}: its description is not JSON-compatible ({error}); convert NumPy's numbers by "
            "float() or int(), and leave out what is not finite"
        ) from error
    return dict(tensors), dict(description)


def _is_factory(plugin: Callable[..., Any], offered: Mapping[str, Any]) -> bool:
    if inspect.isclass(plugin):
        return True
    signature = inspect.signature(plugin).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in signature):
        return False
    needed = {parameter.name for parameter in signature if parameter.default is parameter.empty}
    needed -= {parameter.name for parameter in signature if parameter.kind is parameter.VAR_KEYWORD}
    return needed <= set(offered)


def _check_parameters(
    name: str, plugin: Callable[..., Any], own: Mapping[str, Any], offered: Mapping[str, Any]
) -> None:
    signature = inspect.signature(plugin).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature):
        return
    known = [p.name for p in signature if p.default is not p.empty and p.name not in offered]
    for key in own:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ConfigError(
                f"sample filter {name!r} has no parameter {key!r}: it takes {', '.join(known) or 'none'}{hint}"
            )


def _checked(values: object, count: int, what: str, *, floating: bool) -> Tensor:
    kind = "float" if floating else "bool"
    if isinstance(values, Tensor) and values.shape == (count,):
        if floating and values.is_floating_point():
            if not bool(values.isfinite().all()):
                raise ContractError(f"{what}: expected finite numbers, got {values.tolist()}")
            return values
        if not floating and values.dtype == torch.bool:
            return values
    shown = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
    raise ContractError(f"{what}: expected a {kind} tensor ({count},), got {shown}")


def _readable(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    return "; ".join(
        f"{problem['loc'][-1]}: {problem['msg'][:1].lower()}{problem['msg'][1:]}, got {problem['input']!r}"
        for problem in problems
    )
