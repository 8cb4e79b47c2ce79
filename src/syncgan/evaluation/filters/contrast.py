"""Sample filter ``dark_nuclei``: nuclei are darker than the rest. A function, which learns nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

__all__ = ["dark_nuclei"]


def dark_nuclei(
    images: Tensor,
    masks: Tensor,
    levels: int,
    *,
    min_contrast: Annotated[
        float, Field(ge=0, le=255, description="Gray levels of 255 by which nuclei must be darker.")
    ] = 8.0,
) -> Tensor:
    """Keep the samples in which nuclei are darker than the rest: the renderer did follow the mask.

    Parameters
    ----------
    images : (n, 3, S, S) uint8.
    masks : (n, S, S) uint8, values 0 .. L-1.
    levels : L.
    min_contrast : gray levels of 255 by which nuclei must be darker.

    Returns
    -------
    (n,) bool; False also where a mask has no nucleus, or nothing else.
    """
    gray = images.float().mean(dim=1)
    nucleus = (masks == levels - 1).float()
    inside = (gray * nucleus).sum(dim=(1, 2)) / nucleus.sum(dim=(1, 2))
    outside = (gray * (1 - nucleus)).sum(dim=(1, 2)) / (1 - nucleus).sum(dim=(1, 2))
    return outside - inside >= min_contrast
