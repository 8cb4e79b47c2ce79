"""What filters refused, counted by class: an account of how much of what a model draws can be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Account", "ClassRejections", "Rejections", "Tally"]


@dataclass(frozen=True)
class ClassRejections:
    """The account of one class.

    Attributes
    ----------
    drawn : samples rendered and judged, those drawn again among them.
    kept : samples that were given out.
    refused : sample filter -> how many of `drawn` it refuses; several filters may refuse the same one.
    masks_drawn, masks_refused : masks drawn, and those that the mask filter refuses; they were not rendered, unless it
        refused ``sampling.max_attempts`` of them in a row.
    """

    drawn: int = 0
    kept: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    masks_drawn: int = 0
    masks_refused: int = 0

    def __add__(self, other: ClassRejections) -> ClassRejections:
        names = dict.fromkeys((*self.refused, *other.refused))
        return ClassRejections(
            self.drawn + other.drawn,
            self.kept + other.kept,
            {name: self.refused.get(name, 0) + other.refused.get(name, 0) for name in names},
            self.masks_drawn + other.masks_drawn,
            self.masks_refused + other.masks_refused,
        )

    @property
    def rate(self) -> float:
        """Share of the samples drawn that were refused, by whichever filter."""
        return 1 - self.kept / self.drawn if self.drawn else 0.0

    @property
    def rates(self) -> dict[str, float]:
        """Filter -> share that it refuses, of the samples drawn; ``mask_plausibility`` of the masks drawn."""
        rates = {name: count / self.drawn for name, count in self.refused.items() if self.drawn}
        if self.masks_drawn:
            rates["mask_plausibility"] = self.masks_refused / self.masks_drawn
        return rates

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, JSON-compatible."""
        return {
            "drawn": self.drawn,
            "kept": self.kept,
            "refused": dict(self.refused),
            "masks_drawn": self.masks_drawn,
            "masks_refused": self.masks_refused,
        }


@dataclass(frozen=True)
class Rejections:
    """The account of every class from which something was drawn; accounts add up.

    Attributes
    ----------
    classes : class name -> its account.

    Examples
    --------
    >>> first = Rejections({"HSIL": ClassRejections(drawn=10, kept=8, refused={"confidence": 2})})
    >>> both = first + Rejections({"HSIL": ClassRejections(drawn=6, kept=4, refused={"confidence": 2})})
    >>> print(both)
    HSIL: 12 of 16 samples kept; confidence refused 25 %
    >>> sum([both, Rejections()], Rejections()) == both
    True
    """

    classes: Mapping[str, ClassRejections] = field(default_factory=dict)

    def __add__(self, other: Rejections) -> Rejections:
        names = dict.fromkeys((*self.classes, *other.classes))
        return Rejections({name: self[name] + other[name] for name in names})

    def __getitem__(self, name: str) -> ClassRejections:
        return self.classes.get(name, ClassRejections())

    def __bool__(self) -> bool:
        """Tell whether anything was refused."""
        return any(one.kept < one.drawn or one.masks_refused for one in self.classes.values())

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return class -> counts, JSON-compatible."""
        return {name: one.as_dict() for name, one in self.classes.items()}

    @classmethod
    def from_dict(cls, counts: Mapping[str, Mapping[str, Any]]) -> Rejections:
        """Return what `as_dict` described by `counts`."""
        return cls({name: ClassRejections(**one) for name, one in counts.items()})

    def lines(self) -> list[str]:
        """Return one line a class."""
        return [f"{name}: {_in_words(one)}" for name, one in self.classes.items()]

    def __str__(self) -> str:
        return "\n".join(self.lines())


class Account:
    """Adds up over many calls what was refused.

    Attributes
    ----------
    total : the `Rejections` so far.
    """

    def __init__(self) -> None:
        self.total = Rejections()

    def add(self, rejections: Rejections) -> None:
        """Add what one call refused."""
        self.total = self.total + rejections


class Tally:
    """Counts while samples are drawn; one for each call, so that nothing is shared."""

    def __init__(self) -> None:
        self._classes: dict[str, ClassRejections] = {}

    def masks(self, name: str, *, drawn: int, refused: int) -> None:
        """Count masks of one class."""
        self._add(name, ClassRejections(masks_drawn=drawn, masks_refused=refused))

    def samples(self, names: Iterable[str], *, refused: Mapping[str, Iterable[bool]], kept: Iterable[bool]) -> None:
        """Count judged samples: the class of each, filter -> whether it refuses each, and which are kept."""
        of_class, is_kept = list(names), list(kept)
        by_filter = {filter_name: list(flags) for filter_name, flags in refused.items()}
        for name in dict.fromkeys(of_class):
            own = [position for position, other in enumerate(of_class) if other == name]

            def count(flags: Sequence[bool], own: Sequence[int] = own) -> int:
                return sum(flags[position] for position in own)

            counts = {filter_name: count(flags) for filter_name, flags in by_filter.items()}
            self._add(name, ClassRejections(drawn=len(own), kept=count(is_kept), refused=counts))

    def rejections(self) -> Rejections:
        """Return the account so far."""
        return Rejections(dict(self._classes))

    def _add(self, name: str, one: ClassRejections) -> None:
        self._classes[name] = self._classes.get(name, ClassRejections()) + one


def _in_words(one: ClassRejections) -> str:
    rates = [f"{name} refused {rate:.0%}".replace("%", " %") for name, rate in one.rates.items()]
    return "; ".join([f"{one.kept} of {one.drawn} samples kept", *rates])
