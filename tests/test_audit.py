"""The audit: copies are flagged, honest images are not, and where copies cannot be seen it says so."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy import ndimage

from syncgan import rng
from syncgan.errors import DataError
from syncgan.evaluation.audit import audit, require_no_copies
from syncgan.evaluation.audit.control import _halves, jittered, run_control
from syncgan.evaluation.audit.judging import SIGNIFICANCE, Yardstick, copies_among, flags
from syncgan.evaluation.audit.rates import at_least, chance_of, fewest_at, mann_whitney, thresholds
from syncgan.evaluation.audit.showing import audit_figures, audit_fragment, write_audit
from syncgan.evaluation.audit.wording import LEFT_OUT, notes_on, verdict_on
from syncgan.evaluation.features import TextureFeatures
from syncgan.evaluation.nearest_images import (
    STRUCTURE,
    Nearest,
    image_sets,
    nearest,
    structures,
    thumbnail_space,
)
from syncgan.evaluation.plots import pixels_of
from syncgan.evaluation.utility import turns
from syncgan.training.augmentation import dihedral

SIDE = 32
CLASSES = ("round", "<script>alert(1)</script>")


def blots(count, seed=0, side=SIDE):
    """Return images of smooth random colour fields, as different from each other as smears are."""
    noise = np.random.default_rng(seed).standard_normal((count, 3, side, side))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 1.5, 1.5), mode="wrap")
    return torch.from_numpy(np.clip(128 + 220 * smooth, 0, 255).astype(np.uint8))


SYNTHETIC, TRAINING, HELD_OUT = torch.split(blots(110), [30, 40, 40])


def audited(synthetic, **options):
    return audit(synthetic, TRAINING, HELD_OUT, **{"pixels_only": True, **options})


# --- copies and honest images ----------------------------------------------------------------------------------------


def brighter(images):
    return (images.float() * 0.85).round().byte()


def shifted(images):
    return torch.from_numpy(np.roll(images.numpy(), (1, -2), (2, 3)))


@pytest.mark.parametrize(
    "change",
    [lambda images: images, lambda images: images.rot90(1, (2, 3)).flip(3), brighter, shifted, jittered],
    ids=["same", "turned", "darker", "shifted", "jittered"],
)
def test_planted_copies_are_found_and_named(change):
    planted = change(TRAINING[:6], seed=3) if change is jittered else change(TRAINING[:6])
    found = audited(torch.cat([SYNTHETIC[:24], planted]))
    assert found.outcome == "copies"
    assert found.copies == tuple(range(24, 30))
    assert found.copy_rate == pytest.approx(0.2)
    closest = {pair.image: pair.training for pair in found.pairs if pair.space == STRUCTURE and not pair.held_out}
    assert closest == {24 + index: index for index in range(6)}


def test_recompressed_copies_are_found_in_features_too():
    found = audited(jittered(TRAINING[:30], seed=1), pixels_only=False, features=TextureFeatures())
    assert [space.space for space in found.spaces] == ["thumbnails", "structure", "features"]
    assert found.outcome == "copies"


def test_one_copy_among_honest_samples_is_found():
    found = audited(torch.cat([SYNTHETIC[:29], jittered(TRAINING[:1], seed=2)]))
    assert (found.outcome, found.copies) == ("copies", (29,))
    assert "1 of 30 samples is a near copy of a training image" in found.verdict


def test_honest_images_pass_and_the_verdict_says_among_how_many():
    found = audited(SYNTHETIC)
    assert found.passed
    assert found.verdict.startswith("no copy found at threshold ")
    assert " among 30 samples" in found.verdict
    assert "anonym" not in json.dumps(found.summary())
    assert found.control.passed
    assert found.control.copies == 30
    assert found.control.seen[STRUCTURE] > 0.9
    assert found.control.honest == 20


def test_what_chance_may_bring_is_told_and_no_copy():
    found = audited(SYNTHETIC)
    few = [dataclasses.replace(space, copies=(1, 4), p_value=0.0, flagged=False) for space in found.spaces[:1]]
    outcome, verdict = verdict_on(few, 0, found.control, 40, "held-out images")
    assert outcome == "no copy found"
    assert verdict.endswith(f"; 2 ({few[0].space}) look like one training image alone, not more than chance may bring")
    (note,) = notes_on(few, leaks=0, fewest=None, samples=40, yardstick="held-out images", grouped=True)
    assert "2 of them look like one training image alone, not more than chance may bring, and the others do not" in note
    none = [dataclasses.replace(few[0], copies=())]
    (note,) = notes_on(none, leaks=0, fewest=None, samples=40, yardstick="held-out images", grouped=True)
    assert "none of them is near to one training image alone" in note
    found = [dataclasses.replace(few[0], flagged=True)]
    _, verdict = verdict_on(found, 0, audited(SYNTHETIC).control, 40, LEFT_OUT)
    assert "than 95 % of training images are to each other, and to that one alone" in verdict


def test_smooth_images_are_no_copies():
    blurred = ndimage.gaussian_filter(SYNTHETIC.numpy(), (0, 0, 2, 2), mode="wrap")
    found = audited(torch.from_numpy(blurred))
    assert next(space for space in found.spaces if space.space == "thumbnails").p_value < SIGNIFICANCE
    assert found.passed
    assert any(note.startswith("thumbnails: ") and "smooth or typical samples" in note for note in found.notes)


def test_where_all_images_are_alike_the_audit_says_that_it_cannot_see_copies():
    everywhere = TRAINING[:1].expand(40, -1, -1, -1)
    noisy = (everywhere.float() + torch.randn(everywhere.shape, generator=rng.torch_generator(0, "noise"))).byte()
    found = audit(noisy[:10], noisy[10:25], noisy[25:], pixels_only=True)
    assert found.outcome == "cannot see copies"
    assert not found.passed
    with pytest.raises(DataError, match="cannot see copies"):
        require_no_copies(found, most=1.0)


def test_honest_images_are_compared_where_each_class_is_of_two_patients():
    distances = np.linspace(0.4, 0.5, 20)
    nearest = Nearest(*[np.zeros(20, np.int64)] * 2, np.float32(distances), np.full(20, 0.6, np.float32))
    labels, groups = np.repeat([0, 1], 10), np.repeat(["a", "b", "c", "d"], 5)
    for seed in range(10):
        first, second = _halves(nearest, labels, groups, seed)
        assert set(labels[first]) == set(labels[second]) == {0, 1}
        assert not set(groups[first]) & set(groups[second])


def test_a_control_that_finds_one_copy_of_many_does_not_see_copies():
    def at(distances) -> Nearest:
        nowhere = np.zeros(len(distances), np.int64)
        return Nearest(nowhere, nowhere, np.float32(distances), np.full(len(distances), 0.6, np.float32))

    labels, real = np.zeros(20, np.int64), np.linspace(0.4, 0.5, 20)
    held_out = at(real)
    yardstick = Yardstick(held_out.distance, held_out.ratio, labels, held_out.distance, labels)

    def control(distances):
        return run_control(
            {STRUCTURE: at(distances)}, labels, {STRUCTURE: held_out}, {STRUCTURE: yardstick}, None, seed=0
        )

    one, most = control([0.01] + [0.5] * 19), control([0.01] * 11 + [0.5] * 9)
    assert one.seen == {STRUCTURE: 0.05}
    assert (one.passed, most.passed) == (False, True)
    outcome, verdict = verdict_on([], 0, one, 20, "held-out images")
    assert outcome == "cannot see copies"
    assert "of 20 jittered copies of training images only 5 % (structure) were told" in verdict


def test_copies_are_refused_above_the_share_that_is_let_pass():
    found = audited(torch.cat([SYNTHETIC[:24], TRAINING[:6]]))
    require_no_copies(found, most=0.25)
    with pytest.raises(DataError, match=r"expected at most 10\.0% copies"):
        require_no_copies(found, most=0.1)


def test_without_held_out_images_the_weaker_yardstick_is_named():
    honest, copying = (audit(images, TRAINING, None, pixels_only=True) for images in (SYNTHETIC, TRAINING[:20]))
    assert (honest.outcome, copying.outcome) == ("no copy found", "copies")
    assert "weaker yardstick" in honest.notes[0]
    assert all(space.nearer is None for space in honest.spaces)


def test_held_out_images_that_are_near_copies_of_training_images_are_reported():
    found = audit(SYNTHETIC, TRAINING, torch.cat([HELD_OUT, brighter(TRAINING[:3])]), pixels_only=True)
    assert any(note.startswith("3 of the held-out images are near copies") for note in found.notes)


# --- the arithmetic, by independent truths ---------------------------------------------------------------------------


def test_the_chance_of_samples_below_the_threshold_is_that_of_shuffled_ranks():
    labels, real_labels = np.repeat([0, 1], [6, 9]), np.repeat([0, 1], [12, 40])
    draws = np.random.default_rng(0)
    counts = []
    for _ in range(4000):
        values, real = draws.random(15), draws.random(52)
        limits = thresholds(real, real_labels)
        counts.append(sum(value < limits[label] for value, label in zip(values, labels, strict=True)))
    shuffled = np.bincount(counts, minlength=16) / 4000
    assert np.abs(chance_of(labels, real_labels) - shuffled).max() < 0.025


def test_the_fewest_copies_that_are_flagged_are_rare_and_one_fewer_is_not():
    chance = chance_of(np.zeros(50, int), np.zeros(40, int))
    fewest = fewest_at(chance, 0.01)
    assert at_least(chance, fewest) <= 0.01 < at_least(chance, fewest - 1)
    assert fewest_at(chance_of(np.zeros(2, int), np.zeros(2, int)), 0.01) is None


def test_false_alarms_on_exchangeable_data_are_near_nominal():
    """Rank tests on 200 simulated audits of points: alarms of 5 % each for nearness, fewer for copies."""
    alarms = np.zeros(3)
    labels = np.repeat([0, 1], 15)
    space, chance = thumbnail_space(), chance_of(labels, labels)
    for trial in range(200):
        points = np.random.default_rng(trial).standard_normal((100, 12)).astype(np.float32)
        known = np.stack([points[60:]] * 8)
        same, of_known = np.arange(40), np.repeat([0, 1], 20)
        samples, real = (nearest(some, known, space.compare, same) for some in (points[:30], points[30:60]))
        spread = nearest(points[60:], known, space.compare, same, own=same)
        yardstick = Yardstick(real.distance, real.ratio, labels, spread.distance, of_known)
        limits = thresholds(real.distance, labels)
        near = sum(value < limits[label] for value, label in zip(samples.distance, labels, strict=True))
        alarms += (
            at_least(chance, near) <= SIGNIFICANCE,
            mann_whitney(samples.distance, labels, real.distance, labels) <= SIGNIFICANCE,
            any(flags({"points": samples}, labels, {"points": yardstick}).values()),
        )
    # 99 % of 200 draws with a probability of 5 % lie between 3 and 19.
    assert alarms[0] <= 19
    assert 3 <= alarms[1] <= 19
    assert alarms[2] <= 10


def test_nearest_neighbours_equal_those_of_all_pairs_and_turns():
    space = thumbnail_space()
    found = nearest(space.points(SYNTHETIC), space.known(TRAINING), space.compare, np.arange(40))
    for at in (0, 7, 29):
        turned = torch.stack(list(turns(TRAINING)))
        shrunk = torch.stack([torch.from_numpy(space.points(some)) for some in turned])
        distances = (shrunk - torch.from_numpy(space.points(SYNTHETIC[at : at + 1]))).norm(dim=-1)
        least = distances.amin(dim=0)
        assert found.index[at] == int(least.argmin())
        assert found.turn[at] == int(distances[:, int(least.argmin())].argmin())
        assert found.distance[at] == pytest.approx(float(least.min()), rel=1e-4)
        assert found.second[at] == pytest.approx(float(least.sort().values[1]), rel=1e-4)


def test_the_turn_brings_the_training_image_into_the_place_of_its_copy():
    space = structures()
    turn = 6
    copies = dihedral(TRAINING[:3], torch.full((3,), turn))
    found = nearest(space.points(copies), space.known(TRAINING), space.compare, np.arange(40))
    assert found.turn.tolist() == [turn] * 3


def test_a_copy_of_an_image_that_occurs_twice_stands_out_all_the_same():
    doubled = torch.cat([TRAINING, TRAINING[:5]])
    space = structures()
    points = space.points(doubled)
    same = image_sets(doubled)
    assert same[40:].tolist() == list(range(5))
    found = nearest(points[:5], space.known(doubled), space.compare, same)
    assert (found.ratio < 0.1).all()


def test_frames_of_a_film_are_one_image(monkeypatch):
    from syncgan.evaluation import nearest_images
    from syncgan.evaluation.same_images import SameImages

    overlapping = [SameImages((0, 1), (), 0.9), SameImages((1, 2, 3), (), 0.9), SameImages((7, 9), (), 0.9)]
    monkeypatch.setattr(nearest_images, "find_same", lambda prints: overlapping)
    same = image_sets(TRAINING)
    assert len(set(same[:4].tolist())) == 1
    assert same[7] == same[9]
    assert len(set(same.tolist())) == len(TRAINING) - 4


def test_results_do_not_depend_on_the_size_of_chunks(monkeypatch):
    from syncgan.evaluation import nearest_images

    space = thumbnail_space()
    points, known, same = space.points(SYNTHETIC), space.known(TRAINING), np.arange(40)
    whole = nearest(points, known, space.compare, same)
    monkeypatch.setattr(nearest_images, "_CHUNK_NUMBERS", 1)
    single = nearest(points, known, space.compare, same)
    np.testing.assert_allclose(whole.distance, single.distance, rtol=1e-5)
    assert whole.index.tolist() == single.index.tolist()


def test_copies_are_near_alone_and_nearer_than_training_images_to_each_other():
    labels = np.zeros(4, int)
    real = np.linspace(1, 2, 40).astype(np.float32)
    yardstick = Yardstick(real, np.linspace(0.5, 1, 40), np.zeros(40, int), real - 0.5, np.zeros(40, int))
    distance = np.array([0.3, 0.3, 0.7, 1.5], np.float32)
    second = np.array([2.0, 0.31, 5.0, 9.0], np.float32)
    found = Nearest(np.arange(4), np.arange(4), distance, second)
    assert copies_among(found, labels, yardstick).tolist() == [True, False, False, False]


# --- classes, groups, sizes ------------------------------------------------------------------------------------------


def test_a_group_on_both_sides_is_refused():
    groups = {"training_groups": [f"p{i}" for i in range(40)], "held_out_groups": [f"p{i + 39}" for i in range(40)]}
    with pytest.raises(DataError, match="different groups, both have p39; hold whole groups out"):
        audited(SYNTHETIC, **groups)


def test_groups_that_lie_apart_give_a_bootstrap_interval():
    groups = {
        "training_groups": [f"a{i // 4}" for i in range(40)],
        "held_out_groups": [f"b{i // 4}" for i in range(40)],
    }
    honest, copying = (audited(images, **groups) for images in (SYNTHETIC, TRAINING[:30]))
    assert (honest.outcome, copying.outcome) == ("no copy found", "copies")
    low, high = honest.spaces[0].interval
    assert 0 <= low <= honest.spaces[0].rate <= high <= 1
    assert not any("groups" in note for note in honest.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"synthetic_labels": ["a"] * 30}, "labels of synthetic, training and held-out images, or of none"),
        ({"training_groups": list(range(40))}, "got only one of them"),
        (
            {"synthetic_labels": ["b"] * 30, "training_labels": ["a"] * 40, "held_out_labels": ["a"] * 40},
            "expected images of the classes 'a', got 'b'",
        ),
        (
            {"synthetic_labels": ["a"] * 30, "training_labels": ["a"] * 40, "held_out_labels": ["a"] * 39},
            "one label a held-out image, got 39 for 40",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        audited(SYNTHETIC, **options)


def test_images_of_other_sizes_are_brought_to_that_of_the_samples():
    larger = [np.kron(image.permute(1, 2, 0).numpy(), np.ones((2, 2, 1), np.uint8)) for image in TRAINING]
    assert audit(TRAINING[:20], larger, HELD_OUT, pixels_only=True).outcome == "copies"


# --- what a person sees ----------------------------------------------------------------------------------------------


def test_hostile_class_names_are_escaped_and_the_page_needs_nothing_else(tmp_path):
    labels = {
        "synthetic_labels": [CLASSES[i % 2] for i in range(30)],
        "training_labels": [CLASSES[i % 2] for i in range(40)],
        "held_out_labels": [CLASSES[i % 2] for i in range(40)],
    }
    found = audited(SYNTHETIC, **labels)
    written = write_audit(found, tmp_path, SYNTHETIC, TRAINING, HELD_OUT, thumbnails=True)
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http" not in page.replace("http-equiv", "")
    assert found.verdict in page
    assert sorted(path.name for path in written) == ["audit.html", "audit.json", "distances.png", "pairs.png"]
    assert json.loads((tmp_path / "audit.json").read_text())["outcome"] == "no copy found"


def test_the_picture_shows_a_copy_above_the_training_image_that_it_came_from():
    copies = TRAINING[:6].flip(3)
    found = audited(torch.cat([SYNTHETIC[:24], copies]))
    pair = next(pair for pair in found.pairs if pair.space == STRUCTURE)
    figure = audit_figures(found, torch.cat([SYNTHETIC[:24], copies]), TRAINING, HELD_OUT, thumbnails=True)[0]
    assert pixels_of(figure.png).shape[0] > 100
    turned = dihedral(TRAINING[pair.training][None], torch.tensor([pair.turn]))[0]
    assert torch.equal(turned, copies[pair.image - 24])
    assert "Closest pairs" in audit_fragment(found, [figure])


def test_one_seed_gives_one_audit():
    first, again = (audited(SYNTHETIC, seed=5).summary() for _ in range(2))
    assert first == again


def test_held_out_images_that_are_training_images_are_refused_by_name():
    mixed = torch.cat([HELD_OUT, TRAINING[3:8]])
    with pytest.raises(DataError, match="image 40, image 41, image 42 and 2 more have the pixels of training images"):
        audit(SYNTHETIC, TRAINING, mixed, pixels_only=True)
    names = [f"a/{at}.png" for at in range(45)]
    with pytest.raises(DataError, match=r"a/40\.png, a/41\.png, a/42\.png and 2 more"):
        audit(SYNTHETIC, TRAINING, mixed, held_out_names=names, pixels_only=True)
