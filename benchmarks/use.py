"""Measure what synthetic samples cost where they are used: in `wrap`, in `batch_transform`, and on disk.

    python benchmarks/use.py [--device auto] [--size 128] [--repeats 15] [--only wrap batch memory]

* wrap: microseconds that reading a real item through the wrapped dataset takes beyond the bare dataset.
* batch: milliseconds for a batch of 32 in which every item is replaced (``p=1``), beside the bare work: drawing 32
  masks and passing them through the renderer, with noise and stain at hand. Preset ``default`` with one update of
  training (time does not depend on the weights; the mask filter looks at every mask, and admits those of an untrained
  mask GAN), mask prior ``mosaic`` and the mask GAN; without a pool, and with one, whose masks are drawn beforehand
  (bare work: the renderer alone). Beside it the training step of a ResNet-18 on the batch.
* memory: resident memory that wrapping 10,000 synthetic images on disk adds to a process, and that reading all of them
  once adds; in a child process, with a renderer of few filters.

CPU times are of one thread, of the process; on a GPU times are of the clock, synchronised. Rounds are interleaved, and
the medians of their ratios are printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision import models

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig, rng
from syncgan.data.datasets import wrap_dataset
from syncgan.data.plausibility import MaskRange
from syncgan.data.tensors import one_hot, to_uint8

BATCH, ITEMS, ON_DISK = 32, 2000, 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", nargs="+", default=["wrap", "batch", "memory"], choices=["wrap", "batch", "memory"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    if "wrap" in options.only:
        print(f"wrap: {wrapping(options.repeats):.2f} microseconds a real item")
    if "batch" in options.only:
        for generator in ("mosaic", "decoder"):
            batches(generator, options.size, options.device, options.repeats)
    if "memory" in options.only:
        memory(options.size)


def wrapping(repeats: int) -> float:
    """Return the median overhead of a real item in microseconds."""
    picture = np.zeros((8, 8, 3), np.uint8)
    bare = [(picture, position % 2) for position in range(ITEMS)]

    def render(label: int, numbers: list[int]) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        return np.zeros((len(numbers), 3, 8, 8), np.uint8), np.zeros((len(numbers), 8, 8), np.uint8), {}

    wrapped = wrap_dataset(bare, classes=("a", "b"), label_values=(0, 1), render=render, strategy={"a": 1})

    def read(dataset: object) -> None:
        for position in range(ITEMS):
            dataset[position]  # type: ignore[index]

    rounds = [(seconds(lambda: read(wrapped)), seconds(lambda: read(bare))) for _ in range(repeats)]
    return 1e6 * statistics.median(ours - theirs for ours, theirs in rounds) / ITEMS


def batches(generator: str, size: int, device: str, repeats: int) -> None:
    """Print the cost of a batch against the bare work."""
    augmenter = fitted(size, device, f"mask_gan.generator={generator}")
    images = torch.zeros((BATCH, 3, size, size), dtype=torch.uint8, device=augmenter.device_)
    labels = torch.arange(BATCH) % 2
    fresh, pooled = augmenter.batch_transform(p=1.0), augmenter.batch_transform(p=1.0, pool=64)
    bare_masks, bare_images = bare(augmenter)
    step = training_step(images, labels)
    tasks: dict[str, Callable[[], object]] = {
        "mask generator": bare_masks,
        "renderer": bare_images,
        "batch_transform": lambda: fresh(images, labels),
        "batch_transform, pool": lambda: pooled(images, labels),
        "ResNet-18 step": step,
    }
    for task in tasks.values():
        task()  # pools are drawn, caches filled
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            found[name].append(seconds(task))
    print(f"\nbatches of {BATCH} at {size} px on {augmenter.device_}, mask generator {generator!r}")
    print("| task | milliseconds |\n|---|---|")
    for name, times in found.items():
        print(f"| {name} | {1e3 * statistics.median(times):.1f} |")
    rounds = [dict(zip(found, times, strict=True)) for times in zip(*found.values(), strict=True)]
    both = [row["batch_transform"] / (row["mask generator"] + row["renderer"]) for row in rounds]
    alone = [row["batch_transform, pool"] / row["renderer"] for row in rounds]
    shares = [row["batch_transform"] / row["ResNet-18 step"] for row in rounds]
    pooled_shares = [row["batch_transform, pool"] / row["ResNet-18 step"] for row in rounds]
    print(f"over mask generator and renderer: {100 * (statistics.median(both) - 1):+.0f} %")
    print(f"with a pool, over the renderer: {100 * (statistics.median(alone) - 1):+.0f} %")
    print(
        f"of a ResNet-18's training step: {100 * statistics.median(shares):.0f} %, with a pool "
        f"{100 * statistics.median(pooled_shares):.0f} %"
    )


def bare(augmenter: SynCGANAugmenter) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the work that cannot be saved: the mask generators alone, and the renderer's network alone."""
    half, size, levels = BATCH // 2, augmenter.config_.image_size, augmenter.levels_
    seeds = list(range(half))
    maps = torch.cat([model.draw(seeds) for model in augmenter.mask_gans_])
    classes = (torch.arange(BATCH) // half).to(augmenter.device_)
    image_gan = augmenter.image_gan_
    shape = (BATCH, *image_gan.generator_.noise_shape)
    noise = torch.randn(shape, generator=rng.torch_generator(0)).to(augmenter.device_)
    style = torch.zeros((BATCH, image_gan.style_dim_), device=augmenter.device_)

    def draw() -> object:
        return [model.draw(seeds) for model in augmenter.mask_gans_]

    @torch.inference_mode()
    def render() -> object:
        chunk = augmenter.config_.sampling.chunk_size
        parts = [slice(at, at + chunk) for at in range(0, BATCH, chunk)]
        return [
            to_uint8(
                torch.tanh(
                    image_gan.generator_(
                        one_hot(maps[part], levels), noise=noise[part], label=classes[part], style=style[part]
                    )
                )
            )
            for part in parts
        ]

    assert maps.shape == (BATCH, size, size)  # noqa: S101
    return draw, render


def training_step(images: torch.Tensor, labels: torch.Tensor) -> Callable[[], object]:
    """Return one training step of a ResNet-18 from scratch."""
    network = models.resnet18(weights=None, num_classes=2).to(images.device)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    x, y = images.float() / 255, labels.to(images.device)

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()

    return step


def memory(size: int) -> None:
    """Print what wrapping on disk adds to the memory of a process."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        child = context.Process(target=_wrap_on_disk, args=(size, folder, results))
        child.start()
        wrapped, read = results.get()
        child.join()
    print(
        f"\n{ON_DISK} images of {size} px on disk: wrapping adds {wrapped:.0f} MB, reading all once {read:.0f} MB more"
    )


def _wrap_on_disk(size: int, folder: str, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    torch.set_num_threads(1)
    augmenter = fitted(size, "cpu", "image_gan.width=4", "image_gan.head_width=4")
    phantom = Phantom(4, image_size=size)
    augmenter.sample(0, 64)  # whatever the renderer needs once is there before
    before = resident()
    wrapped = augmenter.wrap(phantom, {0: ON_DISK // 2, 1: ON_DISK // 2}, store=Path(folder) / "store")
    after = resident()
    for position in range(len(wrapped)):
        wrapped[position]
    results.put((after - before, resident() - after))


def fitted(size: int, device: str, *settings: str) -> SynCGANAugmenter:
    """Return a model of full size after one update; its speed does not depend on the weights."""
    few = [f"image_size={size}", "mask_gan.steps=1", "mask_gan.warm_start_steps=0", "mask_gan.sharing=class"]
    config = SynCGANConfig().updated([*few, "image_gan.steps=1", *settings])
    phantom = Phantom(12, image_size=size)
    augmenter = SynCGANAugmenter(config, device=device)
    augmenter.fit(phantom, masks=[phantom.mask(position) for position in range(len(phantom))])
    augmenter.mask_ranges_ = (MaskRange(min_share=0.0, max_share=1.0, max_count=10**6),) * 2
    return augmenter


def resident() -> float:
    """Return the resident memory of this process in MB (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def seconds(task: Callable[[], object]) -> float:
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    _wait()
    started = clock()
    task()
    _wait()
    return clock() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
