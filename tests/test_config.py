import json
import math
import tomllib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncgan import ConfigError, SynCGANConfig
from syncgan.config import GANConfig, ImageGANConfig, MaskGANConfig

PRESETS = ("paper", "default", "tiny")


def walk(model, prefix=""):
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and hasattr(inner, "model_fields"):
            yield from walk(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_every_preset_comes_back_from_a_file_as_it_was(tmp_path, preset, suffix):
    config = SynCGANConfig.preset(preset)
    config.save(tmp_path / f"run{suffix}")
    # A complete file says everything, so it does not matter on which preset it is laid.
    assert all(SynCGANConfig.load(tmp_path / f"run{suffix}", preset=base) == config for base in PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_toml_and_json_say_the_same(preset):
    config = SynCGANConfig.preset(preset)
    assert tomllib.loads(config.to_toml()) == json.loads(config.to_json())


def test_no_arguments_mean_preset_default():
    assert SynCGANConfig() == SynCGANConfig.preset("default")


def test_preset_paper_is_what_the_paper_says():
    config = SynCGANConfig.preset("paper")
    assert (config.image_size, config.levels, config.extractor.segmenter) == (256, 2, "gmm")
    image, mask = config.image_gan, config.mask_gan
    assert (image.reconstruction, image.reconstruction_weight, image.epochs) == ("mse", 100.0, 200)  # Eq. 3, Sec. 3.3
    assert (image.selection, image.adversarial, image.discriminator_layers) == ("validation", "bce", 3)
    assert (mask.epochs, mask.real_label_range, mask.fake_label_range) == (1600, (0.9, 1.0), (0.0, 0.1))  # Sec. 3.4
    assert mask.warm_start_steps == 0
    assert mask.flip_probability > 0
    assert mask.saturation_window > 0
    for gan in (image, mask):
        assert gan.learning_rate == gan.discriminator_learning_rate == 2e-4  # pix2pix
        assert gan.betas == (0.5, 0.999)
        assert gan.ema_half_life_images == gan.r1_weight == 0
        assert not gan.dihedral
        # The cap on steps must not cut the paper's epochs short on its 90 images.
        assert gan.total_steps(90) == -(-gan.epochs * 90 // gan.batch_size)
    assert (image.noise, image.class_conditional, image.stain_code, image.dropout) == ("none", False, False, 0.5)
    assert (config.mask_gan.batch_size, config.mask_gan.variety_weight, image.batch_size) == (16, 0, 16)
    assert (image.head_width, image.texture_weight, image.reconstruction_cell, image.augmentation) == (0, 0, 1, ())
    assert (image.feature_matching_weight, image.mode_seeking_weight) == (0, 0)
    assert not config.filters.mask_plausibility


def test_every_setting_has_a_description():
    assert [key for key, field in walk(SynCGANConfig) if not field.description] == []


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        SynCGANConfig().image_size = 64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_sise": 64}, r"unknown key 'image_sise': expected one of image_size, .*did you mean 'image_size'"),
        ({"mask_gan": {"stepz": 1}}, r"unknown key 'mask_gan\.stepz': expected one of .*did you mean 'steps'"),
        ({"image_gan": {"steps": 0}}, r"image_gan\.steps: .*greater than or equal to 1 or 'auto', got 0"),
        (
            {"image_gan": {"selection": "best"}},
            r"image_gan\.selection: .*'validation', 'utility' or 'last', got 'best'",
        ),
        (
            {"image_gan": {"adversarial": "wasserstein-gp", "discriminator_normalisation": "batch"}},
            r"batch normalisation",
        ),
        ({"image_gan": {"mode_seeking_weight": 1, "noise": "none"}}, r"mode_seeking_weight .*noise is 'none'"),
        ({"image_gan": {"reconstruction_cell": 48}}, r"image_size 128 cannot be cut into cells of 48 pixels"),
        ({"mask_gan": {"augmentation": ["colour"]}}, r"masks have no colour"),
        ({"mask_gan": {"saturation_window": 5}}, r"saturation_window 5 is shorter than one interval of the log"),
        ({"image_size": 100}, r"image_size must be a multiple of 16, got 100"),
        (
            {"image_size": 32},
            r"mask_gan\.resolution must be a power of two up to image_size \(32\), got 64; set mask_gan\.resolution=32",
        ),
        ({"image_size": 48}, r"got 64; set mask_gan\.resolution=32"),
        ({"mask_gan": {"resolution": 48}}, r"power of two"),
        ({"image_size": 144}, r"image_size 144 cannot be halved 5 times"),
        ({"geometry": "stretch"}, r"geometry: .*got 'stretch'"),
        ({"mask_gan": 3}, r"mask_gan: .*got 3"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected_and_what_came(values, message):
    with pytest.raises(ConfigError, match=message):
        SynCGANConfig.from_mapping(values)


def test_all_wrong_settings_are_reported_at_once():
    with pytest.raises(ConfigError) as raised:
        SynCGANConfig.from_mapping({"levels": 1, "mask_gan": {"width": 0}})
    assert "levels" in str(raised.value)
    assert "mask_gan.width" in str(raised.value)


def test_an_unknown_preset_lists_the_presets_and_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown preset 'defaut': expected one of .*; did you mean 'default'\?"):
        SynCGANConfig.preset("defaut")


def test_a_file_changes_only_what_it_names(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[mask_gan]\nsteps = 7\n")
    loaded = SynCGANConfig.load(path, preset="tiny")
    assert loaded == SynCGANConfig.preset("tiny").updated(["mask_gan.steps=7"])


def test_a_file_may_name_its_preset(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('preset = "paper"\nlevels = 3\n')
    assert SynCGANConfig.load(path) == SynCGANConfig.preset("paper").merged({"levels": 3})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.toml", "steps = = 3", "is not valid TOML"),
        ("run.json", "{", "is not valid JSON"),
        ("run.json", "[1]", "expected an object of settings, got list"),
        ("run.yaml", "a: 1", r"ends in \.toml or \.json"),
        ("run.toml", "[mask_gan]\nstepz = 1", "unknown key 'mask_gan.stepz'"),
        ("run.toml", 'preset = "huge"', "unknown preset 'huge'"),
        ("run.toml", b"\xff\xfe", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_named_with_the_reason(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=message) as raised:
        SynCGANConfig.load(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("content", ['preset = ["paper"]', "preset = 3"])
def test_a_preset_that_is_no_name_is_a_config_error(tmp_path, content):
    (tmp_path / "run.toml").write_text(content)
    with pytest.raises(ConfigError, match="unknown preset"):
        SynCGANConfig.load(tmp_path / "run.toml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        SynCGANConfig.load(tmp_path / "none.toml")


def test_saving_under_another_suffix_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.toml or \.json"):
        SynCGANConfig().save(tmp_path / "run.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("mask_gan.steps=2000", ("mask_gan", "steps"), 2000),
        ("image_gan.selection=validation", ("image_gan", "selection"), "validation"),
        ('geometry="pad"', ("geometry",), "pad"),
        ("image_gan.betas=[0.0, 0.9]", ("image_gan", "betas"), (0.0, 0.9)),
        ("image_gan.dihedral=false", ("image_gan", "dihedral"), False),
        (" mask_gan.resolution = image", ("mask_gan", "resolution"), "image"),
    ],
)
def test_assignments_are_read_as_toml_else_as_text(assignment, path, value):
    found = SynCGANConfig().updated([assignment])
    for part in path:
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize("order", [1, -1])
def test_assignments_that_hold_only_together_may_come_in_either_order(order):
    together = ["image_size=32", "mask_gan.resolution=32"]
    found = SynCGANConfig.preset("default").updated(["mask_gan.resolution=64"]).updated(together[::order])
    assert (found.image_size, found.mask_gan.resolution) == (32, 32)
    assert found.mask_gan.steps == SynCGANConfig.preset("default").mask_gan.steps


def test_the_last_of_two_assignments_wins_and_their_sum_is_validated():
    assert SynCGANConfig().updated(["mask_gan.steps=3", "mask_gan.steps=5"]).mask_gan.steps == 5
    with pytest.raises(ConfigError, match="power of two up to image_size"):
        SynCGANConfig().updated(["mask_gan.resolution=64", "image_size=32"])


@pytest.mark.parametrize("assignment", ["mask_gan.steps", "=3", ""])
def test_an_assignment_without_key_or_value_is_refused(assignment):
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        SynCGANConfig().updated([assignment])


@pytest.mark.parametrize("assignment", ["image_size.x=3", "mask_gan..steps=3", "mask_gan=3"])
def test_an_assignment_to_a_wrong_place_is_a_config_error(assignment):
    with pytest.raises(ConfigError):
        SynCGANConfig().updated([assignment])


def test_a_segmenters_parameters_are_replaced_as_a_whole_and_none_is_left_out_of_toml():
    config = SynCGANConfig().merged({"extractor": {"parameters": {"window": 3, "limit": None}}})
    assert config.merged({"extractor": {"parameters": {"k": 4}}}).extractor.parameters == {"k": 4}
    assert tomllib.loads(config.to_toml())["extractor"]["parameters"] == {"window": 3}


@given(
    items=st.integers(1, 500),
    epochs=st.integers(1, 2000),
    batch=st.integers(1, 64),
    floor=st.integers(1, 900),
    cap=st.integers(1, 5000),
)
def test_total_steps_are_whole_batches_for_all_epochs_within_floor_and_cap(items, epochs, batch, floor, cap):
    steps = GANConfig(epochs=epochs, batch_size=batch, min_steps=floor, max_steps=cap).total_steps(items)
    passes = math.ceil(Fraction(epochs * items, batch))
    assert steps == sorted((floor, passes, cap))[1] if floor <= cap else steps == cap


def test_a_given_number_of_steps_wins_over_every_bound():
    assert GANConfig(steps=7, min_steps=100).total_steps(1000) == 7
    assert GANConfig(steps=90_000, max_steps=10).total_steps(10) == 90_000


def test_mask_resolution_image_means_the_image_size():
    assert SynCGANConfig.preset("paper").mask_resolution == 256
    assert SynCGANConfig().mask_resolution == MaskGANConfig().resolution


def test_a_section_alone_refuses_unknown_keys_too():
    with pytest.raises(ConfigError, match="unknown key 'width_'"):
        ImageGANConfig.from_mapping({"width_": 3})


@pytest.mark.parametrize(
    "setting",
    [
        "training.checkpoint_seconds=inf",
        "image_gan.perceptual_weight=nan",
        "filters.parameters.not-black.above=-inf",
        "image_gan.betas=[0.5, 1.0]",
    ],
)
def test_numbers_that_no_file_or_optimiser_could_hold_are_refused(setting):
    with pytest.raises(ConfigError, match=r"finite|less than 1"):
        SynCGANConfig().updated([setting])
