"""Tell files that look like segmentations of the images beside them.

Public sets keep them in the class folders: ``1-d.bmp`` beside ``1.BMP``, ``x.png`` beside ``x.jpg``, ``masks/x.png``
beside ``images/x.png``. Two signs must come together: names that are, or continue, those of other files of the class,
in one way, and few colours.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
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
    pairs : (image, segmentation), paths relative to the root.
    pattern : of `exclude`, which leaves them out; None where it would leave out images, too.
    """

    pairs: tuple[tuple[str, str], ...]
    pattern: str | None

    @property
    def text(self) -> str:
        """What they are taken for, as a clause."""
        image, segmentation = self.pairs[0]
        return (
            f"{len(self.pairs)} files look like segmentations, yet are taken for images of their class: they are "
            f"named like other images, such as {segmentation!r} beside {image!r}, and those looked at have at most "
            f"{_FEW_COLOURS} colours"
        )

    @property
    def remedy(self) -> str:
        """How they are left out."""
        if self.pattern is None:
            return "move them away"
        return (
            f"leave them out with --exclude '{self.pattern}' (in Python exclude=[{self.pattern!r}]), or move them away"
        )


def find_segmentations(root: Path, files: Sequence[str]) -> list[Segmentations]:
    """Return the sets of files that look like segmentations, one a way of naming; opens a few files with such names.

    Parameters
    ----------
    root, files : a folder, and paths of images relative to it; what comes before the first slash is the class.
    """
    pairs_by_pattern: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for image, file in _pairs(root, files):
        pairs_by_pattern[_pattern(PurePosixPath(image), PurePosixPath(file))].append((image, file))
    return [
        Segmentations(tuple(pairs), pattern if _spares_images(pattern, pairs, files) else None)
        for pattern, pairs in sorted(pairs_by_pattern.items())
        if len(pairs) >= _FEWEST_PAIRS and _differ_in_colours(root, pairs)
    ]


def warn_of_segmentations(root: Path, files: Sequence[str]) -> None:
    """Warn of files that look like segmentations; they stay, since a set of images may look like that."""
    for found in find_segmentations(root, files):
        warn_user(f"{root}: {found.text}; {found.remedy}")


def _pairs(root: Path, files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (image, file of its class whose name is the image's, or continues it)."""
    named: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for file in files:
        named[_class(file), PurePosixPath(file).stem].append(file)
    for file in files:
        stem = PurePosixPath(file).stem
        if PurePosixPath(file).suffix.lower() in _CHANGES_COLOURS:
            continue
        for length in range(max(1, len(stem) - _LONGEST_SUFFIX), len(stem) + 1):
            # The image of "10" is not "1".
            others = [other for other in named.get((_class(file), stem[:length]), ()) if other != file]
            if others and not stem[length : length + 1].isdecimal():
                # An image takes more bytes than a segmentation does.
                yield max(others, key=lambda other: _bytes(root / other)), file
                break


def _class(file: str) -> str:
    return file.split("/")[0] if "/" in file else ""


def _pattern(image: PurePosixPath, segmentation: PurePosixPath) -> str:
    """Return the pattern of what tells a segmentation from its image: its folder, the end of its name, or its type."""
    if image.parent != segmentation.parent:
        return f"*/{escape(segmentation.parent.name)}/*"
    return f"*{escape(segmentation.stem.removeprefix(image.stem))}{segmentation.suffix}"


def _spares_images(pattern: str, pairs: Sequence[tuple[str, str]], files: Sequence[str]) -> bool:
    """Whether a pattern matches no image of the pairs; a mere type of file may match nothing but segmentations."""
    segmentations = {segmentation for _, segmentation in pairs}
    spared = files if pattern.startswith("*.") else [image for image, _ in pairs]
    return not any(fnmatchcase(file, pattern) for file in spared if file not in segmentations)


def _differ_in_colours(root: Path, pairs: Sequence[tuple[str, str]]) -> bool:
    """Look at some pairs: each segmentation has few colours, and each image more."""
    seen = False
    step = max(1, len(pairs) // _LOOKED_AT)
    for image, segmentation in pairs[::step][:_LOOKED_AT]:
        with contextlib.suppress(ImageReadError):  # a damaged file says neither
            if not _colours(root / segmentation) <= _FEW_COLOURS < _colours(root / image):
                return False
            seen = True
    return seen


def _bytes(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _colours(path: Path) -> int:
    red, green, blue = np.moveaxis(decode_image(path).pixels.astype(np.uint32), -1, 0)
    return len(np.unique((red << 16) | (green << 8) | blue))
