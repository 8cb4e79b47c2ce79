"""Instance labels and clean-up: what is kept of any segmenter's output, and what every image gives."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import BaseModel
from scipy import ndimage
from torchvision import tv_tensors

from syncgan import SynCGANAugmenter, SynCGANConfig
from syncgan.config import ExtractorConfig
from syncgan.errors import ConfigError
from syncgan.extractor import MaskExtractor, Masks
from syncgan.registry import SEGMENTERS
from syncgan.segmentation.diagnosis import mask_problem
from syncgan.segmentation.instances import consecutive, fill_label_holes
from syncgan.segmentation.transport import PackedImages, PackedMasks, Pages

EIGHT = np.ones((3, 3))


def dark(image):
    return image[..., 0] < 128


def numbered(image):
    """Return instance labels of the image's own: the red channel counts."""
    return image[..., 0].astype(np.int64)


def of_labels(labels):
    return np.repeat(np.asarray(labels, np.uint8)[..., None], 3, axis=2)


def field():
    """Return an image with nuclei of 1, 9, 25 and 100 pixels, the third at the border, the last with a hole of 4."""
    image = np.full((40, 40, 3), 230, np.uint8)
    image[2, 2] = image[5:8, 5:8] = image[0:5, 20:25] = image[20:30, 20:30] = 60
    image[24:26, 24:26] = 230
    return image


def areas(**cleaning):
    """Return the areas that are left of the nuclei in `field`."""
    masks = MaskExtractor(dark, return_instances=True, **cleaning)(field())
    return sorted(np.bincount(masks.instances.ravel())[1:].tolist())


# --- instances -------------------------------------------------------------------------------------------------------


def test_plain_masks_are_counted_by_their_connected_regions():
    mask, instances = MaskExtractor(dark, return_instances=True)(field())
    expected, count = ndimage.label(dark(field()), structure=EIGHT)
    assert instances.dtype == np.int32
    assert instances.max() == count == 4
    np.testing.assert_array_equal(instances, expected)
    np.testing.assert_array_equal(mask, instances > 0)


def test_labels_of_a_segmenter_are_kept_though_they_touch():
    labels = np.zeros((8, 8), int)
    labels[1:4, 1:4], labels[1:4, 4:7], labels[6, 6] = 7, 3, 200
    masks = MaskExtractor(numbered, return_instances=True)(of_labels(labels))
    assert isinstance(masks, Masks)
    np.testing.assert_array_equal(masks.mask, labels > 0)
    expected = np.select([labels == 3, labels == 7, labels == 200], [1, 2, 3])
    np.testing.assert_array_equal(masks.instances, expected)


@pytest.mark.parametrize("highest", [3, 10**12])
def test_any_integers_become_consecutive_in_their_order(highest):
    labels = np.array([[0, highest, 2], [2, 0, highest]])
    np.testing.assert_array_equal(consecutive(labels), [[0, 2, 1], [1, 0, 2]])
    np.testing.assert_array_equal(consecutive(np.full((2, 2), highest)), np.ones((2, 2)))


def test_instances_of_a_semantic_map_are_the_regions_of_its_highest_level():
    def thirds(image):
        return image[..., 0] // 100

    thirds.levels = 3
    image = of_labels([[0, 210, 0, 110, 210], [0, 210, 0, 0, 0]])
    mask, instances = MaskExtractor(thirds, return_instances=True)(image)
    np.testing.assert_array_equal(mask, [[0, 2, 0, 1, 2], [0, 2, 0, 0, 0]])
    np.testing.assert_array_equal(instances, [[0, 1, 0, 0, 2], [0, 1, 0, 0, 0]])


def test_three_levels_have_their_nuclei_where_the_instances_are():
    mask, instances = MaskExtractor(dark, levels=3, return_instances=True, min_nucleus_area=20)(field())
    np.testing.assert_array_equal(mask == 2, instances > 0)


def test_the_map_does_not_depend_on_whether_instances_are_returned():
    for settings in ({}, {"min_nucleus_area": 5}, {"split_touching": True}, {"levels": 3}):
        pair = MaskExtractor(dark, return_instances=True, **settings)(field())
        np.testing.assert_array_equal(MaskExtractor(dark, **settings)(field()), pair.mask)


def test_a_tensor_gives_masks_that_are_tensors():
    tensor = torch.from_numpy(field()).permute(2, 0, 1)
    mask, instances = MaskExtractor(dark, return_instances=True)(tensor)
    assert isinstance(mask, tv_tensors.Mask)
    assert isinstance(instances, tv_tensors.Mask)
    assert (mask.dtype, instances.dtype) == (torch.uint8, torch.int32)
    np.testing.assert_array_equal(mask.numpy(), instances.numpy() > 0)


def test_many_images_give_pairs_and_the_cache_gives_them_again(tmp_path):
    extractor = MaskExtractor(dark, return_instances=True)
    first = extractor.extract([field(), field()[::-1]], n_jobs=1, cache_dir=tmp_path)
    assert all(isinstance(masks, Masks) for masks in first)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = extractor.extract([field(), field()[::-1]], n_jobs=1, cache_dir=tmp_path)
    for ours, theirs in zip(first, again, strict=True):
        for part, other in zip(ours, theirs, strict=True):
            assert part.dtype == other.dtype
            np.testing.assert_array_equal(part, other)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    assert len(written) == 4
    with Image.open(next(path for path in tmp_path.iterdir() if "instances" in path.name)) as picture:
        assert picture.mode == "I;16"


def test_instances_are_computed_where_only_the_map_is_remembered(tmp_path):
    MaskExtractor(dark).extract([field()], cache_dir=tmp_path)
    (masks,) = MaskExtractor(dark, return_instances=True).extract([field()], cache_dir=tmp_path)
    assert masks.instances.max() == 4


# --- clean-up --------------------------------------------------------------------------------------------------------


def test_small_and_large_nuclei_are_removed_by_pixels_or_by_share_of_the_image():
    assert areas() == [1, 9, 25, 96]
    assert areas(min_nucleus_area=9) == [9, 25, 96]
    assert areas(min_nucleus_area=10 / 1600) == [25, 96]
    assert areas(max_nucleus_area=25) == [1, 9, 25]
    assert areas(min_nucleus_area=2, max_nucleus_area=0.02) == [9, 25]


def test_holes_are_filled_up_to_their_share():
    assert areas(max_hole_share=0.5) == [1, 9, 25, 100]
    assert areas(max_hole_share=0.01) == [1, 9, 25, 96]


def test_nuclei_at_the_border_are_removed_when_asked():
    assert areas(border_objects="remove") == [1, 9, 96]


def test_areas_count_after_holes_are_filled():
    assert areas(max_hole_share=0.5, min_nucleus_area=100) == [100]


def test_clean_up_treats_each_label_as_one_nucleus():
    labels = np.zeros((20, 20), int)
    labels[0:4, 5:9] = 5  # at the border
    labels[4:8, 5:9] = 6  # touches the one at the border
    labels[12, 12:14] = 7  # small, and touches the next
    labels[13:17, 12:16] = 8
    cleaned = MaskExtractor(numbered, return_instances=True, border_objects="remove", min_nucleus_area=3)
    expected = np.select([labels == 6, labels == 8], [1, 2])
    mask, instances = cleaned(of_labels(labels))
    np.testing.assert_array_equal(instances, expected)
    np.testing.assert_array_equal(mask, expected > 0)


def test_a_gap_between_nuclei_is_no_hole():
    labels = np.zeros((9, 9), np.int32)
    labels[1:8, 1:5], labels[1:8, 5:8] = 1, 2
    labels[4, 4:6] = 0  # between both
    labels[2, 2] = 0  # inside the first
    filled = fill_label_holes(labels, max_hole_share=0.5)
    assert filled[2, 2] == 1
    assert not filled[4, 4:6].any()


def test_touching_nuclei_are_split_when_asked():
    y, x = np.ogrid[:60, :80]
    two = ((y - 30) ** 2 + (x - 24) ** 2 <= 14**2) | ((y - 30) ** 2 + (x - 48) ** 2 <= 14**2)
    image = of_labels(np.where(two, 50, 230))
    assert MaskExtractor(dark, return_instances=True)(image).instances.max() == 1
    mask, instances = MaskExtractor(dark, return_instances=True, split_touching=True)(image)
    assert instances.max() == 2
    np.testing.assert_array_equal(mask, two)


@pytest.mark.parametrize(
    ("cleaning", "message"),
    [
        ({"min_nucleus_area": -1}, "min_nucleus_area"),
        ({"max_nucleus_area": float("nan")}, "max_nucleus_area"),
        ({"max_hole_share": 1.5}, "max_hole_share"),
        ({"border_objects": "drop"}, "border_objects"),
        ({"split_touching": "maybe"}, "split_touching"),
        ({"min_nucleus_area": 50, "max_nucleus_area": 20}, "no nucleus would be left"),
    ],
)
def test_wrong_clean_up_is_refused_by_name(cleaning, message):
    with pytest.raises(ConfigError, match=message):
        MaskExtractor(dark, **cleaning)


@pytest.mark.parametrize("segmenter", ["auto", "gmm", "kmeans", dark])
@pytest.mark.parametrize(
    ("areas", "message"),
    [
        ({"min_nucleus_area": 500, "max_nucleus_area": 100}, "no nucleus would be left"),
        ({"min_nucleus_area": float("inf")}, "min_nucleus_area"),
        ({"min_nucleus_area": float("nan")}, "min_nucleus_area"),
        ({"min_nucleus_area": True}, "min_nucleus_area: expected a number"),
        ({"max_nucleus_area": float("inf")}, "max_nucleus_area"),
        ({"max_nucleus_area": True}, "max_nucleus_area: expected a number"),
    ],
)
def test_areas_are_checked_together_whoever_applies_them(segmenter, areas, message):
    with pytest.raises(ConfigError, match=message):
        MaskExtractor(segmenter, **areas)


@pytest.mark.parametrize("area", [300, 300 / 6400])
def test_no_piece_is_smaller_than_the_limit_after_a_split(area):
    y, x = np.ogrid[:80, :80]
    image = np.full((80, 80, 3), 230, np.uint8)
    image[((y - 40) ** 2 + (x - 28) ** 2 <= 196) | ((y - 40) ** 2 + (x - 50) ** 2 <= 81)] = (90, 40, 140)
    both = MaskExtractor("gmm", split_touching=True, return_instances=True)(image)
    large = MaskExtractor("gmm", split_touching=True, return_instances=True, min_nucleus_area=area)(image)
    assert (both.instances.max(), large.instances.max()) == (2, 1)
    assert np.count_nonzero(large.mask) >= 300


def test_clean_up_of_semantic_maps_is_refused():
    def semantic(image):
        return image[..., 0] // 100

    semantic.levels = 3
    with pytest.raises(ConfigError, match="border_objects: not for segmenter"):
        MaskExtractor(semantic, border_objects="remove")


def test_a_setting_that_the_segmenter_has_itself_is_the_segmenters():
    class Own(BaseModel):
        min_nucleus_area: str = "small"

        def __call__(self, image):
            return dark(image) if self.min_nucleus_area == "small" else np.zeros(image.shape[:2], bool)

    def own(image, *, split_touching=False):
        return dark(image) & split_touching

    extractor = MaskExtractor(Own, min_nucleus_area="large")
    assert extractor.describe()["parameters"] == {"min_nucleus_area": "large"}
    assert extractor.describe()["min_nucleus_area"] == 0
    assert not extractor(field()).any()
    assert MaskExtractor(own, split_touching=True)(field()).any()
    assert MaskExtractor("gmm", min_nucleus_area=0).describe()["parameters"]["min_nucleus_area"] == 0


# --- clean-up in the configuration -----------------------------------------------------------------------------------


def test_configuration_reaches_extractor_cache_and_description(tmp_path):
    config = ExtractorConfig(min_nucleus_area=5, border_objects="remove")
    extractor = MaskExtractor.from_config(config, segmenter=dark)
    assert np.count_nonzero(extractor(field())) == 9 + 96
    described = extractor.describe()
    assert (described["min_nucleus_area"], described["border_objects"]) == (5, "remove")
    assert json.loads(json.dumps(described)) == described
    for other in (extractor, MaskExtractor(dark)):
        other.extract([field()], cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_setting_given_twice_is_refused():
    config = ExtractorConfig(min_nucleus_area=5, parameters={"min_nucleus_area": 6})
    with pytest.raises(ConfigError, match="min_nucleus_area set twice"):
        MaskExtractor.from_config(config)


def test_a_model_records_the_clean_up_of_its_masks_and_leaves_out_what_it_emptied(tmp_path):
    images = [field(), field(), field(), np.where(field() < 128, 60, 230)[:, ::-1].astype(np.uint8)] * 2
    images[2] = np.full_like(field(), 230)
    few = ["mask_gan.warm_start_steps=0", "mask_gan.steps=2", "image_gan.steps=2", "filters.mask_plausibility=false"]
    config = SynCGANConfig.preset("tiny").updated([*few, "extractor.min_nucleus_area=5"])
    dataset = [(Image.fromarray(image), index // 4) for index, image in enumerate(images)]
    with pytest.warns(UserWarning, match="left out"):
        augmenter = SynCGANAugmenter(config, extractor=dark, device="cpu").fit(dataset)
    assert list(augmenter.excluded_.values()) == ["no nucleus found"]
    augmenter.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["extractor"]["min_nucleus_area"] == 5


def test_training_leaves_out_what_does_not_differ_from_its_surroundings():
    images = [field() if index % 4 else np.full_like(field(), 230) for index in range(8)]
    few = ["mask_gan.warm_start_steps=0", "mask_gan.steps=2", "image_gan.steps=2", "filters.mask_plausibility=false"]
    config = SynCGANConfig.preset("tiny").updated(few)
    dataset = [(Image.fromarray(image), index // 4) for index, image in enumerate(images)]
    with pytest.warns(UserWarning, match="left out"):
        augmenter = SynCGANAugmenter(config, extractor=always_a_disc, device="cpu").fit(dataset)
    assert list(augmenter.excluded_.values()) == ["no nucleus differs from its surroundings"] * 2


def always_a_disc(image):
    y, x = np.ogrid[:40, :40]
    return (y - 25) ** 2 + (x - 25) ** 2 < 36


# --- every backend gives the same ------------------------------------------------------------------------------------


def smears(count=6):
    rng = np.random.default_rng(0)
    images = []
    for index in range(count):
        image = rng.normal(225, 6, (72 + index, 80, 3))
        y, x = np.ogrid[: image.shape[0], :80]
        for _ in range(4):
            centre, radius = rng.uniform(10, 62, 2), rng.uniform(5, 10)
            image[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2] = rng.normal((92, 45, 135), 5)
        images.append(image.clip(0, 255).astype(np.uint8))
    return images


@pytest.fixture
def dask_cluster(tmp_path):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    options["local_directory"] = str(tmp_path)
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


def assert_equals_serial(backend):
    extractor = MaskExtractor("gmm", levels=3, return_instances=True, split_touching=True)
    serial = [extractor(image) for image in smears()]
    with joblib.parallel_config(backend=backend, n_jobs=2):
        seen = []
        masks = extractor.extract(smears(), n_jobs=None, progress=lambda done, total: seen.append(done))
    assert seen == list(range(1, 7))
    for ours, theirs in zip(masks, serial, strict=True):
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        np.testing.assert_array_equal(ours.instances, theirs.instances)


@pytest.mark.parametrize("backend", ["sequential", "threading", "loky"])
def test_every_backend_gives_the_masks_of_a_plain_loop(backend):
    assert_equals_serial(backend)


def test_dask_gives_the_masks_of_a_plain_loop(dask_cluster):
    assert_equals_serial("dask")


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_other_processes_use_one_thread_and_this_one_keeps_its_own(backend):
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        found = []

        def noting(image):
            return np.full(image.shape[:2], cv2.getNumThreads(), np.int64)

        noting.levels = 256
        with joblib.parallel_config(backend=backend, n_jobs=2):
            found = [int(mask.max()) for mask in MaskExtractor(noting).extract(smears(), n_jobs=None)]
        assert set(found) == ({1} if backend == "loky" else {3})
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_a_segmenter_may_write_into_its_image_in_other_processes_too():
    def vandal(image):
        image[:] = 0
        return image[..., 0] == 0

    large = np.zeros((700, 900, 3), np.uint8)  # more than joblib would send as it is
    masks = MaskExtractor(vandal).extract([large, large], n_jobs=2)
    assert all(mask.all() for mask in masks)


@pytest.mark.parametrize("highest", [0, 1, 2, 7, 255])
@pytest.mark.parametrize("nuclei", [0, 3, 300, 70_000])
def test_masks_and_instances_arrive_as_they_were_sent(highest, nuclei):
    rng = np.random.default_rng(highest)
    mask = rng.integers(0, highest, (251, 301), endpoint=True).astype(np.uint8)
    instances = rng.integers(0, nuclei, mask.shape, endpoint=True).astype(np.int32)
    packed = pickle.loads(pickle.dumps(PackedMasks.of(Masks(mask, instances))))  # noqa: S301
    for part, expected in zip(packed.masks(), (mask, instances), strict=True):
        assert part.dtype == expected.dtype
        np.testing.assert_array_equal(part, expected)
    assert PackedMasks.of(Masks(mask, None)).masks().instances is None


def test_images_of_several_sizes_arrive_as_they_were_sent():
    items = list(enumerate(smears(), start=5))
    for (index, image), (expected, other) in zip(PackedImages.of(items).items(), items, strict=True):
        assert index == expected
        np.testing.assert_array_equal(image, other)


def test_pages_of_killed_processes_are_removed_and_those_of_others_stay():
    script = """
import os, signal
import numpy as np
from syncgan.segmentation.transport import Pages
with Pages() as pages:
    print(pages.pack([(0, np.ones((8, 8, 3), np.uint8))]).pixels, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with Pages() as living:
        kept = Path(living.pack([(0, np.ones((8, 8, 3), np.uint8))]).pixels)
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        orphan = Path(run.stdout.strip())
        assert orphan.is_file()
        with Pages():
            assert not orphan.parent.exists()
            assert kept.is_file()
    assert not kept.parent.exists()


# --- bad input -------------------------------------------------------------------------------------------------------


def bad_images():
    rng = np.random.default_rng(0)
    saturated = smears(1)[0].astype(int)
    saturated[..., 0] = 255
    nucleus = rng.normal((92, 45, 135), 5, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    return {
        "all black": np.zeros((64, 64, 3), np.uint8),
        "all white": np.full((64, 64, 3), 255, np.uint8),
        "one colour": np.full((64, 64, 3), (200, 120, 180), np.uint8),
        "one pixel": np.full((1, 1, 3), 100, np.uint8),
        "one row": smears(1)[0][20:21],
        "long and thin": np.tile(smears(1)[0][:, 20:40], (70, 1, 1))[:5000],
        "gray": smears(1)[0][..., 1],
        "no nucleus": rng.normal(230, 3, (64, 64, 3)).clip(0, 255).astype(np.uint8),
        "only nucleus": nucleus,
        "a saturated channel": saturated.astype(np.uint8),
        "two saturated channels": np.where([True, True, False], 255, smears(1)[0]).astype(np.uint8),
        "black but for a channel": np.where([False, False, True], smears(1)[0], 0).astype(np.uint8),
    }


def builtin_segmenters():
    return [info.name for info in SEGMENTERS.describe() if info.origin == "built-in"]


@pytest.mark.parametrize("name", builtin_segmenters())
@pytest.mark.parametrize("what", bad_images())
@pytest.mark.filterwarnings("error")
def test_bad_input_gives_a_defined_mask_and_never_everything_in_silence(name, what, caplog):
    image = bad_images()[what]
    mask, instances = MaskExtractor(name, return_instances=True)(image)
    assert mask.shape == image.shape[:2]
    assert set(np.unique(mask)) <= {0, 1}
    np.testing.assert_array_equal(mask, instances > 0)
    colour = image if image.ndim == 3 else image[..., None].repeat(3, 2)
    if mask.mean() > 0.8:  # never in silence
        assert mask_problem(mask, image=colour)
        assert "cover more than 80 %" in caplog.text


def test_even_images_give_empty_masks():
    for name in builtin_segmenters():
        for what in ("all black", "all white", "one colour"):
            assert not MaskExtractor(name)(bad_images()[what]).any(), (name, what)


def test_a_mask_of_everything_is_told_of(caplog):
    everything = MaskExtractor(lambda image: np.ones(image.shape[:2], bool))
    everything.extract([field(), field()], n_jobs=1)
    assert "2 of 2 masks cover more than 80 %" in caplog.text


def test_nothing_of_it_needs_torch():
    code = """
import sys
import numpy as np
from syncgan.extractor import MaskExtractor
image = np.full((64, 64, 3), 230, np.uint8)
image[20:40, 20:40] = 60
extractor = MaskExtractor("gmm", return_instances=True, split_touching=True, border_objects="remove")
extractor.diagnose([image], labels=["a"])
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
