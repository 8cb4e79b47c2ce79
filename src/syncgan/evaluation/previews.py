"""Pictures of what a GAN makes while it learns: files during the fit, and strips of them for the report.

A picture has one row of sampled masks, or three rows: real images, their maps, and the maps rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from syncgan.data.safe_names import safe_folder_names
from syncgan.evaluation.embedding import read_picture
from syncgan.evaluation.plots import colour_map, draw_strips, uncaptioned_rows
from syncgan.storage import write_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from syncgan.training.events import FitEvent
    from syncgan.training.previews import Preview

__all__ = ["COLUMNS", "PreviewWriter", "draw_preview", "learning_strip", "preview_folder"]

Pixels = NDArray[np.uint8]

COLUMNS = 8
"""Images in one row of a preview, as many as the GANs show."""

_KEPT = 12
_IN_STRIP = 5


class PreviewWriter:
    """A callback of `SynCGANAugmenter.fit` that writes ``FOLDER/STAGE/step-000200.png`` and so on.

    At most twelve pictures of a stage are kept, about evenly spaced over its steps.

    Parameters
    ----------
    folder : where the stages' folders go; made when needed. They show real images.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self._folder = Path(folder)

    def __call__(self, event: FitEvent) -> None:
        """Write the picture of a preview; other events are passed over."""
        if event.preview is None:
            return
        folder = preview_folder(self._folder, event.stage, event.augmenter.classes_)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / _name(event.done), draw_preview(event.preview))
        _thin(folder)


def preview_folder(folder: str | PathLike[str], stage: str, classes: Sequence[str]) -> Path:
    """Return where the pictures of a stage lie: ``mask_gan/CLASS``, or the stage's own name."""
    kind, _, name = stage.partition("/")
    return Path(folder) / kind / safe_folder_names(classes)[name] if name else Path(folder) / kind


def draw_preview(preview: Preview) -> bytes:
    """Draw a preview as a PNG, one row for each kind of image."""
    rows = [_images(preview.real), [colour_map(mask, preview.levels) for mask in preview.maps.numpy()]]
    rows.append(_images(preview.images))
    return draw_strips([("", row) for row in rows if row], columns=COLUMNS)


def learning_strip(folder: Path) -> tuple[bytes, list[int]] | None:
    """Draw how the same few items changed with the steps, from the pictures in `folder`.

    Returns
    -------
    The picture and its steps; None when there are no pictures.
    """
    found = _steps(folder)
    if not found:
        return None
    chosen = sorted({round(place) for place in np.linspace(0, len(found) - 1, min(_IN_STRIP, len(found)))})
    rows: list[tuple[str, Sequence[Pixels]]] = []
    for step in (found[place] for place in chosen):
        *given, made = uncaptioned_rows(read_picture(folder / _name(step)), COLUMNS)
        if not rows:
            rows.extend(zip(("real", "mask of the real image"), given, strict=False))
        rows.append((f"step {step}", made))
    return draw_strips(rows, columns=COLUMNS), [found[place] for place in chosen]


def _images(images: Tensor | None) -> list[Any]:
    return [] if images is None else list(images.numpy().transpose(0, 2, 3, 1))


def _thin(folder: Path) -> None:
    """Remove pictures until few enough are left, each time the one whose neighbours are closest together."""
    steps = _steps(folder)
    while len(steps) > _KEPT:
        inner = range(1, len(steps) - 1)
        step = steps.pop(min(inner, key=lambda place: steps[place + 1] - steps[place - 1]))
        (folder / _name(step)).unlink()


def _name(step: int) -> str:
    return f"step-{step:06d}.png"


def _steps(folder: Path) -> list[int]:
    names = (path.stem.removeprefix("step-") for path in folder.glob("step-*.png"))
    return sorted(int(name) for name in names if name.isdecimal())
