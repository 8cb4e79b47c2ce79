"""Resizing of float images on any device, as `torch.nn.functional.interpolate` does it on CPU and CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["resized"]

_COMPLETE = ("cpu", "cuda")


def resized(images: Tensor, size: tuple[int, int], mode: Literal["area", "bilinear"]) -> Tensor:
    """Resize images (N, C, H, W) to `size` (height, width), by means of cells or bilinear and antialiased.

    Where torch may lack the operation, as on MPS an antialiased one and cells of unequal sizes, each axis is multiplied
    by its weights instead.
    """
    if images.device.type not in _COMPLETE:
        rows, columns = (
            _weights(length, wanted, mode).to(images) for length, wanted in zip(images.shape[-2:], size, strict=True)
        )
        return rows @ images @ columns.T
    return _interpolated(images, size, mode)


def _weights(length: int, wanted: int, mode: Literal["area", "bilinear"]) -> Tensor:
    """Return the weights (wanted, length) by which one axis is resized."""
    import torch

    return _interpolated(torch.eye(length)[None, None], (wanted, length), mode)[0, 0]


def _interpolated(images: Tensor, size: tuple[int, int], mode: Literal["area", "bilinear"]) -> Tensor:
    from torch.nn import functional as F

    return F.interpolate(images, size=size, mode=mode, antialias=mode == "bilinear")
