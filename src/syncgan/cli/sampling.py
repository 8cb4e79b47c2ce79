"""The command ``sample``: write synthetic images, and refuse to where too many of them are copies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncgan.cli.console import command, conclude, display_for, stage_of
from syncgan.cli.options import (
    Device,
    Exclude,
    GroupColumn,
    Groups,
    HeldOut,
    Json,
    LeaveOneOut,
    LimitPerClass,
    Masks,
    NoFeatures,
    Quiet,
    Seed,
    part_of,
)
from syncgan.errors import ConfigError

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.data.export import Check, ExportSummary
    from syncgan.evaluation.progress import Display
    from syncgan.evaluation.real_sources import Sources

__all__ = ["sample"]


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
    max_copy_rate: Annotated[
        float | None,
        typer.Option(
            "--max-copy-rate",
            metavar="SHARE",
            min=0,
            max=1,
            help="Refuse samples of which more than this share are copies of images in --data by `syncgan audit`; "
            "0: refuse as soon as it finds any. What it cannot tell from chance passes.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DATA", help="The images that the model was fitted on, for --max-copy-rate."),
    ] = None,
    held_out: HeldOut = None,
    leave_one_out: LeaveOneOut = False,
    groups: Groups = None,
    group_column: GroupColumn = None,
    masks: Masks = None,
    exclude: Exclude = None,
    limit_per_class: LimitPerClass = None,
    no_features: NoFeatures = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write synthetic images with masks and a manifest, as a folder that image loaders read."""
    from syncgan.data.export import merge_export
    from syncgan.evaluation.real_sources import Sources
    from syncgan.evaluation.runs import check_model, check_output_folder, require_outside

    own = _counts(counts or [])
    _check_parts(bool(per_class) or any(own.values()), shard, merge, resume)
    part = (1, 1) if shard is None else part_of(shard)
    sources, patterns = None, tuple(exclude or ())
    further = (held_out, leave_one_out, groups, group_column, masks, limit_per_class, patterns)
    _check_audit(max_copy_rate, data, shard, any(further) or no_features)
    if data is not None:
        sources = Sources(data, *further)
        require_outside(out, data)
    with display_for(as_json, quiet) as display:
        if merge and sources is None:
            summary = merge_export(out)
        else:
            if not merge:
                check_output_folder(out, resume=resume or shard is not None)
            model = check_model(run)
            from syncgan.augmenter import SynCGANAugmenter

            augmenter = SynCGANAugmenter.load(model, device=device)
            check = _check_of(augmenter, run, sources, max_copy_rate, no_features, seed, display)
            if merge:
                summary = merge_export(out, check=check)
            else:
                wanted: dict[str | int, int] = dict.fromkeys(augmenter.classes_, per_class) if per_class else {}
                wanted.update(own)
                told = stage_of(display, "samples")
                summary = augmenter.export(
                    out, wanted, seed=seed, resume=resume, shard=part, progress=told, check=check
                )
    conclude(display, as_json, _written(summary), _lines(summary, shard))


def _check_parts(asked: bool, shard: str | None, merge: bool, resume: bool) -> None:
    if merge and (asked or shard is not None or resume):
        raise ConfigError(
            "--merge: expected alone with --out and --max-copy-rate, the images are written already; leave the rest out"
        )
    if not merge and not asked:
        raise ConfigError("expected how many images to write, got nothing; give --per-class N or --class NAME=N")


def _check_audit(most: float | None, data: Path | None, shard: str | None, further: bool) -> None:
    if most is None and (data is not None or further):
        raise ConfigError("expected --max-copy-rate with --data and the options of an audit, got none; give it, e.g. 0")
    if most is not None and data is None:
        raise ConfigError(
            "--max-copy-rate: expected the images that the model was fitted on, got none; give --data DATA"
        )
    if most is not None and shard is not None:
        raise ConfigError(
            "--max-copy-rate: a shard cannot be judged alone; give it with --merge, where all samples are checked"
        )


def _check_of(
    augmenter: SynCGANAugmenter,
    run: Path,
    sources: Sources | None,
    most: float | None,
    pixels_only: bool,
    seed: int,
    display: Display,
) -> Check | None:
    """Read the real images before anything is rendered, and return what compares the samples with them."""
    if sources is None or most is None:
        return None
    from syncgan.evaluation.audit import copy_check
    from syncgan.evaluation.audit.sources import real_images

    real = real_images(augmenter, run, sources)
    return copy_check(
        real,
        most=most,
        pixels_only=pixels_only,
        seed=seed,
        model=augmenter.digest(),
        progress=display.update,
    )


def _written(summary: ExportSummary) -> dict[str, Any]:
    return {
        "out": str(summary.folder),
        "manifest": None if summary.manifest is None else str(summary.manifest),
        "classes": {name: count for name, count in summary.counts.items() if count},
        "written": summary.written,
        "skipped": summary.skipped,
        "rejections": summary.rejections.as_dict(),
        "check": None if summary.check is None else dict(summary.check),
    }


def _lines(summary: ExportSummary, shard: str | None) -> list[str]:
    from syncgan.evaluation.progress import listed

    written = listed({name: count for name, count in summary.counts.items() if count})
    if summary.manifest is None:
        lines = [f"{summary.folder}: {written}, shard {shard}; when all shards are done: --merge"]
    else:
        lines = [f"{summary.folder}: {written}, with masks and manifest.csv"]
    if summary.rejections:
        lines += summary.rejections.lines()
    if summary.skipped:
        lines.append(f"{summary.skipped} were there already")
    return lines if summary.check is None else [*lines, f"copies: {summary.check['verdict']}"]


def _counts(assignments: list[str]) -> dict[str, int]:
    counts = {}
    for assignment in assignments:
        name, _, number = assignment.rpartition("=")
        if not name or not number.isdecimal():
            raise ConfigError(f"--class: expected NAME=N with a whole number, got {assignment!r}; for example HSIL=90")
        counts[name] = int(number)
    return counts
