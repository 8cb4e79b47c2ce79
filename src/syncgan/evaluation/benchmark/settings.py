"""How the classifiers of a benchmark are trained, alike for every arm, and what is compared unless asked otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from syncgan.config import ConfigSection

__all__ = ["DEFAULT_OUTLINE", "PAPER_OUTLINE", "BenchmarkConfig", "Outline"]


_MOST_LOTS, _MOST_IMAGES = 8, 2000


@dataclass(frozen=True)
class Outline:
    """What a benchmark compares.

    Attributes
    ----------
    arms, classifiers : names in ``ARMS`` and ``CLASSIFIERS``.
    repeats : number of splits.
    """

    arms: tuple[str, ...]
    classifiers: tuple[str, ...]
    repeats: int


DEFAULT_OUTLINE = Outline(("Orig", "Orig+Trad", "Orig+Prop", "Orig+Trad+Prop"), ("probe",), 5)

PAPER_OUTLINE = Outline(
    ("Orig", "Orig+Prop", "Orig+Trad", "Orig+Trad+Prop", "Prop", "GAN", "Orig+GAN"),
    ("resnet152", "densenet161", "inception_v3"),
    10,
)
"""The paper's Tables 2 and 3, with ten splits in place of one."""


class BenchmarkConfig(ConfigSection):
    """Training of classifiers, and how many synthetic images they get.

    Examples
    --------
    >>> BenchmarkConfig.from_mapping({"steps": 50}).steps
    50
    """

    ratio: float = Field(2.0, gt=0, le=100, description="Synthetic : real images of an arm (Table 1).")
    lots: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = Field(
        "auto",
        description="Lots of so many synthetic images, of which each pass over the training set shows another; 1: the "
        "same ones in every pass (paper); 'auto': 8, or as many as hold 2,000 images together.",
    )
    tuning_folds: int = Field(
        0,
        ge=0,
        le=100,
        description="Inner splits, at least 2, by which each split chooses its own ratio; 0 takes `ratio`.",
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
        8,
        ge=1,
        le=100,
        description="How often a classifier that fits itself gets images that change from pass to pass.",
    )

    @field_validator("tuning_folds")
    @classmethod
    def _enough_folds(cls, value: int) -> int:
        if value == 1:
            raise ValueError("expected at least 2 inner splits, or 0 for none: one score has no standard error")
        return value

    def total_lots(self, synthetic: int) -> int:
        """Return the number of lots of so many synthetic images."""
        if self.lots != "auto":
            return self.lots
        return min(_MOST_LOTS, max(1, _MOST_IMAGES // max(synthetic, 1)))

    def identity(self) -> dict[str, Any]:
        """Return what makes two benchmarks the same one; what is turned off is left out."""
        values = self.model_dump(mode="json")
        if not self.tuning_folds:
            del values["tuning_folds"]
        return values
