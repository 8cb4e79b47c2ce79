"""Every error that syncgan raises on purpose, and how it warns.

The command line turns a `SyncganError` into one line and exit code 2; anything else is a bug and keeps its traceback.

::

    SyncganError
    ├── ConfigError          a setting, preset, key or combination of arguments is wrong      (also a ValueError)
    ├── DataError            images, masks or labels are not what was expected                (also a ValueError)
    │   ├── ImageReadError   one file cannot be read: carries `path` and `reason`
    │   └── ContractError    a plug-in returned what its contract does not allow, or raised
    ├── UnknownNameError     a name is not in a registry or not a class of the model          (also a LookupError)
    ├── PluginError          a plug-in exists but cannot be imported
    ├── NotFittedError       a model is used before `fit` or `load`                           (also an AttributeError)
    ├── ArtefactError        a model or checkpoint is damaged, incomplete or of a newer format
    ├── RunExistsError       the output folder already holds another run                      (also a FileExistsError)
    ├── SamplingError        the sample filters refuse what the model renders of a class
    ├── TrainingError        training cannot go on
    └── WorkerError          a process that does a part of the work died
"""

from __future__ import annotations

import sys
import warnings
from os import PathLike, fspath
from types import FrameType

__all__ = [
    "ArtefactError",
    "ConfigError",
    "ContractError",
    "DataError",
    "ImageReadError",
    "NotFittedError",
    "PluginError",
    "RunExistsError",
    "SamplingError",
    "SyncganError",
    "TrainingError",
    "UnknownNameError",
    "WorkerError",
]

# Wrappers of these lie between the user's line and ours.
_PASSED = {__name__.partition(".")[0], "contextlib", "functools", "pydantic", "torch"}


class SyncganError(Exception):
    """Base of every error that syncgan raises on purpose: expected, got, where, what to do."""


class ConfigError(SyncganError, ValueError):
    """A setting, preset, key or combination of arguments is wrong."""


class DataError(SyncganError, ValueError):
    """Images, masks or labels are not what was expected."""


class ImageReadError(DataError):
    """One file cannot be read as an image.

    Parameters
    ----------
    path : the file.
    reason : why it cannot be read, as a clause without a full stop.
    """

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(f"{fspath(path)}: {reason}")
        self.path = fspath(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageReadError], tuple[str, str]]:
        # Workers send errors back by pickle, which calls the class with the stored arguments.
        return type(self), (self.path, self.reason)


class ContractError(DataError):
    """A plug-in returned something that its contract does not allow."""


class UnknownNameError(SyncganError, LookupError):
    """A name is not in a registry, or not a class of the model."""


class PluginError(SyncganError):
    """A plug-in exists but cannot be imported."""


class NotFittedError(SyncganError, AttributeError):
    """A model is used before `fit` or `load`."""


class ArtefactError(SyncganError):
    """A model or checkpoint is damaged, incomplete or of a newer format."""


class RunExistsError(SyncganError, FileExistsError):
    """The output folder already holds another run."""


class SamplingError(SyncganError):
    """The sample filters, or the mask filter, refuse what the model makes of a class, again and again."""


class TrainingError(SyncganError):
    """Training cannot go on."""


class WorkerError(SyncganError):
    """A process that does a part of the work died."""


def warn_user(message: str) -> None:
    """Warn at the line outside of syncgan that led here, so that users see their own call and filters find it."""
    # Python 3.12 has `skip_file_prefixes` for this; 3.11 has not.
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _PASSED:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
