"""Examine a folder and the machine before training, and say what is a problem.

Names are looked up when they are asked for: where OpenCV cannot be imported, the environment must still be told.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "TABLE": "examination",
    "Duplicates": "image_rules",
    "Examination": "examination",
    "Finding": "finding",
    "examine": "examination",
}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from syncgan.evaluation.doctor.examination import TABLE as TABLE
    from syncgan.evaluation.doctor.examination import Examination as Examination
    from syncgan.evaluation.doctor.examination import examine as examine
    from syncgan.evaluation.doctor.finding import Finding as Finding
    from syncgan.evaluation.doctor.image_rules import Duplicates as Duplicates


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
