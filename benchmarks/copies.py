"""What `syncgan.evaluation.audit` says of samples of which the answer is known, and of those of a short fit.

Each set is split into training, held-out and further real images, no group in two of them. Audited are the further real
images, the same with a fifth of them replaced by jittered copies of training images, and samples of models with warped
masks, with parts of several masks and with mask GANs. These are narrow and fitted briefly; ``--steps 1500 --set`` (with
nothing after it) audits the models of docs/results.md.

    python benchmarks/copies.py [--sets pbc_wbc4 cric_fields] [--arms real planted warped mosaic gans] [--seeds 0]
                                [--per-class 40] [--samples 40] [--steps 200] [--set KEY=VALUE ...] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from image_sets import ImageSet, root, split

from syncgan import SynCGANAugmenter, SynCGANConfig
from syncgan.data.folders import load_class_folders, read_groups
from syncgan.data.tensors import fit_image
from syncgan.evaluation.audit import audit
from syncgan.evaluation.audit.control import jittered
from syncgan.evaluation.audit.showing import write_audit

SIDE = 64
NARROW = ["image_gan.width=16", "mask_gan.warm_start_steps=50"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["pbc_wbc4", "cric_fields"])
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--per-class", type=int, default=40, help="training and held-out images of a class")
    parser.add_argument("--samples", type=int, help="of a class; as many as training images unless given")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="splits")
    parser.add_argument("--steps", type=int, default=200, help="of each network")
    parser.add_argument("--features", action="store_true", help="compare in features too")
    parser.add_argument("--set", nargs="*", default=NARROW, dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    asked = given.samples or given.per_class
    print("set, samples | verdict | near, by space | like copies | control")
    for name, seed in product(given.sets, given.seeds):
        training, rest = split(read(name), given.per_class, seed)
        held_out, further = split(rest, given.per_class, seed + 1)
        for arm in given.arms:
            drawn = Drawn(training, further, asked, seed, given.steps, tuple(given.settings))
            synthetic, labels = ARMS[arm](drawn)
            found = audit(
                synthetic,
                training.images,
                held_out.images,
                synthetic_labels=labels.tolist(),
                training_labels=training.labels.tolist(),
                held_out_labels=held_out.labels.tolist(),
                training_groups=training.groups.tolist(),
                held_out_groups=held_out.groups.tolist(),
                pixels_only=not given.features,
            )
            near = ", ".join(
                f"{space.space} {space.rate:.0%} ({space.expected:.0%} by chance)" for space in found.spaces
            )
            control = "passed" if found.control.passed else "failed"
            about = f"{name}, split {seed} ({len(training)} training, {len(held_out)} held out), {arm}, {found.samples}"
            print(f"{about} | {found.verdict} | {near} | {len(found.copies)} | {control}", flush=True)
            if given.out is not None:
                place = given.out / f"{name}-{seed}-{arm}"
                write_audit(found, place, synthetic, training.images, held_out.images, thumbnails=True)


def read(name: str) -> ImageSet:
    """Read a set without its masks."""
    place = root() / name
    files, _ = load_class_folders(place)
    table = place / "groups.csv"
    groups = read_groups(table, "group_image_id", files.files) if table.is_file() else list(files.files)
    pixels = np.stack([fit_image(files.image(index), SIDE, "resize") for index in range(len(files))])
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    none = torch.zeros((len(files), 0), dtype=torch.uint8)
    return ImageSet(images, none, np.array(files.targets), np.array(groups), tuple(files.classes))


@dataclass(frozen=True)
class Drawn:
    """What samples are made of: images, how many of a class, the split's seed, and the settings of a fit."""

    training: ImageSet
    further: ImageSet
    samples: int
    seed: int
    steps: int
    settings: tuple[str, ...]


Samples = tuple[torch.Tensor, np.ndarray]


def real(drawn: Drawn) -> Samples:
    labels = drawn.further.labels
    chosen = [np.flatnonzero(labels == label)[: drawn.samples] for label in np.unique(labels)]
    some = drawn.further.take(np.concatenate(chosen))
    return some.images, some.labels


def planted(drawn: Drawn) -> Samples:
    images, labels = real(drawn)
    places = np.arange(0, len(images), 5)
    alike = [np.flatnonzero(drawn.training.labels == labels[at]) for at in places]
    sources = [members[at % 5] for at, members in zip(places, alike, strict=True)]
    images = images.clone()
    images[places] = jittered(drawn.training.images[sources], seed=1)
    return images, labels


def rendered(generator: str) -> Callable[[Drawn], Samples]:
    def arm(drawn: Drawn) -> Samples:
        steps = [f"mask_gan.steps={drawn.steps}", f"image_gan.steps={drawn.steps}"]
        asked = [f"image_size={SIDE}", f"mask_gan.generator={generator}", *steps, *drawn.settings]
        model = SynCGANAugmenter(SynCGANConfig().updated(asked), device="auto", seed=drawn.seed)
        model.fit(drawn.training.dataset)
        samples = [model.sample(label, drawn.samples) for label in model.label_values_]
        images = torch.cat([torch.as_tensor(some.images).cpu() for some in samples])
        return images, np.repeat(model.label_values_, drawn.samples)

    return arm


ARMS = {
    "real": real,
    "planted": planted,
    "warped": rendered("warp"),
    "mosaic": rendered("mosaic"),
    "gans": rendered("decoder"),
}


if __name__ == "__main__":
    main()
