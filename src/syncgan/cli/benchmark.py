"""The command ``benchmark``: say whether synthetic images help a classifier on these data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncgan.cli.console import command, conclude, display_for, say_what_was_read, table_lines
from syncgan.cli.options import (
    ConfigFile,
    Device,
    Exclude,
    GroupColumn,
    Groups,
    Json,
    LimitPerClass,
    Preset,
    Quiet,
    Seed,
    Settings,
    configuration,
    part_of,
)

if TYPE_CHECKING:
    from syncgan.evaluation.benchmark.settings import BenchmarkConfig
    from syncgan.evaluation.benchmark.summary import BenchmarkSummary

__all__ = ["benchmark"]


@command
def benchmark(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder with one folder of images for each class.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of results; gone on with if it is there.")],
    arms: Annotated[
        list[str] | None,
        typer.Option("--arms", metavar="NAMES", help="What is compared, e.g. Orig,Orig+Prop; see `syncgan plugins`."),
    ] = None,
    classifiers: Annotated[
        list[str] | None,
        typer.Option("--classifiers", metavar="NAMES", help="What is trained, e.g. probe,resnet18."),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option("--repeats", metavar="N", min=1, help="Splits: 5, or 10 with `--preset paper`; may be raised."),
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option("--per-class", metavar="N", min=2, help="Training images of a class; without it 3:1:1."),
    ] = None,
    groups: Groups = None,
    group_column: GroupColumn = None,
    exclude: Exclude = None,
    limit_per_class: LimitPerClass = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Only splits I, I+N, ..; all shards share one folder."),
    ] = None,
    training: Annotated[
        list[str] | None,
        typer.Option(
            "--train", metavar="KEY=VALUE", help="Change the classifiers' training, e.g. steps=500; may be repeated."
        ),
    ] = None,
    tune_ratio: Annotated[
        int | None,
        typer.Option(
            "--tune-ratio",
            metavar="FOLDS",
            min=0,
            help="Choose synthetic : real (0 is possible) in each split, by so many inner splits of its training part, "
            "at least 2.",
        ),
    ] = None,
    score: Annotated[
        str,
        typer.Option("--score", metavar="NAME", help="What the tables tell, e.g. auc, macro_f1 or recall:1."),
    ] = "balanced_accuracy",
    download: Annotated[bool, typer.Option("--download", help="Fetch ImageNet weights that are not on disk.")] = False,
    config: ConfigFile = None,
    preset: Preset = None,
    settings: Settings = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare classifiers trained on real images with those trained on real and synthetic ones, over many splits.

    With `--preset paper`: the arms, classifiers and settings of the paper's tables, over 10 splits.
    """
    from syncgan.evaluation.benchmark.store import BenchmarkStore
    from syncgan.evaluation.progress import FitProgress
    from syncgan.evaluation.runs import check_output_folder, load_run_data, require_outside
    from syncgan.evaluation.statistics import score_named

    tree, part = configuration(config, preset, settings), (1, 1) if shard is None else part_of(shard)
    score_named(score)
    # The paper's classifiers see the same synthetic images in every pass.
    as_published = ["lots=1"] if preset == "paper" else []
    train = _training([*as_published, *(training or [])], tune_ratio, download)
    require_outside(out, data)
    check_output_folder(out, resume=BenchmarkStore(out).may_begin)
    source = load_run_data(
        data,
        groups=groups,
        group_column=group_column,
        exclude=exclude or (),
        limit_per_class=limit_per_class,
        levels=tree.levels,
    )
    score_named(score, len(source.classes))
    from syncgan.evaluation.benchmark.runner import run_benchmark
    from syncgan.evaluation.benchmark.settings import DEFAULT_OUTLINE, PAPER_OUTLINE
    from syncgan.evaluation.benchmark.summary import summarise

    outline = PAPER_OUTLINE if preset == "paper" else DEFAULT_OUTLINE
    repeats = repeats or outline.repeats
    with display_for(as_json, quiet) as display:
        say_what_was_read(display, source)
        summary = run_benchmark(
            source,
            out,
            config=tree,
            settings=train,
            arms=_names(arms) or outline.arms,
            classifiers=_names(classifiers) or outline.classifiers,
            repeats=repeats,
            per_class=per_class,
            seed=seed,
            shard=part,
            device=device,
            callbacks=[FitProgress(display)],
            progress=display.update,
        )
    if summary is not None and score != "balanced_accuracy":
        summary = summarise(out, score=score)
    if summary is None:
        conclude(display, as_json, {"out": str(out), "splits": []}, [f"{out}: no split in this shard"])
    else:
        conclude(display, as_json, summary.as_dict(), _lines(summary, repeats))


def _names(given: list[str] | None) -> tuple[str, ...]:
    """Return names that were given one by one or with commas between."""
    return tuple(name.strip() for text in given or () for name in text.split(",") if name.strip())


def _training(assignments: list[str], tune_ratio: int | None, download: bool) -> BenchmarkConfig:
    from syncgan.evaluation.benchmark.settings import BenchmarkConfig

    more = [] if tune_ratio is None else [f"tuning_folds={tune_ratio}"]
    more += ["weights=download"] if download else []
    return BenchmarkConfig().updated([*assignments, *more])


def _lines(summary: BenchmarkSummary, repeats: int) -> list[str]:
    from syncgan.evaluation.benchmark.tables import arm_table

    lines = [*table_lines(arm_table(summary.analysis)), ""]
    if summary.beyond_traditional is not None:
        lines += [*table_lines(arm_table(summary.beyond_traditional)), ""]
    lines += summary.notes
    if len(summary.splits) < repeats:
        lines.append(f"{len(summary.splits)} of {repeats} splits are finished; the others belong to other shards")
    return [*lines, f"table: {summary.table}", f"results: {summary.folder / 'splits'}"]
