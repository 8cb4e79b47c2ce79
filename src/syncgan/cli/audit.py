"""The command ``audit``: say whether the samples of a run, or of a folder, are copies of training images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncgan.cli.console import command, conclude, display_for
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
    Thumbnails,
)
from syncgan.errors import ConfigError

if TYPE_CHECKING:
    from syncgan.evaluation.audit import Audit

__all__ = ["audit"]


@command
def audit(
    samples: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder or saved model to sample, or a folder of samples.")
    ],
    data: Annotated[Path, typer.Option("--data", metavar="DATA", help="The images that the model was fitted on.")],
    held_out: HeldOut = None,
    leave_one_out: LeaveOneOut = False,
    groups: Groups = None,
    group_column: GroupColumn = None,
    masks: Masks = None,
    exclude: Exclude = None,
    limit_per_class: LimitPerClass = None,
    per_class: Annotated[
        int | None, typer.Option("--per-class", metavar="N", min=1, help="Samples of every class: 100 of a run.")
    ] = None,
    no_features: NoFeatures = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Also write distances.png, audit.html and audit.json; see --thumbnails."
        ),
    ] = None,
    thumbnails: Thumbnails = False,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say whether samples are copies of training images; exit code 1 where they are, or where copies cannot be seen."""
    from syncgan.evaluation.real_sources import Sources
    from syncgan.evaluation.runs import check_output_folder, require_outside

    if thumbnails and out is None:
        raise ConfigError("--thumbnails: expected with --out, where pictures go; add --out DIR")
    sources = Sources(data, held_out, leave_one_out, groups, group_column, masks, limit_per_class, tuple(exclude or ()))
    if out is not None:
        require_outside(out, data)
        check_output_folder(out, resume=(out / "audit.json").is_file())
    from syncgan.evaluation.audit.showing import write_audit
    from syncgan.evaluation.audit.sources import audit_images, folder_images, holds_model, run_images

    with display_for(as_json, quiet) as display:
        if holds_model(samples):
            given = run_images(samples, sources, per_class=per_class, device=device, seed=seed, progress=display.update)
        else:
            given = folder_images(samples, sources, per_class=per_class)
        found = audit_images(given, pixels_only=no_features, seed=seed, progress=display.update)
        written = () if out is None else write_audit(found, out, *given.images, thumbnails=thumbnails)
    summary = {**found.summary(), "written": [str(path) for path in written]}
    conclude(display, as_json, summary, [*_lines(found), *(f"written: {path}" for path in written)])
    if not found.passed:
        raise typer.Exit(1)


def _lines(found: Audit) -> list[str]:
    spaces = [
        f"{space.space}: {space.near} of {found.samples} below the threshold ({space.rate:.1%}, 95 % "
        f"{space.interval.low:.1%} to {space.interval.high:.1%}; by chance {space.expected:.1%}), "
        f"ratio {space.ratio:.2f} (real {space.held_out_ratio:.2f}), {len(space.copies)} like copies"
        for space in found.spaces
    ]
    control = found.control
    seen = ", ".join(f"{share:.0%} by {space}" for space, share in control.seen.items())
    told = (
        f"control: {control.copies} jittered copies {'flagged' if control.copies_flagged else 'missed'} ({seen}), "
        f"{control.honest} held-out images {'flagged' if control.honest_flagged else 'not flagged'}"
    )
    return [
        f"{found.samples} samples, {found.training} training images, compared by {found.yardstick}",
        *spaces,
        told,
        *(f"note: {note}" for note in found.notes),
        found.verdict,
    ]
