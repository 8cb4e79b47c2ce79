"""What a person sees of an audit: closest pairs, distributions, tables, and a page of HTML made of these."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from syncgan.arrays import Pixels
from syncgan.data.tensors import fit_image
from syncgan.errors import ArtefactError
from syncgan.evaluation.audit.rates import PERCENT, Interval
from syncgan.evaluation.audit.result import Audit, Nearness
from syncgan.evaluation.figures import FactTable, FigureEntry
from syncgan.evaluation.pages import content_policy, page_style, page_template
from syncgan.evaluation.plots import draw_distributions, draw_strips
from syncgan.storage import write_bytes, write_json, write_text
from syncgan.training.augmentation import dihedral

__all__ = ["TABLE", "audit_figures", "audit_fragment", "audit_tables", "write_audit"]

TABLE = "audit.json"
"""By which a folder of an earlier audit is known."""


_PAGE, _PAIRS = "audit.html", "pairs.png"
_SECTION = "Copies of training images"
_WITH_REAL = "<strong>This file shows real images</strong>: share it only with those who may see them."
_WITHOUT_REAL = (
    "This file shows no real images; the closest pairs, to look at, come with "
    "<code>syncgan audit RUN --data DATA --out DIR --thumbnails</code>"
)


def audit_figures(
    found: Audit, synthetic: Any, training: Any, held_out: Any | None, *, thumbnails: bool = False
) -> list[FigureEntry]:
    """Draw the distances and, with `thumbnails`, the closest pairs, which are real images.

    Parameters
    ----------
    synthetic, training, held_out : the images that `audit` was given.
    """
    return [
        *([_pairs(found, synthetic, training, held_out)] if thumbnails else []),
        FigureEntry(
            section=_SECTION,
            title="Distance to the nearest training image",
            explanation="Copies lift the left end of the synthetic curve above the real one, which is that of "
            f"{found.yardstick}. A curve that lies to the left as a whole tells of smooth or typical samples.",
            png=draw_distributions(
                "nearest training image",
                {
                    f"distance, {space.space}": {"real": space.held_out_distances, "synthetic": space.distances}
                    for space in found.spaces
                },
            ),
            file="distances.png",
        ),
    ]


def _pairs(found: Audit, synthetic: Any, training: Any, held_out: Any | None) -> FigureEntry:
    side = int(synthetic.shape[-1] if isinstance(synthetic, torch.Tensor) else synthetic[0].shape[0])
    return FigureEntry(
        section=_SECTION,
        title="Closest pairs",
        explanation="In each pair of rows, a sample above and the training image that it is nearest to below, "
        "turned alike, with their distance. A copy shows the same cells in the same places. The held-out images "
        "show how near different real images come.",
        png=_draw_pairs(found, synthetic, training, held_out, side),
        file=_PAIRS,
        real=True,
    )


def audit_tables(found: Audit) -> tuple[FactTable, ...]:
    """Return the figures of every space, and the control."""
    rows = tuple(_row(space, found.samples) for space in found.spaces)
    header = (
        "compared by",
        "below the threshold",
        "by chance",
        "p",
        "Mann-Whitney p",
        "ratio (held-out)",
        "nearer to training",
        "copies",
    )
    compared = "".join(f"{space.space.capitalize()}: {space.meaning}. " for space in found.spaces)
    explanation = (
        f"{compared}Below the threshold: samples nearer to a training image than {100 - PERCENT} % of the "
        f"{found.yardstick} of their class, with a 95 % interval. Ratio: median distance to the nearest training image "
        "by that to the next one. Nearer to training: share of samples nearer to a training image than to a held-out "
        "one of equally many; a half by chance. Copies: those below the threshold that are near to one training image "
        "alone and nearer than training images are to each other."
    )
    control = found.control
    honest = "flagged" if control.honest_flagged else "not flagged" if control.honest else "too few to compare"
    controls = (
        ("jittered copies of training images", str(control.copies), "flagged" if control.copies_flagged else "missed"),
        ("held-out images, by the other half of them", str(control.honest), honest),
    )
    seen = ", ".join(f"{share:.0%} by {space}" for space, share in control.seen.items())
    return (
        FactTable("How near the samples are", header, rows, explanation),
        FactTable(
            "Control: what the audit says where the answer is known",
            ("images", "number", "found"),
            controls,
            f"Copies must be flagged and held-out images must not be. Of the copies were taken for copies: {seen}.",
        ),
    )


def audit_fragment(found: Audit, figures: Sequence[FigureEntry]) -> str:
    """Return verdict, tables and figures as HTML without head and body, everything from data escaped."""
    return page_template("audit.html.j2").render(audit=found, tables=audit_tables(found), figures=figures)


def write_audit(
    found: Audit,
    folder: str | PathLike[str],
    synthetic: Any,
    training: Any,
    held_out: Any | None,
    *,
    thumbnails: bool = False,
) -> tuple[Path, ...]:
    """Write the pictures, ``audit.html`` and ``audit.json``; return their paths.

    Parameters
    ----------
    found : what `audit` returned.
    folder : where they go; made here.
    synthetic, training, held_out : the images that it was given, (n, 3, S, S) uint8 or lists of (H, W, 3) uint8;
        `held_out` is None where there were none.
    thumbnails : whether to show real images: the closest pairs.

    Raises
    ------
    ArtefactError
        The folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtefactError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from error
    figures = audit_figures(found, synthetic, training, held_out, thumbnails=thumbnails)
    for figure in figures:
        write_bytes(folder / figure.file, figure.png)
    if not thumbnails:
        (folder / _PAIRS).unlink(missing_ok=True)  # that an earlier audit left
    write_text(folder / _PAGE, _page(audit_fragment(found, figures), real=thumbnails))
    write_json(folder / TABLE, found.summary())
    return (*(folder / figure.file for figure in figures), folder / _PAGE, folder / TABLE)


def _row(space: Nearness, samples: int) -> tuple[str, ...]:
    nearer = "–" if space.nearer is None else f"{space.nearer:.0%} ({_percent(space.nearer_interval)})"
    return (
        space.space,
        f"{space.near} of {samples}, {space.rate:.1%} ({_percent(space.interval)})",
        f"{space.expected:.1%}",
        f"{space.p_value:.2g}",
        f"{space.mann_whitney:.2g}",
        f"{space.ratio:.2f} ({space.held_out_ratio:.2f})",
        nearer,
        f"{len(space.copies)}{', flagged' if space.flagged else ''}",
    )


def _percent(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.0%} to {interval.high:.0%}"


def _draw_pairs(found: Audit, synthetic: Any, training: Any, held_out: Any | None, side: int) -> bytes:
    rows: list[tuple[str, list[Pixels]]] = []
    below: list[list[str]] = []
    for space in found.spaces:
        for of_real, what, images in ((False, "samples", synthetic), (True, "held-out images", held_out)):
            pairs = [pair for pair in found.pairs if pair.space == space.space and pair.held_out == of_real]
            if not pairs:
                continue
            rows.append(
                (f"{space.space}: closest {what}, training below", [_pixels(images, p.image, side) for p in pairs])
            )
            below.append([""] * len(pairs))
            rows.append(("", [_pixels(training, pair.training, side, pair.turn) for pair in pairs]))
            below.append([f"{pair.distance:.3g}, ratio {pair.ratio:.2f}" for pair in pairs])
    return draw_strips(rows, below)


def _pixels(images: Any, at: int, side: int, turn: int = 0) -> Pixels:
    image = images[at]
    pixels = image.cpu().numpy().transpose(1, 2, 0) if isinstance(image, torch.Tensor) else np.asarray(image)
    fitted = torch.from_numpy(fit_image(np.ascontiguousarray(pixels), side, "resize")).permute(2, 0, 1)[None]
    return np.ascontiguousarray(dihedral(fitted, torch.tensor([turn]))[0].permute(1, 2, 0).numpy())


def _page(fragment: str, *, real: bool) -> str:
    style = page_style()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{content_policy(style)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<title>syncgan: audit</title>\n'
        f"<style>{style}</style>\n</head>\n<body>\n<h1>Are samples copies of training images?</h1>\n"
        f'<p class="notice">{_WITH_REAL if real else _WITHOUT_REAL}</p>\n'
        f"{fragment}</body>\n</html>\n"
    )
