"""Built-in classifiers: factories of networks ``(classes) -> nn.Module`` that map (N, 3, H, W) floats to logits.

The paper's three (Sec. 4: ResNet-152, DenseNet-161, Inception-V3), a smaller ResNet, and a small network for a laptop.
All start from random weights: nothing is downloaded.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

__all__ = ["densenet161", "inception_v3", "resnet18", "resnet152", "small_cnn"]


def resnet18(classes: int) -> nn.Module:
    """Make torchvision's ResNet-18 for `classes` classes."""
    from torchvision import models

    network: nn.Module = models.resnet18(weights=None, num_classes=classes)
    return network


def resnet152(classes: int) -> nn.Module:
    """Make torchvision's ResNet-152 for `classes` classes (Sec. 4)."""
    from torchvision import models

    network: nn.Module = models.resnet152(weights=None, num_classes=classes)
    return network


def densenet161(classes: int) -> nn.Module:
    """Make torchvision's DenseNet-161 for `classes` classes (Sec. 4)."""
    from torchvision import models

    network: nn.Module = models.densenet161(weights=None, num_classes=classes)
    return network


def inception_v3(classes: int) -> nn.Module:
    """Make torchvision's Inception-V3 for `classes` classes, without its auxiliary head (Sec. 4).

    It needs images of at least 75 x 75 pixels.
    """
    from torchvision import models

    network: nn.Module = models.inception_v3(weights=None, num_classes=classes, aux_logits=False, init_weights=False)
    return network


def small_cnn(classes: int) -> nn.Module:
    """Make a network of four strided convolutions and global average pooling, for quick trials on a CPU."""
    return SmallCNN(classes)


class SmallCNN(nn.Module):
    """Four 3 x 3 convolutions of stride 2 with batch normalisation, average pooling, one linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 128)
        blocks: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, 3, H, W)."""
        logits: Tensor = self.head(self.features(x))
        return logits
