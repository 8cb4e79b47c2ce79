"""The command ``benchmark``: say whether synthetic images help a classifier on these data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncgan.cli.console import command, conclude, display_for, say_what_was_read
from syncgan.cli.options import ConfigFile, Device, Json, Preset, Quiet, Seed, Settings, configuration, part_of

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
    repeats: Annotated[int, typer.Option("--repeats", metavar="N", min=1, help="Splits; may be raised later.")] = 5,
    per_class: Annotated[
        int | None,
        typer.Option("--per-class", metavar="N", min=2, help="Training images of a class; without it 3:1:1."),
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
    download: Annotated[bool, typer.Option("--download", help="Fetch ImageNet weights that are not on disk.")] = False,
    config: ConfigFile = None,
    preset: Preset = None,
    settings: Settings = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare classifiers trained on real images with those trained on real and synthetic ones, over many splits."""
    from syncgan.evaluation.benchmark.store import BenchmarkStore
    from syncgan.evaluation.progress import FitProgress
    from syncgan.evaluation.runs import check_output_folder, load_run_data, require_outside

    tree, part = configuration(config, preset, settings), (1, 1) if shard is None else part_of(shard)
    train = _training(training, download)
    require_outside(out, data)
    check_output_folder(out, resume=BenchmarkStore(out).may_begin)
    source = load_run_data(
        data, groups=groups, group_column=group_column, limit_per_class=limit_per_class, levels=tree.levels
    )
    from syncgan.evaluation.benchmark.runner import DEFAULT_ARMS, DEFAULT_CLASSIFIERS, run_benchmark

    with display_for(as_json, quiet) as display:
        say_what_was_read(display, source)
        summary = run_benchmark(
            source,
            out,
            config=tree,
            settings=train,
            arms=_names(arms) or DEFAULT_ARMS,
            classifiers=_names(classifiers) or DEFAULT_CLASSIFIERS,
            repeats=repeats,
            per_class=per_class,
            seed=seed,
            shard=part,
            device=device,
            callbacks=[FitProgress(display)],
            progress=display.update,
        )
    if summary is None:
        conclude(display, as_json, {"out": str(out), "splits": []}, [f"{out}: no split in this shard"])
    else:
        conclude(display, as_json, summary.as_dict(), _lines(summary, repeats))


def _names(given: list[str] | None) -> tuple[str, ...]:
    """Return names that were given one by one or with commas between."""
    return tuple(name.strip() for text in given or () for name in text.split(",") if name.strip())


def _training(assignments: list[str] | None, download: bool) -> BenchmarkConfig:
    from syncgan.evaluation.benchmark.settings import BenchmarkConfig

    settings = BenchmarkConfig().updated(assignments or [])
    return settings.updated(["weights=download"]) if download else settings


def _lines(summary: BenchmarkSummary, repeats: int) -> list[str]:
    lines = [*summary.markdown.splitlines(), ""]
    lines += [f"not run: {reason}" for reason in summary.skipped]
    if len(summary.splits) < repeats:
        lines.append(f"{len(summary.splits)} of {repeats} splits are finished; the others belong to other shards")
    return [*lines, f"table: {summary.table}", f"results: {summary.folder / 'splits'}"]
