"""Masks for a folder of images, to look at before anything is trained; nothing here needs torch.

Segmenting and summing up are two steps. `extract_shard` writes masks and notes what they hold; `merge_folder` makes the
table, the sheet and the report of what has been noted. `extract_folder` is the one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from syncgan.arrays import Pixels
from syncgan.data.folders import bits_of_files, depth_notes
from syncgan.data.images import decode_image, encode_png
from syncgan.data.safe_names import safe_folder_names
from syncgan.data.scan import ClassFolders, scan_images, some
from syncgan.data.segmentation_files import warn_of_segmentations
from syncgan.errors import (
    ConfigError,
    ContractError,
    DataError,
    ImageReadError,
)
from syncgan.evaluation.mask_report import WrittenMasks, draw_sheet, files_on_sheet, table_of, write_mask_report
from syncgan.evaluation.mask_result import MaskFolderResult, ShardResult
from syncgan.evaluation.mask_rows import MaskRow, RowStore, file_sha256
from syncgan.evaluation.runs import require_outside
from syncgan.extractor import MaskDiagnoses, MaskExtractor
from syncgan.segmentation.diagnosis import diagnose_mask
from syncgan.segmentation.parallel import map_in_groups, pays_for_processes
from syncgan.segmentation.recipe import Recipe
from syncgan.storage import make_folder, sha256, write_bytes, write_text

__all__ = ["MaskFolderResult", "ShardResult", "extract_folder", "extract_shard", "merge_folder"]

Progress = Callable[[int, int], None]


def extract_folder(
    data: str | PathLike[str],
    out: str | PathLike[str],
    *,
    extractor: MaskExtractor,
    exclude: Sequence[str] = (),
    n_jobs: int | None = None,
    report: bool = False,
    thumbnails: bool = False,
    progress: Progress | None = None,
) -> MaskFolderResult:
    """Extract the mask of every image in a folder of class folders, or of images.

    Leaves ``masks/CLASS/NAME.png`` (level k of L as round(255 k / (L - 1))), ``masks.csv`` with one line an image,
    ``overlays.png`` with outlines drawn on some images of every class, and ``parts/``, by which the work goes on where
    it was interrupted: images that are finished in `out` are not segmented again. Masks of images that are no longer
    in `data` are removed.

    Parameters
    ----------
    data : the images; files that cannot be read are listed with their reason.
    out : made here; empty, or begun with the same settings.
    exclude : patterns of files to leave out, see `scan_class_folders`.
    n_jobs : processes; None chooses by the number of images.
    report : also write ``report.html``.
    thumbnails : whether the report shows real images, under outlines of their masks.
    progress : called with (done, total) after each image.

    Warns
    -----
    UserWarning
        A class in which more than a fifth of the masks cannot be used, or files that look like segmentations of
        others.

    Raises
    ------
    DataError
        No image file, or none that can be read.
    RunExistsError
        `out` lies in `data`, holds something else, or masks made with other settings.
    ContractError
        The segmenter returned something that its contract does not allow, or failed; names the file.
    ArtefactError
        `out` cannot be written.
    """
    extract_shard(data, out, extractor=extractor, exclude=exclude, n_jobs=n_jobs, progress=progress)
    return merge_folder(data, out, exclude=exclude, report=report, thumbnails=thumbnails)


def extract_shard(
    data: str | PathLike[str],
    out: str | PathLike[str],
    *,
    extractor: MaskExtractor,
    exclude: Sequence[str] = (),
    shard: tuple[int, int] = (1, 1),
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> ShardResult:
    """Extract the masks of one shard of a folder; shards may run at the same time, on several machines.

    Parameters
    ----------
    data, out, extractor, exclude, n_jobs, progress : as for `extract_folder`; `data`, `out` and `exclude` are the same
        for all shards.
    shard : (i, n) takes files i, i + n, i + 2n, ... with 1 <= i <= n.

    Raises
    ------
    ConfigError
        No such shard.
    DataError, RunExistsError, ContractError, ArtefactError
        As for `extract_folder`.
    """
    position, shards = shard
    if not 1 <= position <= shards:
        raise ConfigError(f"expected a shard i/n with 1 <= i <= n, got {position}/{shards}")
    require_outside(out, data)
    folders, store = scan_images(data, exclude=exclude), RowStore(Path(out))
    _require_readable(folders)
    warn_of_segmentations(folders.root, folders.files)
    bits = bits_of_files(folders.root, folders.files)
    store.claim(
        {
            "extractor": extractor.describe(),
            "shown": repr(extractor),
            "levels": extractor.levels,
            **({"bit_depth": max(bits.values())} if bits else {}),
        }
    )
    names = mask_names(folders)
    finished = _finished(folders, store, names)
    own = _items(folders, names)[position - 1 :: shards]
    left = [item for item in own if item.file not in finished]
    work = partial(
        _extract, folders.root.absolute(), store.out.absolute(), extractor.recipe, max(bits.values(), default=None)
    )
    if n_jobs is None:
        n_jobs = -1 if pays_for_processes(len(left)) else 1
    for done, row in enumerate(store.keep(map_in_groups(work, left, total=len(left), n_jobs=n_jobs)), start=1):
        finished[row.file] = row
        if progress is not None:
            progress(len(own) - len(left) + done, len(own))
    rows = [finished[item.file] for item in own]
    skipped = {row.file: row.reason for row in rows if row.diagnosis is None}
    return ShardResult(store.out, len(rows) - len(skipped), len(own) - len(left), skipped)


def merge_folder(
    data: str | PathLike[str],
    out: str | PathLike[str],
    *,
    exclude: Sequence[str] = (),
    report: bool = False,
    thumbnails: bool = False,
) -> MaskFolderResult:
    """Make the table, the sheet and the report of a folder whose masks are all there.

    Parameters
    ----------
    data, out, exclude : as they were given to every `extract_shard`.
    report : also write ``report.html``; one that is there already is always written anew, so that it tells of the same
        masks as the table.
    thumbnails : whether the report shows real images, under outlines of their masks.

    Raises
    ------
    DataError
        Some images have no mask yet.
    RunExistsError
        `out` lies in `data`.
    ArtefactError
        `out` holds no masks, or cannot be written.
    """
    require_outside(out, data)
    folders, store = scan_images(data, exclude=exclude), RowStore(Path(out))
    report = report or (store.out / "report.html").exists()
    settings, names = store.settings(), mask_names(folders)
    finished = _finished(folders, store, names)
    missing = [file for file in folders.files if file not in finished]
    if missing:
        raise DataError(
            f"{out}: expected the masks of {len(folders.files)} images, {len(missing)} are not there yet "
            f"({some(missing)}); run the missing shards, or go on with --resume"
        )
    rows = [finished[file] for file in folders.files]
    masks = WrittenMasks(store.out, folders, names, settings["levels"], settings.get("bit_depth"))
    diagnoses = MaskDiagnoses.of(row.diagnosis for row in rows if row.diagnosis is not None)
    readable = folders.keep({row.file for row in rows if row.diagnosis is not None}.__contains__)
    sheet = draw_sheet(replace(masks, folders=readable), files_on_sheet(readable))
    write_bytes(store.out / "overlays.png", sheet)
    write_text(store.out / "masks.csv", table_of(rows, diagnoses, names))
    result = MaskFolderResult(
        folder=store.out,
        table=store.out / "masks.csv",
        overlays=store.out / "overlays.png",
        report=store.out / "report.html" if report else None,
        diagnoses=diagnoses,
        classes=dict.fromkeys(folders.classes, 0) | Counter(row.class_name for row in diagnoses),
        skipped={row.file: row.reason for row in rows if row.diagnosis is None},
        notes=(
            *folders.notes,
            *(f"{row.file}: {note}" for row in rows for note in row.notes),
            *depth_notes(bits_of_files(folders.root, folders.files)),
        ),
    )
    if report:
        write_mask_report(
            masks,
            diagnoses,
            sheet=sheet if thumbnails else None,
            config=settings["shown"],
            skipped=result.skipped,
            notes=result.notes,
        )
    store.remove_masks(but={row.mask for row in rows if row.mask})
    diagnoses.warn()
    return result


class _Item(NamedTuple):
    """One file to segment: its path in the data, its class, and the path of its mask in the output."""

    file: str
    class_name: str
    mask: str


def _items(folders: ClassFolders, names: Mapping[str, str]) -> list[_Item]:
    labelled = zip(folders.files, folders.labels, strict=True)
    return [_Item(file, folders.classes[label], names[file]) for file, label in labelled]


def _finished(folders: ClassFolders, store: RowStore, names: Mapping[str, str]) -> dict[str, MaskRow]:
    """Return file -> row of the images that are as they were when their mask was written, and whose mask is there.

    A row that names another mask than is wanted now does not count: names may be numbered, and the numbers shift when
    files come or go.
    """
    return {
        row.file: row
        for row in store.rows()
        if row.file in names
        and (row.diagnosis is None or (row.mask == names[row.file] and store.holds_mask(row)))
        and row.file_sha256 == file_sha256(folders.root / row.file)
    }


def _require_readable(folders: ClassFolders) -> None:
    reasons = []
    for file in folders.files:
        try:
            decode_image(folders.root / file)
        except ImageReadError as error:
            reasons.append(f"{file}: {error.reason}")
        else:
            return
    raise DataError(
        f"expected images in {folders.root}, none of {len(reasons)} files can be read ({some(reasons)}); "
        "check the files"
    )


def _extract(root: Path, out: Path, recipe: Recipe, bit_depth: int | None, item: _Item) -> MaskRow:
    """Decode and segment one file, and write its mask; runs in a worker."""
    file, class_name, name = item
    digest = file_sha256(root / file)
    try:
        decoded = decode_image(root / file, bit_depth=bit_depth)
    except ImageReadError as error:
        return MaskRow(file, class_name, digest, reason=error.reason)
    try:
        mask, instances = recipe.masks(decoded.pixels.copy())
    except ContractError as error:
        raise ContractError(f"{file}: {error}") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    found = diagnose_mask(
        decoded.pixels, mask, name=file, levels=recipe.levels, instances=instances, class_name=class_name
    )
    written = _write_mask(out / name, mask, recipe.levels)
    height, width = mask.shape
    return MaskRow(file, class_name, digest, name, written, height, width, found, decoded.notes)


def _write_mask(path: Path, mask: Pixels, levels: int) -> str:
    """Write a mask and return the sha256 of its file."""
    grays = np.round(np.arange(levels) * 255 / (levels - 1)).astype(np.uint8)
    make_folder(path.parent)
    png = encode_png(grays[mask])
    write_bytes(path, png)
    return sha256(png)


def mask_names(folders: ClassFolders) -> dict[str, str]:
    """Return file -> ``masks/CLASS/NAME.png``: true names where they are safe and unique, else index and slug."""
    class_folders = safe_folder_names(folders.classes)
    names = {}
    for label, class_name in enumerate(folders.classes):
        inner = {file: PurePosixPath(file).relative_to(class_name) for file in _of_class(folders, label)}
        stems = Counter(str(path.with_suffix("")) for path in inner.values())
        wanted = [
            str(path if stems[str(path.with_suffix(""))] > 1 else path.with_suffix("")) for path in inner.values()
        ]
        safe = safe_folder_names(wanted)
        folder = PurePosixPath("masks", class_folders[class_name] if class_name else "")
        names.update({file: str(folder / f"{safe[name]}.png") for file, name in zip(inner, wanted, strict=True)})
    return names


def _of_class(folders: ClassFolders, label: int) -> list[str]:
    return [file for file, own in zip(folders.files, folders.labels, strict=True) if own == label]
