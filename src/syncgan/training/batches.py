"""Which items make up the batch of a step, a pure function of (seed, step); how it is cut; where the items lie."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from syncgan import rng

__all__ = ["batch_indices", "batch_length", "cut", "parts_of", "stay_on_host"]

Batch = TypeVar("Batch")

_SHARE_OF_FREE_MEMORY = 0.25  # the rest is for networks and activations


def batch_indices(step: int, *, items: int, batch_size: int, seed: int, address: tuple[str | int, ...]) -> Tensor:
    """Return the item indices of one step.

    Epoch after epoch is shuffled anew and laid end to end; step `s` takes positions ``s * B`` to ``(s + 1) * B``. So
    every item is seen equally often, a batch may straddle epochs, and nothing needs to be remembered for a resume.

    Parameters
    ----------
    step, items, batch_size : step number from 0, number of items, items in a batch.
    seed, address : name of the random stream.

    Returns
    -------
    (batch_size,) int64 tensor.
    """
    first = step * batch_size
    epochs = range(first // items, (first + batch_size - 1) // items + 1)
    orders = [torch.randperm(items, generator=rng.torch_generator(seed, *address, "order", epoch)) for epoch in epochs]
    start = first - epochs[0] * items
    return torch.cat(orders)[start : start + batch_size]


def batch_length(batch: Any) -> int:
    """Return the number of items of a batch: a dataclass whose tensors (also those in dicts) begin with the items."""
    return next(len(value) for value in _tensors(batch))


def cut(batch: Batch, first: int, last: int) -> Batch:
    """Return items `first` to `last` of a batch; whatever is random in it was drawn for the whole batch before."""

    def part(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim():
            return value[first:last]
        if is_dataclass(value):
            return cut(value, first, last)
        return {key: part(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value

    changed = {field.name: part(getattr(batch, field.name)) for field in fields(batch)}  # type: ignore[arg-type]
    return replace(batch, **changed)  # type: ignore[type-var]


def parts_of(batch: Batch, parts: int) -> Iterator[tuple[Batch, float]]:
    """Cut a batch into at most `parts` parts of about equal size; yield each with its share of the items."""
    items = batch_length(batch)
    if parts == 1:
        yield batch, 1.0
        return
    bounds = [items * part // parts for part in range(parts + 1)]
    for first, last in itertools.pairwise(bounds):
        if last > first:
            yield cut(batch, first, last), (last - first) / items


def stay_on_host(tensors: Sequence[Tensor], device: torch.device, where: str) -> bool:
    """Tell whether the training items stay in the host's memory, to be moved to `device` a batch at a time.

    Parameters
    ----------
    tensors : all items, as uint8.
    where : ``training.data_device``; "auto" keeps them on the host when they would fill a quarter of what is free.
    """
    if where != "auto" or device.type != "cuda":
        return where == "host"
    free, _ = torch.cuda.mem_get_info(device)
    return sum(tensor.nbytes for tensor in tensors) > _SHARE_OF_FREE_MEMORY * free


def _tensors(batch: Any) -> Iterator[Tensor]:
    for field in fields(batch):
        value = getattr(batch, field.name)
        for tensor in value.values() if isinstance(value, Mapping) else [value]:
            if isinstance(tensor, Tensor) and tensor.dim():
                yield tensor
