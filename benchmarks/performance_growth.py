"""How cost grows: with the side of the images, batch, number of images, classes and processes; a table and a plot.

    python benchmarks/performance_growth.py [--width 16] [--repeats 7] [--plot docs/images/growth.svg]

Beside each figure stands what theory says, drawn through the largest cost: work that grows with the pixels, with the
batch, with the images, not at all with the classes (the renderer serves all of them), and inversely with the processes.
CPU seconds of one thread, processes by the wall clock; the shortest of the repeats each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from measuring import seconds
from steps import forward, step

from syncgan import MaskExtractor, Phantom, rng
from syncgan.config import SynCGANConfig
from syncgan.networks.image_generators import unet

Curve = dict[int, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16, help="filters of the networks")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--plot", type=Path, help="write the plot to this file (svg or png)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    curves: dict[str, tuple[Curve, Callable[[int], float]]] = {
        "training step, side in pixels": (by_side(options.width, options.repeats), lambda side: side**2),
        "training step, batch": (by_batch(options.width, options.repeats), lambda batch: batch),
        "rendering, images": (by_images(options.width, options.repeats), lambda images: images),
        "rendering 4 images, classes": (by_classes(options.repeats), lambda classes: 1),
        "masks, side in pixels": (masks_by_side(options.repeats), lambda side: side**2),
        "masks of 200 images, processes": (by_processes(options.repeats), lambda processes: 1 / processes),
    }
    print("| what grows | value | milliseconds | theory |\n|---|---|---|---|")
    for name, (measured, theory) in curves.items():
        for value, expected in expectation(measured, theory).items():
            print(f"| {name} | {value} | {1e3 * measured[value]:.1f} | {1e3 * expected:.1f} |")
    if options.plot:
        draw(curves, options.plot)


def expectation(measured: Curve, theory: Callable[[int], float]) -> Curve:
    """Return the theoretical curve through the point of the largest cost."""
    anchor = max(measured, key=lambda value: measured[value])
    return {value: measured[anchor] * theory(value) / theory(anchor) for value in measured}


def best_seconds(task: Callable[[], object], repeats: int) -> float:
    """Return the shortest of the repeats: other processes on the machine only ever add time."""
    task()
    return min(seconds(task) for _ in range(repeats))


def by_side(width: int, repeats: int) -> Curve:
    return {
        side: best_seconds(step("syncgan", batch=2, size=side, width=width, precision="fp32", device="cpu"), repeats)
        for side in (32, 64, 128, 256)
    }


def by_batch(width: int, repeats: int) -> Curve:
    return {
        batch: best_seconds(step("syncgan", batch=batch, size=64, width=width, precision="fp32", device="cpu"), repeats)
        for batch in (1, 2, 4, 8, 16)
    }


def by_images(width: int, repeats: int) -> Curve:
    """Render in chunks of four, as sampling does."""
    render = forward("syncgan", batch=4, size=64, width=width, precision="fp32", device="cpu")
    return {
        images: best_seconds(lambda count=images: [render() for _ in range(0, count, 4)], repeats)  # type: ignore[misc]
        for images in (4, 16, 64)
    }


def by_classes(repeats: int) -> Curve:
    config, found = SynCGANConfig(image_size=64), {}
    maps = torch.zeros(4, config.levels, 64, 64)
    for classes in (2, 8, 32):
        network = rng.build(
            lambda count=classes: unet(config=config.image_gan, levels=config.levels, image_size=64, classes=count), 0
        ).eval()
        noise, label = torch.zeros(4, *network.noise_shape), torch.arange(4) % classes
        with torch.inference_mode():
            found[classes] = best_seconds(lambda n=network, z=noise, c=label: n(maps, noise=z, label=c), repeats)  # type: ignore[misc]
    return found


def masks_by_side(repeats: int) -> Curve:
    extractor, found = MaskExtractor("gmm"), {}
    for side in (128, 256, 512, 1024):
        image = np.asarray(Phantom(1, image_size=side).image(0))
        found[side] = best_seconds(lambda given=image: extractor(given), repeats)  # type: ignore[misc]
    return found


def by_processes(repeats: int) -> Curve:
    extractor, found = MaskExtractor("gmm"), {}
    images = [np.asarray(Phantom(1, image_size=256).image(0))] * 200
    for processes in (1, 2):
        extractor.extract(images[:8], n_jobs=processes)
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            extractor.extract(images, n_jobs=processes)
            times.append(time.perf_counter() - started)
        found[processes] = min(times)
    return found


def draw(curves: dict[str, tuple[Curve, Callable[[int], float]]], file: Path) -> None:
    """Plot every curve beside its theory, on logarithmic axes."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    for axes, (name, (measured, theory)) in zip(figure.subplots(2, 3).flat, curves.items(), strict=True):
        what, grows = name.split(", ")
        expected = expectation(measured, theory)
        axes.loglog(list(measured), [1e3 * value for value in measured.values()], "o-", label="measured")
        axes.loglog(list(expected), [1e3 * value for value in expected.values()], "--", label="theory")
        axes.set(title=what, xlabel=grows, ylabel="ms")
        axes.set_xticks(list(measured), [str(value) for value in measured], minor=False)
        axes.minorticks_off()
        low, high = axes.get_ylim()
        if high < 10 * low:  # less than a decade would make noise look like growth
            axes.set_ylim(low / 2, high * 2)
    figure.axes[0].legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
