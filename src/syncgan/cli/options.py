"""Options that several commands have, and the configuration that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncgan.errors import ConfigError, warn_user

if TYPE_CHECKING:
    from syncgan.config import SynCGANConfig

__all__ = [
    "ConfigFile",
    "Device",
    "Exclude",
    "GroupColumn",
    "Groups",
    "HeldOut",
    "Json",
    "LeaveOneOut",
    "LimitPerClass",
    "Masks",
    "NoFeatures",
    "Preset",
    "Quiet",
    "Resume",
    "Seed",
    "Settings",
    "Thumbnails",
    "configuration",
    "part_of",
]

ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings, .toml or .json.")]
Preset = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="Settings to begin with: tiny, default or paper.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. image_gan.steps=3000; may be repeated."),
]
Seed = Annotated[int, typer.Option("--seed", help="Names everything random: one seed, one result.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Last line of the output is JSON; all else goes to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors, warnings and JSON.")]
Thumbnails = Annotated[
    bool, typer.Option("--thumbnails", help="Show real images too: the output is then as confidential.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run in the output folder stopped.")]

Groups = Annotated[
    Path | None,
    typer.Option("--groups", metavar="FILE", help="Table (CSV) with the column 'file' relative to DATA."),
]
GroupColumn = Annotated[
    str | None, typer.Option("--group-column", metavar="NAME", help="Its column with the patient or slide.")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="PATTERN",
        help="Leave out files whose path below DATA matches, e.g. '*_mask.png' or '*/CROPPED/*'; may be repeated.",
    ),
]
LimitPerClass = Annotated[
    int | None, typer.Option("--limit-per-class", metavar="N", min=2, help="Use only the first N files of a class.")
]
Masks = Annotated[
    Path | None,
    typer.Option("--masks", metavar="DIR", help="Masks instead of extraction: CLASS/NAME.png, or what `masks` wrote."),
]
HeldOut = Annotated[
    Path | None,
    typer.Option("--held-out", metavar="DIR", help="Class folders of real images that the model has not seen."),
]
LeaveOneOut = Annotated[
    bool,
    typer.Option("--leave-one-out", help="Do without: compare with distances of training images to each other."),
]
NoFeatures = Annotated[
    bool, typer.Option("--no-features", help="Compare pixels only, which takes a fraction of the time.")
]


def configuration(file: Path | None, preset: str | None, settings: list[str] | None) -> SynCGANConfig:
    """Return the settings of a command: preset, then file, then single settings."""
    from syncgan.config import SynCGANConfig

    base = preset or "default"
    tree = SynCGANConfig.preset(base) if file is None else SynCGANConfig.load(file, preset=base)
    tree = tree.updated(settings or [])
    _warn_of_no_effect(tree, settings or [])
    return tree


def _warn_of_no_effect(tree: SynCGANConfig, settings: list[str]) -> None:
    """Say which settings of mask GANs change nothing, where masks come from a built-in prior without a network."""
    name = tree.mask_gan.generator
    asked = [setting.partition("=")[0].strip() for setting in settings]
    asked = [key for key in asked if key.startswith("mask_gan.") and key not in _OF_EVERY_PRIOR]
    if asked and name in _WITHOUT_NETWORK:
        warn_user(
            f"{', '.join(asked)}: no effect, for mask_gan.generator={name} trains no network; the renderer's settings "
            "begin with image_gan, and mask_gan.generator=decoder trains mask GANs"
        )


_WITHOUT_NETWORK = frozenset({"mosaic", "shapes", "warp"})
_OF_EVERY_PRIOR = frozenset(f"mask_gan.{key}" for key in ("generator", "resolution", "shared_below", "sharing"))


def part_of(shard: str) -> tuple[int, int]:
    """Return (I, N) of the option ``--shard I/N``.

    Raises
    ------
    ConfigError
        Anything else.
    """
    position, _, shards = shard.partition("/")
    if not (position.isdecimal() and shards.isdecimal() and 1 <= int(position) <= int(shards)):
        raise ConfigError(f"--shard: expected I/N with I from 1 to N, got {shard!r}; for example 1/8")
    return int(position), int(shards)
