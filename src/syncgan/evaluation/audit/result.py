"""What an audit found: numbers of every space, the control, the closest pairs, and a verdict in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from syncgan.evaluation.audit.rates import Interval

__all__ = ["Audit", "ClosestPair", "Control", "Nearness", "Outcome"]

Outcome = Literal["copies", "no copy found", "cannot see copies"]


@dataclass(frozen=True)
class Nearness:
    """How near the samples lie to the training images in one space.

    Attributes
    ----------
    space, meaning : name of the space, and what lies near to what in it.
    thresholds : class -> distance below which 5 % of its held-out images lie (the smallest one, of fewer than 19).
    near : samples below the threshold of their class.
    rate, interval : their share, with its 95 % interval (bootstrap over samples and groups where groups are known,
        else of Clopper and Pearson).
    expected : share that chance alone puts there.
    p_value : probability of so many by chance, exact where images are independent.
    mann_whitney : p-value that samples lie nearer than held-out images of their class.
    ratio, held_out_ratio : median distance to the nearest training image by that to the next one.
    nearer, nearer_interval : share of samples nearer to a training image than to a held-out one, of equally many of
        both; a half by chance. None without held-out images.
    copies : samples below the threshold that lie near to one training image alone and nearer than training images lie
        to each other.
    copies_p_value : bound on the probability of so many copies by chance.
    flagged : whether there are more copies than chance explains.
    distances, held_out_distances : sorted, for a plot.
    """

    space: str
    meaning: str
    thresholds: Mapping[str, float]
    near: int
    rate: float
    interval: Interval
    expected: float
    p_value: float
    mann_whitney: float
    ratio: float
    held_out_ratio: float
    nearer: float | None
    nearer_interval: Interval | None
    copies: tuple[int, ...]
    copies_p_value: float
    flagged: bool
    distances: NDArray[np.float64]
    held_out_distances: NDArray[np.float64]

    def figures(self) -> dict[str, Any]:
        """Return everything but the distances, JSON-compatible."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
            if not name.endswith("distances")
        }


@dataclass(frozen=True)
class Control:
    """What the audit says of images of which the answer is known.

    Attributes
    ----------
    copies : number of training images that were turned, shifted, brightened and recompressed.
    seen : space -> share of them that was taken for copies.
    copies_flagged : whether they were flagged, and at least half of them taken for copies; they must be.
    honest : number of held-out images that were compared with the others of them.
    honest_flagged : whether these were flagged; they must not be.
    """

    copies: int
    seen: Mapping[str, float]
    copies_flagged: bool
    honest: int
    honest_flagged: bool

    @property
    def passed(self) -> bool:
        """Whether copies are seen and honest images are not taken for copies."""
        return self.copies_flagged and not self.honest_flagged


@dataclass(frozen=True)
class ClosestPair:
    """An image and the training image that it is nearest to.

    Attributes
    ----------
    space : where they are near.
    image, training : positions of both.
    turn : flip or quarter turn of the training image, as `syncgan.training.augmentation.dihedral` counts.
    distance, ratio : to the training image, and that by the distance to the next one.
    held_out : whether the image is a held-out one, for comparison; else it is a sample.
    """

    space: str
    image: int
    training: int
    turn: int
    distance: float
    ratio: float
    held_out: bool = False


@dataclass(frozen=True)
class Audit:
    """Whether samples are copies of training images.

    Attributes
    ----------
    outcome : in three words at most.
    verdict : in one sentence; it never says that samples are anonymous.
    notes : what else a reader must know, a sentence each.
    samples, training, held_out : numbers of images.
    yardstick : what the samples' distances are compared with.
    spaces : the figures, one entry a space.
    repeated : samples that are near copies of a training image by the rule of ``syncgan doctor``, a single one too.
    fewest : the smallest number of copies among the samples that is flagged; None where no number is.
    control : the positive control.
    pairs : closest pairs of every space, samples first.
    originals : sample that counts as a copy -> the training image that it is nearest to, of the spaces that flag it,
        and for those in `repeated`.
    model, data : digest of the model that was sampled, and fingerprint of what it was fitted on; None where they are
        not known, as for folders of images.
    """

    outcome: Outcome
    verdict: str
    notes: tuple[str, ...]
    samples: int
    training: int
    held_out: int
    yardstick: str
    spaces: tuple[Nearness, ...]
    repeated: tuple[int, ...]
    fewest: int | None
    control: Control
    pairs: tuple[ClosestPair, ...]
    originals: Mapping[int, int]
    model: str | None = None
    data: str | None = None

    @property
    def copies(self) -> tuple[int, ...]:
        """Positions of the samples that count as copies: of the spaces that flag them, and the repeated ones."""
        return tuple(sorted(self.originals))

    @property
    def copy_rate(self) -> float:
        """Share of the samples that count as copies."""
        return len(self.copies) / self.samples

    @property
    def passed(self) -> bool:
        """Whether copies could be seen and none was."""
        return self.outcome == "no copy found"

    def summary(self) -> dict[str, Any]:
        """Return everything but the plotted distances, JSON-compatible."""
        return {
            "model": self.model,
            "data": self.data,
            "outcome": self.outcome,
            "verdict": self.verdict,
            "notes": list(self.notes),
            "samples": self.samples,
            "training": self.training,
            "held_out": self.held_out,
            "yardstick": self.yardstick,
            "copies": list(self.copies),
            "originals": [self.originals[at] for at in self.copies],
            "copy_rate": self.copy_rate,
            "repeated": list(self.repeated),
            "fewest_copies_flagged": self.fewest,
            "spaces": [space.figures() for space in self.spaces],
            "control": {**dataclasses.asdict(self.control), "passed": self.control.passed},
            "pairs": [dataclasses.asdict(pair) for pair in self.pairs],
        }
