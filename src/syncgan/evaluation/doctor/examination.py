"""Examine a folder of class folders before anybody trains on it.

`examine` reads every image once or twice, compares all with all, segments them, and lets a fit tell its plan; what it
found comes as findings of three levels. It changes nothing and imports no torch: what must be known of torch is asked
of another process.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

from syncgan.arrays import KEPT_BYTES
from syncgan.config import SynCGANConfig, checked
from syncgan.data.folders import ImageFolderDataset, load_class_folders, read_groups
from syncgan.data.segmentation_files import find_segmentations
from syncgan.errors import ArtefactError, ConfigError
from syncgan.evaluation.doctor.burnt_in import find_burnt_in
from syncgan.evaluation.doctor.environment import about_disk, about_extras, about_opencv, about_versions, memory_mb
from syncgan.evaluation.doctor.finding import Finding
from syncgan.evaluation.doctor.image_rules import (
    Duplicates,
    about_burnt_in,
    about_duplicates,
    about_pixels,
    about_stain,
)
from syncgan.evaluation.doctor.masks import about_masks, diagnose_files, draw_duplicates, draw_masks, extractor_of
from syncgan.evaluation.doctor.probe import ask
from syncgan.evaluation.doctor.rules import (
    MIN_CLASSES,
    MIN_IMAGES,
    about_counts,
    about_files,
    about_folders,
    about_forecast,
    about_groups,
    about_segmentations,
)
from syncgan.evaluation.runs import require_outside
from syncgan.evaluation.same_images import NEAR_COPY, ImagePrint, find_same, print_files
from syncgan.extractor import MaskDiagnoses
from syncgan.registry import is_registered
from syncgan.storage import write_bytes, write_json

__all__ = ["TABLE", "Duplicates", "Examination", "Finding", "examine"]

Progress = Callable[[str, int, int], None]

TABLE: Final = "doctor.json"
"""What is written beside the pictures, and by which a folder of an earlier examination is known."""

_MEBIBYTE = 2**20
_BYTES_A_PIXEL = 3


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes
    ----------
    findings : one after the other by topic, the worst of a topic first.
    counts : class name -> number of images that can be read.
    unreadable : relative name -> why the file cannot be read.
    sizes, kinds : "128 x 128 px" or "PNG, RGB, 8 bits" -> number of images.
    duplicates : files that hold one image.
    diagnoses : of every mask, None where masks were left out.
    environment, forecast : what `syncgan.evaluation.doctor.probe.ask` told; empty where it was not asked.
    written : pictures and table, in the folder that was given.
    """

    findings: tuple[Finding, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[str, int] = field(default_factory=dict)
    duplicates: tuple[Duplicates, ...] = ()
    diagnoses: MaskDiagnoses | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    forecast: Mapping[str, Any] = field(default_factory=dict)
    written: tuple[Path, ...] = ()

    def plus(self, findings: Iterable[Finding], **changes: Any) -> Examination:
        """Return the examination with more findings, and with other changes."""
        return replace(self, findings=(*self.findings, *findings), **changes)

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that `fit` would refuse, that leak, or that leave little to learn from."""
        return tuple(finding for finding in self.findings if finding.level == "problem")

    @property
    def doubts(self) -> tuple[Finding, ...]:
        """The findings that are worth a look."""
        return tuple(finding for finding in self.findings if finding.level == "worth a look")

    def summary(self) -> dict[str, Any]:
        """Return everything, JSON-compatible."""
        masks = None
        if self.diagnoses is not None:
            masks = {
                "failed": self.diagnoses.problems,
                "worth_a_look": self.diagnoses.doubts,
                "classes": {
                    name: {"images": found.images, "failed": found.failed, "nuclei": found.nuclei[1]}
                    for name, found in self.diagnoses.classes.items()
                },
            }
        return {
            "problems": len(self.problems),
            "worth_a_look": len(self.doubts),
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "classes": dict(self.counts),
            "unreadable": dict(self.unreadable),
            "sizes": dict(self.sizes),
            "kinds": dict(self.kinds),
            "duplicates": [{**dataclasses.asdict(found), "leaks": found.leaks} for found in self.duplicates],
            "masks": masks,
            "forecast": dict(self.forecast),
            "environment": dict(self.environment),
            "written": [str(path) for path in self.written],
        }


def examine(
    folder: str | PathLike[str] | None,
    *,
    config: SynCGANConfig | None = None,
    groups: str | PathLike[str] | None = None,
    group_column: str | None = None,
    exclude: Sequence[str] = (),
    limit_per_class: int | None = None,
    device: str = "auto",
    masks: bool = True,
    timing: bool = True,
    out: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Examination:
    """Examine class folders, and the machine, for a fit under a configuration.

    Parameters
    ----------
    folder : class folders of images; None examines the machine alone.
    config : settings; None for preset ``default``.
    groups, group_column : table with a column ``file`` (relative to `folder`) and the column of the group.
    exclude : patterns of files to leave out, see `scan_class_folders`.
    limit_per_class : only the first so many files of each class are looked at.
    device : that `fit` would use.
    masks : segment every image.
    timing : measure a few steps of training.
    out : folder for ``masks.png``, ``duplicates.png`` and ``doctor.json``; None writes nothing.
    progress : called with (stage, done, total).

    Raises
    ------
    DataError
        No folder of class folders, or a file without a group.
    ConfigError
        `groups` without `group_column`, or the other way round.
    ContractError
        The segmenter failed.
    RunExistsError
        `out` lies in `folder`.
    ArtefactError
        `out` cannot be written.

    Examples
    --------
    >>> examine(None, timing=False).problems
    ()
    """
    if (groups is None) != (group_column is None):
        raise ConfigError("expected a table of groups together with the name of its column, got only one of them")
    config, tell = checked(config), progress or _silent
    found = Examination(())
    if folder is None:
        data = None
    else:
        if out is not None:
            require_outside(out, folder)
        data = _read(folder, groups, group_column, exclude, limit_per_class, _stage(tell, "images"))
        found = _examine_images(data, config)
        if masks and data.prints:
            diagnoses = diagnose_files(data.dataset, extractor_of(config), progress=_stage(tell, "masks"))
            found = found.plus(about_masks(diagnoses, config), diagnoses=diagnoses)
    if timing:
        tell("steps", 0, 1)
        found = _examine_steps(found, config, [] if data is None else data.prints, device)
        tell("steps", 1, 1)
    machine = [
        *about_opencv(),
        *about_versions(found.environment),
        *about_extras(config),
        *about_disk(Path.cwd() if out is None else Path(out)),
    ]
    found = found.plus(machine)
    return found if out is None else _write(found, Path(out), config, data)


@dataclass(frozen=True)
class _Data:
    """What was read of a folder; everything but `unreadable` is aligned with the readable files."""

    dataset: ImageFolderDataset
    classes: list[str]
    groups: list[str] | None
    prints: list[ImagePrint]
    unreadable: dict[str, str]


def _read(
    folder: str | PathLike[str],
    groups: str | PathLike[str] | None,
    group_column: str | None,
    exclude: Sequence[str],
    limit_per_class: int | None,
    progress: Callable[[int, int], None],
) -> _Data:
    # What `fit` refuses or warns of is a finding here, as far as there is something to examine.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset, skipped = load_class_folders(
            folder, exclude=exclude, limit_per_class=limit_per_class, min_classes=1, min_images_per_class=0
        )
    return _Data(
        dataset=dataset,
        classes=[dataset.classes[label] for label in dataset.targets],
        groups=None if groups is None or group_column is None else read_groups(groups, group_column, dataset.files),
        prints=print_files(dataset.root, dataset.files, bit_depth=dataset.bit_depth, progress=progress),
        unreadable={error.path: error.reason for error in skipped},
    )


def _examine_images(data: _Data, config: SynCGANConfig) -> Examination:
    counts = dict.fromkeys(data.dataset.classes, 0) | Counter(data.classes)
    same = find_same(data.prints)
    duplicates = tuple(Duplicates.of(found, data.dataset.files, data.classes, data.groups) for found in same)
    findings = [
        *about_folders(data.dataset.classes),
        *about_counts(counts, config),
        *about_files(data.unreadable, data.dataset.notes),
        *about_segmentations(find_segmentations(Path(data.dataset.root), data.dataset.files)),
        *about_pixels(data.prints, data.classes, data.dataset.files, config),
        *about_burnt_in(find_burnt_in(data.dataset, data.prints, data.classes)),
        *about_stain(data.prints, data.classes),
        *(about_groups(data.groups, data.classes) if data.groups else ()),
        *about_duplicates(duplicates, NEAR_COPY, len(data.prints)),
    ]
    return Examination(
        findings=tuple(findings),
        counts=counts,
        unreadable=data.unreadable,
        sizes=Counter(found.size for found in data.prints),
        kinds=Counter(found.kind for found in data.prints),
        duplicates=duplicates,
    )


def _examine_steps(found: Examination, config: SynCGANConfig, prints: Sequence[ImagePrint], device: str) -> Examination:
    """Ask another process about torch and, where `fit` would begin, what its steps cost."""
    failed: Counter[str] = Counter()
    if found.diagnoses is not None and config.extractor.exclude_failed:
        failed = Counter(row.class_name for row in found.diagnoses if row.problem is not None)
    usable = {name: count - failed[name] for name, count in found.counts.items()}
    if len(usable) < MIN_CLASSES or min(usable.values()) < MIN_IMAGES:
        environment, forecast = ask(device=device)
    elif registered := [name for kind, name in config.plugin_names() if is_registered(kind, name)]:
        environment, forecast = ask(device=device)
        text = (
            f"what `fit` needs could not be measured: {', '.join(map(repr, registered))} is known to this process alone"
        )
        found = found.plus([Finding("fine", "fit", text)])
    else:
        environment, forecast = ask(config=config, counts=usable, device=device)
    # What is kept, and as much that is under way to be segmented.
    kept_mb = min(2 * KEPT_BYTES, sum(_BYTES_A_PIXEL * seen.height * seen.width for seen in prints)) / _MEBIBYTE
    findings = about_forecast(forecast, kept_mb, memory_mb()) if forecast else []
    return found.plus(findings, environment=environment, forecast=forecast)


def _write(found: Examination, out: Path, config: SynCGANConfig, data: _Data | None) -> Examination:
    """Write pictures and table; those of an earlier examination are replaced."""
    pictures = {}
    if data is not None and found.diagnoses is not None:
        pictures["masks.png"] = draw_masks(data.dataset, extractor_of(config), found.diagnoses)
    if data is not None and found.duplicates:
        pictures["duplicates.png"] = draw_duplicates(data.dataset, found.duplicates)
    try:
        out.mkdir(exist_ok=True)
        for name in ("masks.png", "duplicates.png"):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise ArtefactError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    for name, png in pictures.items():
        write_bytes(out / name, png)
    found = replace(found, written=(*(out / name for name in pictures), out / TABLE))
    write_json(out / TABLE, found.summary())
    return found


def _stage(tell: Progress, name: str) -> Callable[[int, int], None]:
    return lambda done, total: tell(name, done, total)


def _silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""
