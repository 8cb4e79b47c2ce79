"""Maps in, images out: one chunk at a time, each image under its own seeds (Sec. 3.3).

The generator comes in as an argument, a network or an object that has fitted itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from syncgan import rng
from syncgan.data.conditions import Conditions
from syncgan.data.tensors import as_array, one_hot, to_uint8
from syncgan.errors import ContractError

__all__ = ["render_by_plugin", "render_chunk"]


@torch.inference_mode()
def render_chunk(
    network: nn.Module,
    maps: Tensor,
    classes: Tensor,
    seeds: Sequence[tuple[int, int]],
    *,
    conditions: Conditions,
    chunk_size: int,
    device: torch.device,
) -> Tensor:
    """Render up to one chunk, padded to its fixed size so that a result does not depend on how many were asked.

    Parameters
    ----------
    network : a generator in eval mode, on `device`.
    maps, classes : (n, S, S) uint8 and (n,) int64, n from 1 to `chunk_size`.
    seeds : n pairs, of noise and stain.
    conditions : what the generator is told besides the map.

    Returns
    -------
    (n, 3, S, S) uint8 tensor on `device`.
    """
    count, padding = len(seeds), chunk_size - len(seeds)
    seeds = [*seeds, *[seeds[-1]] * padding]
    maps, classes = rng.moved(maps, device), rng.moved(classes, device)
    maps = torch.cat([maps, maps[-1:].expand(padding, -1, -1)])
    classes = torch.cat([classes, classes[-1:].expand(padding)])
    rendered = network(one_hot(maps, conditions.levels), **conditions.of_seeds(maps, classes, seeds))
    images = torch.tanh(rendered[:count].float())
    if conditions.stain is not None:
        images = conditions.stain.varied(images, [own for _, own in seeds[:count]])
    return to_uint8(images)


def render_by_plugin(
    generator: Any, maps: Tensor, classes: Tensor, seeds: Sequence[int], *, size: int, name: str
) -> Tensor:
    """Render by an object that has fitted itself, one map at a time.

    Parameters
    ----------
    generator : has ``generate(maps, labels, seed)``.
    maps, classes : (n, S, S) uint8 and (n,) int64.
    seeds : n.
    size, name : S, and what errors call the generator.

    Returns
    -------
    (n, 3, S, S) uint8 tensor on the CPU.

    Raises
    ------
    ContractError
        It gives anything but one uint8 image of that size.
    """
    rendered = [
        as_array(generator.generate(maps[at : at + 1].cpu().numpy(), labels=[int(classes[at])], seed=seed))
        for at, seed in enumerate(seeds)
    ]
    for image in rendered:
        if image.shape != (1, 3, size, size) or image.dtype != np.uint8:
            raise ContractError(
                f"image generator {name!r}: expected uint8 (1, 3, {size}, {size}) from generate of one map, got "
                f"{image.dtype} {image.shape}"
            )
    return torch.from_numpy(np.concatenate(rendered))
