"""Compare images as a network that was trained on photographs sees them.

Edges, grain and colour that such a network responds to are what classifiers that start from it learn by; pixels alone
let a rendered image be near to the real one and yet look like nothing that the network knows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from syncgan.networks.pretrained import ImageNetFeatures

__all__ = ["PerceptualDistance"]

_SIDE_PX = 128


class PerceptualDistance(nn.Module):
    """Mean absolute difference of feature maps of EfficientNet-Lite0 at all its scales, in units of the real ones.

    References
    ----------
    Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = ImageNetFeatures(_SIDE_PX)

    def forward(self, rendered: Tensor, real: Tensor) -> Tensor:
        """Return the distance (a scalar) of images (N, 3, S, S) in [-1, 1] from the real ones at their places."""
        with torch.no_grad():
            wanted = self.features.stages((real + 1) / 2)
        found = self.features.stages((rendered + 1) / 2)
        shares = [
            (one - other).abs().mean() / other.abs().mean().clamp_min(1e-6)
            for one, other in zip(found, wanted, strict=True)
        ]
        return torch.stack(shares).mean()
