"""The sample filters of one model: made by name, fitted on its training pairs, saved and restored with it.

A model keeps what its filters have learned and makes the filters themselves when it samples: it can be loaded where
the package of a filter is missing, and says so only when the filter is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor

from syncgan.config import FiltersConfig
from syncgan.data.sample_filters import Filter, FittedFilter, judge, make_filter, parameters_key, storable_state
from syncgan.errors import ConfigError, DataError, NotFittedError, PluginError, UnknownNameError

__all__ = ["FilterBank"]

_FEWEST = 2
_TRIED = 8

State = tuple[Mapping[str, Tensor], Mapping[str, Any]]


class FilterBank:
    """Holds what the sample filters of a model have learned, and the filters once they are made.

    Parameters
    ----------
    **offered : what the factories of filters are offered; see `FittedFilter`.
    """

    def __init__(self, **offered: Any) -> None:
        self._offered = {**offered, "shared": {}}
        self._states: dict[str, State] = {}
        self._ready: dict[tuple[str, str], FittedFilter] = {}

    @property
    def fitted(self) -> tuple[str, ...]:
        """Names of the filters that have learned something."""
        return tuple(self._states)

    def fit(
        self,
        section: FiltersConfig,
        images: Tensor,
        masks: Tensor,
        labels: Tensor,
        *,
        groups: Sequence[Any] | None = None,
    ) -> Self:
        """Fit those of the named filters that learn, and let all judge a few pairs; see `FittedFilter.fit`.

        Raises
        ------
        ContractError
            A filter returned what its contract does not allow.
        DataError
            A class has too few images to learn from.
        """
        self._states, self._ready = {}, {}
        # All are made before any is fitted: what cannot be made is said at once.
        made = {name: self._made(name, section) for name in section.samples}
        fewest = min(Counter(labels.tolist()).values())
        if any(isinstance(one, FittedFilter) for one in made.values()) and fewest < _FEWEST:
            raise DataError(
                f"sample filters learn how real images of a class vary; expected at least {_FEWEST} training images of "
                f"each class, after what is held out, got {fewest}; give more, or leave filters.samples empty"
            )
        for name, one in made.items():
            if isinstance(one, FittedFilter):
                one.fit(images, masks, labels, groups=groups)
                self._states[name] = storable_state(name, one)
                self._ready[name, parameters_key(section.parameters.get(name, {}))] = one
        # Each judges a few real images: what breaks its contract is said now, and not after the networks' training.
        device = self._offered["device"]
        few, theirs, classes = (part[:_TRIED].to(device) for part in (images, masks, labels))
        judge(self.filters(section), few, theirs, classes, self._offered["levels"])
        return self

    def filters(self, section: FiltersConfig) -> dict[str, Filter]:
        """Return the filters that `section` names, ready to judge.

        Raises
        ------
        NotFittedError
            A filter that learns was not named when the model was fitted.
        PluginError
            A filter is not here, where the model was loaded; says what is missing.
        """
        return {name: self._filter(name, section) for name in section.samples}

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Return tensors by filter and a JSON-compatible description by filter."""
        tensors = {name: dict(own) for name, (own, _) in self._states.items()}
        return tensors, {name: dict(own) for name, (_, own) in self._states.items()}

    def load_state(
        self, tensors: Mapping[str, Mapping[str, Tensor]], descriptions: Mapping[str, Mapping[str, Any]]
    ) -> Self:
        """Take what `state` returned; no filter is made yet."""
        self._states = {name: (tensors[name], own) for name, own in descriptions.items()}
        self._ready = {}
        return self

    def _filter(self, name: str, section: FiltersConfig) -> Filter:
        key = (name, parameters_key(section.parameters.get(name, {})))
        if key in self._ready:
            return self._ready[key]
        try:
            made = self._made(name, section)
        except (UnknownNameError, PluginError) as error:
            if name not in self._states:
                raise
            raise PluginError(
                f"the model's sample filter {name!r} is not here: {error}; install or register it, or sample without "
                "it (`use_filters`)"
            ) from error
        if isinstance(made, FittedFilter):
            if name not in self._states:
                raise NotFittedError(
                    f"sample filter {name!r} learns from the training images, and was not in filters.samples when the "
                    f"model was fitted (there were: {', '.join(self._states) or 'none that learn'}); fit again with it "
                    "(a run folder trains nothing anew for that)"
                )
            try:
                self._ready[key] = made.load_state(*self._states[name])
            except ConfigError as error:
                raise ConfigError(f"the model's sample filter {name!r} cannot be used here: {error}") from error
        return made

    def _made(self, name: str, section: FiltersConfig) -> Filter:
        return make_filter(name, section.parameters.get(name), **self._offered)
