"""Pictures made while a GAN learns: the same items every time, few files, and no influence on what is learned."""

import logging

import numpy as np
import pytest
import torch

from syncgan import MaskGAN, MaskToImageCGAN, Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.evaluation.plots import draw_strips, uncaptioned_rows
from syncgan.evaluation.previews import COLUMNS, PreviewWriter, draw_preview, learning_strip, preview_folder
from syncgan.training.events import FitEvent
from syncgan.training.previews import PREVIEWED, Preview, evaluating

SMALL = [
    "mask_gan.warm_start_steps=0",
    "mask_gan.sharing=class",
    "mask_gan.steps=4",
    "mask_gan.width=4",
    "mask_gan.discriminator_width=4",
    "mask_gan.batch_size=4",
    "image_gan.steps=4",
    "image_gan.width=4",
    "image_gan.discriminator_width=4",
    "image_gan.batch_size=4",
    "training.preview_every=2",
]


def config(*settings):
    return SynCGANConfig.preset("tiny").updated([*SMALL, *settings])


def smears(count=4):
    phantom = Phantom(count, image_size=32)
    images = np.stack([phantom.image(index) for index in range(len(phantom))]).transpose(0, 3, 1, 2)
    return images, np.stack([phantom.mask(index) for index in range(len(phantom))])


def weights(model):
    return torch.cat([value.flatten().float() for value in model.generator_.state_dict().values()])


@pytest.mark.parametrize("half_life", [0, 2000])
def test_both_gans_are_the_same_with_and_without_previews(half_life):
    images, masks = smears()
    # Without the moving average the network that is shown is the one in training, with statistics over the batch.
    same = [f"mask_gan.ema_half_life_images={half_life}", f"image_gan.ema_half_life_images={half_life}"]
    same += ["image_gan.normalisation=batch", "image_gan.dropout=0.5"]
    seen = []
    for preview in (None, seen.append):
        mask_gan = MaskGAN(config(*same), device="cpu").fit(masks, preview=preview)
        renderer = MaskToImageCGAN(config(*same), device="cpu").fit(images, masks, preview=preview)
        seen.append((weights(mask_gan), weights(renderer)))
    (first, *previews, second) = seen
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert [(item.stage, item.step, item.total) for item in previews] == [
        (stage, step, 4) for stage in ("mask_gan", "image_gan") for step in (2, 4)
    ]


def test_previews_show_the_same_items_and_the_last_is_what_the_model_renders():
    images, masks = smears()
    seen = []
    model = MaskToImageCGAN(config(), device="cpu").fit(images, masks, preview=seen.append)
    first, last = seen
    assert first.maps.shape == (PREVIEWED, 32, 32)
    assert torch.equal(first.maps, last.maps)
    assert torch.equal(first.real, last.real)
    assert not torch.equal(first.images, last.images)
    shown = {image.tobytes() for image in last.real.numpy()}
    assert shown <= {image.tobytes() for image in images}
    seeds = [model_seed(model, index) for index in range(PREVIEWED)]
    assert torch.equal(model.render(last.maps, torch.zeros(PREVIEWED, dtype=torch.int64), seeds), last.images)


def model_seed(model, index):
    from syncgan import rng

    return rng.seed_for(model.seed, "preview", index)


def test_zero_turns_previews_off():
    seen = []
    MaskGAN(config("training.preview_every=0"), device="cpu").fit(smears()[1], preview=seen.append)
    assert seen == []


def test_a_preview_that_fails_does_not_stop_training(caplog):
    def fails(preview):
        raise RuntimeError("disk full")

    with caplog.at_level(logging.ERROR):
        model = MaskGAN(config(), device="cpu").fit(smears()[1], preview=fails)
    assert model.stop_reason_ == "all steps done"
    assert "disk full" in caplog.text


def test_a_network_goes_back_to_training_after_an_error():
    network = torch.nn.Dropout().train()
    modes = []

    def fails():
        with evaluating(network):
            modes.append(network.training)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fails()
    assert modes == [False]
    assert network.training


def preview(step, count=3, size=16, images=True):
    generator = torch.Generator().manual_seed(step)
    pixels = [torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8) for _ in range(2)]
    maps = torch.randint(0, 3, (count, size, size), generator=generator, dtype=torch.uint8)
    return Preview("image_gan", step, 99, maps, 3, *(pixels if images else ()))


class Named:
    classes_ = ("../../up", "HSIL")


def event(shown, stage="image_gan"):
    return FitEvent("preview", Named(), stage=stage, done=shown.step, total=shown.total, preview=shown)


def test_hostile_class_names_stay_in_the_folder(tmp_path):
    writer = PreviewWriter(tmp_path / "previews")
    for stage in ("image_gan", "mask_gan", "mask_gan/HSIL", "mask_gan/../../up"):
        writer(event(preview(7, images=False), stage))
    assert {path.name for path in tmp_path.iterdir()} == {"previews"}
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")}
    assert len(found) == 4
    assert {"previews/image_gan/step-000007.png", "previews/mask_gan/HSIL/step-000007.png"} <= found


@pytest.mark.parametrize("count", [12, 13, 40])
def test_at_most_twelve_pictures_are_kept_about_evenly_spaced_with_the_first_and_the_last(tmp_path, count):
    writer = PreviewWriter(tmp_path)
    for step in range(1, count + 1):
        writer(event(preview(step, count=1, size=8, images=False)))
    steps = sorted(int(path.stem.removeprefix("step-")) for path in tmp_path.rglob("*.png"))
    assert len(steps) == 12
    assert (steps[0], steps[-1]) == (1, count)
    gaps = np.diff(steps)
    assert gaps.max() <= 4 * gaps.min()


def test_a_picture_can_be_read_back_row_by_row():
    rows = [[np.full((8, 8, 3), 30 * row + column, np.uint8) for column in range(COLUMNS)] for row in range(3)]
    found = uncaptioned_rows(draw_strips([("", row) for row in rows], columns=COLUMNS), COLUMNS)
    assert [[int(tile[0, 0, 0]) for tile in row] for row in found] == [
        [int(tile[0, 0, 0]) for tile in row] for row in rows
    ]
    assert len({tile.shape for row in found for tile in row}) == 1


def test_the_strip_shows_real_images_and_maps_once_and_each_step(tmp_path):
    writer = PreviewWriter(tmp_path, thumbnails=True)
    assert learning_strip(tmp_path / "image_gan") is None
    for step in range(10, 90, 10):
        writer(event(preview(step)))
    folder = preview_folder(tmp_path, "image_gan", Named.classes_)
    picture, steps, real = learning_strip(folder, thumbnails=True)
    assert real
    assert steps[0] == 10
    assert steps[-1] == 80
    assert len(steps) == 5
    tall = draw_strips([("caption", [np.zeros((16, 16, 3), np.uint8)])] * 7, columns=COLUMNS)
    assert len(uncaptioned_rows(draw_preview(preview(1), thumbnails=True), COLUMNS)) == 3
    from syncgan.evaluation.plots import pixels_of

    assert pixels_of(picture).shape == pixels_of(tall).shape


def test_an_augmenter_tells_of_previews_and_of_what_its_log_says(tmp_path):
    events = []
    settings = ["image_gan.selection=validation", "training.validate_every=2", "filters.mask_plausibility=false"]
    writer = PreviewWriter(tmp_path / "previews")
    SynCGANAugmenter(config(*settings), device="cpu").fit(
        Phantom(4, image_size=32), run_dir=tmp_path / "run", callbacks=[writer, events.append]
    )
    stages = ["mask_gan/benign", "mask_gan/malignant", "image_gan"]
    assert [e.stage for e in events if e.kind == "preview"] == [stage for stage in stages for _ in range(2)]
    scores = [e.line["validation"] for e in events if e.line.get("event") == "validated"]
    assert [set(each) for each in scores] == [{"generator"}] * 2
    assert [e.stage for e in events if e.line.get("event") == "stopped"] == stages
    assert len(list((tmp_path / "previews").rglob("*.png"))) == 6
