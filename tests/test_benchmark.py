"""The benchmark: no leaks, resume and shards equal the whole, control arms, refusals, the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import ConcatDataset, Subset
from typer.testing import CliRunner

from syncgan import ARMS, Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.cli import app
from syncgan.errors import ArtefactError, ConfigError, DataError, RunExistsError, UnknownNameError
from syncgan.evaluation.benchmark.data import Guard, read_benchmark_data
from syncgan.evaluation.benchmark.ratio import smallest_as_good, tune_ratio
from syncgan.evaluation.benchmark.runner import _Clock, run_benchmark
from syncgan.evaluation.benchmark.settings import PAPER_OUTLINE, BenchmarkConfig, Outline
from syncgan.evaluation.benchmark.split_run import rounded
from syncgan.evaluation.benchmark.splits import make_splits
from syncgan.evaluation.benchmark.summary import BenchmarkSummary, summarise
from syncgan.evaluation.features import TextureFeatures
from syncgan.evaluation.runs import RunData
from syncgan.evaluation.same_images import digest_of
from syncgan.evaluation.statistics import scores_of

FEW = [
    "extractor.segmenter=otsu",
    "mask_gan.generator=warp",
    "image_gan.steps=2",
    "image_gan.width=4",
    "image_gan.head_width=0",
    "filters.mask_plausibility=false",
]
CONFIG = SynCGANConfig.preset("tiny").updated(FEW)


class Kept:
    """A phantom whose images are simulated once."""

    def __init__(self, n_per_class: int, seed: int = 0) -> None:
        phantom = Phantom(n_per_class, image_size=32, seed=seed)
        self.pixels = [phantom.image(index) for index in range(len(phantom))]
        self.classes, self.targets, self.samples = phantom.classes, phantom.targets, phantom.samples

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.pixels[index], self.targets[index]


PHANTOM = Kept(24)
QUICK = BenchmarkConfig(steps=4, batch_size=4, validations=2, passes=1, lots=1)


def run(out: Path, data: Any = PHANTOM, **changes: Any) -> BenchmarkSummary:
    asked = {
        "config": CONFIG,
        "settings": QUICK,
        "arms": ("Orig", "Orig+Prop"),
        "repeats": 2,
        "per_class": 4,
        "device": "cpu",
        "features": TextureFeatures(),
    }
    summary = run_benchmark(data, out, **{**asked, **changes})
    assert summary is not None
    return summary


def results(out: Path) -> list[dict[str, Any]]:
    """The split files without what a clock says, and the seal over it."""
    splits = [json.loads(path.read_text()) for path in sorted((out / "splits").glob("*.json"))]
    for split in splits:
        del split["sha256"]
        for result in split["results"]:
            del result["seconds"]
    return splits


@pytest.fixture
def register() -> Iterator[Any]:
    names: list[str] = []

    def add(name: str, arm: Any) -> None:
        ARMS.register(name)(arm)
        names.append(name)

    yield add
    for name in names:
        ARMS.unregister(name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("benchmark") / "whole"
    run(out, classifiers=("probe", "small_cnn"))
    return out


def test_a_split_file_holds_what_statistics_need(whole: Path) -> None:
    first, second = results(whole)
    assert [first["split"], second["split"]] == [1, 2]
    assert first["classes"] == ["benign", "malignant"]
    assert first["added"] == {
        "synthetic": {"benign": 8, "malignant": 8},
        "held_back": {"benign": 8, "malignant": 8},
        "equal": True,
    }
    assert len(first["labels"]) == len(first["items"]["test"]) == 48 - 2 * (4 + 4 + 8)
    assert [(entry["arm"], entry["classifier"]) for entry in first["results"]] == [
        ("Orig", "probe"),
        ("Orig", "small_cnn"),
        ("Orig+Prop", "probe"),
        ("Orig+Prop", "small_cnn"),
    ]
    for entry in first["results"]:
        assert np.shape(entry["probabilities"]) == (16, 2)
        assert np.allclose(np.sum(entry["probabilities"], axis=1), 1, atol=1e-5)
    assert [entry["training_items"] for entry in first["results"]] == [8, 8, 24, 24]
    assert [entry["steps"] for entry in first["results"]] == [None, 4, None, 4]
    assert not (whole / "work").exists()


def test_work_that_outlived_its_split_is_dropped(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"arms": ("Orig",), "repeats": 1}
    run(tmp_path / "out", **asked)
    left = tmp_path / "out" / "work" / "split-001"
    left.mkdir(parents=True)
    run(tmp_path / "out", **asked)
    assert not left.exists()


@pytest.mark.parametrize("samples", [[], ["confidence"]])
def test_filters_of_a_split_leave_whole_groups_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: list[str]
) -> None:
    given: list[Any] = []
    fit = SynCGANAugmenter.fit
    monkeypatch.setattr(
        SynCGANAugmenter, "fit", lambda self, *a, **more: (given.append(more.get("groups")), fit(self, *a, **more))[1]
    )
    groups = [f"patient {index // 2}" for index in range(48)]
    config = CONFIG.merged({"filters": {"samples": samples}})
    run(tmp_path / "out", groups=groups, config=config, repeats=1, arms=("Orig+Prop",), per_class=6)
    (found,) = given
    assert (found is None) == (not samples)
    assert not samples or (len(found) == 12 and set(found) <= set(groups))


def test_a_file_with_other_spacing_is_read_alike(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"arms": ("Orig",), "repeats": 1}
    before = run(tmp_path / "out", **asked)
    path = tmp_path / "out" / "splits" / "split-001.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=2))
    assert run(tmp_path / "out", **asked).markdown == before.markdown


def test_rounding_in_the_file_changes_no_score() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 500)
    for sharpness in (1.0, 10.0, 60.0):  # down to 1e-70
        logits = sharpness * (generator.normal(size=(500, 3)) + 0.5 * np.eye(3)[labels])
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        kept = np.array(rounded(chances))
        assert len(json.dumps(kept.tolist(), separators=(",", ":"))) < (9 if sharpness < 2 else 17) * kept.size
        assert scores_of(labels, kept) == pytest.approx(scores_of(labels, chances), abs=2e-5, rel=1e-3)


def test_the_table_is_the_mean_balanced_accuracy_of_the_split_files(whole: Path) -> None:
    from sklearn.metrics import balanced_accuracy_score

    summary = run(whole, classifiers=("probe", "small_cnn"))  # everything is there already
    expected = np.mean(
        [
            balanced_accuracy_score(split["labels"], np.argmax(split["results"][3]["probabilities"], axis=1))
            for split in results(whole)
        ]
    )
    assert summary.balanced_accuracy["small_cnn"]["Orig+Prop"] == pytest.approx(expected)
    assert f"{100 * expected:.1f}" in (whole / "table.md").read_text()


def test_a_benchmark_that_broke_goes_on_to_the_same_results(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from syncgan.evaluation.benchmark import split_run

    calls: list[str] = []
    train = split_run.train_classifier

    def breaking(*args: Any, **kwargs: Any) -> Any:
        calls.append("training")
        if len(calls) == 7:  # the third of split 2, after its fit
            raise KeyboardInterrupt
        return train(*args, **kwargs)

    monkeypatch.setattr(split_run, "train_classifier", breaking)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", classifiers=("probe", "small_cnn"))
    assert [path.name for path in (tmp_path / "out" / "splits").iterdir()] == ["split-001.json"]
    run(tmp_path / "out", classifiers=("probe", "small_cnn"))
    assert len(calls) == 7 + 2  # only what was missing
    assert results(tmp_path / "out") == results(whole)


def test_shards_make_the_whole(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"arms": ("Orig", "Oracle"), "repeats": 3}
    run(tmp_path / "whole", **asked)
    run(tmp_path / "parts", **asked, shard=(2, 2))
    assert [split["split"] for split in results(tmp_path / "parts")] == [2]
    run(tmp_path / "parts", **asked, shard=(1, 2))
    assert results(tmp_path / "parts") == results(tmp_path / "whole")


def test_more_repeats_keep_the_splits_that_there_are(tmp_path: Path) -> None:
    run(tmp_path / "out", arms=("Orig",), repeats=1)
    first = (tmp_path / "out" / "splits" / "split-001.json").read_bytes()
    assert run(tmp_path / "out", arms=("Orig",), repeats=2).splits == (1, 2)
    assert (tmp_path / "out" / "splits" / "split-001.json").read_bytes() == first


# --- leaks -----------------------------------------------------------------------------------------------------------


def test_nothing_that_is_tested_on_reaches_a_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[set[str]] = []
    fit = SynCGANAugmenter.fit

    def watching(self: SynCGANAugmenter, dataset: Any, *args: Any, validation: Any = None, **kwargs: Any) -> Any:
        read = [dataset[index][0] for index in range(len(dataset))]
        read += [validation[index][0] for index in range(len(validation))] if validation is not None else []
        fitted.append({digest_of(np.asarray(image)) for image in read})
        return fit(self, dataset, *args, validation=validation, **kwargs)

    monkeypatch.setattr(SynCGANAugmenter, "fit", watching)
    config = CONFIG.updated(["image_gan.selection=validation", "mask_gan.generator=decoder", "mask_gan.steps=1"])
    config = config.updated(["mask_gan.warm_start_steps=0"])
    run(tmp_path / "out", config=config, arms=("Orig+Prop", "Orig+GAN", "Orig+Warp"), repeats=1)
    assert len(fitted) == 3  # each of the three was fitted once
    (split,) = results(tmp_path / "out")
    names = {f"{name}": index for index, (name, _) in enumerate(PHANTOM.samples)}
    of = {
        side: {digest_of(PHANTOM.pixels[names[name]]) for name in split["items"][side]}
        for side in ("train", "validation", "held_back", "test")
    }
    for seen in fitted:
        assert seen <= of["train"] | of["validation"]
        assert not seen & (of["test"] | of["held_back"])
    assert fitted[0] == of["train"] | of["validation"]
    assert not of["held_back"] & of["test"]


def test_the_guard_refuses_a_test_image_that_was_fitted_on(tmp_path: Path) -> None:
    data = read_benchmark_data(PHANTOM, CONFIG)
    guard = Guard()
    part = data.watched([0, 5], guard)
    guard.require_unseen(["benign/0005"], data.digests([5]))  # not read yet
    part[1]
    with pytest.raises(DataError, match="benign/0005: is to be tested on, but the augmenter was fitted on"):
        guard.require_unseen(["benign/0005"], data.digests([5]))


def test_an_augmenter_that_reads_a_test_image_stops_the_split(tmp_path: Path, register: Any) -> None:
    def cheating(dataset: Any, augmenter: Any, seed: int = 0) -> Any:
        return augmenter.wrap(dataset, 1.0)

    register("test-cheating", cheating)
    leaking = SynCGANAugmenter.fit

    def fit(self: SynCGANAugmenter, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        for index in range(len(dataset._data)):  # reads on past its own items
            dataset._indices[0] = index
            dataset[0]
        return leaking(self, dataset, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SynCGANAugmenter, "fit", fit)
        with pytest.raises(DataError, match="is to be tested on"):
            run(tmp_path / "out", arms=("test-cheating",), repeats=1)


def test_copies_stay_on_one_side_and_near_copies_are_reported(tmp_path: Path) -> None:
    items = [(PHANTOM.pixels[index], PHANTOM.targets[index]) for index in range(len(PHANTOM))]
    items += [items[3], (items[30][0][:, ::-1].copy(), 1)]
    with pytest.warns(UserWarning, match="2 items are copies of another"):
        run(tmp_path / "out", items, arms=("Orig",), repeats=4)
    crossed = []
    for split in results(tmp_path / "out"):
        sides = {name: side for side, names in split["items"].items() for name in names}
        assert sides.get("item 3", sides.get("item 48")) == sides.get("item 48", sides.get("item 3"))
        apart = sides.get("item 30") != sides.get("item 49")
        reported = [{entry["name"] for entry in found["items"]} for found in split["near_duplicates"]]
        assert ({"item 30", "item 49"} in reported) == apart
        crossed.append(apart)
    assert any(crossed)


def test_groups_reach_the_result_and_never_cross(tmp_path: Path) -> None:
    groups = [index // 3 for index in range(len(PHANTOM))]
    run(tmp_path / "out", groups=groups, arms=("Orig", "Oracle"), repeats=2)
    for split in results(tmp_path / "out"):
        place = {name: index for index, (name, _) in enumerate(PHANTOM.samples)}
        sides = [{groups[place[name]] for name in names} for names in split["items"].values()]
        assert sum(map(len, sides)) == len(set.union(*sides))
        assert split["groups"] == [str(groups[place[name]]) for name in split["items"]["test"]]


# --- arms ------------------------------------------------------------------------------------------------------------


def test_doubtful_masks_are_told_of_once_whatever_the_number_of_splits(tmp_path: Path) -> None:
    shining = Kept(10)
    y, x = np.ogrid[:32, :32]
    for index in range(len(shining)):
        cell = (y - 16) ** 2 + (x - 16) ** 2 < (13 + index % 3) ** 2
        draws = np.random.default_rng(index)
        shining.pixels[index] = (cell[..., None] * np.array((0, 150, 0)) + draws.integers(0, 40, (32, 32, 3))).astype(
            "u1"
        )
    with pytest.warns(UserWarning, match="masks are doubtful: the image is bright on dark") as caught:
        run(tmp_path / "out", shining, per_class=2, classifiers=("probe",))
    assert sum("doubtful" in str(warning.message) for warning in caught) == 1


def test_tables_and_a_plot_lie_beside_the_splits(whole: Path) -> None:
    for suffix in (".md", ".tex", ".csv", ".json"):
        assert (whole / f"table{suffix}").stat().st_size > 100
    assert (whole / "differences.png").read_bytes().startswith(b"\x89PNG")


def test_each_pass_shows_other_synthetic_images_and_the_same_real_ones() -> None:
    asked: list[dict[int, int]] = []

    class Numbering:
        """Adds numbers of samples in place of images, class after class."""

        def wrap(self, dataset: Any, strategy: dict[int, int], *, seed: int) -> Any:
            asked.append(strategy)
            return [*dataset, *((f"{label}.{n}", label) for label, count in strategy.items() for n in range(count))]

    real = [("a", 0), ("b", 0), ("c", 1)]
    plan = ARMS.get("Orig+Trad+Prop")(real, Numbering(), 0, ratio=1.0, lots=2)
    shown = []
    for number in range(3):
        plan.dataset.set_epoch(number)
        shown.append([image for image, _ in plan.dataset])
    assert shown == [
        ["a", "b", "c", "0.0", "0.1", "1.0"],
        ["a", "b", "c", "0.2", "0.3", "1.1"],
        ["a", "b", "c", "0.0", "0.1", "1.0"],
    ]
    assert asked == [{0: 4, 1: 2}]
    alone = ARMS.get("Prop")(real, Numbering(), 0, ratio=1.0, lots=2)
    alone.set_epoch(1)
    assert [image for image, _ in alone] == ["0.2", "0.3", "1.1"]
    assert not hasattr(ARMS.get("Prop")(real, Numbering(), 0, ratio=1.0, lots=1), "set_epoch")


@pytest.mark.parametrize(
    ("asked", "synthetic", "lots"), [("auto", 96, 8), ("auto", 900, 2), ("auto", 5000, 1), (3, 9, 3)]
)
def test_there_are_as_many_lots_as_are_asked_for_or_hold_2000_images(asked: Any, synthetic: int, lots: int) -> None:
    assert BenchmarkConfig(lots=asked).total_lots(synthetic) == lots


def test_the_oracle_adds_as_many_real_images_as_prop_adds_synthetic(tmp_path: Path) -> None:
    run(tmp_path / "out", arms=("Orig+Prop", "Oracle", "Oracle+Trad"), repeats=1)
    (split,) = results(tmp_path / "out")
    assert [entry["training_items"] for entry in split["results"]] == [24, 24, 24]


def test_arms_that_cannot_be_run_are_left_out_with_the_reason(tmp_path: Path) -> None:
    summary = run(tmp_path / "out", arms=("Orig", "Oracle"), per_class=None, repeats=1)
    assert summary.skipped == (
        "Oracle with probe: no real images are held back: they are with per_class only, where a class has enough "
        "images",
    )
    assert list(summary.balanced_accuracy["probe"]) == ["Orig"]
    assert summary.analysis.comparisons == ()
    assert "| probe |" in summary.markdown


def test_an_arm_that_uses_no_augmenter_costs_no_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("fitted")

    monkeypatch.setattr(SynCGANAugmenter, "fit", fit)
    run(tmp_path / "out", arms=("Orig", "Orig+Trad", "Oversample", "MixUp", "CutMix", "Oracle"), repeats=1)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_another_benchmark_in_the_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "out", arms=("Orig",), repeats=1)
    with pytest.raises(RunExistsError, match=r"holds another benchmark \(seed: was 0, is 1\)"):
        run(tmp_path / "out", arms=("Orig",), repeats=1, seed=1)
    with pytest.raises(RunExistsError, match="data: was"):
        run(tmp_path / "out", Subset(PHANTOM, range(1, 48)), arms=("Orig",), repeats=1)
    with pytest.raises(RunExistsError, match="already holds a benchmark"):
        run(tmp_path / "out", arms=("Orig",), repeats=1, resume=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(RunExistsError, match="is not empty and holds no benchmark"):
        run(tmp_path / "full", arms=("Orig",), repeats=1)


def test_a_damaged_result_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "out", arms=("Orig",), repeats=1)
    path = tmp_path / "out" / "splits" / "split-001.json"
    text = path.read_text()
    path.write_text(text.replace('"labels": [0', '"labels": [1'))
    with pytest.raises(ArtefactError, match="does not match its sha256"):
        run(tmp_path / "out", arms=("Orig",), repeats=1)
    path.write_text(text[:100])
    with pytest.raises(ArtefactError, match="is damaged, expected JSON"):
        run(tmp_path / "out", arms=("Orig",), repeats=1)


def test_names_and_shards_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'Orig'"):
        run(tmp_path / "out", "nowhere", arms=("Origg",))
    with pytest.raises(ConfigError, match="each once"):
        run(tmp_path / "out", "nowhere", arms=("Orig", "Orig"))
    with pytest.raises(ConfigError, match=r"a shard \(i, n\)"):
        run(tmp_path / "out", "nowhere", shard=(3, 2))
    assert not (tmp_path / "out").exists()


def test_splits_of_the_runner_are_those_of_make_splits(tmp_path: Path) -> None:
    run(tmp_path / "out", arms=("Orig",), repeats=2)
    names = [name for name, _ in PHANTOM.samples]
    for split, made in zip(
        results(tmp_path / "out"), make_splits(PHANTOM.targets, repeats=2, per_class=4, seed=0), strict=True
    ):
        assert split["items"] == {side: [names[at] for at in part] for side, part in made.parts().items()}


# --- the command -----------------------------------------------------------------------------------------------------


def save(folder: Path, data: Kept) -> None:
    from PIL import Image

    for index, (name, _) in enumerate(data.samples):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.pixels[index]).save(path)


def test_the_command_runs_goes_on_and_prints_json(tmp_path: Path) -> None:
    save(tmp_path / "data", PHANTOM)
    table = "file,slide\n" + "".join(f"{name}.png,{index // 2}\n" for index, (name, _) in enumerate(PHANTOM.samples))
    (tmp_path / "groups.csv").write_text(table)
    command = ["benchmark", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--arms", "Orig,Oracle"]
    command += ["--groups", str(tmp_path / "groups.csv"), "--group-column", "slide", "--per-class", "4"]
    command += ["--classifiers", "small_cnn", "--train", "steps=2", "--preset", "tiny", "--device", "cpu", "--json"]
    command += ["--score", "macro_f1"]
    for shard, splits in (("2/2", [2]), ("1/2", [1, 2])):
        done = CliRunner().invoke(app, [*command, "--repeats", "2", "--shard", shard])
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout.splitlines()[-1])
        assert found["splits"] == splits
        assert set(found["balanced_accuracy"]["small_cnn"]) == {"Orig", "Oracle"}
    refused = CliRunner().invoke(app, [*command, "--repeats", "2", "--seed", "5"])
    assert refused.exit_code == 2
    assert "holds another benchmark" in refused.output


@pytest.mark.parametrize(("more", "expected"), [([], PAPER_OUTLINE), (["--arms", "Orig", "--repeats", "2"], None)])
def test_the_papers_table_is_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], expected: Any
) -> None:
    from syncgan.evaluation.benchmark import runner

    asked: dict[str, Any] = {}
    monkeypatch.setattr(runner, "run_benchmark", lambda *_, **given: asked.update(given))
    save(tmp_path / "data", PHANTOM)
    command = ["benchmark", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--preset", "paper", *more]
    assert CliRunner().invoke(app, command).exit_code == 0
    outline = expected or Outline(("Orig",), PAPER_OUTLINE.classifiers, 2)
    assert (asked["arms"], asked["classifiers"], asked["repeats"]) == tuple(vars(outline).values())
    assert asked["config"] == SynCGANConfig.preset("paper")
    assert asked["settings"].lots == 1
    assert asked["settings"].batch_size == 16


# --- how many synthetic images ---------------------------------------------------------------------------------------


def test_the_ratio_is_chosen_without_synthetic_images_where_they_hurt(monkeypatch: pytest.MonkeyPatch) -> None:
    from syncgan.evaluation.benchmark.sources import LazyAugmenter

    class Wrong(Kept):
        """What an augmenter that confuses the classes would add."""

        def __init__(self, dataset: Any, counts: dict[int, int]) -> None:
            self.dataset, self.added = dataset, sum(counts.values())

        def __len__(self) -> int:
            return len(self.dataset) + self.added

        def __getitem__(self, index: int) -> tuple[Any, int]:
            image, label = self.dataset[index % len(self.dataset)]
            return image, label if index < len(self.dataset) else 1 - label

    def wrap(self: Any, dataset: Any, counts: dict[int, int], **_: Any) -> Any:
        return Wrong(dataset, counts)

    monkeypatch.setattr(LazyAugmenter, "wrap", wrap)
    asked: dict[str, Any] = {"config": CONFIG, "settings": QUICK, "folds": 3, "device": "cpu"}
    choice = tune_ratio(PHANTOM, features=TextureFeatures(), ratios=(2.0, 0.0), **asked)
    assert choice.ratio == 0.0
    assert list(choice.balanced_accuracy) == [0.0, 2.0]
    assert choice.balanced_accuracy[2.0] == pytest.approx(np.mean(choice.scores[2.0]))
    assert tune_ratio(PHANTOM, features=TextureFeatures(), ratios=(2.0, 0.0), **asked) == choice


def test_the_smallest_ratio_within_one_standard_error_of_the_best_is_taken() -> None:
    assert smallest_as_good({0.0: [0.5, 0.5, 0.5], 1.0: [0.69, 0.71, 0.7], 2.0: [0.7, 0.7, 0.73]}) == 1.0
    assert smallest_as_good({0.0: [0.5, 0.5, 0.5], 1.0: [0.5, 0.5, 0.5]}) == 0.0
    assert smallest_as_good({0.0: [0.5], 4.0: [0.6]}) == 4.0


@pytest.mark.parametrize("ratios", [(), (-1.0,), (1.0, 1.0), (float("nan"),)])
def test_ratios_that_make_no_sense_are_refused(ratios: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="expected ratios of at least 0, each once"):
        tune_ratio(PHANTOM, ratios=ratios)


class ConfusingAugmenter:
    """Stands for an augmenter that adds images with wrong labels; knows what it was fitted on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def fit(self, dataset: Any, **_: Any) -> ConfusingAugmenter:
        FITTED.append([dataset.samples[index][0] for index in range(len(dataset)) if dataset[index]])
        return self

    def wrap(self, dataset: Any, strategy: dict[int, int], transform: Any, seed: int) -> Any:
        rounds = sum(strategy.values()) // len(dataset)
        return ConcatDataset([dataset, *[[(x, 1 - y) for x, y in dataset]] * rounds])


FITTED: list[list[str]] = []


@pytest.fixture
def confusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("syncgan.evaluation.benchmark.sources.SynCGANAugmenter", ConfusingAugmenter)
    monkeypatch.setattr("syncgan.evaluation.benchmark.split_run.RATIOS", (0.0, 1.0, 2.0))
    FITTED.clear()
    yield
    FITTED.clear()


TUNED: dict[str, Any] = {"arms": ("Orig", "Orig+Prop", "Prop"), "repeats": 1, "per_class": 8}
BY_TWO = QUICK.updated(["tuning_folds=2"])


def test_a_split_chooses_its_ratio_on_its_training_part_alone(tmp_path: Path, confusing: None) -> None:
    summary = run(tmp_path / "out", settings=BY_TWO, **TUNED)
    (split,) = results(tmp_path / "out")
    inner = FITTED[:2]  # the third is of Prop
    for names in inner:
        assert set(names) < set(split["items"]["train"])
    assert inner[0] != inner[1]
    assert split["ratio"]["chosen"] == 0.0
    assert {key: len(found) for key, found in split["ratio"]["balanced_accuracy"].items()} == {"0": 2, "1": 2, "2": 2}
    orig, added, alone = split["results"]
    assert added["probabilities"] == orig["probabilities"]  # none were added
    assert alone["training_items"] == 2 * 16  # which alone cannot be
    assert split["added"]["synthetic"] == {"benign": 0, "malignant": 0}
    assert summary.ratios == {1: 0.0}


def test_a_choice_goes_on_after_an_interruption_and_belongs_to_the_benchmark(
    tmp_path: Path, confusing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole", settings=BY_TWO, **TUNED)
    fits = len(FITTED)
    fit = ConfusingAugmenter.fit

    def breaking(self: Any, dataset: Any, **_: Any) -> Any:
        if len(FITTED) == fits + 1:  # in the second inner split
            raise KeyboardInterrupt
        return fit(self, dataset)

    with monkeypatch.context() as patch:
        patch.setattr(ConfusingAugmenter, "fit", breaking)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "out", settings=BY_TWO, **TUNED)
    run(tmp_path / "out", settings=BY_TWO, **TUNED)
    assert len(FITTED) == 2 * fits  # nothing twice
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    with pytest.raises(RunExistsError, match=r"settings\.tuning_folds: was 2, is None"):
        run(tmp_path / "out", **TUNED)


def test_too_few_training_images_to_choose_a_ratio_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="choosing a ratio on the training images: expected at least 5"):
        run(tmp_path / "out", settings=BY_TWO, arms=("Orig",), per_class=4, repeats=1)


# --- what must not be mixed ------------------------------------------------------------------------------------------


def forget(out: Path, *keys: str) -> None:
    """Make a folder as an older syncgan would have left it: without some keys of the identity."""
    from syncgan.evaluation.benchmark import store

    content = store._opened(out / "benchmark.json", "benchmark")
    for key in keys:
        content["identity"].pop(key)
    content["identity"]["versions"].pop("scikit-learn")
    (out / "benchmark.json").write_text(json.dumps(store._sealed(content)))
    own = store.BenchmarkStore(out)
    for path in (out / "splits").glob("*.json"):
        split = store._opened(path, "split")
        del split["test_groups"]
        path.write_text(json.dumps(store._sealed({**split, "benchmark": own.fingerprint})))


class OtherFeatures(TextureFeatures):
    name = "other"


def test_other_features_or_another_scikit_learn_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "out", arms=("Orig",), repeats=1)
    with pytest.raises(RunExistsError, match=r"holds another benchmark \(features: was .*, is 'other'"):
        run(tmp_path / "out", arms=("Orig",), repeats=2, features=OtherFeatures())
    monkeypatch.setattr("syncgan.evaluation.benchmark.store.metadata.version", lambda _: "0.1")
    with pytest.raises(RunExistsError, match=r"versions\.scikit-learn: was"):
        run(tmp_path / "out", arms=("Orig",), repeats=2)


def test_shards_that_begin_together_do_not_refuse_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from syncgan.evaluation.benchmark.store import BenchmarkStore

    def begin() -> None:
        BenchmarkStore(tmp_path / "out").begin({"seed": 1}, {}, resume=True)

    look = BenchmarkStore._is_free
    with monkeypatch.context() as patch:

        def other_begins_then(self: BenchmarkStore) -> bool:
            seen = look(self)
            patch.setattr(BenchmarkStore, "_is_free", look)
            begin()
            return seen

        (tmp_path / "out").mkdir()
        patch.setattr(BenchmarkStore, "_is_free", other_begins_then)
        begin()
    assert BenchmarkStore(tmp_path / "out").description()["identity"]["seed"] == 1


def test_an_arm_that_can_do_without_held_back_images_is_run(tmp_path: Path) -> None:
    def either(dataset: Any, augmenter: Any, seed: int = 0, *, held_back: Any = None) -> Any:
        return dataset

    ARMS.register("either")(either)
    try:
        summary = run(tmp_path / "out", arms=("Orig", "either"), per_class=None, repeats=1)
    finally:
        ARMS.unregister("either")
    assert summary is not None
    assert summary.skipped == ()


def test_what_was_done_before_does_not_shorten_the_time_that_is_left() -> None:
    told: list[float | None] = []
    clock = _Clock(1, 4, lambda stage, done, total, details="", seconds_left=None: told.append(seconds_left))
    clock.begin("split 1 of 1")
    clock._started -= 60
    clock.tick("a", restored=True)
    clock.tick("b", restored=True)
    clock.tick("c")
    assert told[:3] == [None, None, None]
    assert told[3] == pytest.approx(60, rel=0.1)


def test_a_folder_of_an_older_syncgan_is_gone_on_with_but_never_from_other_weights(tmp_path: Path) -> None:
    run(tmp_path / "out", arms=("Orig", "Orig+Trad"), repeats=1)
    forget(tmp_path / "out", "features")
    with pytest.raises(RunExistsError, match=r"initial weights of probe: was .*, is 'other'"):
        run(tmp_path / "out", arms=("Orig", "Orig+Trad"), repeats=2, features=OtherFeatures())
    assert run(tmp_path / "out", arms=("Orig", "Orig+Trad"), repeats=2).splits == (1, 2)


def test_masks_that_are_given_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a benchmark extracts masks in every split"):
        run(tmp_path / "out", RunData(PHANTOM, {}, masks=[None] * len(PHANTOM)), arms=("Orig",), repeats=1)


def test_exact_copies_are_one_test_group_and_names_are_unique(tmp_path: Path) -> None:
    pixels = [*PHANTOM.pixels, *PHANTOM.pixels[:20]]
    data = Kept.__new__(Kept)
    data.pixels, data.classes = pixels, PHANTOM.classes
    data.targets = [*PHANTOM.targets, *PHANTOM.targets[:20]]
    data.samples = [*PHANTOM.samples, *PHANTOM.samples[:20]]
    with pytest.warns(UserWarning, match="copies"):
        run(tmp_path / "out", data, arms=("Orig",), repeats=2)
    for split in results(tmp_path / "out"):
        names = [name for side in split["items"].values() for name in side]
        assert len(set(names)) == len(names)
        number = {name: int(name.split("(item ")[1][:-1]) for name in names if "(item" in name}
        group = dict(zip(split["items"]["test"], split["test_groups"], strict=True))
        copies = [name for name in group if number.get(name, 0) >= 48]
        assert copies
        for name in copies:
            assert group[name].endswith(f"(item {number[name] - 48})")
        assert len(set(split["test_groups"])) == len(group) - len(copies)


@pytest.mark.parametrize("folds", [0, 1])
def test_one_fold_chooses_no_ratio(folds: int) -> None:
    with pytest.raises(ConfigError, match="at least 2 folds"):
        tune_ratio(PHANTOM, folds=folds)
    with pytest.raises(ConfigError, match="at least 2 inner splits"):
        BenchmarkConfig().updated(["tuning_folds=1"])


# --- other scores ----------------------------------------------------------------------------------------------------


def test_tables_of_another_score_lie_beside_those_of_balanced_accuracy(tmp_path: Path) -> None:
    run(tmp_path / "out", arms=("Orig", "Orig+Trad"), repeats=1)
    usual = (tmp_path / "out" / "table.md").read_bytes()
    summary = summarise(tmp_path / "out", score="recall:1")
    assert summary.table.name == "table-recall-1.md"
    assert "recall of class 1" in summary.table.read_text()
    assert (tmp_path / "out" / "differences-recall-1.png").exists()
    assert (tmp_path / "out" / "table.md").read_bytes() == usual
    assert all(note in summary.as_dict()["notes"] for note in summary.notes)
    assert "Initial weights or features" in usual.decode()
    with pytest.raises(DataError, match="expected a class from 0 to 1, got recall:7"):
        summarise(tmp_path / "out", score="recall:7")


def test_the_command_refuses_an_unknown_score_before_it_reads_anything(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["benchmark", "nowhere", "--out", str(tmp_path / "out"), "--score", "luck"])
    assert done.exit_code == 2
    assert "expected a score" in done.output
