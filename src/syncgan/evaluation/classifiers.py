"""Built-in classifiers: factories ``(classes) -> nn.Module`` that map (N, 3, H, W) floats to logits, and a probe.

The paper's three (Sec. 4: ResNet-152, DenseNet-161, Inception-V3), a smaller ResNet, and a small network for a laptop.
torchvision's start from ImageNet weights when asked to: with ``weights="disk"`` only if the file is there already, with
``"download"`` it is fetched. A network says in `initial_weights` what it started from.

A factory may also return an object with ``fit`` and ``predict_proba`` that trains itself, as `Probe` does.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from syncgan.evaluation.features import Features, default_features

__all__ = [
    "Probe",
    "SmallCNN",
    "Weights",
    "densenet161",
    "inception_v3",
    "initial_weights",
    "probe",
    "resnet18",
    "resnet152",
    "small_cnn",
]

Weights = Literal["random", "disk", "download"]

_STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # C of scikit-learn: the inverse of the regularisation
# Early DenseNet files name "norm.1" what is "norm1" now.
_OLD_DENSENET = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$"
)


def resnet18(classes: int, *, weights: Weights = "random") -> nn.Module:
    """Make torchvision's ResNet-18 for `classes` classes."""
    return _torchvision("resnet18", "ResNet18_Weights", classes, weights, head="fc")


def resnet152(classes: int, *, weights: Weights = "random") -> nn.Module:
    """Make torchvision's ResNet-152 for `classes` classes (Sec. 4)."""
    return _torchvision("resnet152", "ResNet152_Weights", classes, weights, head="fc")


def densenet161(classes: int, *, weights: Weights = "random") -> nn.Module:
    """Make torchvision's DenseNet-161 for `classes` classes (Sec. 4)."""
    return _torchvision("densenet161", "DenseNet161_Weights", classes, weights, head="classifier")


def inception_v3(classes: int, *, weights: Weights = "random") -> nn.Module:
    """Make torchvision's Inception-V3 for `classes` classes, without its auxiliary head (Sec. 4).

    It needs images of at least 75 x 75 pixels; training enlarges smaller ones.
    """
    network = _torchvision(
        "inception_v3", "Inception_V3_Weights", classes, weights, head="fc", aux_logits=False, init_weights=False
    )
    network.smallest_side = 75  # type: ignore[assignment]
    return network


def small_cnn(classes: int) -> nn.Module:
    """Make a network of four strided convolutions and global average pooling, for quick trials on a CPU."""
    return SmallCNN(classes)


def probe(classes: int, *, features: Features | None = None, device: str | torch.device = "cpu") -> Probe:
    """Make a logistic regression on features of a network that is not trained any more."""
    return Probe(classes, default_features(device) if features is None else features)


def initial_weights(classifier: Any) -> str:
    """Say in words what a classifier started from."""
    return str(getattr(classifier, "initial_weights", "random"))


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


class Probe:
    """Logistic regression on standardised features, its probabilities averaged over four strengths of regularisation.

    Choosing one strength by the few images of a validation set would add more noise than it takes away.

    Parameters
    ----------
    classes : number of classes.
    features : what turns uint8 images (N, 3, S, S) into points.

    Attributes
    ----------
    initial_weights : name of the features.
    """

    def __init__(self, classes: int, features: Features) -> None:
        self.classes = classes
        self.features = features
        self.initial_weights = features.name

    def fit(self, images: Tensor, shares: Tensor, validation: Tensor, validation_labels: Tensor) -> Probe:
        """Learn from uint8 images (N, 3, S, S) and the shares (N, classes) of their classes, at a total weight of N."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        points = self.features(images)
        rows, labels = np.nonzero(shares.numpy())
        weights = shares.numpy()[rows, labels]
        self._models = [
            make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000)).fit(
                points[rows], labels, logisticregression__sample_weight=weights
            )
            for strength in _STRENGTHS
        ]
        return self

    def predict_proba(self, images: Tensor) -> NDArray[np.float64]:
        """Return class probabilities (N, classes) of uint8 images."""
        points = self.features(images)
        full = np.zeros((len(points), self.classes))  # with a column also for a class that was not in the training set
        for model in self._models:
            full[:, model.classes_] += model.predict_proba(points) / len(self._models)
        return full


def _torchvision(name: str, enum: str, classes: int, weights: Weights, *, head: str, **settings: Any) -> nn.Module:
    from torchvision import models

    network: Any = models.get_model(name, weights=None, num_classes=classes, **settings)
    known = getattr(models, enum).IMAGENET1K_V1
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(known.url).name
    wanted = weights == "download" or (weights == "disk" and file.is_file())
    if wanted:
        state = known.get_state_dict(progress=False, check_hash=True, weights_only=True)
        state = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
        own = network.state_dict()
        kept = {key: value for key, value in state.items() if key in own and not key.startswith(f"{head}.")}
        network.load_state_dict({**own, **kept})
        if name == "inception_v3":
            network.transform_input = True  # its weights were made for another range
    network.initial_weights = f"ImageNet ({known.name})" if wanted else "random"
    return network  # type: ignore[no-any-return]
