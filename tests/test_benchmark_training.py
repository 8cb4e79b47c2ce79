"""Training of classifiers: equal budgets, the same result for a seed, plans that change the training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from syncgan import ARMS, CLASSIFIERS, Phantom
from syncgan.errors import ContractError, TrainingError
from syncgan.evaluation.arms import ArmPlan, oversample, traditional
from syncgan.evaluation.benchmark.data import ImageSet
from syncgan.evaluation.benchmark.feature_cache import CachedFeatures
from syncgan.evaluation.benchmark.settings import BenchmarkConfig
from syncgan.evaluation.benchmark.training import Trained, make_classifier, train_classifier
from syncgan.evaluation.classifiers import initial_weights, probe
from syncgan.evaluation.features import TextureFeatures

CPU = torch.device("cpu")
QUICK = BenchmarkConfig(steps=6, batch_size=4, validations=2)


def images(per_class: int, seed: int) -> ImageSet:
    phantom = Phantom(per_class, image_size=32, seed=seed)
    pixels = np.stack([phantom.image(index) for index in range(len(phantom))])
    return ImageSet(torch.from_numpy(pixels).permute(0, 3, 1, 2), phantom.targets, phantom.classes)


REAL, VALIDATION = images(6, seed=0), images(4, seed=1)


def trained(plan: ArmPlan, name: str = "small_cnn", settings: BenchmarkConfig = QUICK) -> Trained:
    features = CachedFeatures(TextureFeatures())
    made = make_classifier(name, classes=2, settings=settings, features=features, device=CPU, seed=0)
    return train_classifier(made, plan, VALIDATION, settings=settings, device=CPU, seed=0)


class Watching(nn.Module):
    """Counts its training steps, and keeps what it sees."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3, classes)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(x.detach().clone())
        return self.head(x.mean(dim=(2, 3)))


@pytest.fixture
def register() -> Iterator[Any]:
    names: list[tuple[Any, str]] = []

    def add(registry: Any, name: str, plugin: Any) -> None:
        registry.register(name)(plugin)
        names.append((registry, name))

    yield add
    for registry, name in names:
        registry.unregister(name)


@pytest.mark.parametrize("arm", ["Orig", "Orig+Trad", "Oversample", "MixUp", "CutMix"])
def test_every_arm_has_the_same_steps(arm: str) -> None:
    returned = ARMS.get(arm)(REAL, None, 0)
    plan = returned if isinstance(returned, ArmPlan) else ArmPlan(returned)
    network = Watching(2)
    result = train_classifier(network, plan, VALIDATION, settings=QUICK, device=CPU, seed=0)
    assert (result.steps, len(network.seen)) == (6, 6)
    assert {len(batch) for batch in network.seen} == {4}


def test_pretraining_shares_the_steps_and_reads_real_images_last() -> None:
    other = ImageSet(torch.zeros_like(REAL.images), REAL.targets, REAL.classes)
    network = Watching(2)
    result = train_classifier(network, ArmPlan(REAL, pretrain=other), VALIDATION, settings=QUICK, device=CPU, seed=0)
    flat = [bool((batch.amax(dim=(2, 3)) == batch.amin(dim=(2, 3))).all()) for batch in network.seen]
    assert flat == [True] * 3 + [False] * 3
    assert result.steps == 6
    assert result.kept_step in (4, 5, 6)  # the first stage is never what is kept


class Passing:
    """A dataset that notes which passes it was told of."""

    def __init__(self) -> None:
        self.passes: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.passes.append(epoch)

    def __len__(self) -> int:
        return len(REAL)

    def __getitem__(self, index: int) -> Any:
        return REAL[index]


def test_a_dataset_that_changes_is_told_of_each_pass() -> None:
    by_step, at_once = Passing(), Passing()
    trained(ArmPlan(by_step), settings=QUICK.updated(["steps=8"]))  # batches of 4 from 12 items
    assert by_step.passes == [0, 0, 0, 1, 1, 1, 2, 2]
    trained(ArmPlan(at_once), "probe", QUICK.updated(["passes=3"]))
    assert at_once.passes == [0, 1, 2]


def test_the_augmented_pretraining_is_the_plain_one_under_traditional_augmentation() -> None:
    class Adding:
        def wrap(self, dataset: Any, strategy: dict[int, int], *, seed: int) -> Any:
            return [*dataset, *((f"sample {n}", label) for label, count in strategy.items() for n in range(count))]

    real = [("a", 0), ("b", 1)]
    plain, augmented = (ARMS.get(name)(real, Adding(), 0, ratio=1.0, lots=2) for name in ("Pretrain", "Pretrain+Trad"))
    assert list(plain.pretrain) == list(augmented.pretrain) == [("sample 0", 0), ("sample 0", 1)]
    assert plain.dataset is augmented.dataset is real
    assert plain.transform is None
    assert augmented.transform is not None


@pytest.mark.parametrize("name", ["small_cnn", "probe"])
def test_one_seed_gives_one_result_whatever_happened_before(name: str) -> None:
    plan = ArmPlan(REAL, transform=traditional())
    first = trained(plan, name).predict(VALIDATION.images)
    torch.rand(5)  # the global generator has moved
    assert np.array_equal(first, trained(plan, name).predict(VALIDATION.images))


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    trained(ArmPlan(REAL, transform=traditional()))
    assert torch.equal(before, torch.get_rng_state())


def test_the_state_that_is_kept_is_the_one_that_was_validated() -> None:
    settings = QUICK.updated(["steps=20", "validations=20", "learning_rate=0.05"])
    result = trained(ArmPlan(REAL), settings=settings)
    probabilities = result.predict(VALIDATION.images)
    loss = -np.log(probabilities[range(8), VALIDATION.targets]).mean()
    assert loss == pytest.approx(result.validation["loss"], rel=1e-6)
    assert result.kept_step is not None
    longer = trained(ArmPlan(REAL), settings=settings.updated(["validations=1"]))
    assert longer.kept_step == 20
    assert result.validation["loss"] <= longer.validation["loss"]


def test_a_probe_learns_shares_of_classes_and_covers_classes_that_it_has_not_seen() -> None:
    one = ImageSet(REAL.images, [0, 2] * 6, ["a", "b", "c"])
    held_out = ImageSet(VALIDATION.images, [0, 1, 2, 0] * 2, ["a", "b", "c"])
    made = CLASSIFIERS.get("probe")(3, features=TextureFeatures())
    found = train_classifier(made, ArmPlan(one), held_out, settings=QUICK, device=CPU, seed=0)
    probabilities = found.predict(held_out.images)
    assert probabilities.shape == (8, 3)
    assert probabilities[:, 1].tolist() == [0.0] * 8
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert np.allclose(trained(ArmPlan(REAL), "probe").predict(VALIDATION.images).sum(axis=1), 1)


def test_a_probe_has_no_first_stage() -> None:
    with pytest.raises(ContractError, match="no first stage"):
        trained(ArmPlan(REAL, pretrain=REAL), "probe")


def test_a_classifier_of_ones_own_is_a_factory_of_a_network_or_fits_itself(register: Any) -> None:
    class Majority:
        def fit(self, images: Tensor, shares: Tensor, validation: Tensor, labels: Tensor) -> None:
            self.mean = shares.mean(dim=0).double().numpy()

        def predict_proba(self, images: Tensor) -> np.ndarray:
            return np.tile(self.mean, (len(images), 1))

    register(CLASSIFIERS, "test-majority", lambda classes: Majority())
    register(CLASSIFIERS, "test-linear", Watching)
    register(CLASSIFIERS, "test-nothing", lambda classes: 3)
    assert trained(ArmPlan(REAL), "test-majority").predict(VALIDATION.images)[0].tolist() == [0.5, 0.5]
    assert trained(ArmPlan(REAL), "test-linear").steps == 6
    with pytest.raises(ContractError, match=r"'test-nothing': expected an nn\.Module or an object with fit"):
        trained(ArmPlan(REAL), "test-nothing")


def test_a_network_with_other_outputs_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
    with pytest.raises(ContractError, match=r"expected logits \(4, 2\), got \(4, 5\)"):
        train_classifier(network, ArmPlan(REAL), VALIDATION, settings=QUICK, device=CPU, seed=0)


class Diverging(Watching):
    """Gives outputs that are not finite from its first look at the validation set on, or from a later one."""

    def __init__(self, classes: int, finite_looks: int) -> None:
        super().__init__(classes)
        self.looks, self.finite_looks = 0, finite_looks

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        if self.training:
            return logits
        self.looks += 1
        return logits if self.looks <= self.finite_looks else logits * torch.nan


def test_a_state_whose_outputs_are_not_finite_is_not_kept_and_if_none_is_that_is_said() -> None:
    found = train_classifier(Diverging(2, 1), ArmPlan(REAL), VALIDATION, settings=QUICK, device=CPU, seed=0)
    first = QUICK.steps // QUICK.validations
    assert found.kept_step == first
    assert np.isfinite(found.validation["loss"])
    with pytest.raises(TrainingError, match=r"not finite at any look.*lower its step size \(--train learning_rate="):
        train_classifier(Diverging(2, 0), ArmPlan(REAL), VALIDATION, settings=QUICK, device=CPU, seed=0)


def test_oversampling_copies_until_classes_are_equal() -> None:
    uneven = ImageSet(REAL.images[:9], REAL.targets[:9], REAL.classes)  # 6 and 3
    chosen = oversample(uneven, ratio=1.5)
    targets = [chosen[index][1] for index in range(len(chosen))]
    assert (targets.count(0), targets.count(1)) == (15, 15)
    uses = np.bincount(chosen.indices)
    assert set(uses[:6]) == {2, 3}
    assert set(uses[6:]) == {5}


def test_inception_is_given_images_that_are_large_enough() -> None:
    network: Any = Watching(2)
    network.smallest_side = 75
    train_classifier(network, ArmPlan(REAL), VALIDATION, settings=QUICK, device=CPU, seed=0)
    assert network.seen[0].shape[-2:] == (75, 75)


def test_weights_on_disk_are_used_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    without = CLASSIFIERS.get("resnet18")(2, weights="disk")
    assert initial_weights(without) == "random"
    state = models.resnet18(weights=None).state_dict()
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints" / Path(models.ResNet18_Weights.IMAGENET1K_V1.url).name)
    network: Any = CLASSIFIERS.get("resnet18")(2, weights="disk")
    assert initial_weights(network) == "ImageNet (IMAGENET1K_V1)"
    assert torch.equal(network.conv1.weight, state["conv1.weight"])
    assert network.fc.out_features == 2


def test_features_are_computed_once_and_in_whole_chunks() -> None:
    sizes: list[int] = []

    class Counting:
        name = "counting"

        def __call__(self, images: Tensor) -> np.ndarray:
            sizes.append(len(images))
            return images.double().mean(dim=(2, 3)).numpy()

    features = CachedFeatures(Counting())
    found = features(torch.cat([REAL.images, REAL.images[:3]]))
    again = features(REAL.images[4:8])
    assert sizes == [32]
    assert np.array_equal(found[4:8], again)
    assert np.array_equal(found[:3], found[12:])


def test_features_that_were_not_asked_for_longest_are_forgotten() -> None:
    class Counting:
        name = "counting"
        asked = 0

        def __call__(self, images: Tensor) -> np.ndarray:
            self.asked += 1
            return images.double().mean(dim=(2, 3)).numpy()

    counting = Counting()
    features = CachedFeatures(counting, most_bytes=6 * 3 * 8)
    first, second, third = REAL.images[:3], REAL.images[3:6], REAL.images[6:9]
    found = features(first)
    features(second)
    features(first)
    assert counting.asked == 2
    features(third)  # in place of the second
    features(first)
    assert counting.asked == 3
    assert np.array_equal(features(torch.cat([first, second]))[:3], found)
    assert counting.asked == 4
    assert np.array_equal(features(REAL.images[:12])[:3], found)  # more than there is room for


def test_traditional_augmentation_brings_in_no_black_corners() -> None:
    bright = torch.full((3, 32, 24), 200, dtype=torch.uint8)
    torch.manual_seed(0)
    for _ in range(8):
        changed = traditional()(bright)
        assert changed.shape == bright.shape
        assert changed.min() > 170


def test_a_probe_averages_over_strengths_and_gives_a_class_that_it_never_saw_no_chance() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features = TextureFeatures()
    labels = torch.tensor(REAL.targets)
    made = probe(3, features=features).fit(REAL.images, torch.eye(3)[labels], VALIDATION.images, labels)
    scaler = StandardScaler().fit(features(REAL.images))
    known, unknown = (scaler.transform(features(some.images)) for some in (REAL, VALIDATION))
    expected = np.mean(
        [
            LogisticRegression(C=strength, max_iter=5000).fit(known, REAL.targets).predict_proba(unknown)
            for strength in (0.001, 0.01, 0.1, 1.0)
        ],
        axis=0,
    )
    found = made.predict_proba(VALIDATION.images)
    assert found[:, :2] == pytest.approx(expected, abs=1e-6)
    assert not found[:, 2].any()
