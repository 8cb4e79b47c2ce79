"""Find where synthetic images lose what tells the classes apart: in the renderer, or in the masks that it is given.

    python benchmarks/where_lost.py [--sets NAME ...] [--seeds N] [--per-class N] [--size 64] [--steps 1500]
                                    [--times 2] [--set KEY=VALUE ...]

One fit of preset ``default`` a split. Its renderer is fed different masks, and a probe (logistic regression on features
of EfficientNet-Lite0, `syncgan.evaluation.classifiers.Probe`) is trained on each lot of images and tested on real
images of other slides. Printed is its balanced accuracy

* alone: trained on these images only;
* beside: trained on these and the real training images, all of them in eight views of traditional augmentation.

Lots: ``real``, the training images themselves; ``other real``, as many further real images: what there is to gain;
``other masks``, renderings of the masks of these: what an ideal mask prior would give; ``training masks``, renderings
of the masks of the training images; and renderings of masks drawn by each of the priors (``--priors``), ``--times`` as
many as there are training images. Other lots have twice as many; all weigh as much as the real training images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from image_sets import NAMES, ImageSet, load, split
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from syncgan import SynCGANAugmenter, SynCGANConfig, rng
from syncgan.data.raw import read_dataset
from syncgan.evaluation.arms import traditional
from syncgan.evaluation.benchmark.feature_cache import CachedFeatures
from syncgan.evaluation.classifiers import Probe
from syncgan.evaluation.features import PretrainedFeatures
from syncgan.mask_gan import MaskGAN
from syncgan.preparing import divide_nuclei, prepare

VIEWS = 8
Lot = tuple[Tensor, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of the sets")
    parser.add_argument("--sets", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="splits")
    parser.add_argument("--per-class", type=int, default=12, help="training images a class")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--priors", nargs="+", default=["mosaic", "warp", "shapes"])
    parser.add_argument("--times", type=int, default=2, help="masks drawn by a prior for each training image")
    parser.add_argument("--set", nargs="*", default=[], dest="settings", metavar="KEY=VALUE")
    options = parser.parse_args()
    settings = [f"image_size={options.size}", f"image_gan.steps={options.steps}", *options.settings]
    config = SynCGANConfig().updated(settings)
    features = CachedFeatures(PretrainedFeatures())
    print("| set | split | lot | alone | beside |\n|---|---|---|---|---|")
    for name in options.sets:
        data = load(name, config, options.data)
        for seed in options.seeds:
            train, rest = split(data, options.per_class, seed)
            others, test = split(rest, 2 * options.per_class, seed)
            real = _lot(train.images, train.labels)
            for title, lot in lots(config, train, others, seed, options.priors, options.times):
                alone = accuracy([lot], len(train), test, features)
                beside = accuracy([_views(real, seed), _views(lot, seed)], len(train), test, features)
                print(f"| {name} | {seed} | {title} | {alone:.1f} | {beside:.1f} |", flush=True)


def lots(
    config: SynCGANConfig, train: ImageSet, others: ImageSet, seed: int, priors: list[str], times: int
) -> Iterator[tuple[str, Lot]]:
    """Yield name and images with their class indices."""
    yield "real", _lot(train.images, train.labels)
    yield "other real", _lot(others.images, others.labels)
    augmenter = SynCGANAugmenter(config, seed=seed).fit(train.dataset, masks=list(train.maps.numpy()))

    def rendered(maps: Tensor, labels: Tensor) -> Lot:
        seeds = [rng.seed_for(seed, "where lost", index) for index in range(len(maps))]
        return augmenter.image_gan_.render(maps, labels, seeds).cpu(), labels

    labels = torch.from_numpy(others.labels)
    yield "other masks", rendered(_maps(augmenter, others), labels)
    own, labels = _maps(augmenter, train), torch.from_numpy(train.labels)
    yield "training masks", rendered(own.repeat(2, 1, 1), labels.repeat(2))
    for prior in priors:
        asked = config.updated([f"mask_gan.generator={prior}"])
        yield prior, rendered(*_drawn(asked, augmenter, own, labels, seed, times))


def _drawn(
    config: SynCGANConfig, augmenter: SynCGANAugmenter, maps: Tensor, labels: Tensor, seed: int, times: int
) -> tuple[Tensor, Tensor]:
    """Return `times` as many maps of each class as it has, drawn by another prior."""
    classes = augmenter.stain_classes_
    nuclear = 1 if classes is None else classes.nuclear_levels
    if not MaskGAN(config).knows_nuclear_levels():
        maps, nuclear = maps.clamp(max=augmenter.levels_ - 1), 1
    levels = augmenter.levels_ + nuclear - 1
    gan, together = MaskGAN(config, seed=seed), MaskGAN(config).learns_all_classes(levels)
    if together:
        gan.fit(maps, labels, levels=levels, nuclear_levels=nuclear)
    drawn = []
    for label in labels.unique().tolist():
        members = maps[labels == label]
        if not together:
            gan.fit(members, levels=levels, nuclear_levels=nuclear)
        drawn.append(gan.sample(times * len(members), label if together else None, seed=1)[:, 0].cpu())
    return torch.cat(drawn), labels.sort().values.repeat_interleave(times)


def _maps(augmenter: SynCGANAugmenter, images: ImageSet) -> Tensor:
    """Return the maps of real images as the models know them."""
    raw, keep_all = read_dataset(images.dataset), augmenter.config_.updated(["extractor.exclude_failed=false"])
    known = augmenter.stain_classes_
    pairs = prepare(raw, list(images.maps.numpy()), config=keep_all, stain_classes=known).pairs
    return divide_nuclei(pairs, known).maps


def accuracy(parts: list[Lot], weight: float, test: ImageSet, features: CachedFeatures) -> float:
    """Return the balanced accuracy in percent of a probe that was trained on lots of equal weight."""
    classes = len(test.classes)
    shares = [weight / len(labels) * torch.nn.functional.one_hot(labels, classes) for _, labels in parts]
    probe = Probe(classes, features).fit(
        torch.cat([images for images, _ in parts]), torch.cat(shares), test.images[:0], torch.zeros(0)
    )
    return 100 * float(balanced_accuracy_score(test.labels, probe.predict_proba(test.images).argmax(axis=1)))


def _lot(images: Tensor, labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Lot:
    return images, torch.from_numpy(labels)


def _views(lot: Lot, seed: int) -> Lot:
    """Return images as traditional augmentation would show them."""
    change = traditional()
    with rng.seeded(torch.device("cpu"), seed, "views"):
        views = [torch.stack([change(image) for image in lot[0]]) for _ in range(VIEWS)]
    return torch.cat(views), lot[1].repeat(VIEWS)


if __name__ == "__main__":
    main()
