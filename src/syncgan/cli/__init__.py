"""The command ``syncgan``: parse, call one public function, print, exit.

Modules are imported by the command that needs them, so that ``--help`` is quick and ``masks`` runs without torch.
Whatever can be refused is refused before torch is imported and before anything is written.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from syncgan.cli.audit import audit
from syncgan.cli.benchmark import benchmark
from syncgan.cli.console import command
from syncgan.cli.doctor import doctor
from syncgan.cli.masks import masks
from syncgan.cli.options import Json
from syncgan.cli.report import report
from syncgan.cli.sampling import sample
from syncgan.cli.training import demo, fit

__all__ = ["app", "main"]

app = typer.Typer(
    name="syncgan",
    help="Synthetic labelled cytology images from class-specific mask priors, for classifiers with few images.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; every `SyncganError` becomes one line and exit code 2."""
    app()


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        from syncgan import __version__

        typer.echo(f"syncgan {__version__}")
        raise typer.Exit


@command
def plugins(as_json: Json = False) -> None:
    """List segmenters, generators, filters, arms and all else, built in and installed, without importing them."""
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


for _function in (demo, doctor, masks, fit, sample, benchmark, audit, report, plugins):
    app.command()(_function)
