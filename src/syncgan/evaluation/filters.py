"""Built-in sample filters: ``(images, masks, levels) -> (n,) bool``, True for the samples to keep.

A filter is named in ``filters.samples`` of the configuration; a sample that it refuses is drawn again.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["dark_nuclei"]

_MIN_CONTRAST = 8.0  # gray levels of 255


def dark_nuclei(images: Tensor, masks: Tensor, levels: int) -> Tensor:
    """Keep the samples in which nuclei are darker than the rest: the renderer did follow the mask.

    Parameters
    ----------
    images : (n, 3, S, S) uint8.
    masks : (n, S, S) uint8, values 0 .. L-1.
    levels : L.

    Returns
    -------
    (n,) bool; False also where a mask has no nucleus, or nothing else.
    """
    gray = images.float().mean(dim=1)
    nucleus = (masks == levels - 1).float()
    inside = (gray * nucleus).sum(dim=(1, 2)) / nucleus.sum(dim=(1, 2))
    outside = (gray * (1 - nucleus)).sum(dim=(1, 2)) / (1 - nucleus).sum(dim=(1, 2))
    return outside - inside >= _MIN_CONTRAST
