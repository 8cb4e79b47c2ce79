"""The sections on what others have found out: a benchmark (does it help?) and an audit (is it a copy?)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncgan.errors import ArtefactError, DataError
from syncgan.evaluation.embedding import read_picture
from syncgan.evaluation.report import FactTable, FigureEntry, Section
from syncgan.evaluation.reporting.subject import Subject
from syncgan.storage import read_json

if TYPE_CHECKING:
    from syncgan.evaluation.audit import Audit
    from syncgan.evaluation.statistics import Analysis

__all__ = ["audit_section", "benchmark_section", "read_audit"]

BENCHMARK, AUDIT = "benchmark", "audit"

_PROPOSED = "Orig+Prop"
_WITH_SAMPLES = frozenset({_PROPOSED, "Orig+Trad+Prop", "Pretrain", "Pretrain+Trad", "Prop"})
_MOST_DIFFERENCES = 6
_PAIRS = "pairs.png"
_PICTURES = {
    _PAIRS: (
        "Closest pairs",
        "In each pair of rows, a sample above and the training image that it is nearest to below, turned alike; a copy "
        "shows the same cells in the same places, and the held-out images show how near different real images come.",
    ),
    "distances.png": (
        "Distance to the nearest training image",
        "Copies lift the left end of the synthetic curve above the real one.",
    ),
}


def benchmark_section(subject: Subject, folder: str | PathLike[str]) -> Section:
    """Return the tables, verdicts and plot of a benchmark, from its finished splits.

    Raises
    ------
    ArtefactError
        There is no benchmark or no finished split, or a file is damaged.
    DataError
        It is of other classes than the run.
    """
    from syncgan.evaluation.benchmark.difference_plots import draw_differences
    from syncgan.evaluation.benchmark.judging import analysis_of, beyond_traditional
    from syncgan.evaluation.benchmark.notes import notes_of
    from syncgan.evaluation.benchmark.store import BenchmarkStore
    from syncgan.evaluation.benchmark.tables import difference_table, mean_table

    store = BenchmarkStore(folder)
    description, splits = store.description(), store.splits()
    if not splits:
        raise ArtefactError(f"{folder}: expected at least one finished split, found none; run the benchmark on")
    try:
        identity, record = description["identity"], description["record"]
        _require_classes(subject, record["classes"], folder)
        named = {"arms": identity["arms"], "classifiers": identity["classifiers"]}
        three_one_one = identity["per_class"] is None
        analysis = analysis_of(splits, **named, three_one_one=three_one_one)
        beyond = beyond_traditional(splits, **named, three_one_one=three_one_one)
        setting = _benchmark_setting(analysis, identity, record, len(splits))
        same = (_same_settings(subject, identity["config"]),) if _fits_models(analysis) else ()
        notes = (*same, *notes_of(identity, splits))
    except (KeyError, TypeError) as error:
        raise ArtefactError(
            f"{folder}: lacks {error}; it was written by another syncgan, run the benchmark anew"
        ) from None
    return Section(
        BENCHMARK,
        "Does it help a classifier?",
        verdict=_helps(analysis),
        text=(setting,),
        tables=(mean_table(analysis), difference_table(analysis), *([difference_table(beyond)] if beyond else [])),
        figures=(
            FigureEntry(
                section=BENCHMARK,
                title=f"Differences to {analysis.baseline}",
                explanation="Each line is the 95 % interval of a paired difference: right of zero the arm helps (for "
                "scores of which higher is better), left of it it hurts, across it there is no evidence.",
                png=draw_differences(analysis),
                file="",
            ),
        ),
        notes=notes,
    )


def audit_section(subject: Subject, place: Path) -> Section:
    """Return the verdict, rates, control and pictures of an audit, from its folder or its ``audit.json``.

    The closest pairs, which are real images, are shown with thumbnails only.

    Raises
    ------
    ArtefactError
        There is none, or it is damaged.
    DataError
        It is of other classes, or of another model, than the run.
    """
    from syncgan.evaluation.audit.showing import TABLE, audit_tables

    file = place / TABLE if place.is_dir() else place
    found = read_audit(file)
    classes = [name for space in found.spaces for name in space.thresholds]
    if set(classes) != {"all images"}:
        _require_classes(subject, dict.fromkeys(classes), file)
    if found.model is not None and found.model != subject.augmenter.digest():
        raise DataError(f"{file}: is about another model than {subject.folder}; audit this one anew, with --out")
    unknown = "which model it looked at is not recorded; nothing but the names of the classes says that it was this one"
    shown = [name for name in _PICTURES if subject.thumbnails or name != _PAIRS]
    figures = tuple(
        FigureEntry(AUDIT, *_PICTURES[name], read_picture(file.parent / name), "", real=name == _PAIRS)
        for name in shown
        if (file.parent / name).is_file()
    )
    setting = (
        f"{found.samples} samples and {found.training} training images, compared by {found.yardstick}"
        f"{f' ({found.held_out})' if found.held_out else ''}. Share of samples that count as copies: "
        f"{found.copy_rate:.1%}."
    )
    return Section(
        AUDIT,
        "Is it a copy?",
        verdict=_sentence(f"copies found: {found.verdict}" if found.outcome == "copies" else found.verdict),
        text=(setting,),
        tables=(*audit_tables(found), _thresholds(found)),
        figures=figures,
        notes=(
            *((unknown,) if found.model is None else ()),
            *found.notes,
            "an audit never shows that samples are anonymous: a single nucleus copied into another field is not found",
        ),
    )


def read_audit(file: Path | str) -> Audit:
    """Read ``audit.json`` back; the distances, which only a plot needs, are not in it.

    Raises
    ------
    ArtefactError
        It is missing, damaged, or no audit.
    """
    import numpy as np

    from syncgan.evaluation.audit.rates import Interval
    from syncgan.evaluation.audit.result import Audit, ClosestPair, Control, Nearness

    content = read_json(file)
    try:
        spaces = []
        for entry in content["spaces"]:
            nearer = entry["nearer_interval"]
            own = {
                **entry,
                "interval": Interval(*map(float, entry["interval"])),
                "nearer_interval": None if nearer is None else Interval(*map(float, nearer)),
                "copies": tuple(entry["copies"]),
                "distances": np.zeros(0),
                "held_out_distances": np.zeros(0),
            }
            spaces.append(_built(Nearness, own))
        whole = {
            **content,
            "notes": tuple(map(str, content["notes"])),
            "spaces": tuple(spaces),
            "repeated": tuple(content["repeated"]),
            "fewest": content["fewest_copies_flagged"],
            "control": _built(Control, content["control"]),
            "pairs": tuple(_built(ClosestPair, pair) for pair in content["pairs"]),
            "originals": dict(zip(content["copies"], content["originals"], strict=True)),
        }
        found: Audit = _built(Audit, whole)
        # Whatever is of a wrong kind shows when it is told.
        _ = found.copy_rate, [f"{space.rate:.1%} {space.near:d} {space.ratio:.2f}" for space in found.spaces]
        if not (isinstance(found.verdict, str) and found.spaces):
            raise ValueError("a verdict")
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise ArtefactError(
            f"{file}: is damaged or no audit of this syncgan ({error}); run `syncgan audit` with --out again"
        ) from None
    return found


def _built(kind: Any, values: Mapping[str, Any]) -> Any:
    """Make a dataclass of the values that it has; what it lacks is a `KeyError`."""
    fields = [own for own in dataclasses.fields(kind) if own.default is dataclasses.MISSING or own.name in values]
    return kind(**{own.name: values[own.name] for own in fields})


def _thresholds(found: Audit) -> FactTable:
    names = list(found.spaces[0].thresholds)
    rows = tuple((name, *(f"{space.thresholds[name]:.3g}" for space in found.spaces)) for name in names)
    header = ("class", *(space.space for space in found.spaces))
    return FactTable("Thresholds by class", header, rows, "Samples nearer than this to a training image are looked at.")


def _helps(analysis: Analysis) -> str:
    """Say what the proposed arm does to each classifier; where it was not run, the others with SynCGAN's images."""
    if not _fits_models(analysis):
        return "Not known: no arm with images of SynCGAN was run in this benchmark."
    if analysis.baseline in _WITH_SAMPLES:
        return (
            f"Not known: the arms were compared with {analysis.baseline}, which has images of SynCGAN itself; run the "
            "benchmark with the arm Orig."
        )
    told = [one for one in analysis.comparisons if one.arm in _WITH_SAMPLES]
    told = [one for one in told if one.arm == _PROPOSED] or told
    sentences = [f"{one.arm} with {one.classifier}: {one.sentence}." for one in told[:_MOST_DIFFERENCES]]
    if len(told) > _MOST_DIFFERENCES:
        sentences.append(f"{len(told) - _MOST_DIFFERENCES} more in the table.")
    return " ".join(sentences)


def _fits_models(analysis: Analysis) -> bool:
    """Tell whether an arm was run for which a model is fitted that is like that of a run."""
    return any(cell.arm in _WITH_SAMPLES for cell in analysis.cells)


def _benchmark_setting(analysis: Analysis, identity: Mapping[str, Any], record: Mapping[str, Any], splits: int) -> str:
    size = identity["per_class"]
    how = "3 : 1 : 1" if size is None else f"{size} training images of each class"
    setting = (
        f"A benchmark of {record['items']} images of the same classes; whether of the same ones was not checked. "
        f"{splits} finished splits ({how})"
    )
    if not _fits_models(analysis):
        return f"{setting}; classifiers were tested on real images that they had not seen."
    return (
        f"{setting}; in each of them a model of its own was fitted on the training part alone, and classifiers were "
        "tested on real images that nothing had seen. So this is a verdict on the method on these images, not on the "
        "one model of this run."
    )


def _same_settings(subject: Subject, config: Mapping[str, Any]) -> str:
    from syncgan.training.run_folder import differences

    found = [line.split(":")[0] for line in differences(config, subject.augmenter.config_.identity())]
    if not found:
        return "the models of the benchmark had the settings of this run"
    more = f" and {len(found) - _MOST_DIFFERENCES} more" if len(found) > _MOST_DIFFERENCES else ""
    return f"the models of the benchmark had other settings than this run: {', '.join(found[:_MOST_DIFFERENCES])}{more}"


def _require_classes(subject: Subject, classes: Iterable[str], where: Any) -> None:
    other = [name for name in classes if name not in subject.labels]
    if other:
        raise DataError(
            f"{where}: is about the class {other[0]!r}, this run about {', '.join(map(repr, subject.labels))}; give "
            "what belongs to the run"
        )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
