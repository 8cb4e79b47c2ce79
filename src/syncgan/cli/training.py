"""The commands that train and sample: ``demo``, ``fit``, ``sample``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncgan.cli.console import command, conclude, display_for, say_what_was_read, stage_of
from syncgan.cli.options import ConfigFile, Device, Json, Preset, Quiet, Resume, Seed, Settings, configuration, part_of
from syncgan.errors import ConfigError
from syncgan.training.launch import is_main_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncgan.data.export import ExportSummary
    from syncgan.evaluation.runs import RunResult
    from syncgan.training.events import FitEvent

__all__ = ["demo", "fit", "sample"]

_DEMO_SAMPLES_PER_CLASS = 24


@command
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Run folder, made here.")] = Path("syncgan-demo"),
    config: ConfigFile = None,
    preset: Preset = None,
    settings: Settings = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Try everything on simulated smears: masks, training, samples and a report."""
    from syncgan.evaluation.progress import FitProgress
    from syncgan.evaluation.runs import check_plugins, check_run_folder, demo_data, fit_run

    tree = configuration(config, preset or "tiny", settings)
    check_run_folder(out, resume=resume)
    check_plugins(tree)
    with display_for(as_json, quiet) as display:
        source, told = demo_data(tree, seed=seed), [FitProgress(display)]
        say_what_was_read(display, source)
        result = fit_run(source, out, config=tree, device=device, seed=seed, resume=resume, callbacks=told)
        if not is_main_process():
            return
        samples = result.augmenter.export(
            out / "samples",
            _DEMO_SAMPLES_PER_CLASS,
            seed=seed,
            resume=(out / "samples").exists(),
            progress=stage_of(display, "samples"),
        )
    conclude(
        display,
        as_json,
        {**result.summary(), "samples": str(samples.folder)},
        [*_run_lines(result), f"samples: {samples.folder} (images, masks and manifest.csv)"],
    )


@command
def fit(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder with one folder of images for each class.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Run folder, made here.")],
    config: ConfigFile = None,
    preset: Preset = None,
    settings: Settings = None,
    seed: Seed = 0,
    device: Device = "auto",
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks", metavar="DIR", help="Masks instead of extraction: CLASS/NAME.png, or what `masks` wrote."
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option("--groups", metavar="FILE", help="Table (CSV) with the column 'file' relative to DATA."),
    ] = None,
    group_column: Annotated[
        str | None, typer.Option("--group-column", metavar="NAME", help="Its column with the patient or slide.")
    ] = None,
    limit_per_class: Annotated[
        int | None, typer.Option("--limit-per-class", metavar="N", min=2, help="Use only the first N files of a class.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write RUN/tensorboard for `tensorboard --logdir`.")
    ] = False,
    resume: Resume = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn masks and images of every class in DATA; leaves model, pictures and report in the run folder."""
    from syncgan.evaluation.progress import FitProgress
    from syncgan.evaluation.runs import check_plugins, check_run_folder, fit_run, load_run_data
    from syncgan.evaluation.tensorboard import TensorBoardCallback, require_tensorboard

    if tensorboard:
        require_tensorboard()
    tree = configuration(config, preset, settings)
    check_run_folder(out, resume=resume, data=data)
    check_plugins(tree)
    source = load_run_data(
        data,
        masks=masks,
        groups=groups,
        group_column=group_column,
        limit_per_class=limit_per_class,
        levels=tree.levels,
    )
    with display_for(as_json, quiet) as display:
        say_what_was_read(display, source)
        told: list[Callable[[FitEvent], None]] = [FitProgress(display)]
        if tensorboard:
            told.append(TensorBoardCallback(out / "tensorboard"))
        result = fit_run(source, out, config=tree, device=device, seed=seed, resume=resume, callbacks=told)
    conclude(display, as_json, result.summary(), _run_lines(result))


@command
def sample(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or a saved model.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Image folder, made here.")],
    per_class: Annotated[
        int | None, typer.Option("--per-class", metavar="N", min=1, help="Images of every class.")
    ] = None,
    counts: Annotated[
        list[str] | None,
        typer.Option(
            "--class", metavar="NAME=N", help="N images of one class; may be repeated, overrides --per-class."
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="I/N", help="Only the I-th of N parts, into the same folder; afterwards --merge."
        ),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Make the manifest of what the shards left in the folder.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted export in the folder.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write synthetic images with masks and a manifest, as a folder that image loaders read."""
    from syncgan.data.export import merge_export
    from syncgan.evaluation.runs import check_model, check_output_folder

    own = _counts(counts or [])
    _check_parts(per_class is not None or bool(own), shard, merge, resume)
    part = (1, 1) if shard is None else part_of(shard)
    with display_for(as_json, quiet) as display:
        if merge:
            summary = merge_export(out)
        else:
            check_output_folder(out, resume=resume or shard is not None)
            model = check_model(run)
            from syncgan.augmenter import SynCGANAugmenter

            augmenter = SynCGANAugmenter.load(model, device=device)
            wanted: dict[str | int, int] = dict.fromkeys(augmenter.classes_, per_class) if per_class else {}
            wanted.update(own)
            told = stage_of(display, "samples")
            summary = augmenter.export(out, wanted, seed=seed, resume=resume, shard=part, progress=told)
    conclude(display, as_json, _written(summary), _sample_lines(summary, shard))


def _check_parts(asked: bool, shard: str | None, merge: bool, resume: bool) -> None:
    if merge and (asked or shard is not None or resume):
        raise ConfigError("--merge: expected alone with --out, the images are written already; leave the rest out")
    if not merge and not asked:
        raise ConfigError("expected how many images to write, got nothing; give --per-class N or --class NAME=N")


def _written(summary: ExportSummary) -> dict[str, Any]:
    return {
        "out": str(summary.folder),
        "manifest": None if summary.manifest is None else str(summary.manifest),
        "classes": {name: count for name, count in summary.counts.items() if count},
        "written": summary.written,
        "skipped": summary.skipped,
        "rejections": summary.rejections.as_dict(),
    }


def _sample_lines(summary: ExportSummary, shard: str | None) -> list[str]:
    from syncgan.evaluation.progress import listed

    written = listed({name: count for name, count in summary.counts.items() if count})
    if summary.manifest is None:
        lines = [f"{summary.folder}: {written}, shard {shard}; when all shards are done: --merge"]
    else:
        lines = [f"{summary.folder}: {written}, with masks and manifest.csv"]
    if summary.rejections:
        lines += summary.rejections.lines()
    return lines + ([f"{summary.skipped} were there already"] if summary.skipped else [])


def _counts(assignments: list[str]) -> dict[str, int]:
    counts = {}
    for assignment in assignments:
        name, _, number = assignment.rpartition("=")
        if not name or not number.isdecimal():
            raise ConfigError(f"--class: expected NAME=N with a whole number, got {assignment!r}; for example HSIL=90")
        counts[name] = int(number)
    return counts


def _run_lines(result: RunResult) -> list[str]:
    from syncgan.evaluation.report import spoken_duration

    return [
        f"done in {spoken_duration(result.seconds)}",
        f"model: {result.model}",
        f"report: {result.report or 'could not be written (see above)'}",
        f"more samples: {shlex.join(['syncgan', 'sample', str(result.folder), '--per-class', '90', '--out', 'DIR'])}",
    ]
