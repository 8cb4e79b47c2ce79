"""The command line: what it writes, what it says, what it refuses, and what it does not import."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shlex
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syncgan import Phantom
from syncgan.cli import app
from syncgan.cli.options import _WITHOUT_NETWORK
from syncgan.registry import MASK_GENERATORS, accepted

FEW_STEPS = [
    "--preset=tiny",
    "--device=cpu",
    "--set=mask_gan.warm_start_steps=0",
    "--set=mask_gan.sharing=class",
    "--set=mask_gan.steps=3",
    "--set=image_gan.steps=3",
    "--set=mask_gan.width=4",
    "--set=mask_gan.discriminator_width=4",
    # Three steps teach no plausible mask, and every warning is an error here.
    "--set=filters.mask_plausibility=false",
]


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict:
        return json.loads(self.out.strip().splitlines()[-1])


def syncgan(*arguments: object) -> Outcome:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        app([str(argument) for argument in arguments])
    return Outcome(int(stop.value.code or 0), out.getvalue(), err.getvalue())


def write_images(folder: Path, classes: dict[str, int], size: int = 32) -> Path:
    """Write phantom images as class folders; names of other classes than the phantom's are fine."""
    phantom = Phantom(max(classes.values(), default=1), image_size=size)
    for label, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            phantom[label % 2 * phantom.n_per_class + index][0].save(folder / name / f"cell{index}.png")
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp("cli") / "data", {"benign": 4, "malignant": 3})


@pytest.fixture(scope="module")
def run(data) -> Path:
    folder = data.parent / "run"
    outcome = syncgan("fit", data, "--out", folder, *FEW_STEPS)
    assert outcome.code == 0, outcome.err
    return folder


# --- what the commands leave behind ----------------------------------------------------------------------------------


def test_fit_leaves_configuration_log_model_pictures_and_report(run):
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {"config.json", "run.json", "stats.jsonl", "model/manifest.json", "report.html"} <= left
    classes = ("benign", "malignant")
    kinds = (
        "mask-prior-benign",
        *(f"{kind}-{name}" for kind in ("real", "samples") for name in classes),
    )
    stages = ("mask-gan-benign", "mask-gan-malignant", "image-gan")
    figures = {*kinds, *(f"{kind}-{stage}" for kind in ("losses", "learning") for stage in stages)}
    assert {f"figures/{name}.png" for name in figures} == {name for name in left if name.startswith("figures/")}
    previews = {f"previews/{stage}/step-000003.png" for stage in ("mask_gan/benign", "mask_gan/malignant", "image_gan")}
    assert previews == {name for name in left if name.startswith("previews/")}


def test_fit_says_in_its_last_json_line_what_it_did(data, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    folder = write_images(tmp_path / "data", {"a": 3, "b": 3})
    (folder / "a" / "torn.png").write_bytes((tmp_path / "x.png").read_bytes()[:40])
    outcome = syncgan("fit", folder, "--out", tmp_path / "run", "--json", *FEW_STEPS)
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 1
    assert outcome.summary["classes"] == {"a": 3, "b": 3}
    assert (outcome.summary["skipped"], outcome.summary["excluded"]) == (1, 0)
    assert Path(outcome.summary["report"]).is_file()
    assert "unreadable files left out: 1" in outcome.err
    assert "a/torn.png" in outcome.err


def test_fit_tells_the_plan_before_it_trains(data, tmp_path):
    lines = syncgan("fit", data, "--out", tmp_path / "run", *FEW_STEPS).out.splitlines()
    plan = [index for index, line in enumerate(lines) if line.startswith(("training on", "stages:", "estimated time"))]
    first_step = next(index for index, line in enumerate(lines) if line.startswith("mask_gan/"))
    assert len(plan) == 3
    assert max(plan) < first_step
    assert "4 benign, 3 malignant" in lines[plan[0]]


def test_quiet_prints_nothing(data, tmp_path):
    outcome = syncgan("fit", data, "--out", tmp_path / "run", "--quiet", *FEW_STEPS)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_sample_writes_the_counts_asked_for(run, tmp_path):
    outcome = syncgan("sample", run, "--per-class=2", "--class=malignant=3", "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.summary["classes"] == {"benign": 2, "malignant": 3}
    for kind in ("images", "masks"):
        assert len(list((tmp_path / "out" / kind / "benign").glob("*.png"))) == 2
        assert len(list((tmp_path / "out" / kind / "malignant").glob("*.png"))) == 3
    with (tmp_path / "out" / "manifest.csv").open(newline="") as stream:
        assert [row["class"] for row in csv.DictReader(stream)].count("malignant") == 3


def test_sample_writes_shards_and_merges_them(run, tmp_path):
    ask = ("sample", run, "--per-class=3", "--out", tmp_path / "out", "--json")
    outcome = syncgan(*ask, "--shard=2/2")
    assert outcome.code == 0, outcome.err
    assert (outcome.summary["manifest"], outcome.summary["classes"]) == (None, {"malignant": 3})
    early = syncgan("sample", run, "--out", tmp_path / "out", "--merge")
    assert (early.code, "1 of 2 chunks are not written yet" in early.err) == (2, True)
    assert syncgan(*ask, "--shard=1/2").code == 0
    merged = syncgan("sample", run, "--out", tmp_path / "out", "--merge", "--json")
    assert merged.summary["classes"] == {"benign": 3, "malignant": 3}
    assert Path(merged.summary["manifest"]).is_file()


def test_sample_repeats_itself_under_one_seed_and_not_under_another(run, tmp_path):
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        assert syncgan("sample", run, "--per-class=1", "--seed", seed, "--out", tmp_path / name).code == 0
    one, same, other = (
        pixels(next((tmp_path / name / "images" / "benign").glob("*.png"))) for name in ("one", "same", "other")
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_second_run_in_the_folder_needs_resume(data, run):
    before = snapshot(run)
    refused = syncgan("fit", data, "--out", run, *FEW_STEPS)
    assert refused.code == 2
    assert "--resume" in refused.err
    assert snapshot(run) == before
    assert syncgan("fit", data, "--out", run, "--resume", *FEW_STEPS).code == 0


def test_resume_starts_afresh_where_there_is_nothing_to_go_on_from(data, tmp_path):
    assert syncgan("fit", data, "--out", tmp_path / "run", "--resume", "--quiet", *FEW_STEPS).code == 0


def test_resume_of_another_run_is_refused(data, run):
    outcome = syncgan("fit", data, "--out", run, "--resume", "--seed=9", *FEW_STEPS)
    assert outcome.code == 2
    assert "seed" in outcome.err


def test_demo_leaves_a_report_and_samples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = syncgan("demo", "--json", *FEW_STEPS)
    assert outcome.code == 0, outcome.err
    assert Path(outcome.summary["report"]).is_file()
    assert len(list(Path(outcome.summary["samples"], "images").rglob("*.png"))) == 48
    assert syncgan("demo").code == 2


def test_plugins_lists_every_registry():
    from syncgan.registry import REGISTRIES

    rows = syncgan("plugins", "--json").summary["plugins"]
    assert {row["registry"] for row in rows} >= {registry.kind for registry in REGISTRIES if registry.names()}
    assert {"registry": "segmenter", "name": "gmm", "origin": "built-in"}.items() <= next(
        row for row in rows if row["name"] == "gmm"
    ).items()
    assert "gmm" in syncgan("plugins").out


def test_version_is_the_packages():
    from syncgan import __version__

    assert syncgan("--version").out == f"syncgan {__version__}\n"


# --- masks -----------------------------------------------------------------------------------------------------------


def test_masks_writes_a_mask_for_every_image_a_table_and_a_sheet(tmp_path):
    folder = write_images(tmp_path / "data", {"benign": 3, "malignant": 2}, size=64)
    outcome = syncgan("masks", folder, "--out", tmp_path / "out", "--json", "--report", "--jobs=1")
    assert outcome.code == 0, outcome.err
    assert outcome.summary["classes"] == {"benign": 3, "malignant": 2}
    masks = sorted((tmp_path / "out" / "masks").rglob("*.png"))
    assert len(masks) == 5
    for mask in masks:
        assert set(np.unique(pixels(mask))) <= {0, 255}
    assert pixels(tmp_path / "out" / "overlays.png").shape[1] > 400
    assert (tmp_path / "out" / "report.html").is_file()
    with (tmp_path / "out" / "masks.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == [f"benign/cell{i}.png" for i in range(3)] + [
        f"malignant/cell{i}.png" for i in range(2)
    ]
    assert all(int(row["nuclei"]) == len(row["areas_px"].split()) for row in rows)


def test_masks_accepts_a_folder_without_classes_and_lists_damaged_files(tmp_path):
    folder = write_images(tmp_path, {"flat": 2}, size=64) / "flat"
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = syncgan("masks", folder, "--out", tmp_path / "out", "--json", "--levels=3", "--jobs=1")
    assert outcome.code == 0, outcome.err
    assert outcome.summary["skipped"] == 1
    assert "broken.png" in outcome.err
    assert sorted(path.name for path in (tmp_path / "out" / "masks").iterdir()) == ["cell0.png", "cell1.png"]
    assert set(np.unique(pixels(tmp_path / "out" / "masks" / "cell0.png"))) == {0, 128, 255}


@pytest.mark.filterwarnings("default:.*look like segmentations")
def test_segmentations_beside_images_are_warned_of_once_and_left_out_where_asked(tmp_path):
    folder = write_images(tmp_path / "data", {"benign": 3, "malignant": 3}, size=64)
    for file in sorted(folder.glob("*/*.png")):
        Image.open(file).convert("1", dither=Image.Dither.NONE).save(file.with_name(f"{file.stem}_seg.bmp"))
    told = syncgan("masks", folder, "--out", tmp_path / "all", "--jobs=1", "--quiet")
    assert told.err.count("6 files look like segmentations") == 1
    options = ["--exclude", "*_seg.bmp", "--jobs=1", "--json"]
    for shard in ("1/2", "2/2"):
        assert syncgan("masks", folder, "--out", tmp_path / "out", "--shard", shard, *options).code == 0
    merged = syncgan("masks", folder, "--out", tmp_path / "out", "--merge", "--exclude", "*_seg.bmp", "--json")
    assert merged.summary["classes"] == {"benign": 3, "malignant": 3}
    assert "look like segmentations" not in merged.err
    assert "excluded as asked" in merged.err


@pytest.mark.parametrize("command", ["fit", "benchmark"])
def test_excluded_files_are_not_trained_on(tmp_path, command):
    folder = write_images(tmp_path / "data", {"a": 2, "b": 2})
    refused = syncgan(command, folder, "--out", tmp_path / "out", "--exclude", "b/*")
    assert refused.code == 2
    assert "'b/cell0.png', 'b/cell1.png': excluded as asked" in refused.err


def test_report_and_sample_leave_out_what_fit_left_out(tmp_path):
    folder = write_images(tmp_path / "data", {"benign": 4, "malignant": 3, "unsure": 3})
    run, pattern = tmp_path / "run", ("--exclude", "*/cell3.png")
    assert syncgan("fit", folder, "--out", run, *pattern, *FEW_STEPS).code == 0
    audited = ("--per-class=1", "--max-copy-rate=1", "--leave-one-out", "--no-features")
    commands = (
        ("report", run, "--data", folder),
        ("sample", run, "--out", tmp_path / "out", "--data", folder, *audited),
    )
    for command in commands:
        refused = syncgan(*command)
        assert refused.code == 2
        assert "--exclude" in refused.err
        outcome = syncgan(*command, *pattern)
        assert outcome.code == 0, outcome.err
    # Classes of three images are too small for a section of the report, which no command can fill.
    assert "Synthetic masks against real ones: not known. Not measured" in syncgan(*commands[0], *pattern).out


def test_fit_takes_the_masks_that_masks_wrote(tmp_path):
    folder = write_images(tmp_path / "data", {"benign": 3, "mal=ignant": 3}, size=64)
    assert syncgan("masks", folder, "--out", tmp_path / "masks", "--levels=3", "--jobs=1", "--quiet").code == 0
    outcome = syncgan("fit", folder, "--out", tmp_path / "run", "--masks", tmp_path / "masks", "--json", *FEW_STEPS)
    assert outcome.code == 0, outcome.err
    manifest = json.loads((tmp_path / "run" / "model" / "manifest.json").read_text())
    assert (manifest["extractor"], manifest["levels"]) == ({"name": "given masks"}, 3)


# --- bad input -------------------------------------------------------------------------------------------------------

BAD_INPUT = {
    "empty folder": ("fit empty --out new", "empty"),
    "missing folder": ("fit nowhere --out new", "nowhere"),
    "one class": ("fit one --out new", "at least 2 class folders"),
    "a class with one image": ("fit single --out new", "'b' has 1"),
    "unknown preset": ("fit data --out new --preset tinny", "did you mean 'tiny'"),
    "unknown key": ("fit data --out new --set mask_gan.stepz=2", "did you mean 'steps'"),
    "value out of bounds": ("fit data --out new --set mask_gan.steps=0", "mask_gan.steps"),
    "not an assignment": ("fit data --out new --set steps", "KEY=VALUE"),
    "unknown segmenter": ("fit data --out new --set extractor.segmenter=gmn", "did you mean 'gmm'"),
    "unknown generator": ("fit data --out new --set mask_gan.generator=decodr", "did you mean 'decoder'"),
    "unknown device": ("fit data --out new --device abacus --preset tiny", "abacus"),
    "missing configuration": ("fit data --out new --config no.toml", "no.toml"),
    "missing masks": ("fit data --out new --masks nowhere", "nowhere"),
    "incomplete masks": ("fit data --out new --masks one", "benign/cell0.png"),
    "groups without a column": ("fit data --out new --groups g.csv", "--group-column"),
    "output folder with other files": ("fit data --out other", "not empty"),
    "output folder inside the data": ("fit data --out data/run", "lies in the data folder"),
    "output is a file": ("fit data --out file.txt", "is a file"),
    "output in a missing folder": ("fit data --out no/new", "does not exist"),
    "demo in a taken folder": ("demo --out data", "not empty"),
    "no model": ("sample data --out new --per-class 2", "expected a run folder"),
    "no number": ("sample data --out new", "--per-class"),
    "no such shard": ("sample data --out new --per-class 2 --shard 3/2", "expected I/N"),
    "merge and more": ("sample data --out new --per-class 2 --merge", "expected alone"),
    "not a number": ("sample data --out new --class benign", "NAME=N"),
    "masks of an empty folder": ("masks empty --out new", "empty"),
    "masks of damaged files": ("masks damaged --out new --jobs 1", "none of 1 files"),
    "masks in a taken folder": ("masks data --out other", "holds files"),
    "masks inside the data": ("masks data --out data", "lies in the data folder"),
    "masks by an unknown segmenter": ("masks data --out new --segmenter gmn", "did you mean 'gmm'"),
    "masks with another setting": ("masks data --out new --set levels=3", "--levels"),
    "no command": ("paint data", "paint"),
    "no output": ("fit data", "--out"),
}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["mask_gan.steps=2000", "mask_gan.width=8", "image_gan.steps=9"], "mask_gan.steps, mask_gan.width: no effect"),
        (["mask_gan.steps=2000", "mask_gan.generator=decoder"], None),
        (["mask_gan.generator=warp", "mask_gan.resolution=32", "image_gan.steps=9"], None),
    ],
)
def test_settings_of_mask_gans_warn_where_no_mask_gan_is_trained(settings, told):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        outcome = syncgan("doctor", "--no-timing", *(f"--set={setting}" for setting in settings))
    built_in = {row.name for row in MASK_GENERATORS.describe() if row.origin == "built-in"}
    blind = {name for name in built_in if not accepted(MASK_GENERATORS.get(name), {"config": None})}
    assert blind == _WITHOUT_NETWORK
    assert told in outcome.err if told else "no effect" not in outcome.err


@pytest.fixture(scope="module")
def bad_place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("bad")
    write_images(place / "data", {"benign": 2, "malignant": 2})
    write_images(place / "one", {"a": 2})
    write_images(place / "single", {"a": 2, "b": 1})
    (place / "empty").mkdir()
    (place / "other").mkdir()
    (place / "other" / "notes.txt").write_text("mine")
    (place / "damaged" / "a").mkdir(parents=True)
    (place / "damaged" / "a" / "x.png").write_bytes(b"GIF")
    (place / "file.txt").write_text("mine")
    return place


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_in_one_line_and_changes_nothing(bad_place, monkeypatch, case):
    command, told = BAD_INPUT[case]
    monkeypatch.chdir(bad_place)
    before = snapshot(bad_place)
    outcome = syncgan(*command.split())
    assert outcome.code == 2
    assert told in outcome.err
    assert "Traceback" not in outcome.err
    assert snapshot(bad_place) == before
    if outcome.err.startswith("error: "):
        assert len(outcome.err.splitlines()) == 1


def test_an_unknown_class_is_refused_and_nothing_is_written(run, tmp_path):
    outcome = syncgan("sample", run, "--class=benin=2", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "did you mean 'benign'" in outcome.err
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_refused(data, tmp_path, monkeypatch):
    def refuse(**_: object) -> str:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    outcome = syncgan("fit", data, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "Read-only file system" in outcome.err


def test_a_bug_keeps_its_traceback(data, tmp_path, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("syncgan.evaluation.runs.load_run_data", broken)
    with pytest.raises(ZeroDivisionError):
        app(["fit", str(data), "--out", str(tmp_path / "run")])


# --- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_fit_prints_the_command_that_goes_on(data, tmp_path, monkeypatch, sent, code):
    from syncgan.evaluation.progress import PlainDisplay

    def interrupt(display: PlainDisplay, stage: str, *_: object) -> None:
        if stage == "mask_gan/malignant":
            signal.raise_signal(sent)

    command = ["fit", data, "--out", tmp_path / "a run", *FEW_STEPS, "--set=training.log_every=1"]
    monkeypatch.setattr(sys, "argv", ["syncgan", *map(str, command)])
    with monkeypatch.context() as patch:
        patch.setattr(PlainDisplay, "update", interrupt)
        stopped = syncgan(*command)
    assert stopped.code == code
    assert not (tmp_path / "a run" / "model").exists()
    (told,) = stopped.err.splitlines()
    name, *again = shlex.split(told.removeprefix("stopped; go on with: "))
    assert name == "syncgan"
    assert syncgan(*again).code == 0
    assert (tmp_path / "a run" / "model" / "manifest.json").is_file()


def test_an_interrupted_command_that_wrote_nothing_says_so(data, tmp_path, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("syncgan.evaluation.runs.load_run_data", interrupted)
    outcome = syncgan("fit", data, "--out", tmp_path / "run")
    assert outcome.code == 130
    assert outcome.err == "stopped; nothing was written\n"


@pytest.mark.parametrize(
    ("held", "told"), [("audit.json", "stopped; run the same command again"), ("old.png", "is incomplete: delete it")]
)
def test_an_interrupted_audit_does_not_call_an_earlier_one_incomplete(run, data, tmp_path, monkeypatch, held, told):
    def interrupted(*_: object, **__: object) -> None:
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / held).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("syncgan.evaluation.audit.sources.run_images", interrupted)
    outcome = syncgan("audit", run, "--data", data, "--leave-one-out", "--out", tmp_path / "out")
    assert outcome.code == 130
    assert told in outcome.err


def test_a_class_that_there_is_not_is_refused_before_a_benchmark_trains(data, tmp_path):
    outcome = syncgan("benchmark", data, "--out", tmp_path / "out", "--score", "recall:2")
    assert outcome.code == 2
    assert "below 2, got 'recall:2'" in outcome.err
    assert not (tmp_path / "out").exists()


def test_two_processes_of_torchrun_leave_one_run_and_speak_with_one_voice(data, tmp_path):
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "syncgan", "fit"]
    done = subprocess.run(
        [sys.executable, *command, data, "--out", tmp_path / "run", *FEW_STEPS, "--json"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    (told,) = done.stdout.splitlines()
    assert json.loads(told)["run"] == str(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").is_file()
    stats = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    assert sum(line.get("event") == "stopped" for line in stats) == 3


# --- in a process of its own -----------------------------------------------------------------------------------------

_TORCH_FREE = """
import sys
from syncgan.cli import main
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
print("exit", code, "torch" in sys.modules, file=sys.stderr)
"""


def in_own_process(*arguments: object) -> str:
    """Run a command in a new process; return its exit code and whether torch was imported."""
    command = [sys.executable, "-c", _TORCH_FREE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()[-1]


def test_help_masks_and_refusals_never_import_torch(tmp_path):
    folder = write_images(tmp_path / "data", {"benign": 2, "malignant": 2})
    write_images(tmp_path / "single", {"a": 2, "b": 1})
    assert in_own_process("--help") == "exit 0 False"
    assert in_own_process("masks", folder, "--out", tmp_path / "masks", "--report", "--jobs=1") == "exit 0 False"
    for wrong in (
        ["--out", folder],
        ["--out", tmp_path / "no" / "run"],
        ["--out", tmp_path / "run", "--set", "image_gan.generator=unett"],
    ):
        assert in_own_process("fit", folder, *wrong) == "exit 2 False"
    assert in_own_process("fit", tmp_path / "single", "--out", tmp_path / "run") == "exit 2 False"
    assert in_own_process("plugins") == "exit 0 False"


# --- progress --------------------------------------------------------------------------------------------------------


def test_plain_progress_prints_at_changes_of_stage_and_else_every_five_seconds():
    from syncgan.evaluation.progress import PlainDisplay

    now = 0.0
    stream = io.StringIO()
    display = PlainDisplay(stream, clock=lambda: now)
    for step in range(1, 101):
        now = step * 0.1
        display.update("first", step, 100, seconds_left=90.0)
    display.update("second", 1, 100)
    lines = stream.getvalue().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["first", "1/100"],
        ["first", "51/100"],
        ["first", "100/100"],
        ["second", "1/100"],
    ]
    assert "about 1 min 30 s left" in lines[0]
    assert "\r" not in stream.getvalue()


def test_names_cannot_steer_the_terminal():
    from syncgan.evaluation.progress import PlainDisplay

    stream = io.StringIO()
    PlainDisplay(stream).say("left out \x1b[2J\udc80.png")
    assert stream.getvalue() == "left out \\x1b[2J\\udc80.png\n"
