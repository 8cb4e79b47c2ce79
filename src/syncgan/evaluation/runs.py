"""One run from data to report: read the data, fit, draw what can be looked at.

Everything that can be refused without torch is refused before it is imported: `load_run_data`, `check_plugins` and
`check_output_folder` need none.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from syncgan.config import SynCGANConfig
from syncgan.data.folders import load_class_folders, read_groups, read_table
from syncgan.data.images import read_mask
from syncgan.errors import ArtefactError, ConfigError, DataError, RunExistsError
from syncgan.evaluation.previews import PreviewWriter
from syncgan.evaluation.reporting.making import report_run
from syncgan.evaluation.reporting.subject import PREVIEWS, training_counts
from syncgan.extractor import MaskExtractor
from syncgan.registry import require_plugins
from syncgan.training.launch import is_main_process
from syncgan.training.run_folder import RunFolder

if TYPE_CHECKING:
    import torch

    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.training.events import FitEvent

__all__ = [
    "RunData",
    "RunResult",
    "check_model",
    "check_output_file",
    "check_output_folder",
    "check_plugins",
    "check_run_folder",
    "demo_data",
    "fit_run",
    "load_run_data",
    "require_outside",
    "score_for",
]

_log = logging.getLogger(__name__)
_MASK_EXTENSIONS = (".png", ".tif", ".tiff", ".bmp")
_MASK_TABLE = "masks.csv"
_DEMO_IMAGES_PER_CLASS = 40


@dataclass(frozen=True)
class RunData:
    """What a run learns from.

    Attributes
    ----------
    dataset : map-style dataset of (image, label).
    skipped : relative name -> why the file could not be read.
    notes : what the scan ignored and what the decoder had to decide, one sentence each.
    masks, groups : one an item, or None.
    """

    dataset: Any
    skipped: Mapping[str, str]
    notes: tuple[str, ...] = ()
    masks: Sequence[Any] | None = None
    groups: Sequence[Any] | None = None

    @property
    def classes(self) -> dict[str, int]:
        """Class name -> number of images, of a dataset with `classes` and `targets`."""
        counts = Counter(self.dataset.targets)
        return {name: counts[label] for label, name in enumerate(self.dataset.classes)}


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes
    ----------
    folder, model : the run and the saved model in it.
    report : ``report.html``, or None when it could not be written.
    augmenter : the fitted augmenter.
    classes : class name -> number of training images.
    excluded, skipped : relative name -> reason, for images whose mask failed and files that could not be read.
    seconds : wall-clock time of this call.
    """

    folder: Path
    model: Path
    report: Path | None
    augmenter: SynCGANAugmenter
    classes: dict[str, int]
    excluded: dict[str, str]
    skipped: dict[str, str]
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Return what a program that started the run wants to know, JSON-compatible."""
        return {
            "run": str(self.folder),
            "model": str(self.model),
            "report": None if self.report is None else str(self.report),
            "classes": self.classes,
            "excluded": len(self.excluded),
            "skipped": len(self.skipped),
            "seconds": round(self.seconds, 1),
        }


def fit_run(
    data: RunData | str | PathLike[str] | Any,
    out: str | PathLike[str],
    *,
    config: SynCGANConfig | None = None,
    device: str | torch.device = "auto",
    seed: int = 0,
    resume: bool = False,
    masks: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    callbacks: Iterable[Callable[[FitEvent], None]] = (),
    thumbnails: bool = False,
) -> RunResult:
    """Fit an augmenter in a run folder and leave its pictures and report there.

    Parameters
    ----------
    data : folder of class folders, a map-style dataset, or what `load_run_data` returned.
    out : the run folder; made here.
    config, device, seed, masks, groups, callbacks : see `SynCGANAugmenter`.
    resume : go on with the same run in `out`, or start it when there is none; without it a folder with content is
        refused.
    thumbnails : whether previews and report show real images; without them the run folder holds none.

    Raises
    ------
    SyncganError
        As `SynCGANAugmenter.fit`. A report that cannot be written is logged and does not fail the run.
    """
    out = Path(out)
    check_run_folder(out, resume=resume)
    source = _as_run_data(data)
    started = time.monotonic()
    from syncgan.augmenter import SynCGANAugmenter

    augmenter = SynCGANAugmenter(config, device=device, seed=seed).fit(
        source.dataset,
        masks=source.masks if masks is None else masks,
        groups=source.groups if groups is None else groups,
        run_dir=out,
        resume="auto" if resume else "never",
        callbacks=[*callbacks, PreviewWriter(out / PREVIEWS, thumbnails=thumbnails)],
        score=score_for(config, device),
    )
    seconds = time.monotonic() - started
    return RunResult(
        folder=out,
        model=out / "model",
        report=report_run(augmenter, source, out, thumbnails=thumbnails) if is_main_process() else None,
        augmenter=augmenter,
        classes=training_counts(augmenter),
        excluded=dict(augmenter.excluded_),
        skipped=dict(source.skipped),
        seconds=seconds,
    )


def load_run_data(
    folder: str | PathLike[str],
    *,
    masks: str | PathLike[str] | None = None,
    groups: str | PathLike[str] | None = None,
    group_column: str | None = None,
    exclude: Sequence[str] = (),
    limit_per_class: int | None = None,
    levels: int = 2,
) -> RunData:
    """Read class folders, and optionally masks and groups, for `fit_run`.

    Parameters
    ----------
    folder : class folders of images.
    masks : folder of masks: what ``syncgan masks`` wrote, or ``CLASS/NAME.png`` for each ``CLASS/NAME.*`` in `folder`.
    groups, group_column : table with a column ``file`` (relative to `folder`) and the column of the group.
    exclude : patterns of files to leave out, see `scan_class_folders`.
    limit_per_class : only the first so many files of each class are looked at.
    levels : L, for masks stored as evenly spaced grays.

    Warns
    -----
    UserWarning
        Files look like segmentations of others.

    Raises
    ------
    DataError
        Nothing to train on, a mask that is missing or cannot be read, or a file without a group.
    """
    if (groups is None) != (group_column is None):
        raise ConfigError(
            "expected a table of groups together with the name of its column; give --groups and "
            "--group-column, or neither"
        )
    dataset, skipped = load_class_folders(folder, exclude=exclude, limit_per_class=limit_per_class)
    return RunData(
        dataset=dataset,
        skipped={error.path: error.reason for error in skipped},
        notes=dataset.notes,
        masks=None if masks is None else _read_masks(Path(masks), dataset.files, levels),
        groups=None if groups is None or group_column is None else read_groups(groups, group_column, dataset.files),
    )


def demo_data(config: SynCGANConfig, *, seed: int = 0) -> RunData:
    """Return simulated smears to try everything on, sized for `config`; needs neither files nor torch."""
    from syncgan.data.phantom import Phantom

    # Smears of the field that suits the training size, but with twice the pixels, as a camera has.
    field_of_view_um = Phantom(1, image_size=config.image_size).field_of_view_um
    phantom = Phantom(
        _DEMO_IMAGES_PER_CLASS, image_size=2 * config.image_size, field_of_view_um=field_of_view_um, seed=seed
    )
    return RunData(phantom, skipped={}, notes=("the images are simulated (syncgan.Phantom)",))


def check_plugins(config: SynCGANConfig) -> None:
    """Refuse names of plug-ins that do not exist, and parameters that the segmenter does not have; imports no torch."""
    MaskExtractor.from_config(config.extractor)
    require_plugins(config.plugin_names())


def check_model(run: str | PathLike[str]) -> Path:
    """Return the folder of the model in a run folder, or of the model itself; imports no torch.

    Raises
    ------
    ArtefactError
        There is no model.
    """
    run = Path(run)
    for folder in (run, run / "model"):
        if (folder / "manifest.json").is_file():
            return folder
    if RunFolder(run).holds_run:
        raise ArtefactError(f"{run}: expected a finished run, got one without a model; go on with it by `fit --resume`")
    raise ArtefactError(f"{run}: expected a run folder with a model, found none; check the path, or fit one first")


def check_run_folder(out: str | PathLike[str], *, resume: bool, data: str | PathLike[str] | None = None) -> None:
    """Refuse a run folder that is taken, cannot be written or lies in `data`; imports no torch and changes nothing."""
    if data is not None:
        require_outside(out, data)
    if not is_main_process():
        return  # the folder is the main process's, which may have begun by now
    run = RunFolder(Path(out))
    if not (resume and run.holds_run):
        run.require_free()
    _require_writable(run.path)


def require_outside(out: str | PathLike[str], data: str | PathLike[str]) -> None:
    """Refuse an output folder that lies in `data`, where the next scan would take its pictures for images of a class.

    Raises
    ------
    RunExistsError
        It is `data`, or lies in it.
    """
    if Path(out).resolve().is_relative_to(Path(data).resolve()):
        raise RunExistsError(
            f"{out}: lies in the data folder {data}, where it would become a class; "
            "choose a folder outside of it with --out"
        )


def check_output_folder(out: str | PathLike[str], *, resume: bool = False) -> None:
    """Refuse an output folder that holds files or cannot be written; changes nothing.

    Raises
    ------
    RunExistsError
        It is a file, or holds something (unless `resume`).
    ArtefactError
        It, or the folder that it should be made in, is missing or cannot be written.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise RunExistsError(f"{out}: is a file, expected a folder; choose another name")
    if out.is_dir() and not resume and any(out.iterdir()):
        raise RunExistsError(f"{out}: expected a new or empty folder, it holds files; choose another folder")
    _require_writable(out)


def check_output_file(file: str | PathLike[str]) -> None:
    """Refuse an output file that cannot be written; changes nothing.

    Raises
    ------
    ArtefactError
        It is a folder, or the folder that it should lie in is missing or cannot be written.
    """
    file = Path(file)
    if file.is_dir():
        raise ArtefactError(f"{file}: is a folder, expected the name of a file; give one in it")
    if not file.absolute().parent.is_dir():
        raise ArtefactError(f"{file}: cannot be written, {file.parent} is no folder; make it first")
    _require_writable(file.absolute().parent)


def _require_writable(out: Path) -> None:
    target = out if out.exists() else out.absolute().parent
    if not target.is_dir():
        raise ArtefactError(
            f"{out}: cannot be made, the folder {target} does not exist; make it first, or choose another"
        )
    try:
        # Permissions do not tell: read-only mounts, quotas and root have rules of their own.
        Path(tempfile.mkdtemp(prefix=".syncgan-", dir=target)).rmdir()
    except OSError as error:
        raise ArtefactError(f"{target}: cannot be written ({error.strerror}); choose another folder") from error


def _as_run_data(data: Any) -> RunData:
    if isinstance(data, RunData):
        return data
    if isinstance(data, str | PathLike):
        return load_run_data(data)
    return RunData(dataset=data, skipped={})


def score_for(config: SynCGANConfig | None, device: str | torch.device) -> Any:
    """Return what ``image_gan.selection = "utility"`` scores with, None where it is not asked for."""
    if config is None or config.image_gan.selection != "utility":
        return None
    from syncgan.evaluation.features import default_features
    from syncgan.evaluation.utility import UtilityScore
    from syncgan.training.precision import resolve_device

    found = resolve_device(device)
    return UtilityScore(default_features(found if found.type == "cuda" else "cpu"))


# --- masks that are given ------------------------------------------------------------------------------------------


def _read_masks(folder: Path, files: Sequence[str], levels: int) -> list[NDArray[np.uint8]]:
    if not folder.is_dir():
        raise DataError(f"expected a folder of masks at {folder}, found none; check the path")
    table = folder / _MASK_TABLE
    places = _places_from_table(table) if table.is_file() else {file: _find_mask(folder, file) for file in files}
    missing = [file for file in files if places.get(file) is None]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"expected a mask for every image in {folder}, found none for {missing[0]!r}{more}; "
            "name it CLASS/NAME.png after the image, or give the folder that `syncgan masks` wrote"
        )
    masks = [read_mask(folder / str(places[file])) for file in files]
    if all(np.isin(mask, (0, 255)).all() for mask in masks):
        # Nucleus or not: the fit derives further levels from the images.
        return [(mask > 0).astype(np.uint8) for mask in masks]
    return [_evenly_spaced(mask, levels) for mask in masks]


def _find_mask(folder: Path, file: str) -> str | None:
    stem = PurePosixPath(file).with_suffix("")
    names = (f"{stem}{extension}" for extension in _MASK_EXTENSIONS)
    return next((name for name in names if (folder / name).is_file()), None)


def _places_from_table(table: Path) -> dict[str, str]:
    rows = read_table(table, ("file", "mask"))
    # An apostrophe keeps a spreadsheet from reading such a name as a formula.
    return {row["file"].removeprefix("'"): row["mask"] for row in rows if row["mask"]}


def _evenly_spaced(mask: NDArray[np.uint8], levels: int) -> NDArray[np.uint8]:
    """Turn grays 0 .. 255 as ``syncgan masks`` writes them for more than two levels into levels 0 .. L-1."""
    grays = np.round(np.arange(levels) * 255 / (levels - 1)).astype(np.uint8)
    if mask.max(initial=0) < levels or not np.isin(mask, grays).all():
        return mask
    return np.searchsorted(grays, mask).astype(np.uint8)
