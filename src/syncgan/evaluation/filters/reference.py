"""What real images of each class get when they are left out, and the threshold that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from torch import Tensor

__all__ = ["CHECKED", "Percentile", "Reference", "group_numbers"]

Percentile = Annotated[
    float,
    Field(
        ge=0,
        le=50,
        description="Refused is what scores below this percentile of the class's real images, each scored without "
        "having been learned from.",
    ),
]

CHECKED = ConfigDict(arbitrary_types_allowed=True)
"""For `pydantic.validate_call` on a filter's ``__init__``: bounds stand at the parameter."""


@dataclass(frozen=True)
class Reference:
    """Scores of real images.

    Attributes
    ----------
    scores : (N,) float64.
    labels : (N,) int64, class indices.
    """

    scores: Tensor
    labels: Tensor

    @classmethod
    def of(cls, scores: NDArray[np.float64], labels: Tensor) -> Self:
        """Keep what real images got."""
        return cls(torch.as_tensor(scores, dtype=torch.float64), labels.clone().cpu())

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Take what `tensors` returned."""
        return cls(tensors["reference_scores"], tensors["reference_labels"])

    def tensors(self) -> dict[str, Tensor]:
        """Return the state."""
        return {"reference_scores": self.scores, "reference_labels": self.labels}

    def threshold(self, label: int, percentile: float) -> float:
        """Return the percentile of one class."""
        return float(np.percentile(self.scores[self.labels == label].numpy(), percentile))

    def keep(
        self, scores: Tensor, labels: Tensor, percentile: float, *, bounds: tuple[float, float] = (-np.inf, np.inf)
    ) -> Tensor:
        """Tell which scores (n,) reach the threshold of their class, which lies within `bounds`: (n,) bool."""
        asked = {label: float(np.clip(self.threshold(label, percentile), *bounds)) for label in set(labels.tolist())}
        thresholds = torch.tensor([asked[label] for label in labels.tolist()], dtype=torch.float64)
        return scores.cpu() >= thresholds


def group_numbers(groups: Sequence[Any] | None, count: int) -> NDArray[np.int64]:
    """Return the number of each item's group; without groups each item is one."""
    if groups is None:
        return np.arange(count)
    return np.unique([str(group) for group in groups], return_inverse=True)[1].astype(np.int64)
