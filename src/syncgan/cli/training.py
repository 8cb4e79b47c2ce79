"""The commands that train: ``demo``, ``fit``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncgan.cli.console import command, conclude, display_for, say_what_was_read, stage_of
from syncgan.cli.options import (
    ConfigFile,
    Device,
    Exclude,
    GroupColumn,
    Groups,
    Json,
    LimitPerClass,
    Masks,
    Preset,
    Quiet,
    Resume,
    Seed,
    Settings,
    Thumbnails,
    configuration,
)
from syncgan.training.launch import is_main_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncgan.evaluation.runs import RunResult
    from syncgan.training.events import FitEvent

__all__ = ["demo", "fit"]

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
        result = fit_run(
            source,
            out,
            config=tree,
            device=device,
            seed=seed,
            resume=resume,
            callbacks=told,
            thumbnails=True,  # simulated ones
        )
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
    masks: Masks = None,
    groups: Groups = None,
    group_column: GroupColumn = None,
    exclude: Exclude = None,
    limit_per_class: LimitPerClass = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write RUN/tensorboard for `tensorboard --logdir`.")
    ] = False,
    thumbnails: Thumbnails = False,
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
        exclude=exclude or (),
        limit_per_class=limit_per_class,
        levels=tree.levels,
    )
    with display_for(as_json, quiet) as display:
        say_what_was_read(display, source)
        told: list[Callable[[FitEvent], None]] = [FitProgress(display)]
        if tensorboard:
            told.append(TensorBoardCallback(out / "tensorboard", thumbnails=thumbnails))
        result = fit_run(
            source,
            out,
            config=tree,
            device=device,
            seed=seed,
            resume=resume,
            callbacks=told,
            thumbnails=thumbnails,
        )
    conclude(display, as_json, result.summary(), _run_lines(result))


def _run_lines(result: RunResult) -> list[str]:
    from syncgan.evaluation.report import spoken_duration

    return [
        f"done in {spoken_duration(result.seconds)}",
        f"model: {result.model}",
        f"report: {result.report or 'could not be written (see above)'}",
        f"more samples: {shlex.join(['syncgan', 'sample', str(result.folder), '--per-class', '90', '--out', 'DIR'])}",
    ]
