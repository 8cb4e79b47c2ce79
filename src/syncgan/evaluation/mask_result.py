"""What extracting the masks of a folder, or of a shard of it, left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from syncgan.extractor import ClassDiagnosis, MaskDiagnoses

__all__ = ["MaskFolderResult", "ShardResult"]


@dataclass(frozen=True)
class ShardResult:
    """What `extract_shard` did.

    Attributes
    ----------
    folder : the output folder.
    masks : number of masks of this shard, those that were there already included.
    resumed : how many were there already.
    skipped : relative name -> why the file cannot be read.
    """

    folder: Path
    masks: int
    resumed: int
    skipped: dict[str, str]

    def summary(self) -> dict[str, Any]:
        """Return what a program that asked for the shard wants to know, JSON-compatible."""
        return {
            "out": str(self.folder),
            "masks": self.masks,
            "resumed": self.resumed,
            "skipped": len(self.skipped),
        }


@dataclass(frozen=True)
class MaskFolderResult:
    """What `extract_folder` or `merge_folder` left behind.

    Attributes
    ----------
    folder, table, overlays : the folder, ``masks.csv`` and ``overlays.png``.
    report : ``report.html``, or None when it was not asked for.
    diagnoses : what each mask holds.
    classes : class name -> number of masks; ``""`` for a folder without classes.
    skipped : relative name -> why the file cannot be read.
    notes : what the scan ignored and the decoder decided.
    """

    folder: Path
    table: Path
    overlays: Path
    report: Path | None
    diagnoses: MaskDiagnoses
    classes: dict[str, int]
    skipped: dict[str, str]
    notes: tuple[str, ...]

    @property
    def problems(self) -> dict[str, str]:
        """Relative name -> why the mask cannot be used for training."""
        return self.diagnoses.problems

    @property
    def doubts(self) -> dict[str, str]:
        """Relative name -> why the mask is worth a look."""
        return self.diagnoses.doubts

    @property
    def per_class(self) -> dict[str, ClassDiagnosis]:
        """Class name -> nuclei and areas."""
        return self.diagnoses.classes

    @property
    def nuclei(self) -> dict[str, float]:
        """Class name -> mean number of nuclei in an image."""
        counts: dict[str, list[int]] = {}
        for row in self.diagnoses:
            counts.setdefault(row.class_name, []).append(row.nuclei)
        return {name: round(float(np.mean(own)), 2) for name, own in counts.items()}

    def summary(self) -> dict[str, Any]:
        """Return what a program that asked for the masks wants to know, JSON-compatible."""
        return {
            "out": str(self.folder),
            "table": str(self.table),
            "overlays": str(self.overlays),
            "report": None if self.report is None else str(self.report),
            "classes": self.classes,
            "nuclei_per_image": self.nuclei,
            "problems": len(self.problems),
            "worth_a_look": len(self.doubts),
            "skipped": len(self.skipped),
        }
