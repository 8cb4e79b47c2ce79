"""The main job on real microscope images, for a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import Subset
from torchvision.datasets import ImageFolder

from syncgan import SynCGANAugmenter, SynCGANConfig
from syncgan.data.folders import load_class_folders, read_groups

pytestmark = pytest.mark.real_data

FEW_STEPS = ["mask_gan.steps=3", "image_gan.steps=3", "mask_gan.warm_start_steps=0", "filters.mask_plausibility=false"]


def test_pap_smear_fields_become_samples_with_groups_kept_apart(real_data: Path) -> None:
    root = real_data / "cric_fields"
    dataset, skipped = load_class_folders(root, limit_per_class=8)
    groups = read_groups(root / "groups.csv", "group_image_id", dataset.files)
    config = SynCGANConfig.preset("tiny").updated([*FEW_STEPS, "image_gan.selection=validation"])
    augmenter = SynCGANAugmenter(config, device="cpu").fit(dataset, groups=groups)
    assert not skipped
    assert augmenter.classes_ == ("abnormal", "normal")
    assert len(augmenter.pairs_) + len(augmenter.excluded_) == 16
    nuclei = (augmenter.pairs_.maps == 2).float().mean(dim=(1, 2))
    assert bool((nuclei > 0).all())
    assert float(nuclei.median()) < 0.4


def test_blood_cells_in_an_image_folder_keep_their_four_classes(real_data: Path) -> None:
    dataset = ImageFolder(str(real_data / "pbc_wbc4"))
    some = Subset(dataset, [label * 200 + index for label in range(4) for index in range(4)])
    augmenter = SynCGANAugmenter(SynCGANConfig.preset("tiny").updated(FEW_STEPS), device="cpu").fit(some)
    assert augmenter.classes_ == ("eosinophil", "lymphocyte", "monocyte", "neutrophil")
    # The one white cell in the middle of every image is found.
    assert bool((augmenter.pairs_.maps[:, 16, 16] > 0).all())
    assert torch.equal(augmenter.sample("monocyte", 2).labels, torch.tensor([2, 2]))
