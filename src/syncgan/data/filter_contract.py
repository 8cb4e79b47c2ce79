"""What holds for every sample filter, tried out: `syncgan.testing.check_sample_filter` calls it with samples."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from syncgan.data.sample_filters import Filter, FittedFilter, Verdict, judge
from syncgan.errors import ContractError

__all__ = ["require_contract"]

Pairs = tuple[Tensor, Tensor, Tensor]


def require_contract(name: str, make: Callable[[], Filter], samples: Pairs, levels: int) -> None:
    """Refuse a filter that breaks the contract of `syncgan.data.sample_filters`.

    Parameters
    ----------
    name : in messages.
    make : returns a fresh filter.
    samples : images, masks and class indices, every class at least twice.
    levels : L of the masks.

    Raises
    ------
    ContractError
        What it did, and what was expected.
    """
    own = make()
    if isinstance(own, FittedFilter):
        with _unchanged(name, samples):
            if own.fit(*samples, groups=None) is not own:
                raise ContractError(f"sample filter {name!r}: expected fit to return the filter itself")
    _check_judgements(name, own, samples, levels)
    if isinstance(own, FittedFilter):
        restored = _restored(name, own, make())
        if not _same(judge({name: own}, *samples, levels), judge({name: restored}, *samples, levels), name):
            raise ContractError(
                f"sample filter {name!r} judges otherwise after loading; put everything that it needs into state"
            )


@contextlib.contextmanager
def _unchanged(name: str, samples: Pairs) -> Iterator[None]:
    before = [part.clone() for part in samples]
    yield
    if not all(torch.equal(part, own) for part, own in zip(samples, before, strict=True)):
        raise ContractError(f"sample filter {name!r} changed the samples it was given; clone them first")


def _check_judgements(name: str, own: Filter, samples: Pairs, levels: int) -> None:
    """Require one verdict for a sample: again, alone, and in another order."""
    count = len(samples[0])
    alone = [torch.tensor([position]) for position in range(count)]
    for order, when in (
        ([torch.arange(count)], "when it is asked again; let no judgement depend on the ones before"),
        (alone, "when it is alone; let none depend on its neighbours, to the last bit"),
        ([torch.arange(count).flip(0)], "in another order; let none depend on its neighbours"),
    ):
        with _unchanged(name, samples):
            first = judge({name: own}, *samples, levels)
            for positions in order:
                images, masks, labels = (part[positions] for part in samples)
                other = judge({name: own}, images, masks, labels, levels)
                if not _same(first, other, name, positions):
                    raise ContractError(f"sample filter {name!r} judges a sample otherwise {when}")


def _restored(name: str, own: FittedFilter, fresh: Filter) -> FittedFilter:
    """Return a second filter with the state of the first, as if it had been saved and loaded."""
    tensors, description = own.state()
    wrong = [key for key, value in tensors.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if wrong:
        raise ContractError(f"sample filter {name!r}: expected tensors under names from state, got {wrong}")
    try:
        text = json.dumps(description)
    except (TypeError, ValueError) as error:
        raise ContractError(f"sample filter {name!r}: its description is not JSON-compatible ({error})") from error
    if not isinstance(fresh, FittedFilter):
        raise ContractError(f"sample filter {name!r}: its factory makes now one kind of filter, now another")
    return fresh.load_state({key: value.clone() for key, value in tensors.items()}, json.loads(text))


def _same(first: Verdict, other: Verdict, name: str, positions: Tensor | slice = slice(None)) -> bool:
    whole, part = first.scores.get(name), other.scores.get(name)
    agree = torch.equal(first.refused[name][positions], other.refused[name])
    return agree and (whole is None or part is None or torch.equal(whole[positions], part))
