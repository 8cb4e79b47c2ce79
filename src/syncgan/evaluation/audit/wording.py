"""The verdict in words. It says what was looked for and among how many, and never that samples are anonymous."""

from __future__ import annotations

from collections.abc import Sequence

from syncgan.evaluation.audit.judging import SIGNIFICANCE
from syncgan.evaluation.audit.rates import PERCENT
from syncgan.evaluation.audit.result import Control, Nearness, Outcome
from syncgan.evaluation.same_images import NEAR_COPY

__all__ = ["HELD_OUT", "LEFT_OUT", "notes_on", "verdict_on"]

HELD_OUT = "held-out images"
LEFT_OUT = "training images, each by its distance to the others"
_BY_CHANCE = "not more than chance may bring"


def verdict_on(
    spaces: Sequence[Nearness], repeated: int, control: Control, samples: int, yardstick: str
) -> tuple[Outcome, str]:
    """Return the outcome, and the verdict in a sentence."""
    found = {at for space in spaces if space.flagged for at in space.copies}
    # Where honest images are taken for copies, to take samples for copies says nothing.
    if (found or repeated) and not control.honest_flagged:
        return "copies", _copies(spaces, len(found), repeated, samples, yardstick)
    if not control.passed:
        seen = " and ".join(f"{share:.0%} ({space})".replace("%", " %") for space, share in control.seen.items())
        why = (
            f"{control.honest} held-out images were taken for copies"
            if control.honest_flagged
            else f"of {control.copies} jittered copies of training images only {seen} were told from real images"
        )
        return (
            "cannot see copies",
            f"this audit cannot see copies here: in its control {why}; too few images, or too many "
            "that are alike, so nothing is said of the samples",
        )
    limits = ", ".join(f"{_span(list(space.thresholds.values()))} ({space.space})" for space in spaces)
    alike = " and ".join(f"{len(space.copies)} ({space.space})" for space in spaces if space.copies)
    verb = "looks" if sum(len(space.copies) for space in spaces) == 1 else "look"
    told = f"; {alike} {verb} like one training image alone, {_BY_CHANCE}" if alike else ""
    return "no copy found", f"no copy found at threshold {limits} among {samples} samples{told}"


def notes_on(
    spaces: Sequence[Nearness], *, leaks: int, fewest: int | None, samples: int, yardstick: str, grouped: bool
) -> tuple[str, ...]:
    """Say what else a reader must know."""
    notes = []
    if yardstick == LEFT_OUT:
        notes.append(
            "no held-out images: samples are compared with the distances of training images to each other, the weaker "
            "yardstick, as it cannot tell a copy from what is alike within the training set"
        )
    if not grouped:
        notes.append(
            "groups (patients, slides) are not known: where images of one group lie on both sides, real images are "
            "near to each other and copies may be missed"
        )
    if leaks:
        notes.append(
            f"{leaks} of the {yardstick} {'is a near copy' if leaks == 1 else 'are near copies'} of a training image "
            f"(correlation {NEAR_COPY:g} or more): they hide copies; find them with `syncgan doctor`"
        )
    notes += [
        f"{space.space}: {space.near} of {samples} samples lie below the {PERCENT} % threshold ({space.expected:.1%} "
        f"by chance); {_of_those(space)}; smooth or typical samples lie there, and those that share the colours of the "
        "slides"
        for space in spaces
        if not space.flagged and space.p_value <= SIGNIFICANCE / len(spaces)
    ]
    if fewest is not None and fewest > 1:
        notes.append(
            f"fewer than {fewest} altered copies among {samples} samples cannot be told from chance; "
            "near copies are found one by one"
        )
    return tuple(notes)


def _of_those(space: Nearness) -> str:
    if not space.copies:
        return "none of them is near to one training image alone, and nearer than training images are to each other"
    verb = "looks" if len(space.copies) == 1 else "look"
    return f"{len(space.copies)} of them {verb} like one training image alone, {_BY_CHANCE}, and the others do not"


def _copies(spaces: Sequence[Nearness], found: int, repeated: int, samples: int, yardstick: str) -> str:
    parts = []
    if found:
        others = "training images are to each other" if yardstick == LEFT_OUT else f"the {yardstick} are"
        by = max((space for space in spaces if space.flagged), key=lambda space: len(space.copies))
        parts.append(
            f"{found} of {samples} samples are nearer to a training image than {100 - PERCENT} % of {others}, and to "
            f"that one alone (at most {by.expected * samples:.1f} expected by chance)"
        )
    if repeated:
        parts.append(
            f"{repeated} of {samples} samples {'is a near copy' if repeated == 1 else 'are near copies'} of a training "
            f"image (correlation {NEAR_COPY:g} or more)"
        )
    return "; ".join(parts)


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"
