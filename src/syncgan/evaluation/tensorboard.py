"""Losses, scores and previews for TensorBoard, while a fit runs (extra ``tensorboard``)."""

from __future__ import annotations

import importlib.util
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncgan.errors import ConfigError
from syncgan.evaluation.plots import pixels_of
from syncgan.evaluation.previews import draw_preview

if TYPE_CHECKING:
    from syncgan.training.events import FitEvent

__all__ = ["TensorBoardCallback", "require_tensorboard"]


class TensorBoardCallback:
    """A callback of `SynCGANAugmenter.fit` that writes what ``tensorboard --logdir FOLDER`` shows.

    Scalars are ``STAGE/loss/NAME``, ``STAGE/images_per_second`` and, where the fit has a run folder,
    ``STAGE/validation/NAME``; images are ``STAGE/preview``.

    Parameters
    ----------
    folder : where the event files go; made when the first is written.
    thumbnails : whether the previews show real images.

    Raises
    ------
    ConfigError
        TensorBoard is not installed.
    """

    def __init__(self, folder: str | PathLike[str], *, thumbnails: bool = False) -> None:
        require_tensorboard()
        self._folder, self._thumbnails = Path(folder), thumbnails
        self._writer: Any = None

    def __call__(self, event: FitEvent) -> None:
        """Write one event; kinds without numbers or pictures are passed over."""
        if event.kind == "fitted":
            self.close()
        scalars = _scalars(event)
        if not scalars and event.preview is None:
            return
        writer = self._opened()
        for name, value in scalars.items():
            writer.add_scalar(f"{event.stage}/{name}", value, event.done)
        if event.preview is not None:
            picture = pixels_of(draw_preview(event.preview, thumbnails=self._thumbnails))
            writer.add_image(f"{event.stage}/preview", picture, event.done, dataformats="HWC")
        writer.flush()  # so that an interrupted fit loses nothing

    def close(self) -> None:
        """Close the event file; a later event opens another."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _opened(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        return self._writer


def require_tensorboard() -> None:
    """Refuse to go on without TensorBoard; imports nothing.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("TensorBoard is not installed; install it with `pip install 'syncgan[tensorboard]'`")


def _scalars(event: FitEvent) -> dict[str, float]:
    """Return name -> value of all that is a number."""
    if event.kind == "step":
        speed = {} if event.images_per_second is None else {"images_per_second": event.images_per_second}
        return {f"loss/{name}": value for name, value in event.losses.items()} | speed
    if event.line.get("event") == "validated":
        return {f"validation/{name}": value for name, value in event.line["validation"].items() if value is not None}
    return {}
