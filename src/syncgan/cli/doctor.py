"""The command ``doctor``: examine a folder and the machine, and say what is a problem."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncgan.cli.console import command, conclude, display_for
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
    Settings,
    configuration,
)
from syncgan.errors import ConfigError

if TYPE_CHECKING:
    from syncgan.evaluation.doctor import Examination
    from syncgan.evaluation.doctor.finding import Finding

__all__ = ["doctor"]

_SHOWN = 8
_STYLES = {"problem": "bold red", "worth a look": "yellow", "fine": "green"}


@command
def doctor(
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Folder of class folders; without it, the machine alone.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Also write doctor.json there, and pictures of DATA: masks.png, duplicates.png.",
        ),
    ] = None,
    config: ConfigFile = None,
    preset: Preset = None,
    settings: Settings = None,
    device: Device = "auto",
    groups: Groups = None,
    group_column: GroupColumn = None,
    exclude: Exclude = None,
    limit_per_class: LimitPerClass = None,
    no_masks: Annotated[bool, typer.Option("--no-masks", help="Leave out the nucleus masks.")] = False,
    no_timing: Annotated[
        bool, typer.Option("--no-timing", help="Leave out torch, and the time and memory of `fit`.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what is wrong with DATA and this machine before training; exit code 1 where something is a problem."""
    _require_opencv()
    from syncgan.evaluation.doctor import TABLE, examine
    from syncgan.evaluation.runs import check_output_folder, check_plugins, require_outside

    tree = configuration(config, preset, settings)
    check_plugins(tree)
    if data is None and (groups is not None or exclude or limit_per_class is not None):
        raise ConfigError("expected DATA with --groups, --exclude and --limit-per-class, got none; give the folder")
    if out is not None:
        if data is not None:
            require_outside(out, data)
        check_output_folder(out, resume=(out / TABLE).is_file())
    with display_for(as_json, quiet) as display:
        found = examine(
            data,
            config=tree,
            groups=groups,
            group_column=group_column,
            exclude=exclude or (),
            limit_per_class=limit_per_class,
            device=device,
            masks=not no_masks,
            timing=not no_timing,
            out=out,
            progress=display.update,
        )
    if not quiet:
        _print(found.findings, as_json)
    conclude(display, as_json, found.summary(), _last_lines(found))
    if found.problems:
        raise typer.Exit(1)


def _require_opencv() -> None:
    """Stop with what is known of OpenCV where it cannot be imported: nothing else would run."""
    from syncgan.evaluation.doctor.environment import about_opencv

    broken = [finding for finding in about_opencv() if finding.level == "problem"]
    for finding in broken:
        typer.echo(f"problem: {ascii(finding.text)[1:-1]}; {finding.remedy}", err=True)
    if broken:
        raise typer.Exit(1)


def _print(findings: Sequence[Finding], as_json: bool) -> None:
    """Print findings by level, the worst first; in colour on a terminal, as plain lines elsewhere."""
    from rich.console import Console
    from rich.text import Text

    from syncgan.evaluation.progress import printable

    console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False, emoji=False)
    for level, style in _STYLES.items():
        for finding in findings:
            if finding.level == level:
                line = Text.assemble((f"{level}: ", style), printable(f"{finding.topic}: {finding.text}"))
                console.print(line, soft_wrap=True)
                for text in _below(finding):
                    console.print(Text(f"  {printable(text)}"), soft_wrap=True)


def _below(finding: Finding) -> list[str]:
    lines = list(finding.details[:_SHOWN])
    if len(finding.details) > _SHOWN:
        lines.append(f"and {len(finding.details) - _SHOWN} more")
    return [*lines, f"-> {finding.remedy}"] if finding.remedy else lines


def _last_lines(found: Examination) -> list[str]:
    problems, doubts = len(found.problems), len(found.doubts)
    verdict = "nothing is a problem" if not problems else f"{problems} problem{'s' if problems > 1 else ''}"
    lines = [f"{verdict}, {doubts} thing{'s' if doubts != 1 else ''} worth a look"]
    return lines + [f"written: {path}" for path in found.written]
