"""The command ``report``: everything that is known of a run in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncgan.cli.console import command, conclude, display_for
from syncgan.cli.options import Device, Exclude, Json, Quiet, Seed, Thumbnails

if TYPE_CHECKING:
    from syncgan.evaluation.report import Section
    from syncgan.evaluation.reporting import ReportResult

__all__ = ["report"]


@command
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder; or a saved model, with --out.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DATA", help="The images that the model was fitted on.")
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option("--held-out", metavar="DIR", help="Class folders of real images that the model has not seen."),
    ] = None,
    benchmark: Annotated[
        Path | None,
        typer.Option("--benchmark", metavar="DIR", help="What `syncgan benchmark` left; RUN/benchmark if it is there."),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option("--audit", metavar="DIR", help="What `syncgan audit --out` left; RUN/audit if it is there."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option("--groups", metavar="FILE", help="Table (CSV) with the column 'file' relative to its folder."),
    ] = None,
    group_column: Annotated[
        str | None, typer.Option("--group-column", metavar="NAME", help="Its column with the patient or slide.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option("--masks", metavar="DIR", help="Masks, where `fit` was given some.")
    ] = None,
    exclude: Exclude = None,
    limit_per_class: Annotated[
        int | None, typer.Option("--limit-per-class", metavar="N", min=2, help="As for `fit`, where it was given.")
    ] = None,
    # Not `out`: an interrupted report leaves the old file whole, so there is nothing to delete or to go on with.
    file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The HTML file; RUN/report.html without it.")
    ] = None,
    thumbnails: Thumbnails = False,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put all that is known of a run into one HTML file: data, samples, metrics, benchmark, audit and model card."""
    from syncgan.evaluation.reporting import make_report

    with display_for(as_json, quiet) as display:
        made = make_report(
            run,
            data=data,
            held_out=held_out,
            benchmark=benchmark,
            audit=audit,
            groups=groups,
            group_column=group_column,
            masks=masks,
            exclude=exclude or (),
            limit_per_class=limit_per_class,
            out=file,
            device=device,
            seed=seed,
            thumbnails=thumbnails,
            progress=display.update,
        )
    conclude(display, as_json, made.as_dict(), _lines(made))


def _lines(made: ReportResult) -> list[str]:
    sections = [made.report.section(one.section) for one in made.report.questions]
    lines = [f"{section.title.rstrip('?')}: {section.verdict or _unknown(section)}" for section in sections]
    return [*lines, f"report: {made.path} ({made.path.stat().st_size / 1e6:.1f} MB)"]


def _unknown(section: Section) -> str:
    return f"not known yet; {section.commands[0]}" if section.commands else f"not known. {section.missing}"
