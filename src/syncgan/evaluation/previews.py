"""Pictures of what a GAN makes while it learns: files during the fit, and strips of them for the report.

A picture has one row of sampled masks, or two: maps of real images, and the maps rendered. The real images themselves
stand above these where they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from syncgan.arrays import Pixels
from syncgan.data.safe_names import safe_folder_names
from syncgan.evaluation.embedding import read_picture
from syncgan.evaluation.plots import colour_map, draw_strips, uncaptioned_rows
from syncgan.storage import write_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from syncgan.training.events import FitEvent
    from syncgan.training.previews import Preview

__all__ = ["COLUMNS", "PreviewWriter", "draw_preview", "given_rows", "learning_strip", "preview_folder"]


COLUMNS = 8
"""Images in one row of a preview, as many as the GANs show."""

_GIVEN = "real", "mask of the real image"
_KEPT = 12
_IN_STRIP = 5


class PreviewWriter:
    """A callback of `SynCGANAugmenter.fit` that writes ``FOLDER/STAGE/step-000200.png`` and so on.

    At most twelve pictures of a stage are kept, about evenly spaced over its steps.

    Parameters
    ----------
    folder : where the stages' folders go; made when needed.
    thumbnails : whether the pictures show real images, above what is made of their masks.
    """

    def __init__(self, folder: str | PathLike[str], *, thumbnails: bool = False) -> None:
        self._folder, self._thumbnails = Path(folder), thumbnails

    def __call__(self, event: FitEvent) -> None:
        """Write the picture of a preview; an `event` of another kind is passed over."""
        if event.preview is None:
            return
        folder = preview_folder(self._folder, event.stage, event.augmenter.classes_)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / _name(event.done), draw_preview(event.preview, thumbnails=self._thumbnails))
        _thin(folder)


def preview_folder(folder: str | PathLike[str], stage: str, classes: Sequence[str]) -> Path:
    """Return where the pictures of a stage lie: ``mask_gan/CLASS``, or the stage's own name."""
    kind, _, name = stage.partition("/")
    return Path(folder) / kind / safe_folder_names(classes)[name] if name else Path(folder) / kind


def draw_preview(preview: Preview, *, thumbnails: bool = False) -> bytes:
    """Draw a preview as a PNG, one row for each kind of image; of real images with `thumbnails` only."""
    rows = [
        _images(preview.real if thumbnails else None),
        [colour_map(mask, preview.levels) for mask in preview.maps.numpy()],
    ]
    rows.append(_images(preview.images))
    return draw_strips([("", row) for row in rows if row], columns=COLUMNS)


def given_rows(rows: Sequence[Sequence[Pixels]], *, thumbnails: bool) -> list[tuple[str, Sequence[Pixels]]]:
    """Caption rows of real images and their masks; without `thumbnails`, or where there is but one, the masks alone."""
    captioned = list(zip(_GIVEN[len(_GIVEN) - len(rows) :], rows, strict=True))
    return captioned if thumbnails else captioned[-1:]


def learning_strip(folder: Path, *, thumbnails: bool = False) -> tuple[bytes, list[int], bool] | None:
    """Draw how the same few items changed with the steps, from the pictures in `folder`.

    Returns
    -------
    The picture, its steps, and whether it shows real images, as with `thumbnails` only; None when there are no
    pictures.
    """
    found = _steps(folder)
    if not found:
        return None
    chosen = sorted({round(place) for place in np.linspace(0, len(found) - 1, min(_IN_STRIP, len(found)))})
    rows: list[tuple[str, Sequence[Pixels]]] = []
    for step in (found[place] for place in chosen):
        *given, made = uncaptioned_rows(read_picture(folder / _name(step)), COLUMNS)
        if not rows:
            rows.extend(given_rows(given[: len(_GIVEN)], thumbnails=thumbnails))
        rows.append((f"step {step}", made))
    return draw_strips(rows, columns=COLUMNS), [found[place] for place in chosen], rows[0][0] == _GIVEN[0]


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
