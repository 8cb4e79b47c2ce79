"""Random changes of training items, drawn once and applied alike to mask and image.

The 8 symmetries of the slide change the training data, since a turned smear is a smear. Everything else
(`Augmentation`) changes only what the discriminator sees, real and generated items alike and differentiably, so that
it cannot leak into samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Augmentation", "dihedral", "draw_augmentation", "draw_dihedral"]

_SHIFT = 1 / 8
_LARGEST_ZOOM, _LARGEST_TURN = 1.25, 0.35
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.4, 0.5, 1.0
_CUT = 0.4


def draw_dihedral(count: int, generator: torch.Generator) -> Tensor:
    """Draw one of the 8 flips and quarter turns per item: (count,) int64 on the CPU."""
    return torch.randint(8, (count,), generator=generator)


def dihedral(x: Tensor, elements: Tensor) -> Tensor:
    """Apply symmetry `elements` (N,) to `x` (N, ..., S, S): ``e % 4`` quarter turns, then a flip if ``e >= 4``."""
    turned = [torch.rot90(item, int(element) % 4, (-2, -1)) for item, element in zip(x, elements, strict=True)]
    return torch.stack(
        [item.flip(-1) if element >= 4 else item for item, element in zip(turned, elements, strict=True)]
    )


@dataclass(frozen=True)
class Augmentation:
    """Parameters of one draw for a batch, on the batch's device; None leaves that kind out.

    Attributes
    ----------
    affine : (N, 2, 3), the map from output to input coordinates in [-1, 1], as ``affine_grid`` takes it.
    colour : (N, 3), brightness added, saturation and contrast multiplied.
    cutout : (N, 1, S, S) bool, True where everything is set to zero.

    References
    ----------
    Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020; applied with a
    probability below one, so that no change leaks into samples: Karras et al., "Training Generative Adversarial
    Networks with Limited Data", NeurIPS 2020.
    """

    affine: Tensor | None = None
    colour: Tensor | None = None
    cutout: Tensor | None = None

    def pair(self, maps: Tensor, images: Tensor) -> Tensor:
        """Return map (N, L, S, S) and image (N, 3, S, S) concatenated, both moved alike, only the image recoloured."""
        return self._placed(torch.cat([maps, self._recoloured(images)], dim=1))

    def images(self, images: Tensor) -> Tensor:
        """Return images (N, 3, S, S) without maps: recoloured, moved and cut."""
        return self._placed(self._recoloured(images))

    def masks(self, shares: Tensor) -> Tensor:
        """Return level shares (N, L, R, R), moved and cut."""
        return self._placed(shares)

    def _recoloured(self, images: Tensor) -> Tensor:
        if self.colour is None:
            return images
        brightness, saturation, contrast = self.colour[:, :, None, None, None].unbind(dim=1)
        images = images + brightness
        gray = images.mean(dim=1, keepdim=True)
        images = gray + (images - gray) * saturation
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        return mean + (images - mean) * contrast

    def _placed(self, x: Tensor) -> Tensor:
        if self.affine is not None:
            grid = F.affine_grid(self.affine, list(x.shape), align_corners=False)
            x = F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        if self.cutout is not None:
            x = x.masked_fill(self.cutout, 0.0)
        return x


def draw_augmentation(
    kinds: Sequence[str],
    count: int,
    size: int,
    *,
    probability: float,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Augmentation | None:
    """Draw what the discriminator's items of one update go through; None when `kinds` is empty.

    Parameters
    ----------
    kinds : of "translation" (up to 1/8 of the side), "scaling" (up to 1.25 times, and turns up to 20 degrees),
        "colour" (brightness, saturation, contrast) and "cutout" (a square of 0.4 of the side).
    count, size : N and S.
    probability : with which each kind is applied to an item, independently of the others.
    generator : of the CPU.
    device : where the items are.
    """
    if not kinds:
        return None
    # Every kind is drawn whether it is asked for or not: leaving one out does not change the others.
    uniform = torch.rand((count, 10), generator=generator) * 2 - 1
    applied = (torch.rand((count, 4), generator=generator) < probability).float()
    affine = colour = cutout = None
    if "translation" in kinds or "scaling" in kinds:
        shift = uniform[:, 0:2] * (2 * _SHIFT) * applied[:, :1] * ("translation" in kinds)
        moved = applied[:, 1] * ("scaling" in kinds)
        zoom, turn = _LARGEST_ZOOM ** (uniform[:, 2] * moved), uniform[:, 3] * _LARGEST_TURN * moved
        cosine, sine = turn.cos() * zoom, turn.sin() * zoom
        rows = [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)]
        affine = torch.stack(rows, 1).to(device)
    if "colour" in kinds:
        change = uniform[:, 4:7] * torch.tensor([_BRIGHTNESS, _SATURATION, _CONTRAST])
        neutral = torch.tensor([0.0, 1.0, 1.0])
        colour = (neutral + change * applied[:, 2:3]).to(device)
    if "cutout" in kinds:
        cutout = _squares(uniform[:, 7:9], size, applied[:, 3] > 0).to(device)
    return Augmentation(affine, colour, cutout)


def _squares(centres: Tensor, size: int, applied: Tensor) -> Tensor:
    """Return (N, 1, S, S) bool: a square around each centre, given in [-1, 1]."""
    line = (torch.arange(size) + 0.5) * (2 / size) - 1
    inside = (line - centres[:, :, None]).abs() < _CUT
    return ((inside[:, 0, :, None] & inside[:, 1, None, :]) & applied[:, None, None])[:, None]
