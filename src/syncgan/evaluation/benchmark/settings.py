"""How the classifiers of a benchmark are trained: the same for every arm."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from syncgan.config import ConfigSection

__all__ = ["BenchmarkConfig"]


class BenchmarkConfig(ConfigSection):
    """Training of classifiers, and how many synthetic images they get.

    Examples
    --------
    >>> BenchmarkConfig.from_mapping({"steps": 50}).steps
    50
    """

    ratio: float = Field(
        2.0, gt=0, le=100, allow_inf_nan=False, description="Synthetic : real images of an arm (Table 1)."
    )
    steps: int = Field(300, ge=1, description="Optimiser steps of a network, in every arm alike.")
    batch_size: int = Field(16, ge=2, le=4096, description="Images in one step.")
    learning_rate: float = Field(
        1e-3, gt=0, le=1, description="AdamW's step size for random initial weights; falls along a cosine."
    )
    fine_tuning_rate: float = Field(1e-4, gt=0, le=1, description="The same for pretrained initial weights.")
    weight_decay: float = Field(0.01, ge=0, le=10, description="AdamW's weight decay.")
    validations: int = Field(10, ge=1, le=1000, description="How often the validation set is looked at in a training.")
    selection: Literal["loss", "balanced_accuracy"] = Field(
        "loss", description="What the best state is chosen by on the validation set; ties go to the lower loss."
    )
    weights: Literal["random", "disk", "download"] = Field(
        "disk", description="Initial weights of torchvision's networks: ImageNet if on disk, or downloaded, or random."
    )
    passes: int = Field(
        4, ge=1, le=100, description="How often a classifier that fits itself gets images that change at random."
    )
