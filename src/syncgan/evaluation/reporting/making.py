"""From a run, and whatever else is known of it, to its report: one way for `fit_run` and for ``syncgan report``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncgan.errors import ConfigError, DataError, SamplingError
from syncgan.evaluation.report import Question, Report, Section, write_report
from syncgan.evaluation.reporting.card import NOTICE, card_section, configuration_section
from syncgan.evaluation.reporting.given import data_section, masks_section
from syncgan.evaluation.reporting.judged import AUDIT, BENCHMARK, audit_section, benchmark_section
from syncgan.evaluation.reporting.kept import keep, kept_sections, write_figures
from syncgan.evaluation.reporting.made import (
    priors_section,
    real_strips,
    samples_section,
    training_section,
    variety_section,
)
from syncgan.evaluation.reporting.measured import (
    METRICS,
    Unseen,
    metrics_section,
    read_unseen,
    require_other_groups,
    unseen_of,
)
from syncgan.evaluation.reporting.subject import Subject
from syncgan.storage import sha256
from syncgan.training.run_folder import RunFolder

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.evaluation.runs import RunData

__all__ = ["ReportResult", "make_report", "report_run"]

Progress = Callable[[str, int, int], None]
Place = str | PathLike[str]

_PAGE = "report.html"
_THUMBNAILS = "syncgan report RUN --data DATA --thumbnails"
_QUESTIONS = (
    Question("Do the synthetic images help a classifier?", BENCHMARK),
    Question("Are they copies of training images?", AUDIT),
    Question("How near are they to real images?", METRICS),
    Question("Are the masks like real ones?", "priors"),
)
_MISSING: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "data": ("Images", "What the run learned from was not kept in its folder.", ("syncgan report RUN --data DATA",)),
    "masks": (
        "Masks",
        "The masks that it learned from were not kept in its folder.",
        ("syncgan report RUN --data DATA",),
    ),
    "priors": (
        "Synthetic masks against real ones",
        "Not measured yet: they have not been compared for this model.",
        ("syncgan report RUN --data DATA",),
    ),
    "variety": (
        "Variety within one mask",
        "Not measured yet for this model.",
        ("syncgan report RUN --data DATA",),
    ),
    METRICS: (
        "How near to real images",
        "Not measured yet: samples have not been compared with real images that the model has not seen.",
        ("syncgan report RUN --data DATA --held-out OTHER",),
    ),
    BENCHMARK: (
        "Does it help a classifier?",
        "Not measured yet: without a benchmark it is not known whether the samples help.",
        ("syncgan benchmark DATA --out RESULTS", "syncgan report RUN --benchmark RESULTS"),
    ),
    AUDIT: (
        "Is it a copy?",
        "Not measured yet: without an audit it is not known whether samples are copies of training images.",
        ("syncgan audit RUN --data DATA --held-out OTHER --out AUDIT", "syncgan report RUN --audit AUDIT"),
    ),
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportResult:
    """A report that was written.

    Attributes
    ----------
    path : the HTML file.
    report : what it says.
    """

    path: Path
    report: Report

    def as_dict(self) -> dict[str, Any]:
        """Return what a program that asked for the report wants to know, JSON-compatible."""
        return {
            "report": str(self.path),
            "bytes": self.path.stat().st_size,
            "sections": {section.key: section.known for section in self.report.sections},
            "verdicts": {one.section: self.report.section(one.section).verdict or None for one in _QUESTIONS},
        }


def make_report(
    run: Place,
    *,
    data: RunData | Place | None = None,
    held_out: Place | None = None,
    benchmark: Place | None = None,
    audit: Place | None = None,
    groups: Place | None = None,
    group_column: str | None = None,
    masks: Place | None = None,
    exclude: Sequence[str] = (),
    limit_per_class: int | None = None,
    out: Place | None = None,
    device: str = "auto",
    seed: int = 0,
    thumbnails: bool = False,
    progress: Progress | None = None,
) -> ReportResult:
    """Write the report of a finished run as one HTML file.

    Whatever is not given is taken from what an earlier report, that of the fit above all, kept in the run folder; a
    section of which nothing is known says how to fill it.

    Parameters
    ----------
    run : run folder; or a saved model, with `out`.
    data : what it was fitted on: class folders, or what `load_run_data` returned.
    held_out : class folders of real images that it has not seen, for the metrics. None takes the share of `data` that
        the fit held out, where it did.
    benchmark : folder of ``syncgan benchmark``; None takes ``RUN/benchmark`` if it is there.
    audit : folder of ``syncgan audit --out``, or its ``audit.json``; None takes ``RUN/audit`` if it is there.
    groups, group_column : table of patients or slides, for `data` and `held_out`.
    masks, exclude, limit_per_class : as they were given to ``fit``; `exclude` also leaves out files of `held_out`.
    out : the file; None for ``RUN/report.html``. With `out` the run folder stays as it is.
    device, seed : of the samples.
    thumbnails : whether to show real images: above samples, under the outlines of masks, and in the closest pairs of
        an audit. Those of the fit need `data`, unless an earlier report with thumbnails kept them in the run folder.
    progress : called with (stage, done, total).

    Raises
    ------
    ConfigError
        Groups without a column, what belongs to a folder of `data` without one, or a saved model without `out`.
    DataError
        `data` is not what the run was fitted on, or what else is given does not belong to it.
    ArtefactError
        The model, the benchmark or the audit is missing or damaged, or the file cannot be written. The old report
        stays as it is.
    """
    from syncgan.evaluation.runs import check_model, check_output_file, load_run_data

    if (groups is None) != (group_column is None):
        raise ConfigError("expected a table of groups together with the name of its column, got only one of them")
    given: dict[str, Any] = {"masks": masks, "limit_per_class": limit_per_class}
    if held_out is None:
        given |= {"groups": groups, "exclude": exclude or None}
    if unused := [name for name, value in given.items() if value is not None and not isinstance(data, str | PathLike)]:
        raise ConfigError(
            f"expected the folder of data together with {', '.join(unused)}, got none; give data (--data)"
        )
    folder, model = Path(run), check_model(run)
    if model == folder and out is None:
        raise ConfigError(f"{folder}: is a saved model and no run folder; say with --out FILE where the report goes")
    check_output_file(folder / _PAGE if out is None else out)
    from syncgan.augmenter import SynCGANAugmenter

    augmenter = SynCGANAugmenter.load(model, device=device)
    where = data if isinstance(data, str | PathLike) else "the data"
    if isinstance(data, str | PathLike):
        levels = augmenter.config_.levels
        data = load_run_data(
            data,
            masks=masks,
            groups=groups,
            group_column=group_column,
            exclude=exclude,
            limit_per_class=limit_per_class,
            levels=levels,
        )
    subject = _subject(augmenter, folder, data, seed=seed, where=where, thumbnails=thumbnails)
    table = None if groups is None or group_column is None else (Path(groups), group_column)
    unseen = _unseen(subject, held_out, table, exclude)
    report, strips = _report(
        subject, unseen, _place(benchmark, folder, BENCHMARK), _place(audit, folder, AUDIT), progress
    )
    if out is not None:
        report = _shown(subject, report)
        return ReportResult(write_report(Path(out), report), report)
    return _leave(subject, report, strips)


def report_run(augmenter: SynCGANAugmenter, source: RunData, folder: Path, *, thumbnails: bool = False) -> Path | None:
    """Write the report of a run that has just been fitted; return None, and log why, where that fails."""
    try:
        subject = _subject(augmenter, folder, source, thumbnails=thumbnails)
        report, strips = _report(subject, None, _place(None, folder, BENCHMARK), _place(None, folder, AUDIT), None)
        return _leave(subject, report, strips).path
    except SamplingError as error:
        _log.warning("the report of %s could not be written; the model is complete: %s", folder, error)
        return None
    except Exception:
        _log.warning("the report of %s could not be written; the model is complete", folder, exc_info=True)
        return None


def _subject(
    augmenter: SynCGANAugmenter,
    folder: Path,
    source: RunData | None,
    *,
    seed: int = 0,
    where: Place = "the data",
    thumbnails: bool = False,
) -> Subject:
    """Return what the report is about; a loaded model gets its training pairs back."""
    from syncgan.evaluation.run_pairs import fitted_pairs

    if source is not None and not hasattr(augmenter, "pairs_"):
        augmenter.pairs_ = fitted_pairs(augmenter, source, where)
    run = RunFolder(folder)
    return Subject(augmenter, folder, source, run.stats(), run.description(), seed, thumbnails)


def _unseen(
    subject: Subject, held_out: Place | None, groups: tuple[Path, str] | None, exclude: Sequence[str]
) -> Unseen | None:
    from syncgan.evaluation.run_pairs import split_pairs

    if held_out is not None:
        unseen = read_unseen(subject, held_out, groups, exclude=exclude)
        fitted = () if subject.source is None or subject.source.groups is None else map(str, subject.source.groups)
        require_other_groups(unseen, fitted)
        return unseen
    if subject.source is None:
        return None
    own = subject.source.groups
    _, held, notes = split_pairs(subject.augmenter, subject.augmenter.pairs_, own, subject.folder)
    return None if held is None else unseen_of(subject, held, own, notes)


def _report(
    subject: Subject, unseen: Unseen | None, benchmark: Path | None, audit: Path | None, progress: Progress | None
) -> tuple[Report, dict[str, bytes]]:
    """Make every section; return the report, and the pictures of real masks or images that a later one needs."""
    strips = real_strips(subject)
    made = [] if benchmark is None else [benchmark_section(subject, benchmark)]
    made += [] if audit is None else [audit_section(subject, audit)]
    if subject.has_pairs:
        from syncgan.evaluation.mask_prior_report import compare_priors

        priors = compare_priors(subject.augmenter)
        made += [data_section(subject), masks_section(subject, priors), priors_section(subject, priors)]
        made.append(variety_section(subject))
    if unseen is not None:
        made.append(_metrics(subject, unseen, progress))
    known = _kept(subject) | {section.key: section for section in made}
    known |= {section.key: section for section in (samples_section(subject, strips), training_section(subject))}
    known |= {
        section.key: section for section in (card_section(subject, known.get("data")), configuration_section(subject))
    }
    order = (
        "data",
        "masks",
        "samples",
        "priors",
        "variety",
        METRICS,
        BENCHMARK,
        AUDIT,
        "training",
        "card",
        "configuration",
    )
    sections = tuple(known.get(key) or _missing(key) for key in order)
    return Report(f"Run {subject.folder.absolute().name}", NOTICE, sections, _QUESTIONS, _THUMBNAILS), strips


def _metrics(subject: Subject, unseen: Unseen, progress: Progress | None) -> Section:
    """Return the metrics; what the fit held out by itself may be too little, which is then said in their place."""
    try:
        return metrics_section(subject, unseen, progress)
    except DataError as error:
        if not unseen.of_the_fit:
            raise
        title, _, commands = _MISSING[METRICS]
        return Section(METRICS, title, missing=f"Not measured: {error}.", commands=commands)


def _shown(subject: Subject, report: Report) -> Report:
    """Leave out real images that were kept for an earlier report, where this one is to show none."""
    return report if subject.thumbnails else report.without_real()


def _leave(subject: Subject, report: Report, strips: Mapping[str, bytes]) -> ReportResult:
    """Write everything into the run folder, the report last."""
    write_figures(subject.folder, report.sections, strips)
    keep(subject.folder, report.sections, **_identity(subject))
    shown = _shown(subject, report)
    return ReportResult(write_report(subject.folder / _PAGE, shown), shown)


def _kept(subject: Subject) -> dict[str, Section]:
    return kept_sections(subject.folder, **_identity(subject))


def _identity(subject: Subject) -> dict[str, str]:
    """Return what tells data and model from others."""
    from syncgan.evaluation.runs import check_model

    manifest = check_model(subject.folder) / "manifest.json"
    return {"data": subject.augmenter.fingerprint_, "model": sha256(manifest.read_bytes())}


def _missing(key: str) -> Section:
    title, sentence, commands = _MISSING[key]
    return Section(key, title, missing=sentence, commands=commands)


def _place(given: Place | None, folder: Path, kind: str) -> Path | None:
    """Return where a benchmark or audit lies: as given, or in the run folder if one is finished there."""
    if given is not None:
        if not Path(given).exists():
            raise DataError(f"{given}: expected the results of `syncgan {kind}`, found nothing; check the path")
        return Path(given)
    own = folder / kind
    finished = own / "audit.json" if kind == AUDIT else next((own / "splits").glob("split-*.json"), own / "none")
    return own if finished.is_file() else None
