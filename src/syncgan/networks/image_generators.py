"""Built-in image generators: factories of networks that render one-hot semantic maps to RGB (Sec. 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from syncgan.config import ImageGANConfig
from syncgan.networks.layers import init_weights
from syncgan.networks.unet import UNet, halvings

__all__ = ["UNetRenderer", "unet"]

_CLASS_EMBEDDING = 16
_BRIGHTEST = 0.97  # of a colour in [-1, 1] that is rendered as it is: beyond it tanh hardly moves


class UNetRenderer(nn.Module):
    """A U-Net from a one-hot semantic map (and noise) to RGB, told class and stain through its normalisation.

    Attributes
    ----------
    noise_shape : shape of one item's Gaussian noise, (C, S, S), or None when the network takes none.
    style_dim : length of the stain code, 0 when the network takes none.
    classes : number of classes it is told, 0 when it is not told.
    from_colours : whether it takes maps in the colours of their stain codes, ``colours``, and renders changes to them.
    """

    def __init__(self, *, config: ImageGANConfig, levels: int, image_size: int, classes: int, style_dim: int) -> None:
        super().__init__()
        self.classes = classes if config.class_conditional else 0
        self.style_dim = style_dim
        self.noise_shape = None if config.noise == "none" else (1, image_size, image_size)
        self.noise_is_input = config.noise == "input"
        self.from_colours = config.from_colours and style_dim > 0
        condition_dim = (_CLASS_EMBEDDING if self.classes else 0) + style_dim
        self.embedding = nn.Embedding(self.classes, _CLASS_EMBEDDING) if self.classes else None
        self.mix = nn.Linear(condition_dim, max(32, condition_dim)) if condition_dim else None
        self.unet = UNet(
            levels + int(self.noise_is_input) + 3 * int(self.from_colours),
            3,
            width=config.width,
            downsamplings=halvings(image_size) if config.downsamplings == "full" else config.downsamplings,
            normalisation=config.normalisation,
            dropout=config.dropout,
            condition_dim=self.mix.out_features if self.mix is not None else 0,
            noise=config.noise == "scales",
            head_width=config.head_width,
        )
        self.apply(init_weights)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight)
        if self.mix is not None:
            nn.init.kaiming_normal_(self.mix.weight)

    def forward(
        self,
        onehot: Tensor,
        noise: Tensor | None = None,
        label: Tensor | None = None,
        style: Tensor | None = None,
        colours: Tensor | None = None,
    ) -> Tensor:
        """Return (N, 3, S, S) before tanh.

        Parameters
        ----------
        onehot : (N, L, S, S) maps.
        noise : (N, 1, S, S).
        label : (N,) class indices.
        style : (N, style_dim) stain codes.
        colours : (N, 3, S, S) in [-1, 1], the maps in the colours of their stain codes; None for gray.
        """
        x = torch.cat([onehot, noise], dim=1) if self.noise_is_input and noise is not None else onehot
        if not self.from_colours:
            return self._changes(x, label, style, noise)
        if colours is None:  # as of a gray map
            colours = x.new_zeros((len(x), 3, *x.shape[2:]))
        changes = self._changes(torch.cat([x, colours], dim=1), label, style, noise)
        return torch.atanh(colours.clamp(-_BRIGHTEST, _BRIGHTEST)).to(changes.dtype) + changes

    def _changes(self, x: Tensor, label: Tensor | None, style: Tensor | None, noise: Tensor | None) -> Tensor:
        out: Tensor = self.unet(x, self._condition(label, style), noise)
        return out

    def _condition(self, label: Tensor | None, style: Tensor | None) -> Tensor | None:
        if self.mix is None:
            return None
        parts = []
        if self.embedding is not None:
            parts.append(self.embedding(label))
        if style is not None:
            parts.append(style)
        return F.leaky_relu(self.mix(torch.cat(parts, dim=1)), 0.2)


def unet(*, config: ImageGANConfig, levels: int, image_size: int, classes: int, style_dim: int = 0) -> nn.Module:
    """Make the paper's renderer: pix2pix's U-Net with bilinear up-sampling (Sec. 3.3).

    Parameters
    ----------
    config : the section ``image_gan``.
    levels, image_size, classes : L, S and the number of classes.
    style_dim : length of the stain code that is passed as ``style``; 0 for none.
    """
    return UNetRenderer(config=config, levels=levels, image_size=image_size, classes=classes, style_dim=style_dim)
