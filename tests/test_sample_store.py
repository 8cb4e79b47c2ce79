"""Synthetic items of a wrapped dataset: in memory or on disk, refreshed from epoch to epoch, alike in every worker."""

from __future__ import annotations

import errno
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from syncgan.data.datasets import wrap_dataset
from syncgan.data.rejections import Account, ClassRejections, Rejections
from syncgan.data.sample_store import SampleStore
from syncgan.errors import ArtefactError, ConfigError, RunExistsError

SIZE = 4
CLASSES, LABELS = ("a", "b"), (3, 7)


class Real(Dataset):
    """Four black images of each class, as uint8 tensors."""

    def __init__(self):
        self.targets = [3, 7] * 4

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return torch.zeros((3, SIZE, SIZE), dtype=torch.uint8), self.targets[index]


class Renderer:
    """Fills sample i of a class with i and the class, and keeps account."""

    def __init__(self, fails_after=None):
        self.asked = []
        self.fails_after = fails_after

    def __call__(self, label, numbers):
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise KeyboardInterrupt
        self.asked += [(label, number) for number in numbers]
        images = np.zeros((len(numbers), 3, SIZE, SIZE), np.uint8)
        images[:, 0], images[:, 1] = np.asarray(numbers)[:, None, None], label
        return images, images[:, 0] % 2, {"tenth": np.asarray(numbers) / 10}

    def __reduce__(self):
        raise TypeError("a model must never travel to a worker")


def wrap(render=None, strategy=2.0, **options):
    render = render or Renderer()
    return wrap_dataset(Real(), classes=CLASSES, label_values=LABELS, render=render, strategy=strategy, **options)


def shown(augmented):
    """Return (label, number) of every synthetic item."""
    items = (augmented[index] for index in np.flatnonzero(augmented.is_synthetic).tolist())
    return [(label, int(image[0, 0, 0])) for image, label in items]


FIRST = [(3, number) for number in range(8)] + [(7, number) for number in range(8)]


@pytest.fixture(params=["memory", "disk"])
def where(request, tmp_path):
    return {"store": tmp_path / "store"} if request.param == "disk" else {}


# --- refresh ---------------------------------------------------------------------------------------------------------


def test_each_epoch_replaces_the_share_and_every_item_in_turn(where):
    render = Renderer()
    augmented = wrap(render, refresh=0.25, **where)
    assert shown(augmented) == FIRST
    before, seen = shown(augmented), {tuple(item) for item in FIRST}
    for epoch in range(1, 5):
        augmented.set_epoch(epoch)
        changed = [now for old, now in zip(before, shown(augmented), strict=True) if old != now]
        assert len(changed) == 4  # a quarter of the 16, the same share of both classes
        assert sum(label == 3 for label, _ in changed) == 2
        assert not seen & set(changed)  # never shown before
        seen |= set(changed)
        before = shown(augmented)
    assert all(number >= 8 for _, number in before)
    assert len(render.asked) == 16 + 4 * 4  # nothing is rendered in vain


def test_any_epoch_can_be_set_at_any_time(where):
    forward = wrap(refresh=0.3, **where)
    for epoch in range(6):
        forward.set_epoch(epoch)
    late = shown(forward)
    forward.set_epoch(0)
    assert shown(forward) == FIRST
    jumped = wrap(refresh=0.3)
    jumped.set_epoch(5)
    assert shown(jumped) == late


def test_labels_and_provenance_follow(where):
    augmented = wrap(refresh=1.0, **where)
    augmented.set_epoch(3)
    assert augmented.targets == [3, 7] * 4 + [3] * 8 + [7] * 8
    assert augmented.provenance(9) == {"class": "a", "label": 3, "seed": 0, "index": 25, "tenth": 2.5}
    assert augmented.epoch == 3


def test_without_refresh_an_epoch_changes_nothing(where):
    augmented = wrap(**where)
    augmented.set_epoch(7)
    assert shown(augmented) == FIRST


@pytest.mark.parametrize("refresh", [-0.1, 1.5, True, "half", None])
def test_a_share_outside_0_to_1_is_refused(refresh):
    with pytest.raises(ConfigError, match="share in \\[0, 1\\]"):
        wrap(refresh=refresh)


@pytest.mark.parametrize("epoch", [-1, 1.0, True])
def test_an_epoch_is_a_whole_number(epoch):
    with pytest.raises(ConfigError, match="whole number"):
        wrap().set_epoch(epoch)


def test_a_copy_has_no_model_and_says_so(where):
    augmented = wrap(refresh=0.5, **where)
    copied = pickle.loads(pickle.dumps(augmented))  # noqa: S301
    assert shown(copied) == FIRST
    copied.set_epoch(0)
    with pytest.raises(ConfigError, match="only by the dataset that `wrap` returned"):
        copied.set_epoch(1)


# --- workers ---------------------------------------------------------------------------------------------------------


def loaded(augmented, workers, context=None):
    loader = DataLoader(augmented, batch_size=5, num_workers=workers, multiprocessing_context=context)
    return [(images.tolist(), labels.tolist()) for images, labels in loader]


@pytest.mark.parametrize(
    ("workers", "context", "on_disk"),
    [
        (1, "fork", False),
        (4, "fork", True),
        (1, "spawn", True),
        (4, "spawn", False),
        (1, "forkserver", False),
        (4, "forkserver", True),
    ],
)
def test_every_kind_of_worker_gives_the_same_items(tmp_path, workers, context, on_disk):
    augmented = wrap(refresh=0.5, store=tmp_path / "store" if on_disk else None)
    augmented.set_epoch(1)
    assert loaded(augmented, workers, context) == loaded(augmented, 0)


def test_workers_that_live_on_see_a_refreshed_store_on_disk(tmp_path):
    augmented = wrap(refresh=1.0, store=tmp_path / "store")
    loader = DataLoader(augmented, batch_size=24, num_workers=1, persistent_workers=True)
    numbers = []
    for epoch in range(2):
        augmented.set_epoch(epoch)
        images, _ = next(iter(loader))
        numbers.append(images[8:, 0, 0, 0].tolist())
    assert numbers == [[number for _, number in FIRST], [8 + number for _, number in FIRST]]


# --- on disk ---------------------------------------------------------------------------------------------------------


def test_a_store_is_found_again_and_not_rendered_again(tmp_path):
    first = wrap(store=tmp_path / "store")
    render = Renderer()
    second = wrap(render, store=tmp_path / "store")
    assert render.asked == []
    assert shown(second) == shown(first) == FIRST
    assert second.provenance(8)["tenth"] == 0.0
    assert np.array_equal(np.load(tmp_path / "store" / "masks.npy"), first.masks)


def test_an_interrupted_store_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        wrap(Renderer(fails_after=8), store=tmp_path / "store")
    render = Renderer()
    assert shown(wrap(render, store=tmp_path / "store")) == FIRST
    assert render.asked == FIRST[8:]


def test_scores_survive_a_store_that_two_processes_fill(tmp_path):
    first, second = (SampleStore([3] * 80, Renderer(), folder=tmp_path / "store") for _ in range(2))
    half = np.arange(80)
    half[40:] = first.numbers[40:]
    first.bring(half)
    second.bring(np.arange(80))
    third = SampleStore([3] * 80, Renderer(), folder=tmp_path / "store")
    assert [third.scores(slot)["tenth"] for slot in (1, 39, 40, 79)] == [0.1, 3.9, 4.0, 7.9]


def test_a_store_that_is_refreshed_has_one_owner(tmp_path):
    first = wrap(refresh=0.5, store=tmp_path / "store")
    first.set_epoch(1)
    with pytest.raises(RunExistsError, match="another dataset refreshes"):
        wrap(refresh=0.5, store=tmp_path / "store")
    del first
    assert shown(wrap(refresh=0.5, store=tmp_path / "store")) == FIRST


@pytest.mark.parametrize(("kept", "other"), [(0.5, 0.0), (0.0, 0.5), (0.5, 1.0)])
def test_a_store_with_another_refresh_is_left_alone(kept, other, tmp_path):
    first = wrap(refresh=kept, store=tmp_path / "store")
    first.set_epoch(3)
    before = shown(first)
    with pytest.raises(RunExistsError, match="different refresh"):
        wrap(refresh=other, store=tmp_path / "store")
    assert shown(first) == before


def test_a_file_in_place_of_a_store_is_refused(tmp_path):
    (tmp_path / "store").write_text("mine")
    with pytest.raises(RunExistsError, match="is a file"):
        wrap(store=tmp_path / "store")


def test_a_store_that_was_left_at_another_epoch_starts_at_epoch_0(tmp_path):
    wrap(refresh=0.5, store=tmp_path / "store").set_epoch(1)
    render = Renderer()
    assert shown(wrap(render, refresh=0.5, store=tmp_path / "store")) == FIRST
    assert len(render.asked) == 8


@pytest.mark.parametrize(
    ("change", "what"),
    [({"seed": 1}, "seed"), ({"strategy": 1.0}, "labels"), ({"request": {"model": "other"}}, "model")],
)
def test_a_store_of_something_else_is_refused(tmp_path, change, what):
    wrap(store=tmp_path / "store", request={"model": "mine"})
    with pytest.raises(RunExistsError, match=f"different {what}"):
        wrap(store=tmp_path / "store", **{"request": {"model": "mine"}, **change})


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "images.npy").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".syncgan-1.tmp").write_text("mine")
    with pytest.raises(RunExistsError, match=r"holds 'images\.npy'"):
        wrap(store=tmp_path)
    assert (tmp_path / "images.npy").read_text() == "mine"
    assert {path.name for path in tmp_path.rglob("*")} == {"images.npy", "run", ".syncgan-1.tmp"}


def test_a_full_disk_is_an_error_with_a_name(tmp_path, monkeypatch):
    augmented = wrap(refresh=1.0, store=tmp_path / "store")
    real_open = Path.open

    def full(path, mode="r", *args, **kwargs):
        if "+" in mode and path.name == "images.npy":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real_open(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ArtefactError, match=r"images\.npy: cannot be written \(No space left"):
        augmented.set_epoch(1)
    monkeypatch.undo()
    augmented.set_epoch(1)  # the slots that were begun are known as empty, so they are filled again
    assert [number for _, number in shown(augmented)] == [8 + number for _, number in FIRST]


def test_a_lost_or_damaged_file_is_named(tmp_path):
    wrap(store=tmp_path / "store")
    (tmp_path / "store" / "masks.npy").write_bytes(b"no array")
    with pytest.raises(ArtefactError, match=r"masks\.npy: cannot be read"):
        _ = wrap(store=tmp_path / "store").masks
    (tmp_path / "store" / "masks.npy").unlink()
    with pytest.raises(ArtefactError, match=r"masks\.npy: is missing"):
        wrap(store=tmp_path / "store")


def test_no_synthetic_items_make_no_files(tmp_path):
    augmented = wrap(strategy=0, store=tmp_path / "store")
    assert len(augmented) == 8
    assert augmented.images.shape == (0, 3, 0, 0)
    assert json.loads((tmp_path / "store" / "store.json").read_text())["labels"] == []


def test_progress_counts_what_is_rendered(where):
    told = []
    wrap(progress=lambda done, total: told.append((done, total)), **where)
    assert told == [(8, 16), (16, 16)]


def test_what_filters_refused_is_added_up_over_epochs_and_travels_with_a_copy():
    account, render = Account(), Renderer()

    def counted(label, numbers):
        account.add(Rejections({"ab"[label == 7]: ClassRejections(drawn=2 * len(numbers), kept=len(numbers))}))
        return render(label, numbers)

    augmented = wrap(counted, refresh=0.5, account=account)
    assert augmented.rejections["a"].drawn == 16
    augmented.set_epoch(1)
    assert augmented.rejections["a"].drawn == 24
    assert pickle.loads(pickle.dumps(augmented)).rejections == augmented.rejections  # noqa: S301


def test_many_samples_are_rendered_in_chunks_of_one_class():
    render = Renderer()
    sizes = []

    def counted(label, numbers):
        sizes.append((label, len(numbers)))
        return render(label, numbers)

    store = SampleStore([3] * 100 + [7] * 30, counted)
    store.bring(np.arange(130))
    assert sizes == [(3, 64), (3, 36), (7, 30)]
