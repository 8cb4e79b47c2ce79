"""Whether synthetic images are copies of training images, with a control that says whether copies could be seen."""

from syncgan.evaluation.audit.comparing import audit, require_no_copies
from syncgan.evaluation.audit.result import Audit, ClosestPair, Control, Nearness

__all__ = ["Audit", "ClosestPair", "Control", "Nearness", "audit", "require_no_copies"]
