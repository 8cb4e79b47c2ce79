"""Whether the image metrics order sets of images as a person would, and how often they see a difference that is none.

Real images of a public set are compared with other real images, with copies, with worse and worse versions of the
others, with sets that repeat a few images or bear wrong labels, and with noise. Then real images are cut into two sets
by group again and again, one in the place of the synthetic images: every verdict but "like real" is a false alarm.

    python benchmarks/metrics_sanity.py [--sets NAME ...] [--per-class N ...] [--alarms N] [--data FOLDER]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from image_sets import NAMES, ImageSet, load, split
from torchvision.transforms.v2.functional import gaussian_blur

from syncgan import SynCGANConfig, rng
from syncgan.evaluation.features import Features, available_features, default_features
from syncgan.evaluation.metrics import ImageComparison, MetricRow, compare_features, compare_images
from syncgan.evaluation.metrics.resampling import balanced_halves

REPEATED = 5
MARKS = {"like real": "", "worse than real": " -", "better than real": " +", "above real": " ^", "below real": " v"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of the sets")
    parser.add_argument("--sets", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--per-class", nargs="+", type=int, default=[40, 12], help="images of a class on each side")
    parser.add_argument("--alarms", type=int, default=40, help="cuts of the real images into two sets")
    parser.add_argument("--size", type=int, default=128, help="side in pixels")
    options = parser.parse_args()
    config = SynCGANConfig().updated([f"image_size={options.size}", "stain_classes=0"])
    print("marks: - worse than real, + better than real, v below real, ^ above real, none like real")
    for name in options.sets:
        data = load(name, config, options.data)
        for per_class in options.per_class:
            print_candidates(name, data, per_class, config.levels)
        if options.alarms:
            print_false_alarms(name, data, options.alarms, default_features())


def print_candidates(name: str, data: ImageSet, per_class: int, levels: int) -> None:
    """Print a table for every space of features: one row a set of images, one column a metric."""
    real, others = split(data, per_class, seed=0)
    others = some_of_each(others, per_class)
    found: dict[str, ImageComparison] = {
        title: compare_images(
            candidate.images,
            real.images,
            labels=(candidate.labels, real.labels),
            groups=real.groups.tolist(),
            features=available_features(),
            masks=(candidate.maps, real.maps),
            levels=levels,
        )
        for title, candidate in candidates(real, others)
    }
    any_of = next(iter(found.values()))
    print(f"\n{name}: {len(real)} real images, {len(others)} others; {any_of.size} on each side of a draw")
    for space in dict.fromkeys(row.features for row in any_of.rows):
        columns = [row.metric for row in any_of.rows if row.features == space]
        print(f"\n{space}\n\n| set | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
        print(f"| real against real | {' | '.join(baseline(any_of.row(column, space)) for column in columns)} |")
        for title, comparison in found.items():
            print(f"| {title} | {' | '.join(cell(comparison.row(column, space)) for column in columns)} |")


def candidates(real: ImageSet, others: ImageSet) -> Iterator[tuple[str, ImageSet]]:
    """Yield sets in place of synthetic ones, from images as good as real ones down to noise."""
    generator = rng.torch_generator(0, "metrics sanity")
    yield "other real images", others
    yield "copies of the real images", real
    for sigma in (0.5, 1.0, 2.0):
        yield f"blurred by {sigma} px", replace(others, images=gaussian_blur(others.images, 15, sigma))
    paler = (others.images.float() * 0.8 + 51).to(torch.uint8)
    yield "paler by a fifth", replace(others, images=paler)
    grain = 25 * torch.randn(others.images.shape, generator=generator)
    yield "with grain", replace(others, images=(others.images + grain).clamp(0, 255).to(torch.uint8))
    few = some_of_each(others, REPEATED)
    place = {label: np.flatnonzero(few.labels == label) for label in np.unique(few.labels)}
    again = [int(place[label][index % len(place[label])]) for index, label in enumerate(others.labels)]
    repeated = few.take(again)
    yield f"{REPEATED} images a class, repeated", replace(repeated, groups=others.groups)
    yield "wrong labels", replace(others, labels=(others.labels + 1) % len(others.classes))
    noise = torch.randint(0, 256, others.images.shape, generator=generator, dtype=torch.uint8)
    yield "noise", replace(others, images=noise)


def print_false_alarms(name: str, data: ImageSet, cuts: int, features: Features) -> None:
    """Print how often two sets of real images, that share no group, do not pass for real."""
    points = features(data.images)
    alarms: Counter[str] = Counter()
    for cut in range(cuts):
        generator = rng.numpy_generator(cut, "metrics sanity")
        halves = balanced_halves(data.groups, data.labels, generator)
        own, real = (half[np.sort(generator.permutation(len(half))[:80])] for half in halves)
        labels = data.labels[own], data.labels[real]
        comparison = compare_features(
            points[own], points[real], name=features.name, labels=labels, groups=data.groups[real].tolist(), seed=cut
        )
        for row in comparison.rows:
            alarms[row.metric] += row.verdict != "like real"
    shares = ", ".join(f"{metric} {count}" for metric, count in alarms.items())
    print(f"\n{name}: false alarms among {cuts} cuts of real images (80 against 80), {features.name}: {shares}")


def some_of_each(data: ImageSet, count: int) -> ImageSet:
    """Return the first images of each class."""
    return data.take(np.concatenate([np.flatnonzero(data.labels == label)[:count] for label in np.unique(data.labels)]))


def baseline(row: MetricRow) -> str:
    return f"{row.real_baseline:.2f} ({row.real_interval[0]:.2f} to {row.real_interval[1]:.2f})"


def cell(row: MetricRow) -> str:
    return f"{row.value:.2f}{MARKS[row.verdict]}"


if __name__ == "__main__":
    main()
