"""The mask prior in a report: real and synthetic distributions side by side, and a table of distances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from syncgan.errors import SamplingError, warn_user
from syncgan.evaluation.figures import FactTable, FigureEntry
from syncgan.evaluation.mask_prior import (
    DIAGNOSTICS,
    FEWEST_MASKS,
    MaskStatistics,
    PriorComparison,
    compare_masks,
    measure_masks,
)
from syncgan.evaluation.plots import draw_distributions

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter

__all__ = ["ClassPrior", "compare_priors", "mask_prior_table", "prior_figures"]

SAMPLES = 64
_AXES = {
    "nuclei": "nuclei in a mask",
    "area": "nucleus area, share of the image",
    "eccentricity": "eccentricity of a nucleus",
    "solidity": "solidity of a nucleus",
    "nearest neighbour": "distance to the nearest nucleus, sides",
}


@dataclass(frozen=True)
class ClassPrior:
    """Real and synthetic masks of one class, measured and compared."""

    real: MaskStatistics
    synthetic: MaskStatistics
    comparison: PriorComparison


def compare_priors(augmenter: SynCGANAugmenter, *, samples: int = SAMPLES, seed: int = 0) -> dict[str, ClassPrior]:
    """Return class name -> comparison of its training masks with `samples` drawn ones.

    Classes of fewer than 4 training masks are left out, as is, with a warning, one that cannot be drawn. The augmenter
    must still have its `pairs_`.
    """
    found = {}
    for name, label in zip(augmenter.classes_, augmenter.label_values_, strict=True):
        maps = augmenter.pairs_.of_label(label).cpu().numpy()
        if len(maps) < FEWEST_MASKS:
            continue
        try:
            drawn = augmenter.sample_masks(name, samples, seed=seed).cpu().numpy()
        except SamplingError as error:
            warn_user(f"masks of a class are not compared with real ones: {error}")
            continue
        real, synthetic = (measure_masks(part, levels=augmenter.levels_) for part in (maps, drawn))
        found[name] = ClassPrior(real, synthetic, compare_masks(real, synthetic, levels=augmenter.levels_, seed=seed))
    return found


def mask_prior_table(priors: Mapping[str, ClassPrior]) -> FactTable:
    """Return the distances of every class, with what real masks show by chance beside them."""
    rows = [
        (
            name,
            row.diagnostic,
            row.verdict,
            f"{row.distance:.3g}",
            f"{row.real_mean:.3g}",
            f"{row.real_95:.3g}",
        )
        for name, prior in priors.items()
        for row in prior.comparison.rows
    ]
    header = ("class", "diagnostic", "verdict", "synthetic to real", "real to real, mean", "95 %")
    explanation = (
        "Distances between synthetic and real masks; those that are no larger than 95 % of the distances between "
        "halves of the real masks are like real."
    )
    return FactTable("Distances", header, tuple(rows), explanation)


def prior_figures(priors: Mapping[str, ClassPrior], names: Mapping[str, str]) -> list[FigureEntry]:
    """Draw the distributions of every class.

    Parameters
    ----------
    names : class -> its name as part of a file's.
    """
    return [
        FigureEntry(
            section="Synthetic masks against real ones",
            title=name,
            explanation="The curves should lie close together. Two synthetic masks overlap by "
            f"{prior.comparison.synthetic_overlap:.2f} on average, two real ones by "
            f"{prior.comparison.real_overlap:.2f}: far more would mean that the masks are all alike.",
            png=draw_distributions(
                name,
                {
                    _AXES[diagnostic]: {
                        "real": np.sort(prior.real.pooled(diagnostic)),
                        "synthetic": np.sort(prior.synthetic.pooled(diagnostic)),
                    }
                    for diagnostic in DIAGNOSTICS
                    if diagnostic in _AXES
                },
            ),
            file=f"mask-prior-{names[name]}.png",
        )
        for name, prior in priors.items()
    ]
