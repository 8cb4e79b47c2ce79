"""Runs: what is read, what is refused, and that a failing report fails nothing."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from syncgan import ArtefactError, ConfigError, DataError, MaskExtractor, Phantom, RunExistsError, SynCGANConfig
from syncgan.evaluation.mask_folder import extract_folder
from syncgan.evaluation.runs import check_output_folder, check_plugins, demo_data, fit_run, load_run_data

CONFIG = SynCGANConfig.preset("tiny").updated(
    ["mask_gan.warm_start_steps=0", "mask_gan.steps=2", "image_gan.steps=2", "filters.mask_plausibility=false"]
)


@pytest.fixture
def folder(tmp_path):
    """Three images of two classes, and their exact masks beside."""
    phantom = Phantom(3, image_size=32)
    for index in range(len(phantom)):
        image, label = phantom[index]
        for kind, picture in (("data", image), ("masks", Image.fromarray(phantom.mask(index) * 255))):
            target = tmp_path / kind / phantom.classes[label]
            target.mkdir(parents=True, exist_ok=True)
            picture.save(target / f"{index}.png")
    return tmp_path / "data"


def test_a_run_from_a_python_dataset_leaves_the_same_as_from_a_folder(tmp_path):
    result = fit_run(Phantom(3, image_size=32), tmp_path / "run", config=CONFIG, device="cpu")
    assert result.report is not None
    assert result.report.is_file()
    assert result.model.joinpath("manifest.json").is_file()
    assert result.classes == {"benign": 3, "malignant": 3}


def test_a_run_from_a_folder_needs_no_more_than_the_folder(folder, tmp_path):
    result = fit_run(folder, tmp_path / "run", config=CONFIG, device="cpu")
    assert result.augmenter.sample("benign", 1).images.shape == (1, 3, 32, 32)
    assert result.summary()["classes"] == {"benign": 3, "malignant": 3}


def test_the_report_says_nothing_about_this_machine(folder, tmp_path):
    result = fit_run(folder, tmp_path / "run", config=CONFIG, device="cpu")
    assert str(tmp_path) not in result.report.read_text("utf-8")


@pytest.mark.parametrize("part", ["samples_section", "write_report"])
def test_a_report_that_fails_does_not_fail_the_run(folder, tmp_path, monkeypatch, caplog, part):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(f"syncgan.evaluation.reporting.making.{part}", fail)
    result = fit_run(folder, tmp_path / "run", config=CONFIG, device="cpu")
    assert result.report is None
    assert result.model.joinpath("manifest.json").is_file()
    assert "no ink" in caplog.text


def test_a_folder_with_a_run_is_taken_unless_resumed(folder, tmp_path):
    first = fit_run(folder, tmp_path / "run", config=CONFIG, device="cpu")
    with pytest.raises(RunExistsError, match="resume"):
        fit_run(folder, tmp_path / "run", config=CONFIG, device="cpu")
    again = fit_run(folder, tmp_path / "run", config=CONFIG, device="cpu", resume=True)
    assert np.array_equal(
        first.augmenter.sample("benign", 2, seed=3).images.numpy(),
        again.augmenter.sample("benign", 2, seed=3).images.numpy(),
    )


def test_settings_that_make_other_pixels_are_told_and_not_edited_files(folder, tmp_path):
    fit_run(folder, tmp_path / "run", config=CONFIG, device="cpu")
    other = CONFIG.updated(["image_size=48", "image_gan.width=8"])
    with pytest.raises(RunExistsError) as caught:
        fit_run(folder, tmp_path / "run", config=other, device="cpu", resume=True)
    told = str(caught.value)
    assert "holds another run (config.image_size: was 32, is 48;" in told
    assert "edited" not in told
    assert f"its settings: {tmp_path / 'run' / 'config.json'}" in told


def test_masks_are_found_by_the_name_of_their_image(folder):
    data = load_run_data(folder, masks=folder.parent / "masks")
    phantom = Phantom(3, image_size=32)
    for index, mask in enumerate(data.masks):
        assert np.array_equal(mask > 0, phantom.mask(index) > 0)


def test_a_missing_mask_is_named(folder):
    (folder.parent / "masks" / "benign" / "1.png").unlink()
    with pytest.raises(DataError, match=r"benign/1\.png"):
        load_run_data(folder, masks=folder.parent / "masks")


@pytest.mark.parametrize("levels", [2, 3])
def test_masks_that_were_extracted_come_back_as_they_were(folder, levels):
    extractor = MaskExtractor(levels=levels)
    extract_folder(folder, folder.parent / "out", extractor=extractor, n_jobs=1)
    data = load_run_data(folder, masks=folder.parent / "out", levels=levels)
    for mask, image in zip(data.masks, (data.dataset.image(index) for index in range(6)), strict=True):
        assert np.array_equal(mask, extractor(image))


def test_names_that_are_unsafe_as_files_find_their_masks_again(tmp_path):
    phantom = Phantom(4, image_size=32)
    names = ["=formula.png", "Cell.png", "cell.png", "cell.jpg"]
    for label, class_name in enumerate(("+plus", "normal")):
        (tmp_path / "data" / class_name).mkdir(parents=True)
        for index, name in enumerate(names):
            phantom[label * 4 + index][0].save(tmp_path / "data" / class_name / name)
    extract_folder(tmp_path / "data", tmp_path / "out", extractor=MaskExtractor(), n_jobs=1)
    assert len(load_run_data(tmp_path / "data", masks=tmp_path / "out").masks) == 8
    with (tmp_path / "out" / "masks.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["mask"].lower() for row in rows}) == 8
    assert not [row for row in rows if row["file"].startswith(("=", "+"))]


def test_groups_are_read_for_the_files_that_can_be_read(folder):
    table = folder.parent / "groups.csv"
    (folder / "benign" / "torn.png").write_bytes(b"")
    table.write_text(
        "file,patient\n" + "".join(f"{'benign' if i < 3 else 'malignant'}/{i}.png,p{i}\n" for i in range(6))
    )
    data = load_run_data(folder, groups=table, group_column="patient")
    assert data.groups == [f"p{i}" for i in range(6)]
    assert data.skipped == {"benign/torn.png": "is empty"}


def test_unknown_plugins_are_refused_before_anything_runs():
    for setting in ("image_gan.discriminator=patch", "extractor.parameters={speed=2}"):
        with pytest.raises((ConfigError, LookupError)):
            check_plugins(CONFIG.updated([setting]))


def test_an_output_folder_may_be_empty_or_new_but_not_in_nowhere(tmp_path):
    check_output_folder(tmp_path)
    check_output_folder(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArtefactError, match="does not exist"):
        check_output_folder(tmp_path / "no" / "new")


def test_the_demonstration_has_two_classes_at_any_size():
    for size in (32, 128):
        data = demo_data(CONFIG.merged({"image_size": size}))
        assert len(data.dataset.classes) == 2
        assert data.dataset.image_size == 2 * size


def test_masks_of_nested_folders_and_of_the_same_stem_are_kept_apart(tmp_path):
    phantom = Phantom(1, image_size=64)
    for name in ("a/x.png", "a/x.bmp", "a/inner/x.png", "b/x.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        phantom[0][0].save(tmp_path / "data" / name)
    result = extract_folder(tmp_path / "data", tmp_path / "out", extractor=MaskExtractor(), n_jobs=1)
    assert result.classes == {"a": 3, "b": 1}
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 4
