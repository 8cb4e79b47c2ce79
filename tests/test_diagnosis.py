"""Which masks cannot be used for training, and which are worth a look."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from syncgan.errors import DataError
from syncgan.extractor import MaskExtractor, Masks
from syncgan.segmentation.diagnosis import MaskDiagnoses, MaskDiagnosis, diagnose_mask, mask_problem

GLASS, NUCLEUS = 230, 90


def disc(side=64, centre=(32, 32), radius=12):
    y, x = np.ogrid[:side, :side]
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2).astype(np.uint8)


def picture(mask, nucleus=NUCLEUS):
    """Return an image that is dark where the mask is."""
    gray = np.where(mask > 0, nucleus, GLASS) + np.random.default_rng(0).normal(0, 1, mask.shape)
    return np.repeat(gray.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def row(name="a", nuclei=3, share=0.1, problem=None, class_name="x", doubts=()):
    return MaskDiagnosis(name, nuclei, (100,) * nuclei, share, problem, class_name, doubts)


def shining():
    """Return an image of a nucleus that shines on a dark field, and what is dark in it."""
    nucleus = disc()
    image = np.where(nucleus[..., None] > 0, (0, 170, 0), 8)
    return image.astype(np.uint8), 1 - nucleus


# --- the rule by which images are left out ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "levels", "expected"),
    [
        (np.zeros((8, 8), np.uint8), 2, "no nucleus"),
        (np.ones((8, 8), np.uint8), 2, "cover 100%"),
        (np.ones((8, 8), np.uint8), 3, "no nucleus"),
        (np.eye(8, dtype=np.uint8), 2, None),
        (2 * np.eye(8, dtype=np.uint8), 3, None),
    ],
)
def test_mask_problem_follows_the_stated_rule(mask, levels, expected):
    problem = mask_problem(mask, levels)
    assert problem is None if expected is None else expected in problem


@pytest.mark.parametrize("nucleus", [GLASS, GLASS - 2, GLASS + 2])
def test_a_mask_that_nothing_in_the_image_answers_to_fails(nucleus):
    assert mask_problem(disc(), image=picture(disc(), nucleus)) == "no nucleus differs from its surroundings"


@pytest.mark.parametrize("nucleus", [GLASS - 8, GLASS + 8, NUCLEUS])
def test_a_pale_nucleus_is_no_failure(nucleus):
    assert mask_problem(disc(), image=picture(disc(), nucleus)) is None


def test_one_true_nucleus_beside_a_false_one_is_no_failure():
    true, false = disc(centre=(16, 16), radius=8), disc(centre=(48, 48), radius=8)
    assert mask_problem(true | false, image=picture(true)) is None


def test_contrast_in_one_channel_is_enough():
    image = picture(disc(), GLASS)
    image[..., 0] = picture(disc())[..., 0]
    assert mask_problem(disc(), image=image) is None


# --- one mask --------------------------------------------------------------------------------------------------------


def test_diagnosis_counts_nuclei_and_measures_areas_largest_first():
    mask = np.zeros((20, 20), np.uint8)
    mask[1:3, 1:3] = 1
    mask[10:14, 10:15] = 1
    found = diagnose_mask(picture(mask), mask, name="a")
    assert (found.nuclei, found.areas_px, found.problem, found.doubts) == (2, (20, 4), None, ())
    assert found.nucleus_share == pytest.approx(0.06)


def test_instances_are_counted_one_by_one_though_they_touch():
    labels = np.zeros((20, 20), np.int32)
    labels[5:10, 5:10], labels[5:10, 10:15] = 1, 2
    found = diagnose_mask(picture(labels), (labels > 0).astype(np.uint8), name="a", instances=labels)
    assert (found.nuclei, found.areas_px) == (2, (25, 25))


def frame():
    mask = np.zeros((64, 64), np.uint8)
    mask[:6] = mask[-6:] = mask[:, :6] = mask[:, -6:] = 1
    return mask


def stripe():
    mask = np.zeros((64, 64), np.uint8)
    mask[30:33] = 1
    return mask


@pytest.mark.parametrize(
    ("mask", "reason"), [(frame(), "image border"), (frame(), "not compact"), (stripe(), "not compact")]
)
def test_shapes_that_no_nucleus_has_are_worth_a_look_and_stay_in_training(mask, reason):
    found = diagnose_mask(picture(mask), mask, name="a")
    assert any(reason in doubt for doubt in found.doubts)
    assert found.problem is None


@pytest.mark.parametrize(
    "mask",
    [
        disc(),
        disc(centre=(0, 32)),
        disc(centre=(0, 0)),
        disc(radius=2),
        disc(centre=(20, 20), radius=8) | disc(centre=(20, 34), radius=8) | disc(centre=(32, 46), radius=8),
    ],
    ids=["disc", "half a disc", "a quarter", "small", "three that touch"],
)
def test_nuclei_raise_no_doubt(mask):
    assert diagnose_mask(picture(mask), mask, name="a").doubts == ()


def test_nuclei_without_contrast_are_counted():
    true, false = disc(centre=(16, 16), radius=8), disc(centre=(48, 48), radius=8)
    found = diagnose_mask(picture(true), true | false, name="a")
    assert found.doubts == ("half of the nuclei or more do not differ from their surroundings (1 of 2)",)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5000, 20), (3, 3)])
@pytest.mark.parametrize("fill", [0, 1])
def test_diagnosis_is_defined_for_every_shape_and_full_or_empty_masks(shape, fill):
    found = diagnose_mask(np.full((*shape, 3), 255, np.uint8), np.full(shape, fill, np.uint8), name="a")
    assert found.nucleus_share == fill
    assert found.problem is not None


# --- many masks ------------------------------------------------------------------------------------------------------


def test_summary_of_a_class_holds_the_quartiles_that_numpy_gives():
    counts = [1, 2, 4, 7, 11]
    found = MaskDiagnoses.of(row(str(i), nuclei=count) for i, count in enumerate(counts))
    assert found.classes["x"].nuclei == tuple(np.percentile(counts, [25, 50, 75]))
    assert found.classes["x"].area_px == (100, 100, 100)
    assert (found.classes["x"].images, found.classes["x"].failed) == (5, 0)


def test_masks_far_from_their_own_class_are_worth_a_look():
    usual = [row(f"x{i}", nuclei=10 + i % 3, share=0.1 + 0.01 * (i % 3)) for i in range(12)]
    others = [row(f"y{i}", nuclei=90, share=0.6, class_name="y") for i in range(12)]
    found = MaskDiagnoses.of([*usual, row("odd", nuclei=90, share=0.11), *others])
    assert list(found.doubts) == ["odd"]
    assert found.doubts["odd"] == "90 nuclei, 11 in the median image of the class"
    assert found.problems == {}


def test_one_nucleus_among_many_is_said_in_the_singular():
    rows = [row(f"{at}", 20) for at in range(20)] + [row("odd", 1)]
    assert MaskDiagnoses.of(rows).doubts["odd"] == "1 nucleus, 20 in the median image of the class"


def test_few_images_have_no_outliers():
    assert MaskDiagnoses.of([row(str(i), nuclei=1 + 50 * (i == 0)) for i in range(9)]).doubts == {}


def test_failed_masks_are_named_and_do_not_shift_the_class():
    failed = [row(f"bad{i}", nuclei=0, share=0.0, problem="no nucleus found") for i in range(2)]
    found = MaskDiagnoses.of([*(row(str(i)) for i in range(12)), *failed])
    assert found.problems == {"bad0": "no nucleus found", "bad1": "no nucleus found"}
    assert found.doubts == {}


def test_a_class_with_many_failed_masks_is_warned_of_by_name():
    rows = [row(str(i), problem="no nucleus found" if i < 2 else None) for i in range(8)]
    with pytest.warns(UserWarning, match=r"class 'x': 2 of 8 masks cannot be used"):
        MaskDiagnoses.of(rows).warn()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MaskDiagnoses.of(rows[1:6]).warn()


def test_a_doubt_that_many_masks_share_is_warned_of_once_for_all_classes():
    doubtful = [
        row(f"{name}{at}", class_name=name, doubts=(f"nuclei cover most of the image border ({60 + at}%)",))
        for name in "xy"
        for at in range(4)
    ]
    rows = [*doubtful, *(row(f"good{at}", class_name=name) for name in "xyz" for at in range(4))]
    with pytest.warns(UserWarning, match="masks are doubtful") as caught:
        MaskDiagnoses.of(rows).warn()
    said = "class 'x': 4 of 8 masks are doubtful: nuclei cover most of the image border (x0, x1, x2, ...)"
    (warning,) = caught
    assert said in str(warning.message)
    assert "class 'y': 4 of 8" in str(warning.message)
    assert "class 'z'" not in str(warning.message)
    assert "choose another segmenter" in str(warning.message)
    assert MaskDiagnoses.of([*doubtful[:1], *rows[8:]]).shared_doubts == ()


def test_a_black_border_is_named_as_a_surround():
    image = np.full((64, 64, 3), (200, 160, 180), np.uint8)
    image[frame() == 1] = 0
    (border, _) = diagnose_mask(image, frame(), name="a").doubts
    assert "which is black: a surround, not nuclei" in border


def test_dark_nuclei_of_a_bright_on_dark_image_are_doubtful_and_bright_ones_are_not():
    image, dark = shining()
    (doubt,) = diagnose_mask(image, dark * (1 - frame()) | frame(), name="a").doubts
    assert "bright on dark (fluorescence?)" in doubt
    assert diagnose_mask(image, 1 - dark, name="a").doubts == ()


def test_failures_of_bright_on_dark_images_say_so_and_what_to_do():
    image, _ = shining()
    full = np.ones((64, 64), np.uint8)
    problem = mask_problem(full, image=image)
    assert problem.endswith("more than 80%; the image is bright on dark (fluorescence?)")
    assert mask_problem(full, image=picture(disc())).endswith("more than 80%")
    with pytest.warns(UserWarning, match="expects bright field, invert the images"):
        MaskDiagnoses.of([row(str(at), problem=problem) for at in range(4)]).warn()


def test_extractor_diagnoses_images_by_class_and_warns():
    images = [picture(disc()), picture(disc()), picture(0 * disc())]
    with pytest.warns(UserWarning, match="class '7': 1 of 1"):
        found = MaskExtractor(lambda image: image[..., 0] < 160).diagnose(images, labels=[4, 4, 7], names="abc")
    assert found.problems == {"c": "no nucleus found"}
    assert list(found.classes) == ["4", "7"]
    assert [one.name for one in found] == ["a", "b", "c"]


def test_extractor_diagnoses_masks_that_it_extracts_itself():
    (found,) = MaskExtractor("gmm", levels=3).diagnose([picture(disc(side=64))])
    assert (found.name, found.nuclei, found.problem) == ("0", 1, None)


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="one mask and name an image"):
        MaskExtractor().diagnose([picture(disc())] * 2, [disc()])


def test_extractor_diagnoses_given_pairs_of_map_and_instances():
    labels = disc().astype(np.int32)
    labels[:, 32:] *= 2
    (found,) = MaskExtractor().diagnose([picture(labels)], [Masks(disc(), labels)])
    assert found.nuclei == 2


def test_a_mask_of_another_size_is_refused_by_name():
    with pytest.raises(DataError, match=r"b: expected a mask of the image's size"):
        MaskExtractor().diagnose([picture(disc())] * 2, [disc(), disc(side=32)], names="ab")


@pytest.mark.parametrize("offset", [0, 2**24, 2**40])
def test_diagnosis_does_not_depend_on_the_values_of_labels(offset):
    image = np.full((60, 90, 3), 230, np.uint8)
    labels = np.zeros((60, 90), np.int64)
    for number in range(3):
        labels[20:40, 10 + 25 * number : 30 + 25 * number] = number + 1
    image[labels > 0] = (90, 40, 140)
    expected = diagnose_mask(image, (labels > 0).astype(np.uint8), name="x", instances=labels.astype(np.int32))
    large = np.where(labels > 0, labels + offset, 0)
    found = diagnose_mask(image, (labels > 0).astype(np.uint8), name="x", instances=large)
    assert found == expected
    assert found.nuclei == 3
