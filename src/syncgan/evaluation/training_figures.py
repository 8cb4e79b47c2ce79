"""How a run was trained: curves of losses and scores, why each stage stopped, what was seen on the way, and the speed.

Everything comes from ``stats.jsonl`` and ``previews/``, so an old run can be drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from syncgan.evaluation.figures import FigureEntry
from syncgan.evaluation.plots import draw_losses, draw_scores
from syncgan.evaluation.previews import learning_strip, preview_folder

__all__ = ["speed_and_memory", "stopping_sentence", "training_figures"]

Lines = Sequence[Mapping[str, Any]]

_HEALTHY_GAME = "In a healthy game both adversarial curves level off and neither falls to zero"
_HEALTHY_RENDERER = "while the reconstruction curve falls and then flattens"
_SCORES = {
    "generator": "generator loss on held-out pairs",
    "utility": "utility score on held-out pairs",
}
_GIBIBYTE_IN_MB = 1024


def training_figures(
    stats: Lines, names: Mapping[str, str], previews: Path | None, *, thumbnails: bool = False
) -> list[FigureEntry]:
    """Draw the curves of every stage and, where there are previews, how its results changed.

    Parameters
    ----------
    stats : lines of ``stats.jsonl``; kinds of events that are not known are passed over.
    names : class -> its name as part of a file's.
    previews : folder of the run's previews.
    thumbnails : whether to show the real images in them, where there are any.
    """
    stages = {"mask_gan": ("Mask GAN of all classes", "mask-gan")}
    stages |= {f"mask_gan/{name}": (f"Mask GAN of {name}", f"mask-gan-{names[name]}") for name in names}
    stages["image_gan"] = ("Renderer, from masks to images", "image-gan")
    strips, curves = [], []
    for stage, (title, file) in stages.items():
        lines = [line for line in stats if line.get("stage") == stage]
        strip = None if previews is None else preview_folder(previews, stage, list(names))
        strips.extend(_strip(stage, title, file, strip, thumbnails))
        curves.extend(_curves(stage, title, file, lines))
    return [*strips, *curves]


def stopping_sentence(lines: Lines) -> str:
    """Say why a stage stopped and which weights were kept; empty when its lines do not tell."""
    stopped = next((line for line in reversed(lines) if line.get("event") == "stopped"), None)
    if stopped is None:
        return ""
    step, kept = stopped["step"], stopped["kept_step"]
    which = "the last weights are kept" if kept == step else f"the weights of step {kept} are kept, the best by score"
    return f"Stopped at step {step}: {stopped['reason']}; {which}."


def speed_and_memory(stats: Lines, *, on_gpu: bool) -> dict[str, str]:
    """Return rows for a table: images a second of both kinds of GAN, and the most memory that was used."""
    last = {line["stage"]: line for line in stats if "event" not in line and "images_per_second" in line}
    kinds = {"renderer": ["image_gan"], "mask GANs": [stage for stage in last if stage != "image_gan"]}
    speeds = {
        kind: median(last[stage]["images_per_second"] for stage in stages if stage in last)
        for kind, stages in kinds.items()
        if any(stage in last for stage in stages)
    }
    rows = {}
    if speeds:
        rows["speed"] = ", ".join(f"{kind}: {speed:.3g} images/s" for kind, speed in speeds.items())
    peak = max((line.get("peak_memory_mb", 0.0) for line in last.values()), default=0.0)
    if peak:
        where = "of the GPU" if on_gpu else "of the whole process"
        rows["peak memory"] = f"{peak / _GIBIBYTE_IN_MB:.1f} GiB {where}"
    return rows


def _strip(stage: str, title: str, file: str, folder: Path | None, thumbnails: bool) -> list[FigureEntry]:
    drawn = None if folder is None else learning_strip(folder, thumbnails=thumbnails)
    if drawn is None:
        return []
    picture, steps, real = drawn
    what = "maps rendered" if stage == "image_gan" else "noise turned into masks"
    sentence = (
        f"The same {what} after {', '.join(map(str, steps))} updates: rows should come to look more like real ones "
        "and stay different within a row; if all images of a row become alike, the GAN has collapsed."
    )
    return [FigureEntry("How it learned", title, sentence, picture, f"learning-{file}.png", real)]


def _curves(stage: str, title: str, file: str, lines: Lines) -> list[FigureEntry]:
    losses = [line for line in lines if "event" not in line]
    stopped = stopping_sentence(lines)
    figures = []
    if losses:
        healthy = f"{_HEALTHY_GAME}, {_HEALTHY_RENDERER}." if stage == "image_gan" else f"{_HEALTHY_GAME}."
        sentence = f"{healthy} {stopped}".strip()
        figures.append(FigureEntry("Training", title, sentence, draw_losses(title, losses), f"losses-{file}.png"))
    scores = _scores(lines)
    if scores:
        kept = next((line["kept_step"] for line in reversed(lines) if line.get("event") == "stopped"), None)
        heading = f"{title}: scores"
        sentence = f"Lower is better; once a curve rises for good, training went on for too long. {stopped}".strip()
        picture = draw_scores(heading, scores, kept)
        figures.append(FigureEntry("Training", heading, sentence, picture, f"scores-{file}.png"))
    return figures


def _scores(lines: Lines) -> dict[str, tuple[list[int], list[float]]]:
    """Return what it is -> (steps, values) of every score that was finite at least once."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in lines:
        if line.get("event") != "validated":
            continue
        for name, value in line["validation"].items():
            steps, values = found.setdefault(_SCORES.get(name, name), ([], []))
            steps.append(line["step"])
            values.append(math.nan if value is None else value)
    return {name: series for name, series in found.items() if not all(map(math.isnan, series[1]))}
