"""Tell files that look like segmentations of the images beside them.

Public sets keep them in the class folders: ``1-d.bmp`` beside ``1.BMP``, ``x_mask.png`` beside ``x.jpg``. Two signs
must come together: names that continue those of other files in one way, and few colours.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from syncgan.data.images import decode_image
from syncgan.errors import ImageReadError, warn_user

__all__ = ["Segmentations", "find_segmentations", "warn_of_segmentations"]

_LONGEST_SUFFIX: Final = 16
_FEWEST_PAIRS: Final = 3
_LOOKED_AT: Final = 3
_FEW_COLOURS: Final = 16
_CHANGES_COLOURS: Final = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Segmentations:
    """Files that look like segmentations of others.

    Attributes
    ----------
    suffix : by which their names, without extension, continue those of the images.
    pairs : (image, segmentation), paths relative to the root.
    """

    suffix: str
    pairs: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """What they are taken for, as a clause."""
        image, segmentation = self.pairs[0]
        return (
            f"{len(self.pairs)} files look like segmentations, yet are taken for images of their class: their names "
            f"are those of other images with {self.suffix!r} at the end, such as {segmentation!r} beside {image!r}, "
            f"and those looked at have at most {_FEW_COLOURS} colours"
        )

    @property
    def remedy(self) -> str:
        """How they are left out."""
        extensions = {PurePosixPath(segmentation).suffix for _, segmentation in self.pairs}
        pattern = f"*{escape(self.suffix)}{extensions.pop() if len(extensions) == 1 else '.*'}"
        return f"leave them out with --exclude '{pattern}' (in Python exclude=[{pattern!r}]), or move them away"


def find_segmentations(root: Path, files: Sequence[str]) -> list[Segmentations]:
    """Return the sets of files that look like segmentations, one a suffix; opens a few files with such names.

    Parameters
    ----------
    root, files : a folder, and paths of images relative to it.
    """
    return [
        Segmentations(suffix, tuple(pairs))
        for suffix, pairs in sorted(_pairs_by_suffix(files).items())
        if len(pairs) >= _FEWEST_PAIRS and _differ_in_colours(root, pairs)
    ]


def warn_of_segmentations(root: Path, files: Sequence[str]) -> None:
    """Warn of files that look like segmentations; they stay, since a set of images may look like that."""
    for found in find_segmentations(root, files):
        warn_user(f"{root}: {found.text}; {found.remedy}")


def _pairs_by_suffix(files: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Return suffix -> (image, file whose name is the image's and the suffix)."""
    by_stem = {str(PurePosixPath(file).with_suffix("")): file for file in files}
    pairs: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for stem, file in by_stem.items():
        if PurePosixPath(file).suffix.lower() in _CHANGES_COLOURS:
            continue
        name = PurePosixPath(stem).name
        for length in range(max(1, len(name) - _LONGEST_SUFFIX), len(name)):
            suffix = name[length:]
            # The image of "10" is not "1".
            if (image := by_stem.get(stem.removesuffix(suffix))) is not None and not suffix[0].isdecimal():
                pairs[suffix].append((image, file))
                break
    return pairs


def _differ_in_colours(root: Path, pairs: Sequence[tuple[str, str]]) -> bool:
    """Look at some pairs: each segmentation has few colours, and each image more."""
    step = max(1, len(pairs) // _LOOKED_AT)
    seen = []
    for image, segmentation in pairs[::step][:_LOOKED_AT]:
        with contextlib.suppress(ImageReadError):  # a damaged file says neither
            seen.append(_colours(root / segmentation) <= _FEW_COLOURS < _colours(root / image))
    return bool(seen) and all(seen)


def _colours(path: Path) -> int:
    red, green, blue = np.moveaxis(decode_image(path).pixels.astype(np.uint32), -1, 0)
    return len(np.unique((red << 16) | (green << 8) | blue))
