"""What must hold on a CUDA device; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SynCGANConfig.preset("tiny").updated(["mask_gan.steps=100", "image_gan.steps=100"])
    augmenter = SynCGANAugmenter(config, device="cuda").fit(Phantom(8, image_size=48))
    folder = tmp_path_factory.mktemp("gpu") / "model"
    augmenter.save(folder)
    return folder


def test_a_model_fitted_on_the_gpu_samples_alike_on_the_cpu(saved: Path) -> None:
    on_gpu = SynCGANAugmenter.load(saved, device="cuda").sample("malignant", 32, seed=1)
    on_cpu = SynCGANAugmenter.load(saved, device="cpu").sample("malignant", 32, seed=1)
    assert on_gpu.images.device.type == "cuda"
    same_mask = (on_gpu.masks.cpu() == on_cpu.masks).flatten(1)
    assert same_mask.float().mean() >= 0.999
    equal = same_mask.all(dim=1)
    difference = (on_gpu.images.cpu().int() - on_cpu.images.int())[equal].abs()
    assert int(difference.max()) <= 2


def test_batches_stay_on_the_gpu(saved: Path) -> None:
    mix = SynCGANAugmenter.load(saved, device="cuda").batch_transform(p=1.0)
    images = torch.zeros((8, 3, 32, 32), dtype=torch.uint8, device="cuda")
    mixed, labels = mix(images, torch.arange(8, device="cuda") % 2)
    assert mixed.device.type == labels.device.type == "cuda"
    assert (mixed != images).any()
