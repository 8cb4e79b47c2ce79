"""Measure how near synthetic images are to real ones, and what each ingredient of preset ``default`` brings.

    python benchmarks/renderer.py [--sets NAME ...] [--seeds N] [--steps N] [--only SOURCE ...] [--out DIR]
    python benchmarks/renderer.py --ablation [--sets NAME ...] [--seeds N] [--size 64] [--steps N] [--out DIR]

45 training images a class (or half of the class), the images of all other slides held out (``image_sets.py``). Printed
for each source of images, as many as there are training images, with the same number from each class:

* KID: the unbiased kernel distance to held-out real images, in features of EfficientNet-Lite0 (ImageNet) at 128 px,
  with a 95 % interval over resampled images; beside it ``real``, the distance of the training images themselves, and
  the 95th percentile of its size over 200 random pairs of disjoint real sets of that size, by group;
* probe: balanced accuracy on held-out real images of a logistic regression on those features, trained on the
  source's images alone (``alone``) and together with the real training images (``with real``).

Sources: ``real``, the training images themselves; ``default``, all of it; ``mask GANs``, its renderer fed by mask GANs
of the classes (``mask_gan.generator=decoder``); ``real masks``, its renderer fed the masks of the training images;
``plain GAN``, colour images from noise without masks (the paper's control), with the generator updates of ``default``;
``paper``, that preset at the size and with the generator updates of ``default``, masks and renderer (at full length,
``--full-paper``, it wants a GPU).

The ablation trains renderers alone and feeds them the masks of their training images: it measures the renderer, not
the masks. Every row is ``default`` with one thing changed. Rows that ``--out`` holds already are not measured again.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_sets import NAMES, ImageSet, learned, load, split
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from syncgan import MaskToImageCGAN, SynCGANAugmenter, SynCGANConfig, rng
from syncgan.evaluation.features import PretrainedFeatures
from syncgan.evaluation.metrics import kernel_distance, kernel_distance_interval, real_against_real
from syncgan.evaluation.plots import draw_strips

PER_CLASS = 45
Features = NDArray[np.float64]

ABLATION: dict[str, list[str]] = {
    "default": [],
    "batches of 16, as many images": ["image_gan.batch_size=16"],
    "without textures": ["image_gan.texture_weight=0"],
    "noise as an input channel": ["image_gan.noise=input"],
    "without the head": ["image_gan.head_width=0"],
    "reconstruction of pixels": ["image_gan.reconstruction_cell=1"],
    "reconstruction of 2 x 2 cells": ["image_gan.reconstruction_cell=2"],
    "without the stain code": ["image_gan.stain_code=false"],
    "not told the class": ["image_gan.class_conditional=false"],
    "two levels": ["levels=2", "stain_classes=0"],
    "three levels": ["stain_classes=0"],
    "undivided nuclei": ["nuclear_classes=1"],
    "not from colours": ["image_gan.from_colours=false"],
    "without the perceptual distance": ["image_gan.perceptual_weight=0"],
    "without flips and turns": ["image_gan.dihedral=false"],
    "without moving average": ["image_gan.ema_half_life_images=0"],
    "D's view augmented": ['image_gan.augmentation=["translation", "colour"]'],
    "R1": ["image_gan.r1_weight=1"],
    "hinge": ["image_gan.adversarial=hinge"],
    "mode seeking": ["image_gan.mode_seeking_weight=0.05"],
    "feature matching": ["image_gan.feature_matching_weight=10"],
    "without feature matching": ["image_gan.feature_matching_weight=0"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--data", help="folder of the sets")
    parser.add_argument("--seeds", type=int, default=1, help="splits and trainings to average over")
    parser.add_argument("--size", type=int, help="side in pixels; left out, that of the preset")
    parser.add_argument("--steps", type=int, help="updates of the renderer; left out, those of the preset")
    parser.add_argument("--set", nargs="*", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--only", nargs="+", help="sources, or rows of the ablation")
    parser.add_argument("--full-paper", action="store_true", help="do not cap the updates of preset paper")
    parser.add_argument("--out", type=Path, default=Path("renderer-benchmark"), help="figures as JSON lines, pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    measure = _ablation if options.ablation else _sources
    for name in options.sets:
        for seed in range(options.seeds):
            for row in measure(name, seed, options):
                print(_sentence(row), flush=True)
                with (options.out / "figures.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    _table(options.out / "figures.jsonl")


def _configuration(options: argparse.Namespace, *settings: str) -> SynCGANConfig:
    given = [f"image_size={options.size}"] if options.size else []
    given += [f"image_gan.steps={options.steps}"] if options.steps else []
    return SynCGANConfig().updated([*given, *options.settings, *settings])


def _sources(name: str, seed: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the figures of every source of synthetic images on one split of one set."""
    config = _configuration(options)
    train, held_out = split(load(name, config, options.data), PER_CLASS, seed)
    judge = Judge(name, seed, train, held_out, options.out)
    wanted = options.only or ["real", "default", "mask GANs", "real masks", "plain GAN", "paper"]
    if "real" in wanted:
        yield judge.row("real", train.images, 0.0)
    augmenter = None
    if {"default", "mask GANs", "real masks"} & set(wanted):
        augmenter, seconds = _timed(lambda: _fit(config, train, seed))
    if augmenter is not None and "default" in wanted:
        yield judge.row("default", _sampled(augmenter, train), seconds)
    if augmenter is not None and "mask GANs" in wanted:
        # The renderer is there already; one update of another goes with the mask GANs.
        masks_only = config.updated(["mask_gan.generator=decoder", "image_gan.steps=1"])
        other, more = _timed(lambda: _fit(masks_only, train, seed))
        ready, augmenter.mask_gans_ = augmenter.mask_gans_, other.mask_gans_
        yield judge.row("mask GANs", _sampled(augmenter, train), seconds + more)
        augmenter.mask_gans_ = ready
    if augmenter is not None and "real masks" in wanted:
        maps, _ = learned(config, train)
        images = augmenter.image_gan_.generate(maps, train.labels, seed=1)
        yield judge.row("real masks", images, seconds)
    if "plain GAN" in wanted:
        plain = _configuration(options, "image_gan.generator=plain_gan")
        (model, maps), seconds = _timed(lambda: _fit_renderer(plain, train, seed))
        yield judge.row("plain GAN", model.generate(maps, train.labels, seed=1), seconds)
    if "paper" in wanted:
        paper = _as_published(config, len(train), len(train.classes), capped=not options.full_paper)
        # The published method has its own segmenter and two levels, so the set is read again.
        again, _ = split(load(name, paper, options.data), PER_CLASS, seed)
        augmenter, seconds = _timed(lambda: _fit(paper, again, seed))
        yield judge.row("paper", _sampled(augmenter, train), seconds)


def _ablation(name: str, seed: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the figures of renderers that lack one ingredient, or have one more, on one split of one set."""
    default = _configuration(options)
    data: dict[tuple[int, int], ImageSet] = {}
    judge = None
    known = _known(options.out)
    for change in options.only or ABLATION:
        if (name, seed, change) in known:
            continue
        config = _configuration(options, *ABLATION[change])
        key = config.levels, config.stain_classes
        if key not in data:
            data[key] = load(name, config, options.data)
        train, held_out = split(data[key], PER_CLASS, seed)
        if config.image_gan.batch_size != default.image_gan.batch_size:
            # As many images in all, so as much work.
            steps = default.image_gan.total_steps(len(train)) * default.image_gan.batch_size
            config = config.updated([f"image_gan.steps={steps // config.image_gan.batch_size}"])
        judge = judge or Judge(name, seed, train, held_out, options.out)
        (model, maps), seconds = _timed(functools.partial(_fit_renderer, config, train, seed))
        told = train.labels if config.image_gan.class_conditional else None
        yield judge.row(change, model.generate(maps, told, seed=1), seconds)


def _known(out: Path) -> set[tuple[str, int, str]]:
    """Return set, split and source of the rows that are measured already."""
    figures = out / "figures.jsonl"
    rows = [json.loads(line) for line in figures.read_text(encoding="utf-8").splitlines()] if figures.exists() else []
    return {(row["set"], row["seed"], row["source"]) for row in rows}


class Judge:
    """Compares synthetic images with the held-out images of one split.

    Parameters
    ----------
    name, seed : the set and the split, for the figures.
    train, held_out : the split.
    out : folder of the pictures.
    """

    def __init__(self, name: str, seed: int, train: ImageSet, held_out: ImageSet, out: Path) -> None:
        self._name, self._seed, self._out = name, seed, out
        self._train, self._held_out = train, held_out
        self._features = PretrainedFeatures()
        self._train_features = self._of(train.images)
        self._held_out_features = self._of(held_out.images)

    def row(self, source: str, images: torch.Tensor, seconds: float) -> dict[str, Any]:
        """Return the figures of images of the training labels, one a training image."""
        features, labels = self._of(images.cpu()), self._train.labels
        own, other = self._balanced()
        low, high = kernel_distance_interval(features[own], self._held_out_features[other], seed=self._seed)
        self._draw(source, images)
        return {
            "set": self._name,
            "seed": self._seed,
            "source": source,
            "images": len(own),
            "kid": kernel_distance(features[own], self._held_out_features[other]),
            "low": low,
            "high": high,
            **self._real(own, other),
            "alone": self._probe(features, labels),
            "with_real": self._probe(
                np.concatenate([self._train_features, features]), np.concatenate([labels, labels])
            ),
            "real_alone": self._probe(self._train_features, labels),
            "seconds": round(seconds),
        }

    def _balanced(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return positions of training and held-out images, as many of each class on both sides."""
        own, other = [], []
        for label in np.unique(self._train.labels):
            mine, theirs = (np.flatnonzero(part.labels == label) for part in (self._train, self._held_out))
            count = min(len(mine), len(theirs))
            generator = rng.numpy_generator(self._seed, "benchmark balance", int(label))
            own.append(mine[:count])
            other.append(generator.permutation(theirs)[:count])
        return np.concatenate(own), np.concatenate(other)

    def _real(self, own: NDArray[np.int64], other: NDArray[np.int64]) -> dict[str, float]:
        """Return the distance of real from real images, and how far it scatters by chance."""
        every = np.concatenate([self._train_features, self._held_out_features])
        groups = np.concatenate([self._train.groups, self._held_out.groups])
        labels = np.concatenate([self._train.labels, self._held_out.labels])
        chance = real_against_real(every, size=len(own), groups=groups, labels=labels, seed=self._seed)
        return {
            "real": kernel_distance(self._train_features[own], self._held_out_features[other]),
            "real_mean": chance.mean,
            "real_95": chance.percentile_95,
        }

    def _probe(self, features: Features, labels: NDArray[np.int64]) -> float:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(features, labels)
        return float(balanced_accuracy_score(self._held_out.labels, probe.predict(self._held_out_features)))

    def _of(self, images: torch.Tensor) -> Features:
        return np.asarray(self._features(images), dtype=np.float64)

    def _draw(self, source: str, images: torch.Tensor) -> None:
        rows = []
        for label, name in enumerate(self._train.classes):
            members = np.flatnonzero(self._train.labels == label)[:8]
            for caption, pictures in ((f"{name}, real", self._train.images), (f"{name}, {source}", images.cpu())):
                rows.append((caption, list(pictures[members].permute(0, 2, 3, 1).numpy())))
        file = f"{self._name}-{source.replace(' ', '-')}-{self._seed}.png"
        (self._out / file).write_bytes(draw_strips(rows))


def _fit(config: SynCGANConfig, train: ImageSet, seed: int) -> SynCGANAugmenter:
    return SynCGANAugmenter(config, device="auto", seed=seed).fit(train.dataset, masks=list(train.maps.numpy()))


def _fit_renderer(config: SynCGANConfig, train: ImageSet, seed: int) -> tuple[MaskToImageCGAN, torch.Tensor]:
    """Return a renderer, and the maps that it learned from."""
    maps, levels = learned(config, train)
    return MaskToImageCGAN(config, seed=seed).fit(train.images, maps, train.labels, levels=levels), maps


def _sampled(augmenter: SynCGANAugmenter, train: ImageSet) -> torch.Tensor:
    """Return one sample a training image, in the order of the training labels."""
    images = torch.empty_like(train.images)
    for label in np.unique(train.labels):
        members = torch.from_numpy(np.flatnonzero(train.labels == label))
        images[members] = torch.as_tensor(augmenter.sample(int(label), len(members), seed=1).images).cpu()
    return images


def _as_published(config: SynCGANConfig, images: int, classes: int, *, capped: bool) -> SynCGANConfig:
    """Return preset ``paper`` at the size of `config`, with no more generator updates than `config` takes."""
    paper = SynCGANConfig.preset("paper").updated([f"image_size={config.image_size}"])
    if not capped:
        return paper
    gan = config.mask_gan
    masks = gan.total_steps(images // classes) + gan.warm_start_steps  # what the mask GANs of `config` would take
    return paper.updated([f"mask_gan.steps={masks}", f"image_gan.steps={config.image_gan.total_steps(images)}"])


def _timed(task: Callable[[], Any]) -> tuple[Any, float]:
    started = time.monotonic()
    return task(), time.monotonic() - started


def _sentence(row: dict[str, Any]) -> str:
    return (
        f"{row['set']}, split {row['seed']}, {row['source']}: KID {row['kid']:.4f} [{row['low']:.4f}, "
        f"{row['high']:.4f}] (real {row['real']:.4f}, 95 % of real pairs below {row['real_95']:.4f}), probe "
        f"{row['alone']:.3f} alone, {row['with_real']:.3f} with real (real {row['real_alone']:.3f}), {row['seconds']} s"
    )


def _table(figures: Path) -> None:
    """Print the means over splits, one line for each set and source."""
    rows = [json.loads(line) for line in figures.read_text(encoding="utf-8").splitlines()]
    print("\n| set | source | splits | KID | real, 95 % | probe, alone | with real | real |")
    print("|---|---|---|---|---|---|---|---|")
    for key in dict.fromkeys((row["set"], row["source"]) for row in rows):
        same = [row for row in rows if (row["set"], row["source"]) == key]
        kids = [row["kid"] for row in same]
        spread = (
            f" ± {np.std(kids, ddof=1):.3f}" if len(kids) > 1 else f" [{same[0]['low']:.3f}, {same[0]['high']:.3f}]"
        )
        means = {name: np.mean([row[name] for row in same]) for name in ("real_95", "alone", "with_real", "real_alone")}
        print(
            f"| {key[0]} | {key[1]} | {len(same)} | {np.mean(kids):.3f}{spread} | {means['real_95']:.4f} | "
            f"{means['alone']:.3f} | {means['with_real']:.3f} | {means['real_alone']:.3f} |"
        )


if __name__ == "__main__":
    main()
