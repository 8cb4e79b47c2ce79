"""`MaskGAN` and `MaskToImageCGAN` on their own: shapes, seeds, labels, plug-ins, saving, bad input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from syncgan import DISCRIMINATORS, IMAGE_GENERATORS, MASK_GENERATORS, MaskGAN, MaskToImageCGAN, SynCGANConfig
from syncgan.data.tensors import collect_masks
from syncgan.errors import (
    ArtefactError,
    ConfigError,
    ContractError,
    DataError,
    NotFittedError,
    RunExistsError,
    UnknownNameError,
)
from syncgan.testing import check_discriminator

SMALL = ["mask_gan.steps=3", "image_gan.steps=3", "mask_gan.width=4", "image_gan.width=4", "sampling.chunk_size=4"]


def config(*settings: str) -> SynCGANConfig:
    return SynCGANConfig.preset("tiny").updated([*SMALL, *settings])


def maps(count: int = 6, top: int = 2) -> np.ndarray[Any, Any]:
    masks = np.zeros((count, 32, 32), np.uint8)
    for index, mask in enumerate(masks):
        mask[4:28, 4:28] = 1
        mask[8 + index : 18 + index, 10:20] = top
    return masks


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32)).astype(np.uint8)
LABELS = [3, 3, 3, 7, 7, 7]


@pytest.fixture(scope="module")
def mask_gan() -> MaskGAN:
    return MaskGAN(config(), seed=1, device="cpu").fit(maps())


@pytest.fixture(scope="module")
def image_gan() -> MaskToImageCGAN:
    return MaskToImageCGAN(config(), seed=1, device="cpu").fit(IMAGES, maps(), LABELS)


def test_masks_have_the_promised_shape_type_and_levels(mask_gan: MaskGAN) -> None:
    masks = mask_gan.sample(5, seed=2)
    assert masks.shape == (5, 1, 32, 32)
    assert masks.dtype == torch.uint8
    assert int(masks.max()) <= 2
    assert mask_gan.sample(0).shape == (0, 1, 32, 32)


def test_nuclei_of_0_and_255_are_the_highest_level_where_levels_are_said() -> None:
    nuclei = maps(top=1).clip(max=1)
    told = MaskGAN(config("mask_gan.generator=warp"), device="cpu").fit(nuclei * 255, levels=3)
    assert set(np.unique(told.sample(4).numpy())) == {0, 2}
    renderer = MaskToImageCGAN(config("image_gan.selection=validation"), seed=1, device="cpu")
    held_out = (IMAGES, nuclei * np.uint8(255), LABELS)
    renderer.fit(IMAGES, maps(), LABELS, validation=held_out)
    boolean = renderer.generate(nuclei.astype(bool), LABELS)
    assert torch.equal(boolean, renderer.generate(nuclei * 2, LABELS))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16])
def test_masks_of_any_integers_are_read_alike(dtype: Any) -> None:
    found, levels = collect_masks(maps().astype(dtype), 32, "resize", 3)
    assert levels == 3
    assert np.array_equal(found.numpy(), maps())
    with pytest.raises(DataError, match=r"item 2: .*got 0 to 300; .*number the nuclei.*give `mask > 0`"):
        collect_masks([*maps(2), maps(1)[0].astype(dtype) * 150], 32, "resize", 3)
    if np.issubdtype(dtype, np.signedinteger):
        with pytest.raises(DataError, match=r"item 0: .*got -2 to 0"):
            collect_masks(-maps().astype(dtype), 32, "resize", 3)


def test_numbered_nuclei_that_look_like_levels_are_warned_of() -> None:
    numbered = maps()
    numbered[:3][numbered[:3] == 2] = 0  # one nucleus, number 1; the others have a second one
    with pytest.warns(UserWarning, match=r"maps of 3 levels.* 3 of 6 have none; if they number the nuclei"):
        collect_masks(numbered, 32, "resize", 3)


def test_nucleus_masks_of_several_sources_are_read_alike() -> None:
    nuclei = maps(top=1).clip(max=1)
    mixed = [mask * np.uint8(255 if index % 2 else 1) for index, mask in enumerate(nuclei)]
    found, levels = collect_masks(mixed, 32, "resize", 3)
    assert levels == 2
    assert np.array_equal(found.numpy(), nuclei)


def test_an_artefact_of_another_kind_is_not_overwritten(
    mask_gan: MaskGAN, image_gan: MaskToImageCGAN, tmp_path: Path
) -> None:
    mask_gan.save(tmp_path)
    with pytest.raises(RunExistsError, match="found a mask_gan"):
        image_gan.save(tmp_path)
    assert torch.equal(MaskGAN.load(tmp_path, device="cpu").sample(2), mask_gan.sample(2))


@pytest.mark.parametrize(("side", "below"), [(48, 32), (96, 64), (112, 64)])
def test_a_decoder_learns_at_a_power_of_two_or_says_so(side: int, below: int) -> None:
    wanted = config("mask_gan.resolution=image", f"image_size={side}")
    with pytest.raises(ConfigError, match=rf"power of two.*got {side}; set mask_gan\.resolution={below}"):
        MaskGAN(wanted, device="cpu").fit(maps())


def test_a_list_of_tensors_with_channels_first_is_told_what_to_do() -> None:
    with pytest.raises(
        DataError, match=r"a list of images \(H, W, 3\), got \(3, 32, 32\) \(item 0\); put the channels"
    ):
        MaskToImageCGAN(config(), device="cpu").fit(list(IMAGES), maps(), LABELS)


def test_n_masks_are_the_first_of_more(mask_gan: MaskGAN) -> None:
    more = mask_gan.sample(9, seed=2)
    for n in (1, 4, 5):
        assert torch.equal(mask_gan.sample(n, seed=2), more[:n])
    assert not torch.equal(mask_gan.sample(9, seed=3), more)


def test_a_mask_depends_on_its_own_seed_alone(mask_gan: MaskGAN) -> None:
    seeds = list(range(7))
    assert torch.equal(mask_gan.draw(seeds[::-1]).flip(0), mask_gan.draw(seeds))


def test_images_have_the_promised_shape_and_type(image_gan: MaskToImageCGAN) -> None:
    images = image_gan.generate(maps(5), [3, 7, 3, 7, 3], seed=2)
    assert images.shape == (5, 3, 32, 32)
    assert images.dtype == torch.uint8


def test_an_image_depends_on_its_own_map_label_seed_and_position_alone(image_gan: MaskToImageCGAN) -> None:
    whole = image_gan.generate(maps(6), LABELS, seed=2)
    assert torch.equal(image_gan.generate(maps(6)[:3], LABELS[:3], seed=2), whole[:3])
    assert not torch.equal(image_gan.generate(maps(6), LABELS, seed=3), whole)
    assert not torch.equal(image_gan.generate(maps(6), LABELS[::-1], seed=2), whole)


def test_neither_depends_on_what_the_caller_computes_in(mask_gan: MaskGAN, image_gan: MaskToImageCGAN) -> None:
    masks, images = mask_gan.sample(6, seed=2), image_gan.generate(maps(6), LABELS, seed=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mask_gan.sample(6, seed=2), masks)
        assert torch.equal(image_gan.generate(maps(6), LABELS, seed=2), images)


def test_to_ask_what_a_generator_is_leaves_the_fitted_one(mask_gan: MaskGAN, image_gan: MaskToImageCGAN) -> None:
    masks, images = mask_gan.sample(3, seed=2), image_gan.generate(maps(3), LABELS[:3], seed=2)
    assert mask_gan.is_network(2)
    assert image_gan.is_network(2)
    assert not mask_gan.learns_all_classes(2)
    assert mask_gan.knows_nuclear_levels()
    assert torch.equal(mask_gan.sample(3, seed=2), masks)
    assert torch.equal(image_gan.generate(maps(3), LABELS[:3], seed=2), images)


def test_a_seed_of_numpy_is_an_ordinary_one() -> None:
    for model in (MaskGAN(seed=np.int64(3)), MaskToImageCGAN(seed=np.int64(3))):
        assert type(model.seed) is int


def test_the_same_seed_trains_the_same_model(mask_gan: MaskGAN) -> None:
    again = MaskGAN(config(), seed=1, device="cpu").fit(maps())
    assert torch.equal(again.sample(4), mask_gan.sample(4))


def test_saving_keeps_every_sample(mask_gan: MaskGAN, image_gan: MaskToImageCGAN, tmp_path: Path) -> None:
    mask_gan.save(tmp_path / "mask")
    image_gan.save(tmp_path / "image")
    loaded_mask = MaskGAN.load(tmp_path / "mask", device="cpu")
    loaded_image = MaskToImageCGAN.load(tmp_path / "image", device="cpu")
    assert torch.equal(loaded_mask.sample(5, seed=4), mask_gan.sample(5, seed=4))
    assert torch.equal(loaded_image.generate(maps(), LABELS), image_gan.generate(maps(), LABELS))
    with pytest.raises(ArtefactError, match="is a mask_gan, expected a image_gan"):
        MaskToImageCGAN.load(tmp_path / "mask")


def test_binary_masks_of_either_kind_give_two_levels() -> None:
    ones = MaskGAN(config(), seed=0, device="cpu").fit(maps(top=1).clip(max=1))
    many = MaskGAN(config(), seed=0, device="cpu").fit(maps(top=1).clip(max=1)[:, None] * 255)
    assert ones.levels_ == many.levels_ == 2
    assert torch.equal(ones.sample(3), many.sample(3))


def test_masks_of_any_size_are_fitted_and_learned_at_the_configured_one() -> None:
    model = MaskGAN(config(), device="cpu").fit([np.pad(mask, ((0, 9), (0, 4))) for mask in maps()])
    assert model.sample(2).shape == (2, 1, 32, 32)


def test_one_mask_gan_can_learn_several_labels() -> None:
    model = MaskGAN(config(), device="cpu").fit(maps(), LABELS)
    assert model.label_values_ == (3, 7)
    assert torch.equal(model.sample(2, 7, seed=1)[0], model.sample(1, 7, seed=1)[0])
    with pytest.raises(UnknownNameError, match="unknown label 5 for this MaskGAN; it knows 3, 7"):
        model.sample(1, 5)


def test_sections_alone_configure_the_models() -> None:
    section = config().mask_gan.model_copy(update={"resolution": 64, "steps": 1})
    assert MaskGAN(section).config.mask_gan == section
    assert MaskToImageCGAN(config().image_gan).config.image_gan == config().image_gan


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.zeros((0, 32, 32), np.uint8), "at least one mask"),
        (np.zeros((2, 32, 32), np.float32), r"item 0: expected a mask \(H, W\) of integers or bool, got float32"),
        (np.full((2, 32, 32), 9, np.uint8), "expected mask values 0 to 2"),
        (np.zeros((2, 3, 32, 32), np.uint8), r"item 0: .* got uint8 \(3, 32, 32\)"),
    ],
)
def test_wrong_masks_are_refused_by_name(masks: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        MaskGAN(config(), device="cpu").fit(masks)


@pytest.mark.parametrize(
    ("images", "masks", "labels", "message"),
    [
        (IMAGES.astype(np.float32), maps(), LABELS, r"expected uint8 RGB images in \[0, 255\], got float32"),
        (IMAGES[:, :1], maps(), LABELS, r"expected images \(N, 3, H, W\)"),
        (IMAGES, maps(4), LABELS, "6 images and 4 masks"),
        (IMAGES, maps(), [1, 2], "6 integer labels"),
        (IMAGES, maps(), [0.5] * 6, "integer labels"),
    ],
)
def test_wrong_pairs_are_refused_by_name(images: Any, masks: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        MaskToImageCGAN(config(), device="cpu").fit(images, masks, labels)


def test_using_a_model_before_fit_says_what_to_call(image_gan: MaskToImageCGAN) -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        MaskGAN().sample(1)
    with pytest.raises(NotFittedError, match="call fit"):
        MaskToImageCGAN().generate(maps())
    with pytest.raises(ConfigError, match="pass labels"):
        image_gan.generate(maps())
    with pytest.raises(UnknownNameError, match="unknown labels"):
        image_gan.generate(maps(), [1] * 6)


@pytest.fixture
def mask_name() -> Iterator[str]:
    yield "test-mask-generator"
    MASK_GENERATORS.unregister("test-mask-generator")


@pytest.fixture
def image_name() -> Iterator[str]:
    yield "test-image-generator"
    IMAGE_GENERATORS.unregister("test-image-generator")


@pytest.fixture
def discriminator_name() -> Iterator[str]:
    yield "test-discriminator"
    DISCRIMINATORS.unregister("test-discriminator")


def test_a_network_of_ones_own_is_trained_by_our_loop(mask_name: str, image_name: str) -> None:
    class Masks(nn.Module):
        def __init__(self, levels: int) -> None:
            super().__init__()
            self.noise_shape = (5,)
            self.linear = nn.Linear(5, levels * 64)
            self.levels = levels

        def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
            out: Tensor = self.linear(noise).unflatten(1, (self.levels, 8, 8))
            return out

    class Images(nn.Module):
        def __init__(self, levels: int) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(levels, 3, 3, padding=1)

        def forward(self, onehot: Tensor, noise: Tensor | None = None, label: Tensor | None = None) -> Tensor:
            out: Tensor = self.convolution(onehot)
            return out

    MASK_GENERATORS.register(mask_name)(lambda levels: Masks(levels))
    IMAGE_GENERATORS.register(image_name)(lambda levels: Images(levels))
    own = config(f"mask_gan.generator={mask_name}", f"image_gan.generator={image_name}")
    assert MaskGAN(own, device="cpu").fit(maps()).sample(3).shape == (3, 1, 32, 32)
    assert MaskToImageCGAN(own, device="cpu").fit(IMAGES, maps(), LABELS).generate(maps(), LABELS).shape == (
        6,
        3,
        32,
        32,
    )


def test_an_object_with_fit_and_sample_replaces_a_mask_gan(mask_name: str, tmp_path: Path) -> None:
    class Replay:
        """Draws the training masks again: the simplest generator that is no network."""

        def fit(self, masks: np.ndarray[Any, Any], labels: Any = None, seed: int = 0) -> None:
            self.masks = masks

        def sample(self, n: int, label: int | None = None, seed: int = 0) -> np.ndarray[Any, Any]:
            return self.masks[np.random.default_rng(seed).integers(len(self.masks), size=n)]

        def state_dict(self) -> dict[str, Any]:
            return {"masks": self.masks}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.masks = np.asarray(state["masks"])

    MASK_GENERATORS.register(mask_name)(Replay)
    model = MaskGAN(config(f"mask_gan.generator={mask_name}"), device="cpu").fit(maps())
    drawn = model.sample(6, seed=1)
    assert all(any(np.array_equal(mask[0], real) for real in maps()) for mask in drawn.numpy())
    model.save(tmp_path)
    assert torch.equal(MaskGAN.load(tmp_path, device="cpu").sample(6, seed=1), drawn)


def test_a_generator_that_breaks_its_contract_is_named(mask_name: str, image_name: str) -> None:
    MASK_GENERATORS.register(mask_name)(lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)))
    with pytest.raises(ContractError, match=r"'test-mask-generator': expected logits \(N, 3, R, R\)"):
        MaskGAN(config(f"mask_gan.generator={mask_name}"), device="cpu").fit(maps())
    IMAGE_GENERATORS.register(image_name)(lambda: object())
    with pytest.raises(ContractError, match="without fit, generate, state_dict, load_state_dict"):
        MaskToImageCGAN(config(f"image_gan.generator={image_name}"), device="cpu").fit(IMAGES, maps())


def test_an_unknown_generator_lists_what_exists() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown mask generator 'decodr'.*did you mean 'decoder'"):
        MaskGAN(config("mask_gan.generator=decodr"), device="cpu").fit(maps())


def test_the_paper_preset_builds_its_networks() -> None:
    paper = SynCGANConfig.preset("paper").updated(["image_size=32", "mask_gan.steps=1", "image_gan.steps=1"])
    paper = paper.updated(["mask_gan.width=4", "image_gan.width=4", "mask_gan.batch_size=2", "image_gan.batch_size=2"])
    binary = maps(top=1).clip(max=1)
    assert MaskGAN(paper, device="cpu").fit(binary).sample(2).shape == (2, 1, 32, 32)
    model = MaskToImageCGAN(paper, device="cpu").fit(IMAGES, binary, LABELS)
    assert model.label_values_ == ()
    assert model.generate(binary).shape == (6, 3, 32, 32)


def test_the_plain_gan_takes_no_notice_of_masks_but_of_the_class(tmp_path: Path) -> None:
    few = config("image_gan.generator=plain_gan", "image_gan.steps=20")
    model = MaskToImageCGAN(few, seed=1, device="cpu").fit(IMAGES, maps(), LABELS)
    blank = np.zeros((2, 32, 32), np.uint8)
    drawn = model.generate(blank, [3, 3], seed=5)
    assert torch.equal(drawn, model.generate(maps(2), [3, 3], seed=5))
    assert not torch.equal(drawn, model.generate(blank, [7, 7], seed=5))
    model.save(tmp_path / "plain")
    assert torch.equal(MaskToImageCGAN.load(tmp_path / "plain", device="cpu").generate(blank, [3, 3], seed=5), drawn)


def test_the_plain_gan_says_which_image_sizes_it_can_draw() -> None:
    with pytest.raises(ConfigError, match=r"power of two, got 48; set image_size to 32 or 64"):
        MaskToImageCGAN(config("image_gan.generator=plain_gan", "image_size=48"), device="cpu").fit(IMAGES, maps())


def test_a_renderer_that_fits_itself_gets_every_pair_and_the_selection_is_said_to_have_no_effect(
    image_name: str,
) -> None:
    seen: list[int] = []

    class Painter:
        def fit(self, images: Any, maps: Any, labels: Any = None, seed: int = 0) -> None:
            seen.append(len(images))

        generate = state_dict = load_state_dict = fit

    IMAGE_GENERATORS.register(image_name)(Painter)
    for selection in ("validation", "utility"):
        chosen = config(f"image_gan.generator={image_name}", f"image_gan.selection={selection}")
        with pytest.warns(UserWarning, match=f"selection = '{selection}' has no effect.*fits itself"):
            MaskToImageCGAN(chosen, device="cpu").fit(IMAGES, maps())
    assert seen == [len(IMAGES)] * 2


@pytest.mark.parametrize(
    "setting",
    [
        "adversarial=wasserstein-gp",
        "adversarial=hinge",
        'augmentation=["translation", "scaling", "colour", "cutout"]',
        "texture_weight=0",
        "mode_seeking_weight=1",
        "feature_matching_weight=1",
        "reconstruction_weight=0",
        "reconstruction_cell=2",
        "noise=input",
        "noise=none",
        "head_width=0",
        "discriminator_steps=2",
    ],
)
def test_every_ingredient_changes_what_is_learned_and_the_seed_still_decides(setting: str) -> None:
    def weights(*settings: str) -> Tensor:
        model = MaskToImageCGAN(config("image_gan.steps=2", *settings), device="cpu").fit(IMAGES, maps(), LABELS)
        return torch.cat([value.flatten() for value in model.generator_.state_dict().values()])

    changed = weights(f"image_gan.{setting}")
    assert torch.isfinite(changed).all()
    assert torch.equal(changed, weights(f"image_gan.{setting}"))
    plain = weights()
    assert changed.shape != plain.shape or not torch.equal(changed, plain)


@pytest.mark.parametrize(
    "setting",
    ["adversarial=wasserstein-gp", "adversarial=hinge", 'augmentation=["translation", "scaling"]', "r1_weight=1"],
)
def test_the_mask_gan_plays_every_game(setting: str) -> None:
    def weights(*settings: str) -> Tensor:
        model = MaskGAN(config("mask_gan.steps=2", *settings), device="cpu").fit(maps())
        return torch.cat([value.flatten().float() for value in model.generator_.state_dict().values()])

    changed = weights(f"mask_gan.{setting}")
    assert torch.isfinite(changed).all()
    assert torch.equal(changed, weights(f"mask_gan.{setting}"))
    assert not torch.equal(changed, weights())


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (np.zeros((2, 32, 32), np.uint8), r"got uint8 \(2, 32, 32\)$"),
        (np.zeros((1, 32, 32), np.int64), r"got int64"),
        (np.full((1, 32, 32), 3, np.uint8), r"got uint8 \(1, 32, 32\) up to 3"),
        (None, r"got object \(\)"),
    ],
)
def test_a_mask_generator_that_breaks_its_contract_is_told_what_came(drawn: Any, message: str, mask_name: str) -> None:
    class Odd:
        def fit(self, masks: Any, labels: Any = None, seed: int = 0) -> None: ...

        def sample(self, n: int, label: Any = None, seed: int = 0) -> Any:
            return drawn

        state_dict = load_state_dict = fit

    MASK_GENERATORS.register(mask_name)(Odd)
    model = MaskGAN(config(f"mask_gan.generator={mask_name}"), device="cpu").fit(maps())
    with pytest.raises(ContractError, match=message):
        model.sample(1)


def test_a_mask_generator_may_draw_tensors(mask_name: str) -> None:
    class Tensors:
        def fit(self, masks: Any, labels: Any = None, seed: int = 0) -> None: ...

        def sample(self, n: int, label: Any = None, seed: int = 0) -> Tensor:
            return torch.full((1, 32, 32), 2, dtype=torch.uint8)

        state_dict = load_state_dict = fit

    MASK_GENERATORS.register(mask_name)(Tensors)
    assert MaskGAN(config(f"mask_gan.generator={mask_name}"), device="cpu").fit(maps()).sample(2).eq(2).all()


def test_of_several_images_of_a_renderer_the_wrong_one_is_told(image_name: str) -> None:
    class Second:
        def fit(self, images: Any, maps: Any, labels: Any = None, seed: int = 0) -> None:
            self.calls = 0

        def generate(self, masks: Any, labels: Any = None, seed: int = 0) -> Any:
            self.calls += 1
            return np.zeros((1, 3, 32, 32), np.uint8 if self.calls == 1 else np.float32)

        state_dict = load_state_dict = fit

    IMAGE_GENERATORS.register(image_name)(Second)
    chosen = config(f"image_gan.generator={image_name}", "image_gan.selection=last")
    model = MaskToImageCGAN(chosen, device="cpu").fit(IMAGES, maps())
    with pytest.raises(ContractError, match=r"got float32 \(1, 3, 32, 32\)"):
        model.generate(maps(2))


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (
            lambda in_channels: nn.Conv2d(in_channels, 2, 4),
            r"expected logits \(N, 1, h, w\), got \(1, 2, 29, 29\) for N = 1",
        ),
        (lambda: torch.tanh, "expected an nn.Module"),
    ],
)
def test_what_is_no_discriminator_is_refused_before_training(factory: Any, said: str, discriminator_name: str) -> None:
    DISCRIMINATORS.register(discriminator_name)(factory)
    own = config(
        *(f"{game}.discriminator={discriminator_name}" for game in ("mask_gan", "image_gan")),
        "image_gan.feature_matching_weight=0",
        "mask_gan.resolution=32",
    )
    with pytest.raises(ContractError, match=said):
        MaskGAN(own, device="cpu").fit(maps())
    with pytest.raises(ContractError, match=said):
        MaskToImageCGAN(own, device="cpu").fit(IMAGES, maps())


def test_lazy_layers_get_the_weights_that_the_seed_names(
    mask_name: str, image_name: str, discriminator_name: str
) -> None:
    class LazyMasks(nn.Module):
        def __init__(self, levels: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.LazyLinear(levels * 32 * 32), nn.Unflatten(1, (levels, 32, 32)))

        def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
            return self.layers(noise)

    class LazyImages(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.LazyConv2d(3, 3, padding=1)

        def forward(self, onehot: Tensor, noise: Tensor | None = None, label: Tensor | None = None) -> Tensor:
            return self.layers(onehot)

    class LazyDiscriminator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.LazyConv2d(1, 4, stride=4)

        def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
            return self.layers(x)

    MASK_GENERATORS.register(mask_name)(LazyMasks)
    IMAGE_GENERATORS.register(image_name)(LazyImages)
    DISCRIMINATORS.register(discriminator_name)(LazyDiscriminator)
    check_discriminator(discriminator_name)
    drawn = []
    for state in (1, 2):
        torch.manual_seed(state)
        own = config(
            f"mask_gan.generator={mask_name}",
            f"image_gan.generator={image_name}",
            *(f"{game}.discriminator={discriminator_name}" for game in ("mask_gan", "image_gan")),
            "image_gan.feature_matching_weight=0",
            "mask_gan.resolution=32",
        )
        masks = MaskGAN(own, seed=3, device="cpu").fit(maps()).sample(2)
        images = MaskToImageCGAN(own, seed=3, device="cpu").fit(IMAGES, maps()).generate(maps(2))
        drawn.append((masks, images))
    assert all(torch.equal(*pair) for pair in zip(*drawn, strict=True))
