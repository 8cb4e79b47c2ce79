"""Where the real images of an audit are, checked before torch is imported."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

from syncgan.errors import ConfigError

__all__ = ["Sources"]


@dataclass(frozen=True)
class Sources:
    """Where real images come from.

    Attributes
    ----------
    data : the class folders that the model was fitted on.
    held_out : class folders of real images that it has not seen. None takes the share of `data` that the fit held out
        to choose the renderer by, where it did.
    leave_one_out : do without held-out images.
    groups, group_column : table of the groups of `data` and of `held_out`, and its column.
    masks, limit_per_class, exclude : as they were given to ``fit``; `exclude` also leaves out files of `held_out`.

    Raises
    ------
    ConfigError
        Two of them exclude each other, or one of two is missing.
    """

    data: str | PathLike[str]
    held_out: str | PathLike[str] | None = None
    leave_one_out: bool = False
    groups: str | PathLike[str] | None = None
    group_column: str | None = None
    masks: str | PathLike[str] | None = None
    limit_per_class: int | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.groups is None) != (self.group_column is None):
            raise ConfigError("expected a table of groups together with the name of its column, got only one of them")
        if self.held_out is not None and self.leave_one_out:
            raise ConfigError("expected --held-out or --leave-one-out, got both; leave one out")
