"""Whether synthetic images are copies of training images, with a control that says whether copies could be seen."""

from syncgan.evaluation.audit.comparing import audit
from syncgan.evaluation.audit.refusing import copy_check, require_no_copies
from syncgan.evaluation.audit.result import Audit, ClosestPair, Control, Nearness
from syncgan.evaluation.audit.sources import Labelled, RealImages

__all__ = [
    "Audit",
    "ClosestPair",
    "Control",
    "Labelled",
    "Nearness",
    "RealImages",
    "audit",
    "copy_check",
    "require_no_copies",
]
