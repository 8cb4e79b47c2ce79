"""The contract of sample filters, tried out on a few images of the phantom."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from syncgan.data.sample_filters import Filter, FittedFilter, Verdict, judge, make_filter, storable_state
from syncgan.errors import ContractError
from syncgan.extractor import MaskExtractor
from syncgan.registry import SAMPLE_FILTERS
from syncgan.testing.rules import IMAGE_SIZE, Plugin, Rule, named, training_set, try_all, under_a_name

__all__ = ["check_sample_filter", "sample_filter_rules"]

Pairs = tuple[Tensor, Tensor, Tensor]

_LEARNS = "it learns from the training pairs and gives one verdict a sample, or is a function that does"


def check_sample_filter(plugin: Plugin, *, levels: int = 2, **parameters: Any) -> None:
    """Check that a sample filter fulfils its contract (see `syncgan.data.sample_filters.FittedFilter`).

    One that learns is fitted, scores, and is restored from its state. Either kind must give what its contract says,
    the same when asked again, the same for a sample alone as among others, and leave what it was given as it was.

    Parameters
    ----------
    plugin : a name in ``SAMPLE_FILTERS``, a callable of samples, or a factory of a filter that learns.
    levels : L of the masks.
    **parameters : the filter's own.

    Raises
    ------
    ContractError
        What it did, what was expected, and the rule.

    Examples
    --------
    >>> check_sample_filter("dark_nuclei")
    >>> check_sample_filter(lambda images, masks, levels: images.float().mean(dim=(1, 2, 3)) > images.float().mean())
    Traceback (most recent call last):
    ...
    syncgan.errors.ContractError: sample filter 'plug-in under check' judges a sample otherwise when it is alone; ...
    """
    try_all(sample_filter_rules(plugin, levels=levels, **parameters))


def sample_filter_rules(plugin: Plugin, *, levels: int = 2, **parameters: Any) -> list[Rule]:
    """Return the rules, see `check_sample_filter`, one by one; the filter is fitted when one of them is called."""
    trial = _Filter(plugin, levels, parameters)
    return [
        Rule(_LEARNS, trial.gives_verdicts),
        Rule("samples are left as they were", trial.leaves_the_samples),
        Rule("one sample has one verdict", trial.repeats_itself),
        Rule("no verdict depends on other samples", trial.looks_at_one_sample),
        Rule("its state holds everything that it needs", trial.can_be_restored),
    ]


class _Filter:
    """One filter under check, made and fitted when a rule is first called; its rules share the fit."""

    def __init__(self, plugin: Plugin, levels: int, parameters: dict[str, Any]) -> None:
        self._plugin = plugin
        self._levels = levels
        self._parameters = parameters
        self._own: Filter | None = None
        images, maps, numbers = training_set(levels, per_class=4)
        self._samples = torch.from_numpy(images), torch.from_numpy(maps), torch.tensor(numbers)

    def gives_verdicts(self) -> None:
        with self._fitted() as (name, own):
            self._judged(name, own, self._samples)

    def leaves_the_samples(self) -> None:
        with self._fitted() as (name, own), _unchanged(name, self._samples):
            judge({name: own}, *self._samples, self._levels)

    def repeats_itself(self) -> None:
        count = len(self._samples[0])
        self._compare([torch.arange(count)], "when it is asked again; let no judgement depend on the ones before")

    def looks_at_one_sample(self) -> None:
        count = len(self._samples[0])
        alone = [torch.tensor([position]) for position in range(count)]
        self._compare(alone, "when it is alone; let none depend on its neighbours, to the last bit")
        self._compare([torch.arange(count).flip(0)], "in another order; let none depend on its neighbours")

    def can_be_restored(self) -> None:
        with self._fitted() as (name, own):
            if not isinstance(own, FittedFilter):
                return
            restored = _restored(name, own, self._made(name))
            if not _same(self._judged(name, own, self._samples), self._judged(name, restored, self._samples), name):
                raise ContractError(
                    f"sample filter {name!r} judges otherwise after loading; put everything that it needs into state"
                )

    def _compare(self, parts: list[Tensor], when: str) -> None:
        """Require the verdicts of all samples from these parts of them, too."""
        with self._fitted() as (name, own):
            whole = self._judged(name, own, self._samples)
            for positions in parts:
                images, masks, labels = (part[positions] for part in self._samples)
                if not _same(whole, self._judged(name, own, (images, masks, labels)), name, positions):
                    raise ContractError(f"sample filter {name!r} judges a sample otherwise {when}")

    def _judged(self, name: str, own: Filter, samples: Pairs) -> Verdict:
        """Return the verdict on copies, so that a filter that changes samples breaks that rule alone."""
        images, masks, labels = (part.clone() for part in samples)
        return judge({name: own}, images, masks, labels, self._levels)

    @contextlib.contextmanager
    def _fitted(self) -> Iterator[tuple[str, Filter]]:
        with under_a_name(SAMPLE_FILTERS, self._plugin) as name:
            if self._own is None:
                with named(_LEARNS):
                    self._own = self._learned(name)
            yield name, self._own

    def _learned(self, name: str) -> Filter:
        own = self._made(name)
        if isinstance(own, FittedFilter):
            with _unchanged(name, self._samples):
                if own.fit(*self._samples, groups=None) is not own:
                    raise ContractError(f"sample filter {name!r}: expected fit to return the filter itself")
        return own

    def _made(self, name: str) -> Filter:
        offered = {
            "levels": self._levels,
            "classes": 2,
            "image_size": IMAGE_SIZE,
            "seed": 0,
            "device": torch.device("cpu"),
            "extractor": MaskExtractor(levels=self._levels).describe(),
        }
        return make_filter(name, self._parameters, **offered, shared={})


@contextlib.contextmanager
def _unchanged(name: str, samples: Pairs) -> Iterator[None]:
    before = [part.clone() for part in samples]
    yield
    if not all(torch.equal(part, own) for part, own in zip(samples, before, strict=True)):
        raise ContractError(f"sample filter {name!r} changed the samples it was given; clone them first")


def _restored(name: str, own: FittedFilter, fresh: Filter) -> FittedFilter:
    """Return a second filter with the state of the first, as if it had been saved and loaded."""
    tensors, description = storable_state(name, own)
    if not isinstance(fresh, FittedFilter):
        raise ContractError(f"sample filter {name!r}: its factory makes now one kind of filter, now another")
    return fresh.load_state({key: value.clone() for key, value in tensors.items()}, json.loads(json.dumps(description)))


def _same(first: Verdict, other: Verdict, name: str, positions: Tensor | slice = slice(None)) -> bool:
    whole, part = first.scores.get(name), other.scores.get(name)
    agree = torch.equal(first.refused[name][positions], other.refused[name])
    return agree and (whole is None or part is None or torch.equal(whole[positions], part))
