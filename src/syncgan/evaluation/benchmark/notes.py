"""What a reader of the tables must know beside the figures, a sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["left_out", "notes_of"]

_ORACLES = ("Oracle", "Oracle+Trad")


def notes_of(identity: Mapping[str, Any], splits: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return sentences on how splits were made, what was left out, and what weakens the figures.

    Parameters
    ----------
    identity : of the benchmark, as `BenchmarkStore.description` has it.
    splits : contents of its finished split files.
    """
    return (
        _sizes(identity, splits),
        _ratio(identity, splits),
        *(f"Not run: {reason}." for reason in left_out(splits)),
        *_unequal_oracle(splits),
        *_beginnings(splits),
        *_near_copies(splits),
    )


def left_out(splits: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return why arms were not run with a classifier, each reason once."""
    entries = (entry for split in splits for entry in split["skipped"])
    return tuple(dict.fromkeys(f"{one['arm']} with {one['classifier']}: {one['reason']}" for one in entries))


def _sizes(identity: Mapping[str, Any], splits: Sequence[Mapping[str, Any]]) -> str:
    how = "Splits 3:1:1" if identity["per_class"] is None else "Splits by a number of training images"
    found = _span(count for split in splits for count in split["counts"]["train"].values())
    return f"{how}: {found} training images a class."


def _ratio(identity: Mapping[str, Any], splits: Sequence[Mapping[str, Any]]) -> str:
    chosen = [(split["split"], split["ratio"]["chosen"]) for split in splits if "ratio" in split]
    # A result that is older than the setting had one lot.
    others = "" if identity["settings"].get("lots", 1) == 1 else "; each pass shows other synthetic images"
    if chosen:
        told = ", ".join(f"{ratio:g} (split {number})" for number, ratio in chosen)
        if not all(ratio for _, ratio in chosen):
            told += f"; arms that would be left without any image took {identity['settings']['ratio']:g} where it is 0"
        return f"Synthetic : real, chosen in each split: {told}{others}."
    return f"Synthetic : real is {identity['settings']['ratio']:g}{others}."


def _unequal_oracle(splits: Sequence[Mapping[str, Any]]) -> list[str]:
    ran = {entry["arm"] for split in splits for entry in split["results"]}
    arms = [arm for arm in _ORACLES if arm in ran]
    if not arms or all(split["added"]["equal"] for split in splits):
        return []
    real, synthetic = (
        _span(count for split in splits for count in split["added"][kind].values())
        for kind in ("held_back", "synthetic")
    )
    verb = "adds" if len(arms) == 1 else "add"
    return [
        f"{' and '.join(arms)} {verb} {real} real images a class, arms of synthetic images add {synthetic}: no share "
        "of the oracle's gain."
    ]


def _beginnings(splits: Sequence[Mapping[str, Any]]) -> list[str]:
    found: dict[str, dict[str, None]] = {}
    for split in splits:
        for entry in split["results"]:
            if "initial_weights" in entry:
                found.setdefault(entry["classifier"], {})[entry["initial_weights"]] = None
    if not found:
        return []
    told = "; ".join(f"{classifier}: {' and '.join(weights)}" for classifier, weights in found.items())
    mixed = [classifier for classifier, weights in found.items() if len(weights) > 1]
    warning = f" Mixed, so no figure of {', '.join(mixed)} can be believed." if mixed else ""
    return [f"Initial weights or features of classifiers: {told}.{warning}"]


def _near_copies(splits: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [(split["split"], copies["items"]) for split in splits for copies in split["near_duplicates"]]
    if not found:
        return []
    number, items = found[0]
    other = next(item for item in items if item["side"] != items[0]["side"])
    pair = " and ".join(f"{item['name']} ({item['side']})" for item in (items[0], other))
    sets = "1 set" if len(found) == 1 else f"{len(found)} sets"
    return [f"Near copies lie on different sides: {sets} over all splits, the first in split {number}: {pair}."]


def _span(values: Iterable[int]) -> str:
    known = sorted(set(values))
    return f"{known[0]}" if len(known) == 1 else f"{known[0]} to {known[-1]}"
