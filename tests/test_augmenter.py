"""`SynCGANAugmenter` from a dataset to samples, wrapped datasets, batches, folders and saved models."""

from __future__ import annotations

import copy
import io
import json
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import measure
from torch.utils.data import ConcatDataset, DataLoader, Subset
from torchvision import tv_tensors
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from syncgan import MaskExtractor, Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.data.export import merge_export
from syncgan.data.pairs import split_by_group
from syncgan.data.raw import read_dataset
from syncgan.errors import ArtefactError, ConfigError, DataError, NotFittedError, RunExistsError, UnknownNameError
from syncgan.evaluation.progress import FitProgress, PlainDisplay
from syncgan.preparing import hold_out_pairs, log_what_limits, prepare
from syncgan.synthesis import _bytes
from syncgan.training.events import FitEvent

SETTINGS = [
    "mask_gan.steps=3",
    "image_gan.steps=3",
    "mask_gan.width=4",
    "image_gan.width=4",
    "sampling.chunk_size=4",
    "filters.mask_plausibility=false",
    "mask_gan.warm_start_steps=0",
    "mask_gan.sharing=class",
]


def config(*settings: str) -> SynCGANConfig:
    return SynCGANConfig.preset("tiny").updated([*SETTINGS, *settings])


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return Phantom(6, image_size=48)


@pytest.fixture(scope="module")
def run(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> tuple[SynCGANAugmenter, Path]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return SynCGANAugmenter(config(), device="cpu", seed=1).fit(phantom, run_dir=folder), folder


@pytest.fixture
def augmenter(run: tuple[SynCGANAugmenter, Path]) -> SynCGANAugmenter:
    return run[0]


def image_folder(root: Path, phantom: Phantom) -> Path:
    for index, target in enumerate(phantom.targets):
        folder = root / phantom.classes[target]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(phantom.image(index)).save(folder / f"{index}.png")
    return root


def test_samples_are_labelled_uint8_tv_tensors(augmenter: SynCGANAugmenter) -> None:
    samples = augmenter.sample("malignant", 5, seed=3)
    assert isinstance(samples.images, tv_tensors.Image)
    assert isinstance(samples.masks, tv_tensors.Mask)
    assert samples.images.shape == (5, 3, 32, 32)
    assert samples.masks.shape == (5, 32, 32)
    assert samples.images.dtype == samples.masks.dtype == torch.uint8
    assert samples.labels.tolist() == [1] * 5
    assert samples.labels.dtype == torch.int64
    assert len(augmenter.sample("malignant", 0)) == 0


def test_a_class_goes_by_its_name_or_its_integer(augmenter: SynCGANAugmenter) -> None:
    by_name, by_label = augmenter.sample("malignant", 2), augmenter.sample(1, 2)
    assert torch.equal(by_name.images, by_label.images)
    with pytest.raises(UnknownNameError, match=r"unknown class 'maligant'.*did you mean 'malignant'"):
        augmenter.sample("maligant", 1)
    with pytest.raises(UnknownNameError, match=r"knows benign \(0\), malignant \(1\)"):
        augmenter.sample(2, 1)
    with pytest.raises(ConfigError, match="at least 0"):
        augmenter.sample(0, -1)


def test_samples_do_not_depend_on_how_many_are_asked_for(augmenter: SynCGANAugmenter) -> None:
    more = augmenter.sample("benign", 11, seed=5)
    for n in (1, 4, 7):
        fewer = augmenter.sample("benign", n, seed=5)
        assert torch.equal(fewer.images, more.images[:n])
        assert torch.equal(fewer.masks, more.masks[:n])
    assert not torch.equal(augmenter.sample("benign", 11, seed=6).images, more.images)


def test_two_fits_with_one_seed_sample_alike(augmenter: SynCGANAugmenter, phantom: Phantom) -> None:
    again = SynCGANAugmenter(config(), device="cpu", seed=1).fit(phantom)
    assert torch.equal(again.sample(0, 4).images, augmenter.sample(0, 4).images)
    other = SynCGANAugmenter(config(), device="cpu", seed=2).fit(phantom)
    assert not torch.equal(other.sample(0, 4).images, augmenter.sample(0, 4).images)


@pytest.mark.parametrize(("generator", "objects"), [("mosaic", 1), ("warp", 1), ("shapes", 2)])
def test_what_is_made_of_real_masks_knows_the_whole_set_and_draws_each_class_from_its_own(
    phantom: Phantom, generator: str, objects: int
) -> None:
    items = [(phantom.image(index), "few" if index < 6 else "many") for index in range(12)]
    few, many = np.zeros((48, 48), np.uint8), np.zeros((48, 48), np.uint8)
    few[20:28, 20:28] = 1
    many[[[4], [5], [6], [24], [25], [26], [40], [41], [42]], [4, 5, 6, 24, 25, 26, 40, 41, 42]] = 1
    settings = config(f"mask_gan.generator={generator}", "mask_gan.sharing=auto", "levels=2")
    augmenter = SynCGANAugmenter(settings, device="cpu").fit(items, masks=[few] * 6 + [many] * 6)
    assert len(set(augmenter.mask_gans_)) == objects
    found = {
        name: [measure.label(mask).max() for mask in augmenter.sample_masks(name, 8, seed=1).numpy()]
        for name in ("few", "many")
    }
    assert max(found["few"]) <= 2
    assert np.mean(found["many"]) > 4


def test_a_run_folder_holds_configuration_log_checkpoints_and_model(run: tuple[SynCGANAugmenter, Path]) -> None:
    folder = run[1]
    assert SynCGANConfig.load(folder / "config.json") == run[0].config_
    stages = {json.loads(line)["stage"] for line in (folder / "stats.jsonl").read_text().splitlines()}
    assert stages == {"mask_gan/benign", "mask_gan/malignant", "image_gan"}
    manifest = json.loads((folder / "model" / "manifest.json").read_text())
    assert manifest["classes"] == ["benign", "malignant"]
    assert manifest["dataset_fingerprint"] == run[0].fingerprint_
    assert {path.name for path in (folder / "model").iterdir()} == {
        "manifest.json",
        *(entry["file"] for entry in manifest["files"].values()),
    }


def test_a_loaded_model_samples_the_same_without_data_or_segmenter(run: tuple[SynCGANAugmenter, Path]) -> None:
    for folder in (run[1], run[1] / "model"):
        loaded = SynCGANAugmenter.load(folder, device="cpu")
        assert torch.equal(loaded.sample("benign", 6, seed=9).images, run[0].sample("benign", 6, seed=9).images)
    with pytest.raises(ArtefactError, match="expected a saved augmenter"):
        SynCGANAugmenter.load(run[1] / "checkpoints")


def test_resuming_a_finished_run_trains_nothing_again(run: tuple[SynCGANAugmenter, Path], phantom: Phantom) -> None:
    events: list[FitEvent] = []
    again = SynCGANAugmenter(config(), device="cpu", seed=1).fit(phantom, run_dir=run[1], callbacks=[events.append])
    assert [event.kind for event in events if event.kind == "step"] == []
    assert torch.equal(again.sample(0, 3).images, run[0].sample(0, 3).images)


def test_another_run_in_the_same_folder_is_refused_with_the_difference(
    run: tuple[SynCGANAugmenter, Path], phantom: Phantom
) -> None:
    before = {path: path.read_bytes() for path in run[1].rglob("*") if path.is_file()}
    with pytest.raises(RunExistsError, match="seed: was 1, is 2"):
        SynCGANAugmenter(config(), device="cpu", seed=2).fit(phantom, run_dir=run[1])
    with pytest.raises(RunExistsError, match=r"mask_gan\.steps: was 3, is 4"):
        SynCGANAugmenter(config("mask_gan.steps=4"), device="cpu", seed=1).fit(phantom, run_dir=run[1])
    with pytest.raises(RunExistsError, match="the training items changed: removed benign/0005, malignant/0005"):
        SynCGANAugmenter(config(), device="cpu", seed=1).fit(Phantom(5, image_size=48), run_dir=run[1])
    with pytest.raises(RunExistsError, match="already holds a run"):
        SynCGANAugmenter(config(), device="cpu", seed=1).fit(phantom, run_dir=run[1], resume="never")
    assert {path: path.read_bytes() for path in run[1].rglob("*") if path.is_file()} == before


def test_a_run_goes_on_with_the_groups_that_it_was_started_with(phantom: Phantom, tmp_path: Path) -> None:
    settings = config("image_gan.selection=validation", "training.score_every=1")
    groups = [f"patient {index // 2}" for index in range(len(phantom))]

    def fit(**given: object) -> object:
        return SynCGANAugmenter(settings, device="cpu").fit(phantom, run_dir=tmp_path / "run", **given)

    fit(groups=groups)
    saved = (tmp_path / "run" / "run.json").read_text()
    assert len(json.loads(saved)["identity"]["groups"]) == 64
    assert "patient" not in saved
    fit(groups=[name.replace("patient", "case") for name in groups])  # names do not matter
    for others in (None, [f"patient {index // 3}" for index in range(len(phantom))]):
        with pytest.raises(RunExistsError, match="groups: was"):
            fit(groups=others)
    with pytest.raises(RunExistsError, match="validation: was None, is "):
        fit(groups=groups, validation=Phantom(2, image_size=48, seed=5))


def test_a_run_that_did_not_record_its_groups_goes_on(phantom: Phantom, tmp_path: Path) -> None:
    groups = [index // 2 for index in range(len(phantom))]
    folder = tmp_path / "run"
    settings = config("image_gan.selection=validation", "training.score_every=1")
    first = SynCGANAugmenter(settings, device="cpu").fit(phantom, run_dir=folder, groups=groups)
    # As an earlier version left it: without the two in the run, nor in its checkpoints.
    for file in [folder / "run.json", *folder.glob("checkpoints/**/manifest.json")]:
        content = json.loads(file.read_text())
        for key in ("groups", "validation"):
            del content["identity"][key]
        file.write_text(json.dumps(content))
    again = SynCGANAugmenter(settings, device="cpu").fit(phantom, run_dir=folder, groups=groups)
    assert torch.equal(first.sample(0, 2).images, again.sample(0, 2).images)


def test_changed_files_are_named_when_a_run_is_resumed(phantom: Phantom, tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data", phantom)
    SynCGANAugmenter(config(), device="cpu").fit(ImageFolder(data), run_dir=tmp_path / "run")
    (data / "benign" / "0.png").rename(data / "benign" / "00.png")
    (data / "malignant" / "7.png").write_bytes((data / "malignant" / "8.png").read_bytes())
    with pytest.raises(RunExistsError) as caught:
        SynCGANAugmenter(config(), device="cpu").fit(ImageFolder(data), run_dir=tmp_path / "run")
    changes = "added benign/00.png, removed benign/0.png, edited malignant/7.png"
    assert f"the training items changed: {changes}" in str(caught.value)
    assert str(tmp_path) not in (tmp_path / "run" / "run.json").read_text()


def test_settings_that_change_no_result_may_differ_on_resume(phantom: Phantom, tmp_path: Path) -> None:
    first = SynCGANAugmenter(config(), device="cpu").fit(phantom, run_dir=tmp_path / "run")
    orphan = tmp_path / "run" / "checkpoints" / ".syncgan-0.tmp"
    orphan.write_bytes(b"what a killed writer leaves")
    other = config("training.checkpoint_seconds=5", "training.keep_checkpoints=4", "training.data_device=host")
    again = SynCGANAugmenter(other, device="cpu").fit(phantom, run_dir=tmp_path / "run")
    assert torch.equal(first.sample(0, 2).images, again.sample(0, 2).images)
    assert not orphan.exists()


def test_the_log_tells_speed_time_memory_and_why_each_stage_ended(run: tuple[SynCGANAugmenter, Path]) -> None:
    lines = [json.loads(line) for line in (run[1] / "stats.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "event" not in line]
    assert all(line["images_per_second"] > 0 and line["seconds"] >= 0 for line in losses)
    assert all(line["peak_memory_mb"] > 50 for line in losses)  # torch alone takes more
    ended = {line["stage"]: (line["reason"], line["kept_step"]) for line in lines if line.get("event") == "stopped"}
    assert ended == dict.fromkeys(("mask_gan/benign", "mask_gan/malignant", "image_gan"), ("all steps done", 3))


def test_a_folder_with_something_else_in_it_is_refused(phantom: Phantom, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunExistsError, match="not empty"):
        SynCGANAugmenter(config(), device="cpu").fit(phantom, run_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["thesis.txt"]


def test_events_tell_stages_and_the_time_left(phantom: Phantom) -> None:
    events: list[FitEvent] = []

    def fails(event: FitEvent) -> None:
        raise RuntimeError("a callback's own trouble")

    SynCGANAugmenter(config(), device="cpu").fit(phantom, callbacks=[fails, events.append])
    kinds = [event.kind for event in events]
    assert kinds == ["masks"] * 12 + ["plan", *["step", "preview"] * 3, "fitted"]
    assert events[12].total == 9
    assert events[12].seconds_left is not None
    assert [event.seconds_left for event in events][-1] == 0.0


def test_an_image_folder_with_transforms_just_works(phantom: Phantom, tmp_path: Path) -> None:
    transform = v2.Compose([v2.ToImage(), v2.Resize((32, 32)), v2.ToDtype(torch.float32, scale=True)])
    dataset = ImageFolder(image_folder(tmp_path, phantom), transform=transform)
    augmenter = SynCGANAugmenter(config(), device="cpu").fit(dataset)
    assert augmenter.classes_ == ("benign", "malignant")
    wrapped = augmenter.wrap(dataset, strategy=2.0)
    assert len(wrapped) == 36
    images, labels = next(iter(DataLoader(wrapped, batch_size=36, num_workers=2)))
    assert images.shape == (36, 3, 32, 32)
    assert images.dtype == torch.float32
    assert torch.equal(images[0], dataset[0][0])
    assert torch.bincount(labels).tolist() == [18, 18]
    assert dataset.transform is transform


def test_classes_of_very_few_and_images_that_are_enlarged_much_are_said(caplog: pytest.LogCaptureFixture) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 14, 14, 3)).astype(np.uint8)
    masks = [np.pad(np.ones((6, 6), np.uint8), 4)] * 8
    items = [(image, "benign" if index < 3 else "malignant") for index, image in enumerate(images)]
    SynCGANAugmenter(config(), device="cpu").fit(items, masks=masks)
    (counted, sized) = [record.getMessage() for record in caplog.records if record.name == "syncgan.preparing"]
    assert "at least 5 usable images in every class, got fewer: 'benign' has 3;" in counted
    assert "the median image (14 px) is enlarged 2.3-fold to image_size 32" in sized
    assert sized.endswith("give larger images")


@pytest.mark.parametrize(
    ("side", "settings", "said"),
    [
        (28, [], "enlarged 4.6-fold to image_size 128, which adds no detail; "),
        (28, [], "set image_size=32 and mask_gan.resolution=32 (by"),
        (40, ["mask_gan.resolution=image"], "set image_size=64 (by"),
        (64, [], ""),
    ],
)
def test_the_size_that_suits_small_images_is_named(side, settings, said, caplog: pytest.LogCaptureFixture) -> None:
    raw, tree = (
        read_dataset(Phantom(5, image_size=side)),
        SynCGANConfig().updated(["levels=2", "stain_classes=0", *settings]),
    )
    pairs = prepare(raw, [np.pad(np.ones((6, 6), np.uint8), (0, side - 6))] * 10, config=tree).pairs
    log_what_limits(raw, pairs, tree)
    assert said in caplog.text
    assert bool(said) == bool(caplog.text)


def test_wrapped_items_are_the_samples(augmenter: SynCGANAugmenter, phantom: Phantom) -> None:
    real = Phantom(6, image_size=32)
    wrapped = augmenter.wrap(real, strategy={"malignant": 3}, seed=4, transform=np.asarray)
    samples = augmenter.sample("malignant", 3, seed=4)
    assert np.array_equal(wrapped[12][0], samples.images[0].permute(1, 2, 0).numpy())
    assert wrapped.targets[12:] == [1, 1, 1]


def test_a_store_on_disk_belongs_to_the_model(augmenter: SynCGANAugmenter, tmp_path: Path) -> None:
    real = Phantom(3, image_size=32)
    kept = augmenter.wrap(real, strategy={"benign": 4}, seed=4, store=tmp_path / "store", refresh=0.5)
    assert np.array_equal(kept.images, augmenter.sample("benign", 4, seed=4).images.numpy())
    assert set(kept.provenance(6)) == {"class", "label", "seed", "index", "nucleus_share", "nuclei"}
    kept.set_epoch(2)
    later = augmenter.sample("benign", 8, seed=4)
    assert np.array_equal(kept.images, later.images[4:].numpy())
    other = copy.copy(augmenter)
    other.mask_ranges_ = other.mask_ranges_[::-1]
    with pytest.raises(RunExistsError, match="different model"):
        other.wrap(real, strategy={"benign": 4}, seed=4, store=tmp_path / "store")


def test_batches_from_a_pool_repeat_themselves_under_one_seed(augmenter: SynCGANAugmenter) -> None:
    images, labels = torch.zeros((6, 3, 32, 32), dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 1, 0])
    one, same, other = (augmenter.batch_transform(p=1.0, pool=2, seed=seed)(images, labels)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert (one.flatten(1).float().mean(dim=1) > 0).all()


def test_samples_do_not_depend_on_what_the_caller_computes_in(augmenter: SynCGANAugmenter) -> None:
    alone = augmenter.sample("benign", 3, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = augmenter.sample("benign", 3, seed=1)
    assert torch.equal(alone.images, inside.images)
    assert torch.equal(alone.masks, inside.masks)


def test_a_batch_transform_can_be_pickled(augmenter: SynCGANAugmenter) -> None:
    images, labels = torch.zeros((4, 3, 32, 32), dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    copied = pickle.loads(pickle.dumps(augmenter.batch_transform(p=1.0, seed=2)))  # noqa: S301
    assert torch.equal(copied(images, labels)[0], augmenter.batch_transform(p=1.0, seed=2)(images, labels)[0])


@pytest.mark.parametrize("seed", [1.5, "x", None, True])
def test_a_seed_is_a_whole_number(augmenter: SynCGANAugmenter, tmp_path: Path, seed: Any) -> None:
    uses = [
        lambda: augmenter.sample("benign", 1, seed=seed),
        lambda: augmenter.wrap(Phantom(1, image_size=32), seed=seed),
        lambda: augmenter.batch_transform(seed=seed),
        lambda: augmenter.export(tmp_path / "out", 1, seed=seed),
    ]
    for use in uses:
        with pytest.raises(ConfigError, match="whole number as seed"):
            use()
    assert augmenter.batch_transform(seed=np.int64(3)).seed == 3  # type: ignore[arg-type]


def test_batches_are_replaced_after_the_loader(augmenter: SynCGANAugmenter) -> None:
    mix = augmenter.batch_transform(p=1.0, seed=2)
    images, labels = torch.zeros((6, 3, 20, 24), dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 1, 0])
    mixed, same = mix(images, labels)
    assert mixed.shape == images.shape
    assert torch.equal(same, labels)
    assert (mixed.flatten(1).float().mean(dim=1) > 0).all()


def test_export_writes_the_samples(augmenter: SynCGANAugmenter, tmp_path: Path) -> None:
    summary = augmenter.export(tmp_path / "out", {"benign": 5, 1: 2}, seed=3)
    assert summary.counts == {"benign": 5, "malignant": 2}
    first = np.asarray(Image.open(sorted((tmp_path / "out" / "images" / "benign").glob("*.png"))[0]))
    assert np.array_equal(first, augmenter.sample("benign", 1, seed=3).images[0].permute(1, 2, 0).numpy())
    with pytest.raises(RunExistsError):
        augmenter.export(tmp_path / "out", 1)
    with pytest.raises(ConfigError, match="whole number of images"):
        augmenter.export(tmp_path / "other", {"benign": 1.5})  # type: ignore[dict-item]


def test_shards_of_an_export_are_one_export(augmenter: SynCGANAugmenter, tmp_path: Path) -> None:
    wanted = {"benign": 20, "malignant": 3}
    augmenter.export(tmp_path / "whole", wanted)
    for part in (1, 2):
        augmenter.export(tmp_path / "parts", wanted, shard=(part, 2))
    merge_export(tmp_path / "parts")
    for file in ("manifest.csv", "images/metadata.jsonl", "images/benign/benign_000019.png"):
        assert (tmp_path / "parts" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_an_export_of_one_class_is_an_image_folder(augmenter: SynCGANAugmenter, tmp_path: Path) -> None:
    augmenter.export(tmp_path / "out", {"malignant": np.int64(3)})
    assert len(ImageFolder(str(tmp_path / "out" / "images"))) == 3
    header, *rows = (tmp_path / "out" / "manifest.csv").read_text().splitlines()
    assert header == "file,mask,class,label,seed,index,nucleus_share,nuclei"
    assert len(rows) == 3
    with pytest.raises(ConfigError, match="asked for twice"):
        augmenter.export(tmp_path / "twice", {"malignant": 1, 1: 2})


def test_a_nucleus_mask_of_255_is_nucleus_in_a_model_of_three_levels(augmenter: SynCGANAugmenter) -> None:
    nucleus = np.zeros((1, 32, 32), np.uint8)
    nucleus[:, 8:20, 8:20] = 1
    as_levels = augmenter.image_gan_.generate(nucleus * 2, [1], seed=1)
    assert torch.equal(augmenter.image_gan_.generate(nucleus * 255, [1], seed=1), as_levels)
    assert not torch.equal(augmenter.image_gan_.generate(nucleus, [1], seed=1), as_levels)


@pytest.mark.parametrize("top", [1, 255])
def test_nucleus_masks_that_are_given_get_their_third_level_from_the_image(top: int, phantom: Phantom) -> None:
    masks = [phantom.mask(index) * top for index in range(len(phantom))]
    augmenter = SynCGANAugmenter(config(), device="cpu").fit(phantom, masks=masks)
    assert augmenter.levels_ == 3
    assert set(augmenter.pairs_.maps.unique().tolist()) == {0, 1, 2}


def test_given_maps_of_four_levels_need_no_segmenter(phantom: Phantom) -> None:
    masks = [phantom.mask(index) * 3 for index in range(len(phantom))]
    masks[0][:4] = 1
    masks[1][:4] = 2
    augmenter = SynCGANAugmenter(config("levels=4"), device="cpu").fit(phantom, masks=masks)
    assert augmenter.levels_ == 4
    assert augmenter.sample(0, 2).masks.shape == (2, 32, 32)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ("filters.samples=['dark_nucleus']", "sample filter"),
        ("image_gan.generator=unett", "image generator"),
        ("mask_gan.discriminator=patch", "discriminator"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(settings: str, kind: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown {kind}"):
        SynCGANAugmenter(config(settings), device="cpu").fit(None)
    with pytest.raises(ConfigError, match="expected resume="):
        SynCGANAugmenter(config()).fit(None, resume=True)  # type: ignore[arg-type]


def test_groups_that_are_not_used_are_said_to_be(phantom: Phantom) -> None:
    with pytest.warns(UserWarning, match="validation and groups are not used"):
        SynCGANAugmenter(config(), device="cpu").fit(phantom, groups=list(range(len(phantom))))


def test_a_fit_that_fails_leaves_no_half_new_model(phantom: Phantom) -> None:
    augmenter = SynCGANAugmenter(config(), device="cpu").fit(phantom)
    with pytest.raises(DataError):
        augmenter.fit([])
    with pytest.raises(NotFittedError):
        augmenter.sample(0, 1)


def test_labels_need_not_start_at_zero(phantom: Phantom) -> None:
    items = [(phantom.image(index), 4 + 3 * phantom.targets[index]) for index in range(len(phantom))]
    augmenter = SynCGANAugmenter(config(), device="cpu").fit(items)
    assert augmenter.label_values_ == (4, 7)
    assert augmenter.sample(7, 2).labels.tolist() == [7, 7]


def test_known_masks_are_used_instead_of_extracted_ones(phantom: Phantom) -> None:
    masks = [phantom.mask(index) for index in range(len(phantom))]
    augmenter = SynCGANAugmenter(config("geometry=crop"), device="cpu").fit(phantom, masks=masks)
    assert augmenter.levels_ == 3
    kept = augmenter.pairs_
    expected = masks[kept.indices[0]]
    assert abs(float((kept.maps[0] == 2).float().mean()) - expected.mean()) < 0.02
    with pytest.raises(DataError, match=r"a sequence of masks, got generator; pass list\(masks\)"):
        SynCGANAugmenter(config(), device="cpu").fit(phantom, masks=(mask for mask in masks))
    with pytest.raises(DataError, match="one mask an item, got 3 masks and 12 items"):
        SynCGANAugmenter(config(), device="cpu").fit(phantom, masks=masks[:3])


@pytest.mark.filterwarnings("ignore:.*masks are doubtful")  # cytoplasm counts as nucleus
@pytest.mark.parametrize("levels", [2, 3, 4])
def test_any_number_of_levels_goes_all_the_way(levels: int, phantom: Phantom) -> None:
    def segment(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        darkness = 255 - image.min(axis=2).astype(int)
        return np.digitize(darkness, np.linspace(60, 160, levels - 1)).astype(np.uint8)

    segment.levels = levels  # type: ignore[attr-defined]
    augmenter = SynCGANAugmenter(config("extractor.exclude_failed=false"), extractor=segment, device="cpu").fit(phantom)
    assert augmenter.levels_ == levels
    assert int(augmenter.sample(0, 2).masks.max()) < levels


def test_more_levels_than_a_fit_can_take_are_refused_before_anything_is_extracted(phantom: Phantom) -> None:
    seen: list[int] = []

    def segment(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        seen.append(1)
        return np.zeros(image.shape[:2], np.uint8)

    segment.levels = 9  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"segmenter .*segment.*: 9 levels are not .* join some of them"):
        SynCGANAugmenter(config(), extractor=segment, device="cpu").fit(phantom)
    assert not seen


@pytest.mark.parametrize("given", [False, True])
def test_images_that_do_not_fit_into_memory_are_read_again_with_the_same_result(
    given: bool, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = phantom.masks if given else None
    first = phantom.image(0).nbytes

    def prepared(kept: int) -> tuple[str, int]:
        monkeypatch.setattr("syncgan.data.raw.KEPT_BYTES", kept)
        raw = read_dataset(phantom)
        held = sum(image is not None for image in raw.images._kept)
        assert raw.images.sizes == [(48, 48)] * len(phantom)
        assert np.array_equal(np.stack(raw.images[3:5]), np.stack([phantom.image(3), phantom.image(4)]))
        return prepare(raw, masks, config=config()).pairs.fingerprint(), held

    whole, all_of_them = prepared(2**30)
    assert all_of_them == len(phantom)
    assert prepared(0) == (whole, 0)
    assert prepared(3 * first) == (whole, 3)


def test_an_item_that_cannot_be_read_again_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(Phantom(1, image_size=48).image(0)).save(tmp_path / name)
    monkeypatch.setattr("syncgan.data.raw.KEPT_BYTES", 0)
    raw = read_dataset(ImageFolder(tmp_path))
    (tmp_path / "b" / "0.png").unlink()
    with pytest.raises(DataError, match=r"b/0\.png"):
        prepare(raw, None, config=config())


def test_class_names_of_numpy_make_a_model_that_is_loaded_as_it_was(phantom: Phantom, tmp_path: Path) -> None:
    class Named(torch.utils.data.Dataset[Any]):
        def __init__(self) -> None:
            self.classes = list(np.unique(["benign", "malignant"]))

        def __len__(self) -> int:
            return len(phantom)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return phantom.image(index), phantom.targets[index]

    fitted = SynCGANAugmenter(config(), device="cpu").fit(Named())
    assert [type(name) for name in fitted.classes_] == [str, str]
    fitted.save(tmp_path / "model")
    loaded = SynCGANAugmenter.load(tmp_path / "model", device="cpu")
    assert torch.equal(loaded.sample("benign", 3, seed=1).images, fitted.sample("benign", 3, seed=1).images)
    assert loaded.digest() == fitted.digest()


def test_images_whose_mask_fails_are_left_out_and_counted(phantom: Phantom) -> None:
    items = [(phantom.image(index), phantom.targets[index]) for index in range(len(phantom))]
    items.append((np.full((48, 48, 3), 240, np.uint8), 0))
    augmenter = SynCGANAugmenter(config(), device="cpu").fit(items)
    assert augmenter.excluded_ == {"item 12": "no nucleus found"}
    blank = [(np.full((48, 48, 3), 240, np.uint8), label) for label in (0, 0, 1, 1)]
    with pytest.raises(DataError, match=r"'0': expected at least 2 images with a usable mask, got 0 of 2"):
        SynCGANAugmenter(config(), device="cpu").fit(blank)
    with pytest.raises(DataError, match=r"'1': .*extractor\.exclude_failed=false.*leave the class out"):
        SynCGANAugmenter(config(), device="cpu").fit([*items[:6], *((image, 1) for image, _ in blank[:2])])


def _frame_alone(image: np.ndarray) -> np.ndarray:
    mask = np.ones(image.shape[:2], np.uint8)
    mask[6:-6, 6:-6] = 0
    return mask


def test_a_doubt_that_many_masks_share_is_told_and_they_stay(phantom: Phantom) -> None:
    with pytest.warns(UserWarning, match="masks are doubtful: nuclei cover most of the image border") as caught:
        pairs = prepare(read_dataset(phantom), None, config=config(), extractor=_frame_alone).pairs
    assert len(pairs) == len(phantom)
    assert sum("doubtful" in str(warning.message) for warning in caught) == 1


def test_fluorescence_is_refused_with_what_to_do_about_it() -> None:
    image = np.full((48, 48, 3), (4, 6, 4), np.uint8)
    image[20:32, 20:32, 1] = 200
    with pytest.raises(
        DataError, match=r"bright on dark \(fluorescence\?\).*invert the images, or give your own masks"
    ):
        prepare(read_dataset([(image, label) for label in (0, 0, 1, 1)]), None, config=config())


def shared(*settings: str) -> SynCGANConfig:
    return config("mask_gan.sharing=auto", "training.log_every=1", *settings)


def test_classes_of_few_masks_share_a_mask_gan_that_is_told_the_class(phantom: Phantom, tmp_path: Path) -> None:
    events: list[FitEvent] = []
    augmenter = SynCGANAugmenter(shared(), device="cpu").fit(phantom, callbacks=[events.append])
    first, second = augmenter.mask_gans_
    assert first is second
    assert first.label_values_ == augmenter.label_values_
    steps = [event.stage for event in events if event.kind == "step"]
    assert steps == ["mask_gan"] * 3 + ["image_gan"] * 3
    augmenter.save(tmp_path / "model")
    again = SynCGANAugmenter.load(tmp_path / "model", device="cpu")
    for name, label in zip(augmenter.classes_, augmenter.label_values_, strict=True):
        drawn = augmenter.sample(name, 3, seed=2)
        assert torch.equal(drawn.masks, again.sample(name, 3, seed=2).masks)
        assert torch.equal(drawn.masks, augmenter.sample_masks(name, 3, seed=2))
        seeds = augmenter._sampler().item_seeds(augmenter.classes_.index(name), 2, range(3))
        assert torch.equal(drawn.masks, first.draw(seeds, [augmenter.label_values_.index(label)] * 3))


def test_classes_of_many_masks_have_a_mask_gan_each(phantom: Phantom) -> None:
    augmenter = SynCGANAugmenter(shared("mask_gan.shared_below=6"), device="cpu").fit(phantom)
    assert augmenter.mask_gans_[0] is not augmenter.mask_gans_[1]
    assert augmenter.mask_gans_[0].label_values_ == ()


def test_a_shared_run_goes_on_where_it_stopped(phantom: Phantom, tmp_path: Path) -> None:
    def stop(event: FitEvent) -> None:
        if event.stage == "mask_gan" and event.done == 2:
            raise KeyboardInterrupt

    whole = SynCGANAugmenter(shared(), device="cpu").fit(phantom)
    with pytest.raises(KeyboardInterrupt):
        SynCGANAugmenter(shared("training.checkpoint_seconds=0"), device="cpu").fit(
            phantom, run_dir=tmp_path / "run", callbacks=[stop]
        )
    resumed = SynCGANAugmenter(shared("training.checkpoint_seconds=0"), device="cpu").fit(
        phantom, run_dir=tmp_path / "run"
    )
    assert torch.equal(resumed.sample_masks("benign", 3), whole.sample_masks("benign", 3))


def test_a_held_out_share_never_divides_a_group(phantom: Phantom) -> None:
    groups = [f"patient {index // 2}" for index in range(len(phantom))]
    settings = config("image_gan.selection=validation")
    augmenter = SynCGANAugmenter(settings, device="cpu").fit(phantom, groups=groups)
    training, held_out = hold_out_pairs(augmenter.pairs_, None, groups, config=settings, seed=0)
    assert held_out is not None
    assert not {groups[i] for i in training.indices} & {groups[i] for i in held_out.indices}
    with pytest.raises(DataError, match="one group an item"):
        SynCGANAugmenter(config("image_gan.selection=validation"), device="cpu").fit(phantom, groups=groups[:3])


def test_groups_of_few_images_can_be_held_out(phantom: Phantom) -> None:
    prepared = prepare(read_dataset(Subset(phantom, [0, 1, 2, 6, 7, 8])), None, config=config())
    training, held_out = split_by_group(prepared.pairs, list("abcdef"), share=0.25, seed=0)
    assert len(training) + len(held_out) == 6
    assert set(training.labels.tolist()) == {0, 1}


def test_a_validation_set_takes_masks_of_its_own(phantom: Phantom) -> None:
    masks = [phantom.mask(index) for index in range(len(phantom))]
    levels = [mask * np.uint8(2) for mask in masks]
    levels[0][0, :3] = (0, 1, 2)
    others, settings = Phantom(2, image_size=48, seed=5), config("image_gan.selection=validation", "stain_classes=4")
    augmenter = SynCGANAugmenter(settings, device="cpu")
    given = [others.mask(index) * np.uint8(2) for index in range(4)]
    given[0][0, :3] = (0, 1, 2)
    augmenter.fit(phantom, masks=levels, validation=others, validation_masks=given)
    assert augmenter.levels_ == 3
    augmenter.fit(phantom, masks=levels, validation=others)  # extracted at the same levels
    with pytest.raises(
        DataError, match=r"validation set with 5 levels.* got 3; give validation_masks of the same kind"
    ):
        augmenter.fit(phantom, validation=others, validation_masks=given)
    with pytest.raises(ConfigError, match="together with validation"):
        augmenter.fit(phantom, validation_masks=given)


def test_a_validation_set_of_names_may_lack_a_class(phantom: Phantom) -> None:
    named = [(phantom.image(index), "abc"[index % 3]) for index in range(len(phantom))]
    settings = config("image_gan.selection=validation")
    some = [item for item in named if item[1] != "a"]
    assert SynCGANAugmenter(settings, device="cpu").fit(named, validation=some).classes_ == ("a", "b", "c")
    with pytest.raises(DataError, match="'d'"):
        SynCGANAugmenter(settings, device="cpu").fit(named, validation=[*some, (phantom.image(0), "d")])


def test_reasons_of_items_with_one_name_are_told(phantom: Phantom, tmp_path: Path) -> None:
    for part in ("one", "two"):
        image_folder(tmp_path / part, phantom)
        for file in (tmp_path / part).glob("*/*.png"):
            Image.new("RGB", (48, 48), "white").save(file)
    parts = [ImageFolder(str(tmp_path / part)) for part in ("one", "two")]
    with pytest.raises(DataError, match=r"got 0 of 12 \(\w+/\d+\.png \(item 0\): no nucleus"):
        SynCGANAugmenter(config(), device="cpu").fit(ConcatDataset(parts))


def test_a_renderer_that_fits_itself_warns_once_of_a_selection_and_is_watched_like_any_stage(
    phantom: Phantom, tmp_path: Path
) -> None:
    events: list[FitEvent] = []
    plain = config("image_gan.generator=plain_gan", "image_gan.selection=validation", "training.log_every=1")
    with pytest.warns(UserWarning, match="has no effect: image generator 'plain_gan' fits itself") as warned:
        augmenter = SynCGANAugmenter(plain, device="cpu").fit(phantom, run_dir=tmp_path, callbacks=[events.append])
    assert len(warned) == 1
    assert augmenter.image_gan_.config_.image_gan.selection == "last"
    steps = [event for event in events if event.kind == "step" and event.stage == "image_gan"]
    assert [event.done for event in steps] == [1, 2, 3]
    assert all(event.seconds_left is not None for event in steps)
    stream = io.StringIO()
    for event in events:
        FitProgress(PlainDisplay(stream))(event)
    assert "the renderer, which fits itself; 6 steps in all" in stream.getvalue()
    assert "image_gan  3/3" in stream.getvalue()


def test_too_few_held_out_pairs_for_a_score_are_refused_before_any_training(phantom: Phantom) -> None:
    chosen = config("image_gan.selection=utility", "extractor.exclude_failed=false")
    events: list[FitEvent] = []
    groups = ["patient 1", *["patient 2"] * (len(phantom) - 1)]
    with pytest.raises(DataError, match="at least 2 held-out pairs"):
        SynCGANAugmenter(chosen, device="cpu").fit(
            phantom, groups=groups, callbacks=[events.append], score=lambda rendered, real, training: 0.0
        )
    assert {event.kind for event in events} == {"masks"}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "expected a dataset with images, got an empty one"),
        ([(np.zeros((32, 32, 3), np.uint8), 0)] * 4, "at least 2 classes, got 1"),
        ([(np.zeros((32, 32, 3), np.uint8), label) for label in (0, 0, 1)], "at least 2 images in every class"),
        ([(np.zeros((32, 32, 3), np.float32), label) for label in (0, 0, 1, 1)], r"float32.*item 0|item 0.*float32"),
    ],
)
def test_data_that_cannot_be_learned_from_is_refused(items: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SynCGANAugmenter(config(), device="cpu").fit(items)


def test_an_unknown_segmenter_is_named_before_anything_is_trained(phantom: Phantom) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown segmenter 'gmn'.*did you mean 'gmm'"):
        SynCGANAugmenter(config("extractor.segmenter=gmn"), device="cpu").fit(phantom)


@pytest.mark.parametrize(("asked", "levels"), [(2, 2), (3, 3), (None, 3)])
def test_an_extractor_is_taken_as_it_is_and_completed_by_the_configuration(
    asked: int | None, levels: int, phantom: Phantom
) -> None:
    extractor = MaskExtractor("gmm", levels=asked)
    augmenter = SynCGANAugmenter(config(), extractor=extractor, device="cpu").fit(phantom)
    assert augmenter.levels_ == levels
    assert (augmenter.extractor_description_["name"], extractor.levels) == ("gmm", asked or 2)


def test_settings_of_the_extractor_that_nothing_uses_are_told(phantom: Phantom) -> None:
    unused = config("extractor.min_nucleus_area=5", "extractor.parameters.candidates=3")
    with pytest.warns(UserWarning, match=r"not used beside extractor=MaskExtractor.*: candidates, min_nucleus_area"):
        SynCGANAugmenter(unused, extractor=MaskExtractor("otsu"), device="cpu").fit(phantom)
    with pytest.warns(UserWarning, match=r"not used beside extractor=otsu: candidates;"):
        SynCGANAugmenter(unused, extractor="otsu", device="cpu").fit(phantom)


def test_a_segmenter_that_cannot_be_sent_elsewhere_segments_many_images_here() -> None:
    class Locked:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __call__(self, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            with self.lock:
                return image.mean(axis=2) < 120

    augmenter = SynCGANAugmenter(config("mask_gan.generator=mosaic"), extractor=Locked(), device="cpu")
    assert augmenter.fit(Phantom(32, image_size=32)).levels_ == 3


def test_a_digest_covers_weights_of_any_type() -> None:
    values = torch.arange(4.0)
    assert _bytes(values) == values.numpy().tobytes()
    assert len(_bytes(values.to(torch.bfloat16))) == 8
    assert len(_bytes(torch.tensor(1.0))) == 4


def test_mask_gans_start_from_what_all_masks_have_in_common(phantom: Phantom, tmp_path: Path) -> None:
    events: list[FitEvent] = []
    warm = config("mask_gan.warm_start_steps=2", "training.log_every=1")
    augmenter = SynCGANAugmenter(warm, device="cpu").fit(phantom, run_dir=tmp_path, callbacks=[events.append])
    steps = [event.stage for event in events if event.kind == "step"]
    assert steps == ["mask_gan"] * 2 + ["mask_gan/benign"] * 3 + ["mask_gan/malignant"] * 3 + ["image_gan"] * 3
    cold = SynCGANAugmenter(config(), device="cpu").fit(phantom)
    assert not torch.equal(augmenter.sample(0, 4).masks, cold.sample(0, 4).masks)
    assert not torch.equal(augmenter.sample(0, 4).masks, augmenter.sample(1, 4).masks)


def test_subsets_are_datasets_too(phantom: Phantom) -> None:
    augmenter = SynCGANAugmenter(config(), device="cpu").fit(Subset(phantom, [0, 1, 2, 6, 7, 8]))
    assert augmenter.classes_ == ("benign", "malignant")


def test_using_an_augmenter_before_fit_says_what_to_call() -> None:
    for use in (lambda a: a.sample("x", 1), lambda a: a.wrap([]), lambda a: a.batch_transform(), lambda a: a.save("x")):
        with pytest.raises(NotFittedError, match="call fit"):
            use(SynCGANAugmenter())
    with pytest.raises(ConfigError, match=r"SynCGANConfig\.preset"):
        SynCGANAugmenter("tiny")  # type: ignore[arg-type]
