"""What `syncgan.evaluation.audit` says of samples of which the answer is known, and of those of a short fit.

Each set is split into training, held-out and further real images, no group in two of them. Audited are the further real
images, the same with a fifth of them replaced by jittered copies of training images, and samples of models with warped
masks, with parts of several masks and with mask GANs.

    python benchmarks/copies.py [--sets pbc_wbc4 cric_fields] [--arms real planted warped mosaic gans] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
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
SETTINGS = ["image_gan.width=16", "mask_gan.warm_start_steps=50"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["pbc_wbc4", "cric_fields"])
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--per-class", type=int, default=40, help="training images, and samples, of a class")
    parser.add_argument("--steps", type=int, default=200, help="of each network")
    parser.add_argument("--features", action="store_true", help="compare in features too")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    print("set, samples | verdict | near, thumbnails | near, structure | like copies | control")
    for name in given.sets:
        training, rest = split(read(name), given.per_class, seed=0)
        held_out, further = split(rest, given.per_class, seed=1)
        for arm in given.arms:
            synthetic, labels = ARMS[arm](training, further, given.per_class, given.steps)
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
            near = " | ".join(f"{space.rate:.0%} ({space.expected:.0%} by chance)" for space in found.spaces)
            control = "passed" if found.control.passed else "failed"
            about = f"{name} ({len(training)} training, {len(held_out)} held out), {arm}, {found.samples}"
            print(f"{about} | {found.verdict} | {near} | {len(found.copies)} | {control}", flush=True)
            if given.out is not None:
                write_audit(
                    found, given.out / f"{name}-{arm}", synthetic, training.images, held_out.images, thumbnails=True
                )


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


def real(training: ImageSet, further: ImageSet, per_class: int, steps: int) -> tuple[torch.Tensor, np.ndarray]:
    chosen = [np.flatnonzero(further.labels == label)[:per_class] for label in np.unique(further.labels)]
    some = further.take(np.concatenate(chosen))
    return some.images, some.labels


def planted(training: ImageSet, further: ImageSet, per_class: int, steps: int) -> tuple[torch.Tensor, np.ndarray]:
    images, labels = real(training, further, per_class, steps)
    places = np.arange(0, len(images), 5)
    sources = [np.flatnonzero(training.labels == labels[at])[at % 5] for at in places]
    images = images.clone()
    images[places] = jittered(training.images[sources], seed=1)
    return images, labels


def rendered(generator: str) -> Callable[[ImageSet, ImageSet, int, int], tuple[torch.Tensor, np.ndarray]]:
    def arm(training: ImageSet, further: ImageSet, per_class: int, steps: int) -> tuple[torch.Tensor, np.ndarray]:
        many = [f"mask_gan.generator={generator}", f"mask_gan.steps={steps}", f"image_gan.steps={steps}"]
        config = SynCGANConfig.preset("default").updated([f"image_size={SIDE}", *SETTINGS, *many])
        model = SynCGANAugmenter(config, device="auto").fit(training.dataset)
        samples = [model.sample(label, per_class) for label in model.label_values_]
        images = torch.cat([torch.as_tensor(some.images).cpu() for some in samples])
        return images, np.repeat(model.label_values_, per_class)

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
