"""Class folders as a map-style dataset, and the groups of their files.

Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syncgan.data.deep_images import DEPTH_GUESSED
from syncgan.data.images import bits_in_16, decode_image
from syncgan.data.scan import IMAGE_EXTENSIONS, ClassFolders, check_counts, scan_class_folders, some
from syncgan.data.segmentation_files import warn_of_segmentations
from syncgan.errors import DataError, ImageReadError

__all__ = [
    "IMAGE_EXTENSIONS",
    "ClassFolders",
    "ImageFolderDataset",
    "bits_of_files",
    "depth_notes",
    "load_class_folders",
    "read_groups",
    "read_table",
    "scan_class_folders",
]


class ImageFolderDataset:
    """Images of class folders as a map-style dataset, with the attributes of torchvision's `ImageFolder`.

    Parameters
    ----------
    folders : what `scan_class_folders` found.
    transform, target_transform : applied to the image, or to the label.
    transforms : applied to both together, in place of the other two.
    bit_depth : significant bits of 16-bit samples, see `decode_image`.

    Attributes
    ----------
    classes, class_to_idx : class names, and their labels.
    files : path of every image relative to the root.
    samples : (absolute path, label) of every image.
    targets : label of every image.
    notes : what the scan ignored and what the decoder had to decide.
    bit_depth : one for all files of 16 bits a sample; None where there are none.

    Raises
    ------
    DataError
        `transforms` is given together with one of the others.
    """

    def __init__(
        self,
        folders: ClassFolders,
        *,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        transforms: Callable[..., Any] | None = None,
        bit_depth: int | None = None,
    ) -> None:
        if transforms is not None and (transform is not None or target_transform is not None):
            raise DataError("expected either transforms or transform and target_transform, got both; leave one out")
        root = folders.root.absolute()
        self.root = str(root)
        self.classes = list(folders.classes)
        self.class_to_idx = {name: label for label, name in enumerate(folders.classes)}
        self.files = folders.files
        self.targets = list(folders.labels)
        self.samples = [(str(root / file), label) for file, label in zip(folders.files, folders.labels, strict=True)]
        self.notes = folders.notes
        self.bit_depth = bit_depth
        self.transform = transform
        self.target_transform = target_transform
        self.transforms = transforms

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return the image as an RGB PIL image, and its label, after the transforms."""
        image: Any = Image.fromarray(self.image(index))
        label: Any = self.targets[index]
        if self.transforms is not None:
            image, label = self.transforms(image, label)
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images, classes={self.classes})"

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the pixels of one image without transforms: (H, W, 3) uint8 RGB."""
        path, _ = self.samples[index]
        # Without the log of `read_image`: every epoch would repeat what `notes` says once.
        return decode_image(path, bit_depth=self.bit_depth).pixels


def load_class_folders(
    root: str | PathLike[str],
    *,
    exclude: Sequence[str] = (),
    limit_per_class: int | None = None,
    min_classes: int = 2,
    min_images_per_class: int = 2,
    bit_depth: int | None = None,
    n_jobs: int = 2,
) -> tuple[ImageFolderDataset, list[ImageReadError]]:
    """Scan class folders and check that every image can be decoded.

    All files of 16 bits a sample are read with one depth: `bit_depth`, or the largest that one of them needs.

    Parameters
    ----------
    root, exclude, min_classes, min_images_per_class : see `scan_class_folders`.
    limit_per_class : only the first so many files of each class are looked at.
    bit_depth : of images that these are to be compared with; files that need more are skipped.
    n_jobs : threads that decode.

    Returns
    -------
    dataset, skipped : the readable images, and one error with its reason for each of the others; their `path` is
        relative to `root`.

    Warns
    -----
    UserWarning
        Files look like segmentations of others.

    Raises
    ------
    DataError
        As `scan_class_folders`, also where too few images of a class can be read.
    """
    folders = scan_class_folders(
        root, exclude=exclude, min_classes=min_classes, min_images_per_class=min_images_per_class
    )
    warn_of_segmentations(folders.root, folders.files)
    if limit_per_class is not None:
        folders = _limited(folders, limit_per_class)
    outcomes = {file: _within(bit_depth, file, outcome) for file, outcome in _decode_all(folders, n_jobs).items()}
    skipped = {file: outcome for file, outcome in outcomes.items() if isinstance(outcome, ImageReadError)}
    readable = folders.keep(lambda file: file not in skipped)
    decisions = {file: outcome for file, outcome in outcomes.items() if not isinstance(outcome, ImageReadError)}
    bits = {file: decision.bits for file, decision in decisions.items() if decision.bits is not None}
    _check_readable(readable, list(skipped.values()), min_images_per_class)
    notes = (*readable.notes, *_summary_of_decisions(decisions), *depth_notes(bits, bit_depth))
    depth = (bit_depth or max(bits.values())) if bits else None
    dataset = ImageFolderDataset(replace(readable, notes=notes), bit_depth=depth)
    return dataset, list(skipped.values())


def _limited(folders: ClassFolders, limit: int) -> ClassFolders:
    if limit < 1:
        raise DataError(f"expected limit_per_class of at least 1, got {limit}")
    kept: set[str] = set()
    for label in range(len(folders.classes)):
        of_class = [file for file, other in zip(folders.files, folders.labels, strict=True) if other == label]
        kept.update(of_class[:limit])
    return folders.keep(kept.__contains__)


class _Decisions(NamedTuple):
    """What the decoder had to decide of one file, but for its depth; and how many of 16 bits are significant."""

    notes: tuple[str, ...]
    bits: int | None


def _decode_all(folders: ClassFolders, n_jobs: int) -> dict[str, _Decisions | ImageReadError]:
    """Decode every file once; return what was decided, or its error."""
    from joblib import Parallel, delayed

    outcomes = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(_decisions)(folders.root, file) for file in folders.files
    )
    return dict(zip(folders.files, outcomes, strict=True))


def _decisions(root: Path, file: str) -> _Decisions | ImageReadError:
    try:
        decoded = decode_image(root / file)
    except ImageReadError as error:
        return ImageReadError(file, error.reason)  # relative: no machine path in a report
    return _Decisions(tuple(note for note in decoded.notes if not note.startswith(DEPTH_GUESSED)), decoded.bits)


def _within(bit_depth: int | None, file: str, outcome: _Decisions | ImageReadError) -> _Decisions | ImageReadError:
    """Refuse a file that needs more bits than it is to be read with."""
    if bit_depth is None or isinstance(outcome, ImageReadError) or (outcome.bits or 0) <= bit_depth:
        return outcome
    return ImageReadError(
        file,
        f"has values of {outcome.bits} bits, the images that it is compared with of {bit_depth}; scale both to 8 bits",
    )


def _check_readable(folders: ClassFolders, skipped: Sequence[ImageReadError], minimum: int) -> None:
    per_label = Counter(folders.labels)
    counts = {name: per_label[label] for label, name in enumerate(folders.classes)}
    why = f" after {len(skipped)} unreadable files were left out ({some([str(error) for error in skipped])})"
    check_counts(folders.root, counts, minimum, why if skipped else "")


def _summary_of_decisions(decisions: Mapping[str, _Decisions]) -> tuple[str, ...]:
    files_of: defaultdict[str, list[str]] = defaultdict(list)
    for file, decision in decisions.items():
        for note in decision.notes:
            files_of[note].append(file)
    return tuple(f"{some(files)}: {note}" for note, files in sorted(files_of.items()))


def depth_notes(bits: Mapping[str, int], bit_depth: int | None = None) -> tuple[str, ...]:
    """Say with which depth the files of 16 bits a sample are read, where that had to be decided.

    Parameters
    ----------
    bits : file -> bits that its largest value takes.
    bit_depth : the depth that was given; None where it is the most that a file needs.
    """
    if bit_depth is not None:
        return (f"{some(sorted(bits))}: 16-bit samples, read as {bit_depth}-bit",) if bits and bit_depth < 16 else ()
    counts = sorted(Counter(bits.values()).items())
    if not counts or counts == [(16, len(bits))]:
        return ()
    depth = counts[-1][0]
    note = f"{some(sorted(bits))}: 16-bit samples, read as {depth}-bit"
    if len(counts) == 1:
        return (note,)
    found = ", ".join(f"{bits_taken} bits in {_files(count)}" for bits_taken, count in counts)
    return (
        f"{note}, the most that a file needs (values take {found}), so that brightness can be compared; files of "
        "another camera with fewer bits come out dark: scale them to 8 bits first",
    )


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


# --- groups and fingerprint ------------------------------------------------------------------------------------------


def read_groups(
    csv_path: str | PathLike[str],
    column: str,
    files: Sequence[str],
    *,
    folder: str = "",
    elsewhere: Collection[str] = (),
) -> list[str]:
    """Read which group (patient, slide) each file belongs to.

    Parameters
    ----------
    csv_path : UTF-8 table with a header; its column `file` holds paths relative to the data folder.
    column : name of the column with the group.
    files : the relative paths to look up.
    folder : name of the data folder; a row for ``folder/file`` comes before one for ``file``.
    elsewhere : relative paths of another folder that the table serves too; files of the same names need such a row.

    Returns
    -------
    The group of each file, in the order of `files`.

    Raises
    ------
    DataError
        The table cannot be read, has no such column, or does not give each file one group.
    """
    path = Path(csv_path)
    groups: dict[str, str] = {}
    for row in read_table(path, ("file", column)):
        file, group = row["file"].strip().removeprefix("./"), row[column].strip()
        if groups.setdefault(file, group) != group:
            raise DataError(f"{path.name}: expected one group a file, got {groups[file]!r} and {group!r} for {file!r}")
    own = {file: groups.get(f"{folder}/{file}") for file in files}
    if twice := sorted({file for file in files if not own[file]} & set(elsewhere)):
        raise DataError(
            f"{path.name}: {some(twice)} stand for a training and a held-out image each, so a row cannot tell whose "
            f"group it gives; write the held-out ones with their folder, {folder}/{twice[0]}"
        )
    groups = {file: own[file] or groups.get(file, "") for file in files}
    missing = [file for file in files if not groups[file]]
    if missing:
        raise DataError(
            f"{path.name}: expected a {column!r} for each of {len(files)} files, got none for {some(missing)}; "
            "write the files relative to the data folder (held-out ones to theirs), with forward slashes"
        )
    return [groups[file] for file in files]


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a UTF-8 table with a header; cells that a row lacks are empty.

    Raises
    ------
    DataError
        The table cannot be read, or lacks one of the columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            header, rows = list(reader.fieldnames or ()), list(reader)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name}: expected a UTF-8 table with commas ({error})") from error
    for column in columns:
        if column not in header:
            raise DataError(f"{path.name}: expected a column {column!r}, got {', '.join(map(repr, header)) or 'none'}")
    return rows


def bits_of_files(root: str | PathLike[str], files: Iterable[str]) -> dict[str, int]:
    """Return file -> bits that its largest value takes, of those files of 16 bits a sample that can be read."""
    found = {}
    for file in files:
        with contextlib.suppress(ImageReadError):
            if bits := bits_in_16(Path(root) / file):
                found[file] = bits
    return found
