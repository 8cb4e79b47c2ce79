"""List the image files in class folders, the same way on every system.

``ROOT/CLASS/**/image``: classes and files are sorted, and what is ignored is listed with the reason.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path, PurePosixPath

from syncgan.data.safe_names import is_unicode
from syncgan.errors import DataError

__all__ = ["EXCLUDED", "IMAGE_EXTENSIONS", "ClassFolders", "check_counts", "scan_class_folders", "scan_images", "some"]

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"})
EXCLUDED = "excluded as asked"
_IGNORED_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"})


@dataclass(frozen=True)
class ClassFolders:
    """What a scan found.

    Attributes
    ----------
    root : the scanned folder, as it was given.
    classes : sorted names of the folders that hold at least one image file.
    files : path of every image file relative to `root`, with forward slashes, sorted within its class.
    labels : for every file, the index of its class in `classes`.
    notes : what was ignored and why, one sentence for each reason.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def keep(self, wanted: Callable[[str], bool]) -> ClassFolders:
        """Return the same classes with only the files that `wanted` accepts."""
        kept = [(file, label) for file, label in zip(self.files, self.labels, strict=True) if wanted(file)]
        return replace(self, files=tuple(file for file, _ in kept), labels=tuple(label for _, label in kept))


def scan_class_folders(
    root: str | PathLike[str],
    *,
    exclude: Sequence[str] = (),
    min_classes: int = 2,
    min_images_per_class: int = 2,
) -> ClassFolders:
    """List the image files in class folders without opening them.

    Files are told by extension (png, jpg, jpeg, tif, tiff, bmp, gif in any case) and may lie in folders inside a class.
    Hidden files and folders, what operating systems leave behind, and anything that is not a regular file are ignored.
    Links are followed, but never to a folder inside `root`, whose files are there under their own name.

    Parameters
    ----------
    exclude : a pattern of files to leave out, or several, matched with the whole path below `root`; ``*`` also stands
        for slashes: ``*-d.bmp``, ``*/CROPPED/*``.

    Raises
    ------
    DataError
        `root` is missing or not a folder, holds no class folders or too few of them, or a class has too few images.
    """
    root = Path(root)
    _check_root(root)
    walker = _Walker(root, exclude)
    found = {name: images for name in walker.class_names() if (images := walker.images(name))}
    classes: tuple[str, ...] = tuple(sorted(found, key=_sort_key))
    files: tuple[str, ...] = tuple(file for name in classes for file in sorted(found[name], key=_sort_key))
    counts = [len(found[name]) for name in classes]
    labels = tuple(label for label, count in enumerate(counts) for _ in range(count))
    _check_classes(root, classes, walker, min_classes)
    check_counts(root, dict(zip(classes, counts, strict=True)), min_images_per_class)
    return ClassFolders(root, classes, files, labels, walker.notes())


def scan_images(root: str | PathLike[str], *, exclude: Sequence[str] = ()) -> ClassFolders:
    """List the image files in class folders, or directly in the folder when it has no class folders.

    Images that lie directly in `root` belong to the one class ``""``. `exclude` is that of
    `scan_class_folders`.

    Raises
    ------
    DataError
        `root` is missing or not a folder, or holds no image file.
    """
    root = Path(root)
    _check_root(root)
    in_classes, directly = _Walker(root, exclude), _Walker(root, exclude)
    files = tuple(sorted(directly.images_in_root(), key=_sort_key))
    if any(map(in_classes.images, in_classes.class_names())) or not files:
        return scan_class_folders(root, exclude=exclude, min_classes=1, min_images_per_class=1)
    return ClassFolders(root, ("",), files, (0,) * len(files), directly.notes())


def _sort_key(name: str) -> tuple[str, str]:
    # macOS hands out decomposed umlauts, Linux composed ones; both shall sort alike.
    return unicodedata.normalize("NFC", name), name


class _Walker:
    """Walk class folders in a fixed order and remember what was ignored."""

    def __init__(self, root: Path, exclude: Sequence[str] = ()) -> None:
        self.root = root
        self._exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        self._matched: set[str] = set()
        self.has_images_in_root = False
        self._real_root = root.resolve()
        self._ignored: defaultdict[str, list[str]] = defaultdict(list)

    def class_names(self) -> list[str]:
        """Return the folders directly in the root; files there are notes."""
        names = []
        for entry in self._entries(""):
            if self._is_folder(entry):
                names.append(entry.name)
            elif _has_image_extension(entry.name):
                self.has_images_in_root = True
                self._ignore("image outside of a class folder", entry.name)
            else:
                self._ignore("not in a class folder", entry.name)
        return names

    def images(self, class_name: str) -> list[str]:
        """Return the image files of one class, relative to the root; an empty class is a note."""
        if not self._may_enter(class_name, frozenset()):
            return []
        files = list(self._images_below(class_name, frozenset()))
        if not files:
            self._ignore("class folder without an image", class_name)
        return files

    def images_in_root(self) -> list[str]:
        """Return the image files directly in the root."""
        return [
            entry.name
            for entry in self._entries("")
            if not self._is_folder(entry) and self._is_image(entry, entry.name)
        ]

    def notes(self) -> tuple[str, ...]:
        """Return one sentence for each reason, with a count and up to three names."""
        ignored = tuple(f"ignored {some(names)}: {reason}" for reason, names in sorted(self._ignored.items()))
        without = [pattern for pattern in self._exclude if pattern not in self._matched]
        return (
            *ignored,
            *(f"no image matches the pattern {pattern!r} of what is to be excluded" for pattern in without),
        )

    def _images_below(self, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
        above |= {_identity(self.root / folder)}
        for entry in self._entries(folder):
            name = f"{folder}/{entry.name}"
            if self._is_folder(entry):
                if _has_image_extension(entry.name):
                    self._ignore("folder with the name of an image", name)
                elif self._may_enter(name, above):
                    yield from self._images_below(name, above)
            elif self._is_image(entry, name):
                yield name

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """List a folder by name, without hidden files and what operating systems leave behind."""
        try:
            with os.scandir(self.root / folder) as found:
                entries = sorted(found, key=lambda entry: _sort_key(entry.name))
        except OSError as error:
            self._ignore(f"folder that cannot be read ({error.strerror})", folder)
            return []
        return [entry for entry in entries if self._is_wanted(entry.name, f"{folder}/{entry.name}".lstrip("/"))]

    def _is_wanted(self, name: str, relative: str) -> bool:
        if name.startswith("."):
            self._ignore("hidden", relative)
        elif name.lower() in _IGNORED_NAMES:
            self._ignore("left behind by an operating system", relative)
        elif not is_unicode(name):
            self._ignore("name is not valid Unicode; rename it", relative.encode("utf-8", "backslashreplace").decode())
        else:
            return True
        return False

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:  # a link loop
            return False

    def _may_enter(self, folder: str, above: frozenset[tuple[int, int]]) -> bool:
        path = self.root / folder
        real = path.resolve()
        if path.is_symlink() and (real.is_relative_to(self._real_root) or self._real_root.is_relative_to(real)):
            self._ignore("link to a folder that is scanned anyway", folder)
            return False
        try:
            is_loop = _identity(path) in above
        except OSError as error:
            self._ignore(f"folder that cannot be read ({error.strerror})", folder)
            return False
        if is_loop:
            self._ignore("link loop", folder)
        return not is_loop

    def _is_image(self, entry: os.DirEntry[str], name: str) -> bool:
        if not _has_image_extension(entry.name):
            self._ignore("not an image extension", name)
            return False
        if matching := [pattern for pattern in self._exclude if fnmatchcase(name, pattern)]:
            self._matched.update(matching)
            self._ignore(EXCLUDED, name)
            return False
        try:
            mode = entry.stat().st_mode
        except OSError:
            self._ignore("link that leads nowhere", name)
            return False
        if not stat.S_ISREG(mode):
            self._ignore("not a regular file", name)
            return False
        return True

    def _ignore(self, reason: str, name: str) -> None:
        self._ignored[reason].append(name)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _has_image_extension(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_EXTENSIONS


def some(names: Sequence[str]) -> str:
    """Quote up to three names on one line, with the count where there are more."""
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{len(names)} entries such as {shown}"


def _check_root(root: Path) -> None:
    try:
        is_there, is_folder = root.exists(), root.is_dir()
        is_empty = is_folder and not any(root.iterdir())
    except (OSError, ValueError) as error:
        raise DataError(f"expected a folder of class folders, cannot read {root} ({error}); check the path") from error
    if not is_there:
        raise DataError(f"expected a folder of class folders at {root}, found nothing; check the path")
    if not is_folder:
        raise DataError(f"expected a folder of class folders at {root}, found a file; give the folder that holds them")
    if is_empty:
        raise DataError(f"expected class folders in {root}, the folder is empty; put the images in {root}/CLASS/")


def _check_classes(root: Path, classes: Sequence[str], walker: _Walker, min_classes: int) -> None:
    if len(classes) >= max(min_classes, 1):
        return
    ignored = "; ".join(walker.notes())
    remedy = f"put each image in {root}/CLASS/" + (f" ({ignored})" if ignored else "")
    if classes:
        raise DataError(f"expected at least {min_classes} class folders in {root}, got only {classes[0]!r}; {remedy}")
    got = "images lie directly in it" if walker.has_images_in_root else "no folder with an image in it"
    raise DataError(f"expected class folders in {root}, got none: {got}; {remedy}")


def check_counts(root: Path, counts: Mapping[str, int], minimum: int, why: str = "") -> None:
    """Raise a `DataError` that lists the classes with fewer than `minimum` images."""
    small = [f"{name!r} has {count}" for name, count in counts.items() if count < minimum]
    if small:
        raise DataError(
            f"expected at least {minimum} images a class in {root}, but {', '.join(small)}{why}; "
            "add images or remove the class folder"
        )
