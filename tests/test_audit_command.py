"""The command ``audit``: of runs, whose data it checks, and of folders; and its exit codes."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.cli import app
from syncgan.data.export import ChunkRequest, ExportChunk, write_export
from syncgan.data.folders import load_class_folders
from syncgan.errors import DataError
from syncgan.evaluation.audit.sources import folder_images, run_images
from syncgan.evaluation.real_sources import Sources

IMAGES = Phantom(30, image_size=32, seed=3)
CLASSES = ("a", "b")
FEW_STEPS = SynCGANConfig.preset("tiny").updated(
    [
        "mask_gan.warm_start_steps=0",
        "mask_gan.steps=2",
        "image_gan.steps=2",
        "image_gan.width=4",
        "filters.mask_plausibility=false",
        "extractor.exclude_failed=false",
    ]
)


def write_images(folder: Path, first: int, count: int) -> Path:
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(first, first + count):
            Image.fromarray(IMAGES.image(label * 30 + number)).save(folder / name / f"{number}.png")
    return folder


def run(*arguments: object, command: str = "audit") -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        app([command, *map(str, arguments)])
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return folders of training, held-out and further images, and one of turned copies of the training images."""
    root = tmp_path_factory.mktemp("images")
    parts = {name: write_images(root / name, 10 * at, 10) for at, name in enumerate(("training", "held_out", "new"))}
    parts["copies"] = root / "copies"
    for file in parts["training"].rglob("*.png"):
        target = parts["copies"] / file.relative_to(parts["training"]).with_suffix(".jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rot90(np.array(Image.open(file)))).save(target, quality=85)
    return parts


def test_files_that_were_excluded_from_the_fit_are_excluded_from_the_audit_too(folders, tmp_path):
    for name in ("training", "held_out"):
        shutil.copytree(folders[name], tmp_path / name)
        own = tmp_path / name / "a"
        shutil.copy(next(own.iterdir()), own / "left.png")
    sources = Sources(tmp_path / "training", held_out=tmp_path / "held_out", exclude=("*/left.png",))
    real = folder_images(folders["new"], sources).real
    assert (len(real.training.labels), len(real.held_out.labels)) == (20, 20)


@pytest.fixture(scope="module")
def fitted(folders, tmp_path_factory):
    """Return a folder with a run that held nothing out, and one that chose its renderer by held-out pairs."""
    root = tmp_path_factory.mktemp("runs")
    chosen = FEW_STEPS.updated(["image_gan.selection=validation", "training.score_every=1"])
    dataset, _ = load_class_folders(folders["training"])
    for name, config in (("last", FEW_STEPS.updated(["image_gan.selection=last"])), ("validation", chosen)):
        SynCGANAugmenter(config, device="cpu").fit(dataset, run_dir=root / name)
    return root


def test_copies_in_a_folder_exit_with_1_and_honest_images_with_0(folders, tmp_path):
    given = ("--data", folders["training"], "--held-out", folders["held_out"], "--no-features")
    code, out, _ = run(folders["copies"], *given, "--json", "--out", tmp_path / "audit", "--thumbnails")
    found = json.loads(out.splitlines()[-1])
    assert (code, found["outcome"], found["copy_rate"]) == (1, "copies", 1.0)
    assert {Path(path).name for path in found["written"]} == {"pairs.png", "distances.png", "audit.html", "audit.json"}
    code, out, _ = run(folders["new"], *given)
    assert code == 0
    assert out.splitlines()[-1].startswith("no copy found at threshold")
    assert "control: 20 jittered copies flagged" in out


def test_groups_of_a_table_must_not_lie_on_both_sides(folders, tmp_path):
    table = tmp_path / "groups.csv"
    files = [
        file.relative_to(folders[part]).as_posix()
        for part in ("training", "held_out")
        for file in folders[part].rglob("*.png")
    ]
    for shared, code in ((False, 0), (True, 2)):
        with table.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("file", "patient"))
            writer.writerows((file, "x" if shared else f"p{Path(file).stem}") for file in files)
        given = ("--data", folders["training"], "--held-out", folders["held_out"], "--no-features")
        found, out, error = run(folders["new"], *given, "--groups", table, "--group-column", "patient")
        assert found == code, out + error
    assert "different groups, both have x" in error


def test_one_table_of_groups_serves_folders_that_number_their_files_alike(folders, tmp_path):
    for part in ("training", "held_out"):
        for place, file in enumerate(sorted(folders[part].rglob("*.png"))):
            target = tmp_path / part / file.parent.name / f"{place % 10}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    names = [f"{name}/{index}.png" for name in "ab" for index in range(10)]
    table, sources = tmp_path / "groups.csv", Sources(tmp_path / "training", held_out=tmp_path / "held_out")
    sources = dataclasses.replace(sources, groups=table, group_column="patient")
    table.write_text("file,patient\n" + "".join(f"{name},p{name}\n" for name in names))
    with pytest.raises(DataError, match=r"a training and a held-out image each.*folder, held_out/a/0\.png"):
        folder_images(folders["new"], sources)
    with table.open("a") as stream:
        stream.write("".join(f"held_out/{name},q{name}\n" for name in names))
    real = folder_images(folders["new"], sources).real
    assert {group[0] for group in real.training.groups} == {"p"}
    assert {group[0] for group in real.held_out.groups} == {"q"}


def test_files_that_cannot_be_read_are_named(folders, fitted, tmp_path):
    for part in ("training", "held_out", "new"):
        shutil.copytree(folders[part], tmp_path / part)
        (tmp_path / part / "a" / "broken.png").write_bytes(b"no image")
    sources = Sources(tmp_path / "training", held_out=tmp_path / "held_out")
    expected = {f"{part}/a/broken.png could not be used" for part in ("training", "held_out", "new")}
    notes = folder_images(tmp_path / "new", sources).real.notes
    assert {note.partition(":")[0] for note in notes} == expected
    assert all(": " in note for note in notes)
    sources = Sources(folders["training"], held_out=tmp_path / "held_out")
    real = run_images(fitted / "last", sources, per_class=1, device="cpu").real
    (note,) = real.notes
    assert note.startswith("held_out/a/broken.png could not be used: ")


def test_a_run_is_audited_by_other_real_images(folders, fitted):
    given = ("--data", folders["training"], "--held-out", folders["held_out"], "--per-class", 6)
    code, out, error = run(fitted / "last", *given, "--no-features", "--device", "cpu", "--json")
    found = json.loads(out.splitlines()[-1])
    assert (code, found["samples"], found["training"], found["held_out"]) == (0, 12, 20, 20), error
    model = SynCGANAugmenter.load(fitted / "last", device="cpu")
    assert (found["model"], found["data"]) == (model.digest(), model.fingerprint_)


def test_training_images_are_no_held_out_images(folders, fitted):
    given = ("--data", folders["training"], "--held-out", folders["training"], "--no-features")
    code, _, error = run(fitted / "last", *given, "--per-class", 1, "--device", "cpu")
    assert code == 2
    assert "a/0.png, a/1.png, a/2.png and 17 more have the pixels of training images" in error


def test_a_run_that_held_nothing_out_needs_other_images_or_the_weaker_yardstick(folders, fitted):
    given = (fitted / "last", "--data", folders["training"], "--no-features", "--per-class", 6, "--device", "cpu")
    code, _, error = run(*given)
    assert (code, "--held-out DIR" in error, "--leave-one-out" in error) == (2, True, True)
    code, out, _ = run(*given, "--leave-one-out")
    assert code == 0
    assert "weaker yardstick" in out


def test_what_chose_the_renderer_is_held_out(folders, fitted):
    given = run_images(fitted / "validation", Sources(folders["training"]), per_class=2, device="cpu").real
    assert given.held_out is not None
    # A quarter of the 20 pairs, at least one of each class.
    assert (len(given.training.images), len(given.held_out.images)) == (16, 4)
    assert set(given.held_out.labels) == {"a", "b"}
    both = torch.cat([given.training.images, given.held_out.images])
    assert len(torch.unique(both.flatten(1), dim=0)) == 20


def test_a_run_is_split_by_the_groups_that_it_was_fitted_with_and_no_others(folders, fitted, tmp_path):
    dataset, _ = load_class_folders(folders["training"])
    table = tmp_path / "groups.csv"
    patients = [f"p{Path(file).stem}" for file in dataset.files]
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [("file", "patient", "other"), *zip(dataset.files, patients, range(20), strict=True)]
        )
    chosen = FEW_STEPS.updated(["image_gan.selection=validation", "training.score_every=1"])
    SynCGANAugmenter(chosen, device="cpu").fit(dataset, groups=patients, run_dir=tmp_path / "run")
    given = Sources(folders["training"], groups=table, group_column="patient")
    real = run_images(tmp_path / "run", given, per_class=1, device="cpu").real
    assert not set(real.training.groups) & set(real.held_out.groups)
    assert real.notes == ("held-out images are those that the fit held out to choose the renderer by",)
    other = Sources(folders["training"], groups=table, group_column="other")
    for run_folder, sources, message in (
        (tmp_path / "run", Sources(folders["training"]), "was fitted with groups"),
        (tmp_path / "run" / "model", other, "was fitted with other groups"),
        (fitted / "validation", given, "was fitted without groups"),
    ):
        with pytest.raises(DataError, match=message):
            run_images(run_folder, sources, per_class=1, device="cpu")


def test_what_a_validation_set_chose_by_is_not_taken_for_held_out_data(folders, tmp_path):
    parts = [load_class_folders(folders[name])[0] for name in ("training", "held_out")]
    chosen = FEW_STEPS.updated(["image_gan.selection=validation", "training.score_every=1"])
    SynCGANAugmenter(chosen, device="cpu").fit(parts[0], validation=parts[1], run_dir=tmp_path / "run")
    with pytest.raises(DataError, match="was fitted on all of"):
        run_images(tmp_path / "run", Sources(folders["training"]), per_class=1, device="cpu")


@pytest.mark.parametrize("other", ["held_out", "changed"])
def test_other_data_than_the_run_was_fitted_on_is_refused(folders, fitted, other, tmp_path):
    data = folders["held_out"]
    if other == "changed":
        data = write_images(tmp_path / "data", 0, 10)
        (data / "a" / "3.png").unlink()
    code, _, error = run(fitted / "last", "--data", data, "--leave-one-out", "--device", "cpu")
    assert code == 2
    assert "is not the data that this run was fitted on" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected held-out images for a folder of samples"),
        (("--leave-one-out", "--masks", "there"), "masks are of no use for a folder of samples"),
        (("--held-out", "there", "--leave-one-out"), "got both"),
        (("--groups", "table.csv"), "got only one of them"),
    ],
)
def test_what_makes_no_sense_is_refused(folders, options, message):
    code, _, error = run(folders["new"], "--data", folders["training"], *options)
    assert code == 2
    assert message in error


def test_the_folder_of_an_export_is_read_with_the_names_of_its_classes(tmp_path):
    hostile = "b <i>"
    training = write_images(tmp_path / "training", 0, 10)
    (training / "b").rename(training / hostile)
    held_out = write_images(tmp_path / "held_out", 10, 10)
    (held_out / "b").rename(held_out / hostile)
    export = tmp_path / "export"
    write_images(export / "images", 20, 10)
    (export / "images" / "b").rename(export / "images" / "001-b-i")
    (export / "export.json").write_text("{}")
    code, out, error = run(export, "--data", training, "--held-out", held_out, "--no-features", "--json")
    assert code == 0, error
    assert set(json.loads(out.splitlines()[-1])["spaces"][0]["thresholds"]) == {"a", hostile}


# --- `sample` that refuses copies ------------------------------------------------------------------------------------


def export_parts(out: Path, folder: Path, model: str) -> Path:
    """Write images of a folder as if two shards of a model had rendered them."""
    dataset, _ = load_class_folders(folder)
    images = [np.stack([dataset.image(at) for at in range(20) if dataset.targets[at] == label]) for label in (0, 1)]

    def render(asked: ChunkRequest) -> ExportChunk:
        return ExportChunk(images[asked.label], np.zeros((10, 32, 32), np.uint8))

    requests = [ChunkRequest(name, label, 0, 10, 0) for label, name in enumerate(CLASSES)]
    for part in (1, 2):
        write_export(out, requests, render, classes=CLASSES, levels=2, header={"model": model}, shard=(part, 2))
    return out


def test_sample_refuses_a_folder_of_copies_and_names_them(folders, fitted, tmp_path):
    model = SynCGANAugmenter.load(fitted / "last", device="cpu").digest()
    out = export_parts(tmp_path / "out", folders["copies"], model)
    given = (fitted / "last", "--out", out, "--merge", "--device", "cpu", "--no-features")
    audited = ("--data", folders["training"], "--held-out", folders["held_out"])
    code, _, error = run(*given, *audited, "--max-copy-rate", 0.5, command="sample")
    assert code == 2
    assert "expected at most 50.0% copies of training images, got 100.0% (20 of 20 samples)" in error
    # The copy of the first file is the first sample.
    assert "sample images/a/a_000000.png is like training image a/0.png" in error
    assert "and 17 more" in error
    assert "not_a_copy" in error
    assert not (out / "manifest.csv").exists()
    assert not (out / "images").exists()
    code, _, error = run(*given, *audited, "--max-copy-rate", 1, command="sample")
    assert code == 0, error
    record = json.loads((out / "export.json").read_text())
    assert (record["complete"], record["check"]["most"], record["check"]["copy_rate"]) == (True, 1.0, 1.0)


def test_sample_writes_what_is_no_copy_with_the_figures_of_the_audit(folders, fitted, tmp_path):
    audited = ("--data", folders["training"], "--held-out", folders["held_out"], "--no-features", "--device", "cpu")
    given = (fitted / "last", "--out", tmp_path / "out", "--per-class", 6, "--json")
    code, out, error = run(*given, *audited, "--max-copy-rate", 0, command="sample")
    assert code == 0, error
    found = json.loads(out.splitlines()[-1])
    assert (found["check"]["outcome"], found["check"]["samples"]) == ("no copy found", 12)
    assert json.loads((tmp_path / "out" / "export.json").read_text())["check"] == found["check"]


def test_no_images_are_asked_for_by_a_count_of_zero(fitted, tmp_path):
    code, _, error = run(fitted / "last", "--out", tmp_path / "out", "--class", "a=0", command="sample")
    assert (code, "expected how many images to write, got nothing" in error) == (2, True)


def test_samples_of_another_model_are_not_judged(folders, fitted, tmp_path):
    out = export_parts(tmp_path / "out", folders["new"], "another")
    audited = ("--data", folders["training"], "--held-out", folders["held_out"], "--no-features", "--device", "cpu")
    code, _, error = run(fitted / "last", "--out", out, "--merge", *audited, "--max-copy-rate", 0, command="sample")
    assert code == 2
    assert "holds samples of another model" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "there"), "expected --max-copy-rate"),
        (("--leave-one-out",), "expected --max-copy-rate"),
        (("--max-copy-rate", "0"), "give --data DATA"),
        (("--max-copy-rate", "0", "--data", "there", "--shard", "1/2"), "give it with --merge"),
    ],
)
def test_options_of_a_check_that_make_no_sense_are_refused(tmp_path, options, message):
    code, _, error = run("run", "--out", tmp_path / "out", "--per-class", 2, *options, command="sample")
    assert code == 2
    assert message in error


def test_held_out_images_are_read_with_the_depth_of_the_training_images(folders, tmp_path):
    import tifffile

    for part, factor in (("training", 12), ("held_out", 3)):
        for name in CLASSES:
            (tmp_path / part / name).mkdir(parents=True)
            for file in sorted((folders[part] / name).iterdir()):
                deep = np.asarray(Image.open(file)).astype(np.uint16) * factor
                tifffile.imwrite(tmp_path / part / name / f"{file.stem}.tif", deep, photometric="rgb")
    found = folder_images(folders["new"], Sources(data=tmp_path / "training", held_out=tmp_path / "held_out"))
    training, held_out = found.real.training.images, found.real.held_out.images
    assert np.mean(training) == pytest.approx(4 * np.mean(held_out), rel=0.1)
