"""What distinguishes one diagnosis from another: sizes in micrometres, ratios and counts, in the words of a cytologist.

A recipe holds only what belongs to the *class*. Stain, light, focus, red cells, stroma and cellularity belong to the
*slide* and are drawn from the same distributions for every class (see `syncgan.data.phantom.scene` and
`syncgan.data.phantom.optics`), so that colour does not give the class away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from syncgan.errors import ConfigError

__all__ = ["RECIPES", "CellRecipe"]


@dataclass(frozen=True, kw_only=True)
class CellRecipe:
    """Describe the cells of one class; a pair is the range from which each image draws its own mean.

    Parameters
    ----------
    nucleus_diameter_um : range of an image's mean nuclear diameter (a red cell measures 7.5).
    anisonucleosis : coefficient of variation of the nuclear diameter within one image.
    elongation : range of the ratio of the long to the short nuclear axis, at least 1.
    contour_irregularity : amplitude of the nuclear outline's waves, relative to the radius.
    cleft_probability : share of nuclei with an indentation.
    chromatin_grain_um : size of the chromatin's granules.
    chromatin_contrast : variation of the stain between granules, relative to its mean.
    hyperchromasia : mean nuclear stain, relative to a normal nucleus.
    nucleoli_per_nucleus : mean number of visible nucleoli.
    nuclear_cytoplasmic_ratio : range of the nuclear share of the cell's area, in (0, 1).
    packing : distance of neighbours relative to the sum of their radii; below 1 the cells overlap.
    disorder : distance from an even sheet, 0 (honeycomb) to 1 (cells lie as they fell).
    dyscohesion : share of cells that lie outside the groups.
    bare_nuclei : share of nuclei that lost their cytoplasm.

    Examples
    --------
    >>> from dataclasses import replace
    >>> large = replace(RECIPES["benign"], nucleus_diameter_um=(10.0, 12.0))
    >>> large.anisonucleosis == RECIPES["benign"].anisonucleosis
    True
    """

    nucleus_diameter_um: tuple[float, float]
    anisonucleosis: float
    elongation: tuple[float, float]
    contour_irregularity: float
    cleft_probability: float
    chromatin_grain_um: float
    chromatin_contrast: float
    hyperchromasia: float
    nucleoli_per_nucleus: float
    nuclear_cytoplasmic_ratio: tuple[float, float]
    packing: float
    disorder: float
    dyscohesion: float
    bare_nuclei: float

    def __post_init__(self) -> None:
        for field in fields(self):
            # Annotations are text here (`from __future__ import annotations`).
            _check(field.name, getattr(self, field.name), is_range=field.type != "float")


_BOUNDS = {
    "nucleus_diameter_um": (3.0, 40.0),
    "anisonucleosis": (0.0, 0.6),
    "elongation": (1.0, 3.0),
    "contour_irregularity": (0.0, 0.3),
    "cleft_probability": (0.0, 1.0),
    "chromatin_grain_um": (0.1, 5.0),
    "chromatin_contrast": (0.0, 1.0),
    "hyperchromasia": (0.2, 3.0),
    "nucleoli_per_nucleus": (0.0, 8.0),
    "nuclear_cytoplasmic_ratio": (0.02, 0.95),
    "packing": (0.3, 3.0),
    "disorder": (0.0, 1.0),
    "dyscohesion": (0.0, 1.0),
    "bare_nuclei": (0.0, 1.0),
}


def _check(name: str, value: object, *, is_range: bool) -> None:
    low, high = _BOUNDS[name]
    ends = value if isinstance(value, tuple) else (value,)
    numeric = all(isinstance(end, int | float) and low <= end <= high for end in ends)
    if not numeric or len(ends) != 1 + is_range or ends[0] > ends[-1]:
        kind = "a rising pair" if is_range else "one number"
        raise ConfigError(f"expected {name} to be {kind} within [{low}, {high}], got {value!r}; correct the recipe")


RECIPES: Mapping[str, CellRecipe] = MappingProxyType(
    {
        "benign": CellRecipe(
            nucleus_diameter_um=(7.6, 9.4),
            anisonucleosis=0.07,
            elongation=(1.05, 1.25),
            contour_irregularity=0.012,
            cleft_probability=0.03,
            chromatin_grain_um=0.45,
            chromatin_contrast=0.16,
            hyperchromasia=0.95,
            nucleoli_per_nucleus=0.25,
            nuclear_cytoplasmic_ratio=(0.30, 0.42),
            packing=0.86,
            disorder=0.10,
            dyscohesion=0.06,
            bare_nuclei=0.08,
        ),
        "atypical": CellRecipe(
            nucleus_diameter_um=(8.8, 11.4),
            anisonucleosis=0.15,
            elongation=(1.05, 1.40),
            contour_irregularity=0.03,
            cleft_probability=0.12,
            chromatin_grain_um=0.65,
            chromatin_contrast=0.24,
            hyperchromasia=1.0,
            nucleoli_per_nucleus=0.8,
            nuclear_cytoplasmic_ratio=(0.40, 0.55),
            packing=0.84,
            disorder=0.40,
            dyscohesion=0.15,
            bare_nuclei=0.08,
        ),
        "malignant": CellRecipe(
            nucleus_diameter_um=(9.8, 14.5),
            anisonucleosis=0.23,
            elongation=(1.05, 1.60),
            contour_irregularity=0.05,
            cleft_probability=0.25,
            chromatin_grain_um=0.8,
            chromatin_contrast=0.32,
            hyperchromasia=1.08,
            nucleoli_per_nucleus=1.6,
            nuclear_cytoplasmic_ratio=(0.50, 0.72),
            packing=0.78,
            disorder=0.80,
            dyscohesion=0.25,
            bare_nuclei=0.06,
        ),
    }
)
"""The built-in classes, from harmless to cancer."""
