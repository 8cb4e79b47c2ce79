"""The command ``syncgan``: parse, call one public function, print, exit.

Modules are imported by the command that needs them, so that ``--help`` is quick and ``masks`` runs without torch.
Whatever can be refused is refused before torch is imported and before anything is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TextIO

import typer

from syncgan.errors import ConfigError, SyncganError

if TYPE_CHECKING:
    from syncgan.config import SynCGANConfig
    from syncgan.evaluation.mask_folder import MaskFolderResult
    from syncgan.evaluation.progress import Display
    from syncgan.evaluation.runs import RunData, RunResult

__all__ = ["app", "main"]

Arguments = ParamSpec("Arguments")

app = typer.Typer(
    name="syncgan",
    help="Synthetic labelled cytology images from class-specific mask priors, for classifiers with few images.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings, .toml or .json.")]
Preset = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="Settings to begin with: tiny, default or paper.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. mask_gan.steps=2000; may be repeated."),
]
Seed = Annotated[int, typer.Option("--seed", help="Names everything random: one seed, one result.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Last line of the output is JSON; all else goes to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors, warnings and JSON.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run in the output folder stopped.")]

_DEMO_SAMPLES_PER_CLASS = 24
_INTERRUPTED = 130
_TERMINATED = 128 + signal.SIGTERM


def main() -> None:
    """Run the command line; every `SyncganError` becomes one line and exit code 2."""
    app()


def _command(function: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Give a command what all have: errors as one line, warnings and signals for people."""

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            with _for_people():
                function(*args, **kwargs)
        except SyncganError as error:
            _fail(f"error: {error}", 2)
        except KeyboardInterrupt:
            _fail(_how_to_go_on(kwargs), _INTERRUPTED)
        except SystemExit as stop:
            if stop.code != _TERMINATED:
                raise
            _fail(_how_to_go_on(kwargs), _TERMINATED)

    return run


# --- commands ------------------------------------------------------------------------------------------------------


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        from syncgan import __version__

        typer.echo(f"syncgan {__version__}")
        raise typer.Exit


@app.command()
@_command
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

    tree = _configuration(config, preset or "tiny", settings)
    check_run_folder(out, resume=resume)
    check_plugins(tree)
    with _display(as_json, quiet) as display:
        source, told = demo_data(tree, seed=seed), [FitProgress(display)]
        _say_what_was_read(display, source)
        result = fit_run(source, out, config=tree, device=device, seed=seed, resume=resume, callbacks=told)
        samples = result.augmenter.export(
            out / "samples",
            _DEMO_SAMPLES_PER_CLASS,
            seed=seed,
            resume=(out / "samples").exists(),
            progress=_stage(display, "samples"),
        )
    _conclude(
        display,
        as_json,
        {**result.summary(), "samples": str(samples.folder)},
        [*_run_lines(result), f"samples: {samples.folder} (images, masks and manifest.csv)"],
    )


@app.command()
@_command
def masks(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of class folders, or of images.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Made here.")] = Path("syncgan-masks"),
    segmenter: Annotated[
        str | None, typer.Option("--segmenter", metavar="NAME", help="How nuclei are found; `plugins` lists the names.")
    ] = None,
    levels: Annotated[
        int | None, typer.Option("--levels", metavar="L", help="2: nucleus or not; 3: also what else is stained.")
    ] = None,
    config: ConfigFile = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting extractor.KEY; may be repeated."),
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", metavar="N", help="Processes; -1 for all processors.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Also write report.html.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the nuclei in every image of DATA: masks, a table, and a sheet of outlines to look at. Needs no training."""
    from syncgan.evaluation.mask_folder import extract_folder
    from syncgan.evaluation.runs import check_output_folder
    from syncgan.extractor import MaskExtractor

    section = _configuration(config, None, _extractor_settings(settings or [])).extractor
    extractor = MaskExtractor(segmenter or section.segmenter, levels=levels, **section.parameters)
    check_output_folder(out)
    with _display(as_json, quiet) as display:
        result = extract_folder(
            data, out, extractor=extractor, n_jobs=jobs, report=report, progress=_stage(display, "masks")
        )
        _say_what_was_read(display, result)
    _conclude(display, as_json, result.summary(), _masks_lines(result))


@app.command()
@_command
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
    resume: Resume = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn masks and images of every class in DATA; leaves model, pictures and report in the run folder."""
    from syncgan.evaluation.progress import FitProgress
    from syncgan.evaluation.runs import check_plugins, check_run_folder, fit_run, load_run_data

    tree = _configuration(config, preset, settings)
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
    with _display(as_json, quiet) as display:
        _say_what_was_read(display, source)
        told = [FitProgress(display)]
        result = fit_run(source, out, config=tree, device=device, seed=seed, resume=resume, callbacks=told)
    _conclude(display, as_json, result.summary(), _run_lines(result))


@app.command()
@_command
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
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted export in the folder.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write synthetic images with masks and a manifest, as a folder that image loaders read."""
    from syncgan.evaluation.progress import listed
    from syncgan.evaluation.runs import check_model, check_output_folder

    own = _counts(counts or [])
    if per_class is None and not own:
        raise ConfigError("expected how many images to write, got nothing; give --per-class N or --class NAME=N")
    check_output_folder(out, resume=resume)
    model = check_model(run)
    with _display(as_json, quiet) as display:
        from syncgan.augmenter import SynCGANAugmenter

        augmenter = SynCGANAugmenter.load(model, device=device)
        wanted: dict[str | int, int] = dict.fromkeys(augmenter.classes_, per_class) if per_class else {}
        wanted.update(own)
        summary = augmenter.export(out, wanted, seed=seed, resume=resume, progress=_stage(display, "samples"))
    written = {name: count for name, count in summary.counts.items() if count}
    _conclude(
        display,
        as_json,
        {
            "out": str(summary.folder),
            "manifest": str(summary.manifest),
            "classes": written,
            "written": summary.written,
            "skipped": summary.skipped,
        },
        [f"{summary.folder}: {listed(written)}, with masks and manifest.csv"]
        + ([f"{summary.skipped} were there already"] if summary.skipped else []),
    )


@app.command()
@_command
def plugins(as_json: Json = False) -> None:
    """List segmenters, generators and discriminators, built in and installed, without importing them."""
    from syncgan.registry import REGISTRIES

    rows = [info for registry in REGISTRIES for info in registry.describe()]
    if as_json:
        typer.echo(json.dumps({"plugins": [dataclasses.asdict(row) for row in rows]}))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("registry", "name", "origin", "target")
    for row in rows:
        table.add_row(*(Text(cell) for cell in (row.registry, row.name, row.origin, row.target)))
    console = Console()
    # A pipe has no width: rows stay whole there.
    Console(width=None if console.is_terminal else 160).print(table)


# --- settings ------------------------------------------------------------------------------------------------------


def _configuration(file: Path | None, preset: str | None, settings: list[str] | None) -> SynCGANConfig:
    from syncgan.config import SynCGANConfig

    base = preset or "default"
    tree = SynCGANConfig.preset(base) if file is None else SynCGANConfig.load(file, preset=base)
    return tree.updated(settings or [])


def _extractor_settings(settings: list[str]) -> list[str]:
    for setting in settings:
        if not setting.strip().startswith("extractor."):
            raise ConfigError(f"--set: expected extractor.KEY=VALUE here, got {setting!r}; for levels use --levels")
    return settings


def _counts(assignments: list[str]) -> dict[str, int]:
    counts = {}
    for assignment in assignments:
        name, _, number = assignment.rpartition("=")
        if not name or not number.isdecimal():
            raise ConfigError(f"--class: expected NAME=N with a whole number, got {assignment!r}; for example HSIL=90")
        counts[name] = int(number)
    return counts


# --- what people see -----------------------------------------------------------------------------------------------


def _display(as_json: bool, quiet: bool) -> Display:
    from syncgan.evaluation.progress import PlainDisplay, SilentDisplay, TerminalDisplay

    stream: TextIO = sys.stderr if as_json else sys.stdout
    if quiet:
        return SilentDisplay()
    return TerminalDisplay(stream) if stream.isatty() else PlainDisplay(stream)


def _stage(display: Display, name: str) -> Callable[[int, int], None]:
    return lambda done, total: display.update(name, done, total)


def _say_what_was_read(display: Display, read: RunData | MaskFolderResult) -> None:
    from syncgan.evaluation.progress import reading_lines

    for line in reading_lines(read.classes, read.skipped, read.notes):
        display.say(line)


def _run_lines(result: RunResult) -> list[str]:
    from syncgan.evaluation.report import spoken_duration

    return [
        f"done in {spoken_duration(result.seconds)}",
        f"model: {result.model}",
        f"report: {result.report or 'could not be written (see above)'}",
        f"more samples: {shlex.join(['syncgan', 'sample', str(result.folder), '--per-class', '90', '--out', 'DIR'])}",
    ]


def _conclude(display: Display, as_json: bool, summary: dict[str, Any], lines: list[str]) -> None:
    """Print the result: for people, and as one line of JSON if asked for."""
    for line in lines:
        display.say(line)
    if as_json:
        typer.echo(json.dumps(summary))


def _masks_lines(result: MaskFolderResult) -> list[str]:
    from syncgan.evaluation.progress import reasons

    lines = reasons(f"masks that cannot be used for training: {len(result.problems)}", result.problems)
    nuclei = ", ".join(f"{number} {name}".rstrip() for name, number in result.nuclei.items())
    places = [f"masks: {result.folder / 'masks'}", f"table: {result.table}", f"look at: {result.overlays}"]
    return [f"nuclei in an image, on average: {nuclei}", *(lines if result.problems else []), *places]


# --- errors, warnings, signals ---------------------------------------------------------------------------------------


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(_one_line(message), err=True)
    raise typer.Exit(code)


def _one_line(text: str) -> str:
    from syncgan.evaluation.progress import printable

    return printable(" ".join(text.split()))


def _how_to_go_on(arguments: dict[str, Any]) -> str:
    """Say what an interrupted command left behind, and the command that goes on with it."""
    out = arguments.get("out")
    if out is None or not out.exists():
        return "stopped; nothing was written"
    if "resume" not in arguments:
        return f"stopped; {out} is incomplete: delete it and begin again"
    given = [part for part in sys.argv[1:] if part != "--resume"]
    return f"stopped; go on with: {shlex.join(['syncgan', *given, '--resume'])}"


@contextlib.contextmanager
def _for_people() -> Iterator[None]:
    """Show warnings and log records as one line each, and let SIGTERM unwind like Ctrl-C."""

    def terminate(number: int, frame: object) -> NoReturn:
        raise SystemExit(_TERMINATED)

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(_one_line(f"warning: {message}"), err=True)

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    previous = signal.signal(signal.SIGTERM, terminate)
    with warnings.catch_warnings():
        warnings.showwarning = show
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)
