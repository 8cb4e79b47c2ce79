"""Try an installed syncgan from end to end: ``python tests/smoke.py``, where only the wheel is installed.

Takes a minute or two of processor time and needs nothing but what the wheel brings. Tells by its exit code whether
masks, training, saving, sampling, wrapping and every command work with the versions that are installed; what they give
is judged by the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

FEW = ("mask_gan.warm_start_steps=1", "mask_gan.steps=2", "image_gan.steps=2", "filters.mask_plausibility=false")


def main() -> None:
    names = (
        "syncgan",
        "torch",
        "torchvision",
        "numpy",
        "scipy",
        "scikit-image",
        "scikit-learn",
        "opencv-python-headless",
    )
    print(f"python {sys.version.split()[0]},", ", ".join(f"{name} {metadata.version(name)}" for name in names))
    # What the oldest versions say of themselves is not ours; what syncgan's own lines cause is.
    warnings.filterwarnings("error", module="syncgan")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        masks()
        python()
        commands()
    print("all good")


def masks() -> None:
    """Find nuclei by every segmenter, in processes, and check one against its contract."""
    from syncgan import SEGMENTERS, MaskExtractor, Phantom
    from syncgan.testing import check_segmenter

    phantom = Phantom(2, image_size=64)
    for name in SEGMENTERS.names():
        found = MaskExtractor(name).extract(phantom)
        assert all(mask.shape == (64, 64) and mask.any() for mask in found), name
    assert len(MaskExtractor("otsu", levels=3).extract(phantom, n_jobs=2)) == len(phantom)
    check_segmenter("gmm")
    print("segmenters:", *SEGMENTERS.names())


def python() -> None:
    """Fit, save, load, sample, wrap, mix and export."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.transforms import v2

    from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig

    to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    dataset = Phantom(6, image_size=32, transform=to_float)
    for generator in ("mosaic", "decoder"):
        config = SynCGANConfig.preset("tiny").updated([*FEW, f"mask_gan.generator={generator}"])
        augmenter = SynCGANAugmenter(config, device="cpu", seed=0).fit(dataset, run_dir=f"run-{generator}")
        augmenter.save("model")
        again = SynCGANAugmenter.load("model", device="cpu")
        samples = again.sample("malignant", 5, seed=3)
        assert torch.equal(samples.images, augmenter.sample("malignant", 5, seed=3).images)
        assert samples.images.shape == (5, 3, 32, 32)
        assert samples.masks.max() < config.levels
    train = again.wrap(dataset, strategy=1.0)
    images, labels = next(iter(DataLoader(train, batch_size=8, shuffle=True, num_workers=1)))
    mix = again.batch_transform(p=1.0, transform=to_float)
    assert len(train) == 2 * len(dataset)
    assert mix(images, labels)[0].shape == images.shape
    assert again.export("exported", 3).counts == {"benign": 3, "malignant": 3}
    print("fitted, saved, loaded, sampled, wrapped, mixed, exported")


def commands() -> None:
    """Run every command on images on disk."""
    from syncgan import Phantom

    for split, start in (("data", 0), ("other", 12)):
        phantom = Phantom(24, image_size=32)
        for index, (name, _) in enumerate(phantom.samples):
            if start <= index % 24 < start + 12:
                path = Path(split, f"{name}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                phantom[index][0].save(path)
    few = [word for setting in (*FEW, "mask_gan.generator=mosaic") for word in ("--set", setting)]
    trains = ["--preset", "tiny", *few]
    for words in ((), ("fit",)):
        subprocess.run([sys.executable, "-m", "syncgan", *words, "--help"], capture_output=True, check=True)
    told = syncgan("plugins")
    assert any(row["name"] == "mosaic" for row in told["plugins"])
    syncgan("doctor", "data", *trains)
    syncgan("masks", "data", "--out", "masks", "--report")
    syncgan("fit", "data", "--out", "run", *trains)
    syncgan("fit", "data", "--out", "run", "--resume", *trains)
    syncgan("sample", "run", "--per-class", "4", "--out", "synthetic")
    syncgan("audit", "run", "--data", "data", "--held-out", "other", "--no-features", "--out", "audited", codes=(0, 1))
    rows = [f"{path.relative_to('data')},slide {at // 2}" for at, path in enumerate(sorted(Path("data").glob("*/*")))]
    Path("groups.csv").write_text("file,slide\n" + "\n".join(rows) + "\n")
    by_slide = ["--groups", "groups.csv", "--group-column", "slide"]
    syncgan("audit", "run", "--data", "data", "--leave-one-out", "--no-features", *by_slide, codes=(0, 1))
    quick = ["--repeats", "2", "--per-class", "3", "--classifiers", "small_cnn", "--arms", "Orig,Orig+Prop"]
    syncgan("benchmark", "data", "--out", "results", *quick, "--train", "steps=3", *trains)
    syncgan("report", "run", "--benchmark", "results", "--audit", "audited")
    assert Path("run/report.html").stat().st_size > 10_000


def syncgan(*words: str, codes: tuple[int, ...] = (0,)) -> dict:
    """Run a command in a process of its own and return the JSON of its last line."""
    command = [sys.executable, "-m", "syncgan", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in codes, f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    print("syncgan", words[0], "- exit code", done.returncode)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
