"""The report of a run: whole from its folder alone, and true to what metrics, benchmark and audit found."""

from __future__ import annotations

import contextlib
import html as markup
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syncgan import ArtefactError, ConfigError, DataError, Phantom, SynCGANConfig
from syncgan.cli import app
from syncgan.errors import SamplingError
from syncgan.evaluation import features, metrics
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.evaluation.benchmark.summary import summarise
from syncgan.evaluation.features import TextureFeatures
from syncgan.evaluation.reporting import make_report, making
from syncgan.evaluation.reporting.card import card_section, nearest_preset
from syncgan.evaluation.reporting.given import data_section
from syncgan.evaluation.reporting.judged import audit_section, benchmark_section, read_audit
from syncgan.evaluation.reporting.measured import read_unseen
from syncgan.evaluation.reporting.subject import Subject
from syncgan.evaluation.run_pairs import fitted_pairs
from syncgan.evaluation.runs import fit_run, load_run_data

IMAGES = Phantom(30, image_size=32, seed=3)
CLASSES = ("a", "<b onclick=x>&")
CONFIG = SynCGANConfig.preset("tiny").updated(
    [
        "mask_gan.generator=warp",
        "image_gan.steps=2",
        "image_gan.width=4",
        "filters.mask_plausibility=false",
        "extractor.exclude_failed=false",
    ]
)
ARMS = ("Orig", "Orig+Prop")
MEASURED = ("metrics", "benchmark", "audit")


def write_images(folder: Path, first: int, count: int) -> Path:
    for label, name in enumerate(sorted(CLASSES)):
        (folder / name).mkdir(parents=True)
        for number in range(first, first + count):
            Image.fromarray(IMAGES.image(label * 30 + number)).save(folder / name / f"{number}.png")
    return folder


def shown(text: str) -> str:
    """Return text as it stands in the page."""
    return markup.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


@pytest.fixture(autouse=True)
def no_networks(monkeypatch):
    monkeypatch.setattr(features, "available_features", lambda device="cpu": [TextureFeatures()])
    monkeypatch.setattr(features, "default_features", lambda device="cpu", side=128: TextureFeatures())


def test_a_class_that_cannot_be_drawn_costs_the_report_of_a_fit_with_one_line(monkeypatch, caplog, tmp_path):
    def refuse(*args, **kwargs):
        raise SamplingError("class 'a': refused")

    monkeypatch.setattr(making, "_subject", refuse)
    assert making.report_run(None, None, tmp_path) is None
    assert "could not be written; the model is complete: class 'a': refused" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Return a fitted run, its data with a torn file, other images, an audit and a benchmark."""
    root = tmp_path_factory.mktemp("report")
    data = write_images(root / "data", 0, 8)
    write_images(root / "held_out", 10, 8)
    (data / "a" / "torn.png").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "default_features", lambda device="cpu", side=128: TextureFeatures())
        fit_run(data, root / "run", config=CONFIG, device="cpu")
    write_audit_of(root)
    write_benchmark(root / "benchmark")
    return {name: root / name for name in ("run", "data", "held_out", "audit", "benchmark")}


def write_audit_of(root: Path) -> None:
    from syncgan.evaluation.audit.showing import write_audit
    from syncgan.evaluation.audit.sources import audit_images, folder_images
    from syncgan.evaluation.real_sources import Sources

    given = folder_images(write_images(root / "new", 20, 8), Sources(root / "data", held_out=root / "held_out"))
    write_audit(audit_images(given, pixels_only=True), root / "audit", *given.images, thumbnails=True)


def write_benchmark(folder: Path, classes: tuple[str, ...] = CLASSES, arms: tuple[str, str] = ARMS) -> None:
    """Write three splits in which the second arm is right more often than the first, as `run_benchmark` would."""
    store, draws = BenchmarkStore(folder), np.random.default_rng(0)
    names = {"arms": list(arms), "classifiers": ["probe"]}
    store.begin(
        {**names, "config": CONFIG.identity(), "per_class": 4, "settings": {"ratio": 2.0}},
        {"classes": list(classes), "items": 60},
        resume=False,
    )
    rest = {"counts": {"train": dict.fromkeys(classes, 4)}, "near_duplicates": []}
    for number in range(3):
        labels = draws.integers(0, 2, 40)
        results = [
            {
                "arm": arm,
                "classifier": "probe",
                "probabilities": (
                    0.1 + 0.8 * np.eye(2)[np.where(draws.random(40) < share, labels, 1 - labels)]
                ).tolist(),
            }
            for arm, share in zip(arms, (0.6, 0.95), strict=True)
        ]
        items = {"train": list(range(8)), "test": list(range(40)), "held_back": []}
        split = {"split": number, "classes": list(classes), "labels": labels.tolist(), "groups": None, "items": items}
        store.finish(number, {**split, **rest, "results": results, "skipped": [], "added": {"equal": True}})


@pytest.fixture
def run(places, tmp_path):
    return Path(shutil.copytree(places["run"], tmp_path / "run"))


def command(*arguments: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        app(["report", *map(str, arguments)])
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


def test_a_report_of_the_folder_alone_is_byte_for_byte_that_of_the_fit(run):
    by_fit = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    made = make_report(run, device="cpu")
    assert made.path == run / "report.html"
    assert made.path.read_bytes() == by_fit


def test_with_its_data_it_says_the_same(run, places):
    by_fit = (run / "report.html").read_bytes()
    (run / "report.json").unlink()
    shutil.rmtree(run / "figures")
    assert not make_report(run, out=run / "poor.html", device="cpu").report.section("data").known
    assert make_report(run, data=places["data"], device="cpu").path.read_bytes() == by_fit


def test_every_section_is_there_or_says_how_to_fill_it(run):
    made = make_report(run, device="cpu")
    text = made.path.read_text("utf-8")
    for section in made.report.sections:
        assert f'<section id="{section.key}">' in text
        assert section.known != (section.key in MEASURED)
        if not section.known:
            assert section.commands
            assert all(f'<code class="command">{one}</code>' in text for one in section.commands)
    assert "not for diagnosis" in text
    assert "arXiv:2003.05712" in text


def test_hostile_class_names_stay_text_and_files_stay_in_their_folder(run):
    text = (run / "report.html").read_text("utf-8")
    assert "<b onclick" not in text
    assert shown(CLASSES[1]) in text
    assert all(path.parent == run / "figures" for path in (run / "figures").rglob("*"))


def test_counts_and_reasons_of_the_data_stand_in_it(run):
    text = (run / "report.html").read_text("utf-8")
    assert "16 images of 2 classes" in text
    assert "1 of 17 were left out" in text
    assert "a/torn.png: is empty" in text
    assert '<td>a</td><td class="number">9</td><td class="number">1</td><td class="number">8</td>' in text


@pytest.mark.parametrize("told", ["last", "validation", "validation set", "model alone"])
def test_images_that_only_chose_the_renderer_are_not_said_to_have_taught_the_model(run, places, told):
    subject = loaded(run)
    source = load_run_data(places["data"])
    subject.augmenter.pairs_ = fitted_pairs(subject.augmenter, source, places["data"])
    if told != "last":
        subject.augmenter.config_ = subject.augmenter.config_.updated(["image_gan.selection=validation"])
    if told == "validation set":
        record = json.loads((run / "run.json").read_text("utf-8"))
        record["identity"]["validation"] = "0123"
        (run / "run.json").write_text(json.dumps(record))
    if told == "model alone":
        (run / "run.json").unlink()
    verdict = data_section(replace(subject, source=source)).verdict
    expected = {"validation": "12 taught the model, 4 chose the renderer", "model alone": "is not known"}
    assert expected.get(told, ") taught the model") in verdict
    assert verdict.startswith("16 images of 2 classes")


def test_metrics_are_those_of_compare_images_and_stay_for_the_next_report(run, places, monkeypatch):
    found = []

    def watched(*arguments, **options):
        found.append(original(*arguments, **options))
        return found[-1]

    original = metrics.compare_images
    monkeypatch.setattr(metrics, "compare_images", watched)
    made = make_report(run, held_out=places["held_out"], device="cpu")
    text = made.path.read_text("utf-8")
    for row in found[0].rows:
        cells = (row.metric, row.features, f"{row.value:.3g} (", f"{row.real_baseline:.3g} (", row.verdict)
        assert all(shown(cell) in text for cell in cells), row
    assert {row.features for row in found[0].rows} >= {"nuclear morphometry"} or len(found[0].mask_priors) == 2
    assert make_report(run, device="cpu").path.read_text("utf-8") == text
    assert len(found) == 1


def test_the_benchmarks_tables_and_verdicts_stand_in_it(run, places):
    made = make_report(run, benchmark=places["benchmark"], device="cpu")
    text = made.path.read_text("utf-8")
    summary = summarise(places["benchmark"])
    one = summary.analysis.comparisons[0]
    assert one.verdict == "helps"
    assert text.count(shown(one.sentence)) == 2  # in its section and in the summary
    mean = next(cell.mean for cell in summary.analysis.cells if cell.arm == "Orig")
    assert f"{100 * mean.estimate:.1f} ({100 * mean.low:.1f} to {100 * mean.high:.1f})" in text
    assert "the models of the benchmark had the settings of this run" in text
    assert all(shown(note) in text for note in summary.notes)


@pytest.mark.parametrize(
    ("arms", "told"),
    [
        (("Orig", "Orig+Trad"), "Not known: no arm with images of SynCGAN was run"),
        (("Orig", "Pretrain"), "Pretrain with probe: "),
        (("Prop", "Orig+Prop"), "Not known: the arms were compared with Prop, which has images of SynCGAN itself"),
    ],
)
def test_only_arms_with_synthetic_images_answer_whether_these_help(run, tmp_path, arms, told):
    write_benchmark(tmp_path / "benchmark", arms=arms)
    section = benchmark_section(loaded(run), tmp_path / "benchmark")
    assert section.verdict.startswith(told)
    assert ("a model of its own" in section.text[0]) == (arms[1] != "Orig+Trad")
    assert "of the same classes; whether of the same ones was not checked" in section.text[0]


def test_an_audit_of_another_model_is_refused_and_one_that_does_not_say_is_told(run, places, tmp_path):
    subject, file = loaded(run), tmp_path / "audit.json"
    old = json.loads((places["audit"] / "audit.json").read_text("utf-8"))
    assert (old["model"], old["data"]) == (None, None)  # of a folder
    notes = {}
    for model in (None, subject.augmenter.digest(), "another"):
        file.write_text(json.dumps({**old, "model": model, "data": subject.augmenter.fingerprint_}))
        if model == "another":
            with pytest.raises(DataError, match=r"audit\.json: is about another model"):
                audit_section(subject, file)
        else:
            notes[model] = audit_section(subject, file).notes
    unknown = "which model it looked at is not recorded"
    assert [any(unknown in note for note in one) for one in notes.values()] == [True, False]
    file.write_text(json.dumps({key: value for key, value in old.items() if key not in ("model", "data")}))
    assert any(unknown in note for note in audit_section(subject, file).notes)


def test_the_audits_verdict_rates_and_pictures_stand_in_it(run, places):
    shutil.copytree(places["audit"], run / "audit")  # found there without being told
    made = make_report(run, thumbnails=True, device="cpu")
    text, found = made.path.read_text("utf-8"), json.loads((places["audit"] / "audit.json").read_text("utf-8"))
    verdict = found["verdict"][0].upper() + found["verdict"][1:]
    assert text.count(shown(verdict)) == 2
    for space in found["spaces"]:
        assert f"{space['near']} of {found['samples']}, {space['rate']:.1%}" in text
    assert [figure.file for figure in made.report.section("audit").figures] == ["", ""]
    assert read_audit(run / "audit" / "audit.json").summary() == found


@pytest.mark.parametrize("damage", ["", "{}", '{"spaces": []}', "truncated", "no number"])
def test_a_damaged_audit_is_refused_and_the_old_report_stays(run, places, damage, tmp_path):
    text = (places["audit"] / "audit.json").read_text("utf-8")
    changed = json.loads(text)
    changed["spaces"][0]["rate"] = "many"
    other = {"truncated": text[: len(text) // 2], "no number": json.dumps(changed)}.get(damage, damage)
    (tmp_path / "audit.json").write_text(other)
    before = (run / "report.html").read_bytes()
    with pytest.raises(ArtefactError, match=r"audit\.json: is damaged"):
        make_report(run, audit=tmp_path / "audit.json", device="cpu")
    assert (run / "report.html").read_bytes() == before


def test_a_damaged_benchmark_is_refused(run, places, tmp_path):
    folder = Path(shutil.copytree(places["benchmark"], tmp_path / "benchmark"))
    split = folder / "splits" / "split-001.json"
    split.write_text(split.read_text().replace("0.9", "0.8", 1))
    code, _, error = command(run, "--benchmark", folder, "--device", "cpu")
    assert code == 2
    assert "split-001.json: is damaged" in error


def test_results_of_other_classes_are_refused(run, tmp_path):
    write_benchmark(tmp_path / "other", ("a", "c"))
    with pytest.raises(DataError, match="about the class 'c'"):
        make_report(run, benchmark=tmp_path / "other", device="cpu")


def test_a_place_without_results_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="found nothing"):
        make_report(run, benchmark=tmp_path / "nowhere", device="cpu")


@pytest.mark.parametrize(
    "given",
    [{"masks": "m"}, {"limit_per_class": 3}, {"exclude": ["*"]}, {"groups": "g.csv", "group_column": "patient"}],
)
def test_what_belongs_to_data_is_refused_without_them(run, given):
    with pytest.raises(ConfigError, match=rf"together with {next(iter(given))}, got none; give data"):
        make_report(run, device="cpu", **given)


def test_what_was_kept_of_another_model_is_not_taken_for_this_one(run):
    kept = json.loads((run / "report.json").read_text("utf-8"))
    (run / "report.json").write_text(json.dumps({**kept, "model": "another"}))
    report = make_report(run, device="cpu").report
    assert not report.section("priors").known
    assert report.section("data").known


def test_a_damaged_memory_is_refused_with_the_remedy(run):
    (run / "report.json").write_text('{"format": "syncgan-report"}')
    with pytest.raises(ArtefactError, match=r"is damaged.*--data"):
        make_report(run, device="cpu")


def test_a_figure_outside_of_its_folder_is_not_read(run):
    kept = json.loads((run / "report.json").read_text("utf-8"))
    section = next(section for section in kept["sections"] if section["figures"])
    section["figures"][0]["file"] = "../model/manifest.json"
    (run / "report.json").write_text(json.dumps(kept))
    with pytest.raises(ArtefactError, match="outside of its folder"):
        make_report(run, device="cpu")


def test_an_interrupted_report_leaves_the_old_one(run, places, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.setattr(making, "write_report", stop)
    code, _, error = command(run, "--data", places["data"], "--device", "cpu")
    assert (code, "stopped" in error, "delete" in error) == (130, True, False)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_other_data_than_the_run_was_fitted_on_is_refused(run, places):
    code, _, error = command(run, "--data", places["held_out"], "--device", "cpu")
    assert code == 2
    assert "is not the data that this run was fitted on" in error


def test_held_out_images_that_the_model_was_fitted_on_are_refused(run, places):
    code, _, error = command(run, "--held-out", places["data"], "--device", "cpu")
    assert code == 2
    assert "belong to what the model was fitted on" in error


def loaded(run: Path, description: dict[str, object] | None = None) -> Subject:
    """Return a subject of the model alone, fitted with an extractor, or masks, of such a description."""
    from syncgan import SynCGANAugmenter

    augmenter = SynCGANAugmenter.load(run, device="cpu")
    augmenter.extractor_description_ = description or augmenter.extractor_description_
    return Subject(augmenter, run, record=json.loads((run / "run.json").read_text("utf-8")))


@pytest.mark.parametrize("name", ["given masks", "my segmenter"])
def test_training_images_are_refused_by_their_pixels_whatever_their_masks_were(run, places, name):
    subject = loaded(run, {"name": name})
    pairs = fitted_pairs(subject.augmenter, load_run_data(places["data"]), places["data"])
    subject.augmenter.pairs_ = replace(pairs, maps=1 - pairs.maps)
    with pytest.raises(DataError, match="belong to what the model was fitted on"):
        read_unseen(subject, places["data"], None)
    other = read_unseen(subject, places["held_out"], None)
    assert other.maps is None
    assert not any("could not be checked" in note for note in other.notes)


@pytest.mark.parametrize("name", ["given masks", "my segmenter"])
def test_where_nothing_tells_what_a_model_was_fitted_on_the_report_says_so(run, places, name):
    unseen = read_unseen(loaded(run, {"name": name}), places["data"], None)
    assert len(unseen.images) == 16
    assert any("could not be checked" in note and "--data" in note for note in unseen.notes)
    assert any("of another origin: not compared" in note for note in unseen.notes)


def test_a_training_image_under_another_class_is_refused(run, places, tmp_path):
    for name, other in zip(CLASSES, reversed(CLASSES), strict=True):
        shutil.copytree(places["data"] / name, tmp_path / "swapped" / other)
    with pytest.raises(DataError, match="belong to what the model was fitted on"):
        read_unseen(loaded(run), tmp_path / "swapped", None)


def test_held_out_images_of_the_same_patients_are_refused(run, places, tmp_path):
    files = [path.relative_to(root) for root in (places["data"], places["held_out"]) for path in root.rglob("*.png")]
    table = tmp_path / "groups.csv"
    table.write_text(
        "file,patient\n"
        + "".join(f"{file.as_posix()},p{int(file.stem) % 3}\n" for file in files if file.stem != "torn")
    )
    given = ("--data", places["data"], "--held-out", places["held_out"], "--groups", table, "--group-column", "patient")
    code, _, error = command(run, *given, "--device", "cpu")
    assert code == 2
    assert "both have p0 and 2 more" in error


def test_patients_of_held_out_images_are_told_by_their_folder_where_files_have_the_same_names(run, places, tmp_path):
    held_out = tmp_path / "held_out"
    rows = {path.relative_to(places["data"]).as_posix(): "p" for path in places["data"].rglob("*.png")}
    for name in CLASSES:
        (held_out / name).mkdir(parents=True)
        for number, file in enumerate(sorted((places["held_out"] / name).glob("*.png"))):
            shutil.copy(file, held_out / name / f"{number}.png")
            rows[f"held_out/{name}/{number}.png"] = f"q{number % 2}"
    table = tmp_path / "groups.csv"
    table.write_text("file,patient\n" + "".join(f"{file},{patient}\n" for file, patient in rows.items()))
    given = ("--held-out", held_out, "--groups", table, "--group-column", "patient", "--out", tmp_path / "page.html")
    code, _, error = command(run, "--data", places["data"], *given, "--device", "cpu")
    assert code == 0, error


@pytest.mark.parametrize(
    "file", ["figures/mask-overlays.png", "figures/real-a.png", "previews/image_gan/step-000002.png"]
)
def test_a_damaged_picture_is_named(run, places, file):
    make_report(run, data=places["data"], thumbnails=True, device="cpu")
    (run / file).write_bytes((run / file).read_bytes()[:100])
    with pytest.raises(ArtefactError, match=f"{Path(file).name}: expected a picture"):
        make_report(run, device="cpu")


def test_a_file_elsewhere_leaves_the_run_as_it_is(run, places, tmp_path):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, out, error = command(run, "--out", tmp_path / "for-a-colleague.html", "--audit", places["audit"], "--json")
    assert code == 0, error
    told = json.loads(out.splitlines()[-1])
    assert told["report"] == str(tmp_path / "for-a-colleague.html")
    assert told["sections"]["audit"]
    assert told["verdicts"]["benchmark"] is None
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_saved_model_needs_a_place_for_its_report(run, tmp_path):
    with pytest.raises(ConfigError, match="--out FILE"):
        make_report(run / "model", device="cpu")
    made = make_report(run / "model", out=tmp_path / "model.html", device="cpu")
    assert not made.report.section("training").known
    assert made.report.section("samples").figures


def test_the_card_names_the_settings_that_differ_from_the_nearest_preset():
    name, changed = nearest_preset(SynCGANConfig.preset("paper").updated(["image_gan.steps=7"]))
    assert name == "paper"
    assert changed == {"image_gan.steps": (SynCGANConfig.preset("paper").image_gan.steps, 7)}


@pytest.mark.parametrize(
    ("generator", "holds"),
    [
        ("mosaic", "holds the training masks"),
        ("warp", "holds the training masks"),
        ("shapes", "holds statistics of the training masks and codes"),
        ("decoder", None),
    ],
)
def test_the_card_says_what_the_saved_model_holds_of_the_training_masks(run, generator, holds):
    from syncgan import MaskGAN, SynCGANAugmenter

    augmenter = SynCGANAugmenter.load(run, device="cpu")
    augmenter.config_ = augmenter.config_.updated([f"mask_gan.generator={generator}"])
    few = augmenter.config_.updated(["mask_gan.warm_start_steps=0", "mask_gan.steps=1"])
    masks = np.zeros((4, 32, 32), np.uint8)
    masks[:, 8:20, 8:20] = 1
    mask_gan = MaskGAN(few, device="cpu").fit(masks)
    augmenter.mask_gans_ = (mask_gan,) * 2
    told = card_section(Subject(augmenter, run), None).terms["mask prior"]
    kept = {name for name, value in mask_gan.generator_.state_dict().items() if tuple(value.shape) == (4, 32, 32)}
    assert ("holds the training masks" in told) == (kept == {"masks"})
    assert (holds in told) if holds else ("holds" not in told and "was trained on the masks" in told)
