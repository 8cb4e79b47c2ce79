"""Features in which images are compared: of a network trained on photographs, or a fixed descriptor.

The network is EfficientNet-Lite0 with its ImageNet weights, which come as Python packages (extra ``metrics``); nothing
is downloaded. Without them a descriptor of colour and texture serves, coarser, and says so by its name. Inception-V3 is
there where torchvision's weights already lie on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from syncgan.errors import ConfigError, DataError
from syncgan.networks.pretrained import FEATURES, ImageNetFeatures, installed

__all__ = [
    "INCEPTION",
    "Features",
    "InceptionFeatures",
    "PretrainedFeatures",
    "TextureFeatures",
    "available_features",
    "default_features",
    "features_named",
    "inception_weights",
    "installed",
]

INCEPTION = "Inception-V3 (torchvision, ImageNet)"
"""Name of the features of which alone a Frechet distance is called FID."""

_BINS = 16
# Brings the root mean square to about 1, which the network's features have too: kernel distances then have one scale,
# and a weighted sum with them means the same with either.
_TEXTURE_SCALE = 4.0


class Features(Protocol):
    """What turns images into points that can be compared."""

    name: str

    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """Return features (N, D) of uint8 images (N, 3, H, W)."""


class PretrainedFeatures:
    """Spatial means of the last feature map of EfficientNet-Lite0: 1280 numbers an image.

    Parameters
    ----------
    side : side in pixels to which images are resized (bilinear, antialiased); 224 is the network's own, 128 takes a
        third of the time and is what the figures of this project use.
    batch_size : images at once.
    device : where the network runs.

    Raises
    ------
    ConfigError
        The packages are missing.

    References
    ----------
    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019 (Lite variant:
    without squeeze-and-excitation, ReLU6).
    """

    def __init__(self, side: int = 128, *, batch_size: int = 32, device: str | torch.device = "cpu") -> None:
        self.name = f"EfficientNet-Lite0 (ImageNet) at {side} px"
        self._batch_size, self._device = batch_size, torch.device(device)
        self._network = ImageNetFeatures(side).to(self._device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """Return features (N, 1280) of uint8 images (N, 3, H, W)."""
        parts = [np.zeros((0, FEATURES))]
        for some in torch.split(_checked(images), self._batch_size):
            last = self._network(some.to(self._device).float() / 255)
            parts.append(last.mean(dim=(2, 3)).cpu().double().numpy())
        return np.concatenate(parts)


class InceptionFeatures:
    """Pooled features of torchvision's Inception-V3: 2048 numbers an image, at its own 299 px.

    The weights must be in torch's cache (``TORCH_HOME``); nothing is downloaded. Published FIDs use other weights of
    the same network and another way of resizing: compare figures of this project with each other only.

    Parameters
    ----------
    batch_size : images at once.
    device : where the network runs.

    Raises
    ------
    ConfigError
        The weights are not on the disk.
    """

    name = INCEPTION

    def __init__(self, *, batch_size: int = 16, device: str | torch.device = "cpu") -> None:
        weights = inception_weights()
        if not weights.is_file():
            raise ConfigError(
                f"features of Inception-V3 need torchvision's weights at {weights}, where there are none; "
                'fetch them once with `torchvision.models.inception_v3(weights="IMAGENET1K_V1")`'
            )
        from torchvision.models import inception_v3

        self._batch_size, self._device = batch_size, torch.device(device)
        with torch.random.fork_rng(devices=[]):
            network = inception_v3(weights=None, init_weights=False, transform_input=False)
        network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        network.fc = torch.nn.Identity()
        self._network = network.eval().to(self._device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """Return features (N, 2048) of uint8 images (N, 3, H, W)."""
        parts = [np.zeros((0, 2048))]
        for some in torch.split(_checked(images), self._batch_size):
            x = some.to(self._device).float() / 127.5 - 1
            x = F.interpolate(x, size=(299, 299), mode="bilinear", antialias=True)
            parts.append(self._network(x).cpu().double().numpy())
        return np.concatenate(parts)


class TextureFeatures:
    """Colours and textures without any learned weights: 84 numbers an image.

    Histograms of each colour channel (16 bins), and at three scales the mean, standard deviation and skewness of the
    channels' gradient magnitude and their mean absolute Laplacian, scaled to about the same size.
    """

    name = "colour and texture (no network)"

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """Return features (N, 84) of uint8 images (N, 3, H, W)."""
        x = _checked(images).cpu().double() / 255
        bins = (x * _BINS).clamp(max=_BINS - 1).long().flatten(2)
        counts = torch.zeros((len(x), 3, _BINS), dtype=torch.float64).scatter_add_(
            2, bins, torch.ones_like(bins, dtype=torch.float64)
        )
        parts = [(counts / bins.shape[2]).sqrt().flatten(1)]
        for scale in (1, 2, 4):
            shrunk = F.avg_pool2d(x, scale) if min(x.shape[-2:]) >= 4 * scale else x
            down, right = (shrunk.diff(dim=dim) for dim in (2, 3))
            size = (down[..., :-1].square() + right[..., :-1, :].square()).sqrt().flatten(2)
            mean, std = size.mean(dim=2), size.std(dim=2)
            skew = ((size - mean[..., None]) ** 3).mean(dim=2) / (std**3 + 1e-9)
            bend = (shrunk.diff(n=2, dim=2).abs().mean(dim=(2, 3)) + shrunk.diff(n=2, dim=3).abs().mean(dim=(2, 3))) / 2
            parts.extend([4 * mean, 4 * std, skew / 10, 4 * bend])
        return _TEXTURE_SCALE * torch.cat(parts, dim=1).numpy()


def inception_weights() -> Path:
    """Return where torch keeps torchvision's weights of Inception-V3, whether or not they are there."""
    from torchvision.models import Inception_V3_Weights

    file = PurePosixPath(Inception_V3_Weights.IMAGENET1K_V1.url).name
    return Path(torch.hub.get_dir()) / "checkpoints" / file


def available_features(device: str | torch.device = "cpu") -> Sequence[Features]:
    """Return all features that can be had without a download, learned ones first."""
    found: list[Features] = [PretrainedFeatures(device=device)] if installed() else []
    if inception_weights().is_file():
        found.append(InceptionFeatures(device=device))
    return [*found, TextureFeatures()]


def default_features(device: str | torch.device = "cpu", *, side: int = 128) -> Features:
    """Return `PretrainedFeatures` where they are installed, else `TextureFeatures`; `name` says which."""
    return PretrainedFeatures(side, device=device) if installed() else TextureFeatures()


def features_named(name: str, device: str | torch.device = "cpu", *, side: int = 128) -> Features:
    """Return the features whose `name` something was computed in.

    Raises
    ------
    ConfigError
        They are not here, or not those of this version; says what to install.
    """
    if name == TextureFeatures.name:
        return TextureFeatures()
    found = PretrainedFeatures(side, device=device)
    if found.name != name:
        raise ConfigError(
            f"expected features {found.name!r}, got {name!r}, of another syncgan; fit again with this one"
        )
    return found


def _checked(images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise DataError(f"expected uint8 images (N, 3, H, W), got {images.dtype} {tuple(images.shape)}")
    return images
