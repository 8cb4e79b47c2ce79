"""The PatchGAN discriminator of pix2pix, with an optional projection on the class."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from syncgan.config import GANConfig
from syncgan.networks.layers import ConditionalNorm, init_weights
from syncgan.networks.winograd import Conv4x4
from syncgan.resizing import resized

__all__ = ["PatchGAN", "patchgan"]

Normalisation = Literal["batch", "instance", "none"]


class PatchGAN(nn.Module):
    """Judge overlapping patches as real or rendered; with three strided layers each logit sees 70 x 70 pixels.

    Parameters
    ----------
    in_channels : channels of the input (mask and image concatenated, or the mask alone).
    width : filters of the first layer.
    layers : strided layers.
    normalisation : "batch" (pix2pix), "instance" or "none".
    classes : number of classes for the projection; 0 for none.

    References
    ----------
    Isola et al., CVPR 2017; projection: Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018.
    """

    def __init__(
        self, in_channels: int, *, width: int, layers: int, normalisation: Normalisation = "batch", classes: int = 0
    ) -> None:
        super().__init__()
        widths = [width * min(2**depth, 8) for depth in range(layers + 1)]
        self.convolutions = nn.ModuleList([Conv4x4(in_channels, widths[0], stride=2)])
        self.norms = nn.ModuleList([nn.Identity()])
        for depth in range(1, layers + 1):
            stride = 2 if depth < layers else 1
            self.convolutions.append(
                Conv4x4(widths[depth - 1], widths[depth], stride=stride, bias=normalisation == "none")
            )
            self.norms.append(_norm(normalisation, widths[depth]))
        self.out = nn.Conv2d(widths[-1], 1, 4, padding=1)
        self.embedding = nn.Embedding(classes, widths[-1]) if classes else None
        self.apply(init_weights)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits (N, 1, h, w) of `x` (N, in_channels, S, S) and class indices `label` (N,)."""
        return self.features_and_logits(x, label)[1]

    def features_and_logits(self, x: Tensor, label: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Return the activations of every layer beside the logits."""
        features = []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.leaky_relu(norm(convolution(x)), 0.2, inplace=True)  # what is behind needs its output alone
            features.append(x)
        logits: Tensor = self.out(x)
        if self.embedding is not None and label is not None:
            projection = (x * self.embedding(label)[:, :, None, None]).mean(dim=1, keepdim=True)
            logits = logits + resized(projection, (logits.shape[-2], logits.shape[-1]), "area")
        return features, logits


def patchgan(*, config: GANConfig, in_channels: int, image_size: int, classes: int = 0) -> nn.Module:
    """Make pix2pix's PatchGAN (Sec. 3.3 and 3.4).

    Parameters
    ----------
    config : the section of the GAN it belongs to.
    in_channels : channels that it judges.
    image_size : side of what it judges; a small one takes fewer strided layers, so that a patch is left to judge.
    classes : number of classes that it is told; 0 for none.
    """
    return PatchGAN(
        in_channels,
        width=config.discriminator_width,
        layers=min(config.discriminator_layers, max(1, image_size.bit_length() - 3)),
        normalisation=config.discriminator_normalisation,
        classes=classes,
    )


def _norm(kind: Normalisation, channels: int) -> nn.Module:
    return nn.Identity() if kind == "none" else ConditionalNorm(channels, kind=kind)
