"""Sample filters, classifiers and arms, built in and of one's own, in the places that use them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from syncgan import ARMS, CLASSIFIERS, SAMPLE_FILTERS, Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.errors import ContractError, SamplingError, UnknownNameError
from syncgan.evaluation.arms import plan_of
from syncgan.evaluation.filters import dark_nuclei

SETTINGS = [
    "mask_gan.warm_start_steps=0",
    "mask_gan.steps=3",
    "image_gan.steps=3",
    "mask_gan.width=4",
    "image_gan.width=4",
]


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return Phantom(4, image_size=32)


@pytest.fixture(scope="module")
def augmenter(phantom: Phantom) -> SynCGANAugmenter:
    config = SynCGANConfig.preset("tiny").updated([*SETTINGS, "filters.mask_plausibility=false"])
    return SynCGANAugmenter(config, device="cpu").fit(phantom)


@pytest.fixture(autouse=True)
def _filters_of_one_test_stay_there(augmenter: SynCGANAugmenter) -> Iterator[None]:
    before = augmenter.config_
    yield
    augmenter.config_ = before


@pytest.fixture
def filter_name() -> Iterator[str]:
    yield "test-filter"
    SAMPLE_FILTERS.unregister("test-filter")


def filtered(augmenter: SynCGANAugmenter, *names: str) -> SynCGANAugmenter:
    augmenter.config_ = augmenter.config_.merged({"filters": {"samples": list(names)}})
    return augmenter


def test_a_refused_sample_is_drawn_again_and_the_others_stay(augmenter: SynCGANAugmenter, filter_name: str) -> None:
    free = filtered(augmenter).sample(0, 8, seed=1).images
    unwanted = free[2].clone()

    @SAMPLE_FILTERS.register(filter_name)
    def differs(images: Tensor, masks: Tensor, levels: int) -> Tensor:
        return (images != unwanted).flatten(1).any(dim=1)

    filtered_images = filtered(augmenter, filter_name).sample(0, 8, seed=1).images
    changed = (filtered_images != free).flatten(1).any(dim=1)
    assert changed.tolist() == [index == 2 for index in range(8)]


def test_a_filter_that_refuses_everything_is_an_error(augmenter: SynCGANAugmenter, filter_name: str) -> None:
    SAMPLE_FILTERS.register(filter_name)(lambda images, masks, levels: torch.zeros(len(images), dtype=torch.bool))
    with pytest.raises(SamplingError, match=r"3 of 3 samples were refused 32 times in a row.*test-filter 100 %"):
        filtered(augmenter, filter_name).sample(0, 3)


def test_a_filter_that_breaks_its_contract_is_named(augmenter: SynCGANAugmenter, filter_name: str) -> None:
    SAMPLE_FILTERS.register(filter_name)(lambda images, masks, levels: [True] * len(images))
    with pytest.raises(ContractError, match=r"'test-filter': expected a bool tensor \(3,\), got list"):
        filtered(augmenter, filter_name).sample(0, 3)
    with pytest.raises(UnknownNameError, match=r"did you mean 'dark_nuclei'"):
        filtered(augmenter, "dark_nucleus").sample(0, 3)


def test_dark_nuclei_keeps_images_that_follow_their_mask() -> None:
    masks = torch.zeros((3, 8, 8), dtype=torch.uint8)
    masks[:2, 2:5, 2:5] = 1
    images = torch.full((3, 3, 8, 8), 200, dtype=torch.uint8)
    images[0, :, 2:5, 2:5] = 80
    assert dark_nuclei(images, masks, 2).tolist() == [True, False, False]


@pytest.mark.parametrize("name", ["resnet18", "small_cnn"])
def test_a_classifier_is_a_factory_of_logits(name: str) -> None:
    assert CLASSIFIERS.get(name)(5)(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


def test_arms_are_training_sets_with_the_sizes_of_table_1(augmenter: SynCGANAugmenter, phantom: Phantom) -> None:
    filtered(augmenter)
    names = ("Orig", "Orig+Prop", "Orig+Trad", "Orig+Trad+Prop", "Prop")
    sizes = {name: len(plan_of(ARMS.get(name)(phantom, augmenter, seed=1)).dataset) for name in names}
    assert sizes == {"Orig": 8, "Orig+Prop": 24, "Orig+Trad": 8, "Orig+Trad+Prop": 24, "Prop": 16}


def test_traditional_augmentation_changes_images_but_not_labels(augmenter: SynCGANAugmenter, phantom: Phantom) -> None:
    plan = ARMS.get("Orig+Trad")(phantom, augmenter)
    image, label = plan.dataset[7]
    image = plan.transform(image)
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.uint8
    assert label == phantom.targets[7]
    real = torch.from_numpy(phantom.image(7)).permute(2, 0, 1)
    assert any(not torch.equal(plan.transform(real), real) for _ in range(20))  # some stay as they are
