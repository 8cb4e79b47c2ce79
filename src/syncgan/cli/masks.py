"""The command ``masks``: segment a folder, or a shard of it, and show what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncgan.cli.console import command, conclude, display_for, say_what_was_read, stage_of
from syncgan.cli.options import ConfigFile, Exclude, Json, Quiet, Thumbnails, configuration, part_of
from syncgan.errors import ConfigError, RunExistsError

if TYPE_CHECKING:
    from syncgan.evaluation.mask_folder import MaskFolderResult
    from syncgan.extractor import MaskExtractor

__all__ = ["masks"]


@command
def masks(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of class folders, or of images.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Made here.")] = Path("syncgan-masks"),
    segmenter: Annotated[
        str | None, typer.Option("--segmenter", metavar="NAME", help="How nuclei are found; `plugins` lists the names.")
    ] = None,
    levels: Annotated[
        int | None,
        typer.Option("--levels", metavar="L", help="2: nucleus or not (default); 3: also what else is stained."),
    ] = None,
    config: ConfigFile = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting, e.g. extractor.min_nucleus_area=30; may be repeated.",
        ),
    ] = None,
    exclude: Exclude = None,
    jobs: Annotated[int | None, typer.Option("--jobs", metavar="N", help="Processes; -1 for all processors.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Also write report.html.")] = False,
    thumbnails: Thumbnails = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in the output folder; finished images are not segmented again.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Only every N-th image, from the I-th; afterwards --merge."),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Make table, sheet and report of what the shards left in the folder.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the nuclei in every image of DATA: masks, a table, and a sheet of outlines to look at. Needs no training."""
    from syncgan.evaluation.mask_folder import extract_folder, extract_shard, merge_folder
    from syncgan.evaluation.mask_rows import RowStore
    from syncgan.evaluation.runs import check_output_folder, require_outside

    require_outside(out, data)
    _check_parts(shard, merge, resume, report, thumbnails, settled=(segmenter, levels, config, settings or None))
    _check_numbers(levels, jobs)
    wanted = None if shard is None else part_of(shard)
    if merge:
        with display_for(as_json, quiet) as display:
            result = merge_folder(data, out, exclude=exclude or (), report=report, thumbnails=thumbnails)
            say_what_was_read(display, result)
            conclude(display, as_json, result.summary(), _lines(result))
        return
    extractor = _extractor(segmenter, levels, config, settings)
    store, joins = RowStore(out), resume or wanted is not None
    if store.begun and not joins:
        raise RunExistsError(
            f"{out}: expected a new or empty folder, it holds masks; go on with them by --resume, or choose another"
        )
    check_output_folder(out, resume=joins or store.is_free)
    with display_for(as_json, quiet) as display:
        progress = stage_of(display, "masks")
        if wanted is not None:
            part = extract_shard(
                data, out, extractor=extractor, exclude=exclude or (), shard=wanted, n_jobs=jobs, progress=progress
            )
            line = f"{out}: {part.masks} masks of shard {shard}; when all shards are done: --merge"
            conclude(display, as_json, part.summary(), [line])
            return
        result = extract_folder(
            data,
            out,
            extractor=extractor,
            exclude=exclude or (),
            n_jobs=jobs,
            report=report,
            thumbnails=thumbnails,
            progress=progress,
        )
        say_what_was_read(display, result)
    conclude(display, as_json, result.summary(), _lines(result))


def _check_parts(
    shard: str | None, merge: bool, resume: bool, report: bool, thumbnails: bool, *, settled: tuple[Any, ...]
) -> None:
    if thumbnails and not report:
        raise ConfigError("--thumbnails: expected with --report, which shows them; overlays.png is written anyway")
    if merge and (shard is not None or resume):
        raise ConfigError("--merge: expected alone, it segments nothing; run --shard or --resume first")
    if merge and any(value is not None for value in settled):
        raise ConfigError("--merge: expected no settings, the masks are made already; leave them out")
    if shard is not None and report:
        raise ConfigError("--report: expected with --merge, a shard alone has none")


def _check_numbers(levels: int | None, jobs: int | None) -> None:
    if levels is not None and levels < 2:
        raise ConfigError(f"--levels: expected 2 or 3, got {levels}; 3 also marks what is stained but no nucleus")
    if jobs is not None and jobs != -1 and jobs < 1:
        raise ConfigError(f"--jobs: expected a number of processes from 1 on, or -1 for all processors, got {jobs}")


def _extractor(
    segmenter: str | None, levels: int | None, config: Path | None, settings: list[str] | None
) -> MaskExtractor:
    from syncgan.extractor import MaskExtractor

    for setting in settings or []:
        if not setting.strip().startswith("extractor."):
            raise ConfigError(f"--set: expected extractor.KEY=VALUE here, got {setting!r}; for levels use --levels")
    tree = configuration(config, None, settings)
    if segmenter is not None:
        tree = tree.merged({"extractor": {"segmenter": segmenter}})
    extractor = MaskExtractor.from_config(tree.extractor, levels=levels)
    if config is None or levels is not None or extractor.declares_levels:
        return extractor
    return MaskExtractor.from_config(tree.extractor, levels=tree.levels)


def _lines(result: MaskFolderResult) -> list[str]:
    from syncgan.evaluation.progress import reasons

    lines = [f"nuclei in an image, on average: {', '.join(_mean(*pair) for pair in result.nuclei.items())}"]
    if result.problems:
        lines += reasons(f"masks that cannot be used for training: {len(result.problems)}", result.problems)
    if result.doubts:
        lines += reasons(f"masks worth a look: {len(result.doubts)}", result.doubts)
    lines += [f"masks: {result.folder / 'masks'}", f"table: {result.table}", f"look at: {result.overlays}"]
    return lines if result.report is None else [*lines, f"report: {result.report}"]


def _mean(class_name: str, number: float) -> str:
    return f"{number} {class_name}".rstrip()
