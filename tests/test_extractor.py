"""`MaskExtractor`: what it accepts, what it returns, parallel and cached extraction."""

from __future__ import annotations

import functools
import json
import pickle
import subprocess
import sys
import threading
from functools import partial
from typing import ClassVar

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import BaseModel
from torch.utils.data import Dataset
from torchvision import tv_tensors

from syncgan.errors import ConfigError, ContractError, DataError, UnknownNameError
from syncgan.extractor import MaskExtractor
from syncgan.registry import SEGMENTERS


def field(seed=0, shape=(72, 80)):
    """Return an (H, W, 3) uint8 image of dark discs on bright, noisy glass."""
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: shape[0], : shape[1]]
    image = rng.normal(232, 4, (*shape, 3))
    for _ in range(3):
        centre, radius = rng.uniform(12, 60, 2), rng.uniform(6, 10)
        image[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2] = (92, 45, 135)
    return image.clip(0, 255).astype(np.uint8)


def below(image, *, threshold=128):
    return image[..., 0] < threshold


@pytest.fixture
def registered():
    names = []

    def add(name, plugin):
        names.append(name)
        return SEGMENTERS.register(name)(plugin)

    yield add
    for name in names:
        SEGMENTERS.unregister(name)


# --- one image -------------------------------------------------------------------------------------------------------


def test_array_picture_and_tensor_give_the_same_mask():
    image = field()
    expected = MaskExtractor("gmm")(image)
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    assert expected.shape == image.shape[:2]
    assert expected.any()
    for other in (Image.fromarray(image), tensor, tv_tensors.Image(tensor), image[:, ::-1][:, ::-1]):
        np.testing.assert_array_equal(np.asarray(MaskExtractor("gmm")(other)), expected)


def test_kind_of_the_mask_follows_the_kind_of_the_image():
    image = field()
    assert type(MaskExtractor()(image)) is np.ndarray
    assert type(MaskExtractor()(Image.fromarray(image))) is np.ndarray
    mask = MaskExtractor()(torch.from_numpy(image).permute(2, 0, 1))
    assert isinstance(mask, tv_tensors.Mask)
    assert mask.dtype == torch.uint8
    assert tuple(mask.shape) == image.shape[:2]


def test_gray_images_are_replicated_to_rgb():
    gray = field()[..., 1]
    expected = MaskExtractor(below)(gray[..., None].repeat(3, 2))
    for other in (gray, gray[..., None], Image.fromarray(gray), torch.from_numpy(gray)[None]):
        np.testing.assert_array_equal(np.asarray(MaskExtractor(below)(other)), expected)


def test_transparency_is_composited_on_white():
    rgba = Image.new("RGBA", (8, 6), (0, 0, 0, 0))
    assert not MaskExtractor(below)(rgba).any()


@pytest.mark.parametrize(
    ("image", "remedy"),
    [
        (np.zeros((8, 8, 3)), "before any transform"),
        (torch.zeros(3, 8, 8), "without its transform"),
        (np.zeros((3, 8, 8), np.uint8), "channels last"),
        (np.zeros((8, 8, 4), np.uint8), "alpha"),
        (np.zeros((2, 8, 8, 3), np.uint8), "extract"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "extract"),
        (np.zeros((0, 8, 3), np.uint8), "pixels"),
        (Image.new("I;16", (8, 8)), "8 bits"),
        (Image.new("F", (8, 8)), "8 bits"),
        ("image.png", "got str"),
        (None, "got NoneType"),
    ],
)
def test_other_input_is_refused_with_the_remedy(image, remedy):
    with pytest.raises(DataError, match=remedy):
        MaskExtractor("gmm")(image)


def test_a_segmenter_that_writes_into_its_input_changes_nothing_outside():
    def vandal(image):
        image[:] = 0
        return np.ones(image.shape[:2], bool)

    image = field()
    before = image.copy()
    MaskExtractor(vandal, levels=3)(image)
    MaskExtractor(vandal).extract([image])
    np.testing.assert_array_equal(image, before)


# --- levels ----------------------------------------------------------------------------------------------------------


def test_nucleus_is_always_the_highest_level():
    image = field()
    np.testing.assert_array_equal(MaskExtractor(levels=3)(image) == 2, MaskExtractor(levels=2)(image) == 1)
    assert MaskExtractor(levels=3)(image).max() == 2


def test_declared_levels_are_used_and_others_refused():
    def quarters(image):
        return image[..., 0] // 64

    quarters.levels = 4
    assert MaskExtractor(quarters).levels == 4
    np.testing.assert_array_equal(MaskExtractor(quarters, levels=4)(field()), field()[..., 0] // 64)
    with pytest.raises(ConfigError, match="4 levels, asked for 3"):
        MaskExtractor(quarters, levels=3)


@pytest.mark.parametrize("levels", [1, 4, "2", 2.0, True])
def test_levels_that_cannot_be_derived_are_refused(levels):
    with pytest.raises(ConfigError, match="levels"):
        MaskExtractor("gmm", levels=levels)


@pytest.mark.parametrize("levels", [3.0, True])
def test_declared_levels_are_asked_for_as_an_integer(levels):
    def semantic(image):
        return image[..., 0] // 100

    semantic.levels = 3
    with pytest.raises(ConfigError, match="levels: expected an integer"):
        MaskExtractor(semantic, levels=levels)
    assert type(MaskExtractor("gmm", levels=np.int64(3)).levels) is int


def test_instances_are_returned_for_true_and_for_nothing_else():
    for word in ("no", 1, None):
        with pytest.raises(ConfigError, match="return_instances: expected"):
            MaskExtractor(return_instances=word)


# --- segmenters and their parameters ---------------------------------------------------------------------------------


def test_unknown_segmenter_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'gmm'"):
        MaskExtractor("gm")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"component": 3}, "did you mean 'components'"), ({"components": 0}, "greater than"), ({"offset": "a"}, "offset")],
)
def test_parameters_are_checked_at_once(parameters, message):
    with pytest.raises(ConfigError, match=message):
        MaskExtractor("gmm", **parameters)


def test_registered_function_works_by_name(registered):
    registered("mine", below)
    np.testing.assert_array_equal(MaskExtractor("mine")(field()), below(field()))
    np.testing.assert_array_equal(MaskExtractor("mine", threshold=0)(field()), np.zeros((72, 80)))
    assert MaskExtractor("mine", threshold=7).describe()["parameters"] == {"threshold": 7}


def test_registered_model_is_built_with_its_parameters(registered):
    class Model(BaseModel):
        threshold: int = 128

        def __call__(self, image):
            return image[..., 0] < self.threshold

    registered("model", Model)
    assert MaskExtractor("model").describe()["parameters"] == {"threshold": 128}
    assert not MaskExtractor("model", threshold=0)(field()).any()
    with pytest.raises(ConfigError, match="did you mean 'threshold'"):
        MaskExtractor("model", treshold=1)
    with pytest.raises(ConfigError, match="refuses"):
        MaskExtractor("model", threshold="much")


def test_parameters_of_a_callable_without_keywords_are_refused():
    with pytest.raises(ConfigError, match="none besides the image"):
        MaskExtractor(lambda image: image[..., 0] > 9, threshold=1)


@pytest.mark.parametrize("segmenter", [None, 3, np.zeros((4, 4))])
def test_what_is_neither_name_nor_callable_is_refused(segmenter):
    with pytest.raises(ConfigError, match="callable"):
        MaskExtractor(segmenter)


def test_minimum_area_reaches_the_segmenter_or_is_applied_to_any_callable():
    assert MaskExtractor("gmm", min_nucleus_area=50).describe()["parameters"]["min_nucleus_area"] == 50
    image = np.full((40, 40, 3), 255, np.uint8)
    image[2:4, 2:4] = image[20:30, 20:30] = 0
    assert MaskExtractor(below)(image).sum() == 104
    assert MaskExtractor(below, min_nucleus_area=5)(image).sum() == 100
    assert MaskExtractor(below, min_nucleus_area=0.01)(image).sum() == 100


def test_output_outside_the_contract_names_segmenter_and_item():
    def sometimes_float(image):
        return image[..., 0].astype(float) if image.any() else image[..., 0]

    images = [np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)]
    with pytest.raises(ContractError, match=r"item 1: segmenter .*sometimes_float.* float64"):
        MaskExtractor(sometimes_float).extract(images)


def test_description_is_json_and_survives_a_round_trip():
    described = MaskExtractor("gmm", components=3, levels=3).describe()
    assert described["name"] == "gmm"
    assert described["levels"] == 3
    assert described["parameters"]["components"] == 3
    assert json.loads(json.dumps(described)) == described
    again = MaskExtractor(described["name"], levels=described["levels"], **described["parameters"])
    assert again.describe() == described


def test_unregistered_callables_are_described_by_qualified_name():
    assert MaskExtractor(below).describe()["name"] == f"{__name__}:below"
    assert MaskExtractor(partial(below, threshold=3)).describe()["name"] == f"{__name__}:below"


def test_extractor_can_be_pickled():
    extractor = pickle.loads(pickle.dumps(MaskExtractor("gmm", levels=3)))  # noqa: S301
    np.testing.assert_array_equal(extractor(field()), MaskExtractor("gmm", levels=3)(field()))


# --- many images -----------------------------------------------------------------------------------------------------


class Pairs(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return Image.fromarray(field(index)), index % 2


class Dictionaries(Pairs):
    def __getitem__(self, index):
        return {"image": field(index), "label": 0}


@pytest.mark.parametrize(
    "source",
    [
        [field(i) for i in range(3)],
        tuple(field(i) for i in range(3)),
        np.stack([field(i) for i in range(3)]),
        torch.from_numpy(np.stack([field(i) for i in range(3)])).permute(0, 3, 1, 2),
        Pairs(),
        Dictionaries(),
    ],
    ids=["list", "tuple", "array", "tensor", "dataset of tuples", "dataset of mappings"],
)
def test_every_collection_gives_the_masks_of_its_images(source):
    masks = MaskExtractor().extract(source)
    assert len(masks) == 3
    for index, mask in enumerate(masks):
        assert type(mask) is np.ndarray
        np.testing.assert_array_equal(mask, MaskExtractor()(field(index)))


def test_masks_keep_the_sizes_of_their_images():
    masks = MaskExtractor().extract([field(0, (40, 60)), field(1, (64, 48))])
    assert [mask.shape for mask in masks] == [(40, 60), (64, 48)]


@pytest.mark.parametrize(
    "source", [field(), Image.fromarray(field()), "folder", iter([field()]), {"image": field()}, None]
)
def test_what_is_no_collection_is_refused(source):
    with pytest.raises(DataError, match="expected"):
        MaskExtractor().extract(source)


def test_wrong_item_is_named():
    with pytest.raises(DataError, match=r"item 1: .*float"):
        MaskExtractor().extract([field(), field() / 255])


def test_parallel_extraction_equals_serial():
    images = [field(i) for i in range(5)]
    for ours, serial in zip(MaskExtractor().extract(images, n_jobs=2), MaskExtractor().extract(images), strict=True):
        np.testing.assert_array_equal(ours, serial)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_images_are_read_here_and_not_far_ahead_of_what_is_taken(backend):
    class Images(Dataset):
        asked, furthest = 0, 0

        def __len__(self):
            return 1100

        def __getitem__(self, index):
            assert threading.current_thread() is threading.main_thread()
            self.asked = index + 1
            return np.full((8, 8, 3), index % 251, np.uint8)

    images = Images()
    with joblib.parallel_config(backend=backend):
        for taken, mask in enumerate(MaskExtractor(below).extract_lazily(images, n_jobs=2)):
            np.testing.assert_array_equal(mask, below(images[taken]))
            if images.asked > taken + 1:
                images.furthest = max(images.furthest, images.asked - taken)
    # 32 groups of 16; all of them at once without the windows
    assert images.furthest <= 512


def test_local_function_runs_in_other_processes():
    limit = 128
    masks = MaskExtractor(lambda image: image[..., 0] < limit).extract([field(0), field(1)], n_jobs=2)
    np.testing.assert_array_equal(masks[1], below(field(1)))


def test_backend_chosen_by_the_user_is_honoured():
    threads = set()

    def watched(image):
        threads.add(threading.current_thread().name)
        return below(image)

    with joblib.parallel_config(backend="threading", n_jobs=2):
        MaskExtractor(watched).extract([field(i) for i in range(4)])
    assert "MainThread" not in threads


@pytest.mark.parametrize("n_jobs", [0, 1.5, "2", True])
@pytest.mark.parametrize("count", [1, 3])
def test_what_is_no_number_of_jobs_is_refused(n_jobs, count):
    with pytest.raises(ConfigError, match="n_jobs: expected"):
        MaskExtractor(below).extract([field()] * count, n_jobs=n_jobs)


def test_forks_which_would_hang_are_refused():
    script = """
import joblib, numpy as np
from syncgan import MaskExtractor
from syncgan.errors import ConfigError
extractor, images = MaskExtractor(), [np.full((480, 640, 3), level, np.uint8) for level in range(40)]
extractor(images[0])  # starts the threads of OpenCV
try:
    with joblib.parallel_config(backend="multiprocessing"):
        extractor.extract(images, n_jobs=2)
except ConfigError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert 'use "loky"' in run.stdout


def failing(image):
    raise ValueError("boom")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_of_the_segmenter_names_item_and_segmenter(n_jobs):
    with pytest.raises(ContractError, match=r"segmenter '.*:failing' raised ValueError: boom"):
        MaskExtractor(failing)(field())
    with pytest.raises(ContractError, match=r"item \d: segmenter '.*:failing' raised ValueError: boom"):
        MaskExtractor(failing).extract([field()] * 3, n_jobs=n_jobs)


def test_progress_is_told_after_each_image():
    seen = []
    MaskExtractor(below).extract([field(i) for i in range(3)], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


# --- the cache -------------------------------------------------------------------------------------------------------


class Counting:
    version = 1

    def __init__(self):
        self.calls = 0

    def __call__(self, image):
        self.calls += 1
        return below(image)


def test_second_extraction_comes_from_the_cache(tmp_path):
    segmenter, images = Counting(), [field(0), field(1), field(0)]
    first = MaskExtractor(segmenter).extract(images, n_jobs=1, cache_dir=tmp_path / "new" / "cache")
    second = MaskExtractor(segmenter).extract(images, n_jobs=1, cache_dir=tmp_path / "new" / "cache")
    assert segmenter.calls == 2
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "damage",
    [lambda entry: b"", lambda entry: entry[:-5], lambda entry: bytes([entry[60] ^ 1]).join((entry[:60], entry[61:]))],
    ids=["empty", "cut", "flipped bit"],
)
def test_damaged_entry_is_computed_again(tmp_path, damage):
    segmenter = Counting()
    expected = MaskExtractor(segmenter).extract([field()], cache_dir=tmp_path)[0]
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    np.testing.assert_array_equal(MaskExtractor(segmenter).extract([field()], cache_dir=tmp_path)[0], expected)
    assert segmenter.calls == 2


def test_cache_tells_parameters_levels_and_code_apart(tmp_path):
    extractors = [
        MaskExtractor("gmm"),
        MaskExtractor("gmm", components=5),
        MaskExtractor("gmm", levels=3),
        MaskExtractor(below),
        MaskExtractor(below, threshold=7),
        MaskExtractor(lambda image: image[..., 0] < 1),
        MaskExtractor(lambda image: image[..., 0] < 2),
    ]
    for extractor in extractors:
        cached = extractor.extract([field()], cache_dir=tmp_path)[0]
        np.testing.assert_array_equal(cached, extractor(field()))
    assert len(list(tmp_path.iterdir())) == len(extractors)


def test_a_relative_folder_is_the_callers_in_processes_started_elsewhere(tmp_path, monkeypatch):
    images = [field(index) for index in range(2)]
    MaskExtractor(below).extract(images, n_jobs=2)  # starts the processes here
    monkeypatch.chdir(tmp_path)
    MaskExtractor(below).extract(images, n_jobs=2, cache_dir="cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_masks_of_nearly_everything_are_logged_with_how_to_look_at_them(caplog):
    MaskExtractor(lambda image: np.ones(image.shape[:2], np.uint8)).extract([field()])
    assert "1 of 1 masks cover more than" in caplog.text
    assert "`syncgan masks` or MaskExtractor.diagnose" in caplog.text


def test_callable_of_unknown_content_is_not_cached(tmp_path, caplog):
    class Opaque:
        def __call__(self, image):
            return below(image)

    MaskExtractor(Opaque()).extract([field()], cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())
    assert "version" in caplog.text


LIMIT = 100
ODDS = object()


def limit_of(image):
    return LIMIT


def below_global(image):
    return image[..., 0] < LIMIT


def below_helper(image):
    return image[..., 0] < limit_of(image)


@pytest.mark.parametrize("segmenter", [below_global, below_helper, lambda image: image[..., 0] < limit_of(image)])
def test_a_global_that_a_function_uses_is_part_of_its_key(tmp_path, monkeypatch, segmenter):
    extractor = MaskExtractor(segmenter)
    for limit in (50, 100):
        monkeypatch.setitem(globals(), "LIMIT", limit)
        (cached,) = extractor.extract([field()], cache_dir=tmp_path)
        np.testing.assert_array_equal(cached, extractor(field()))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_large_array_in_a_closure_or_a_parameter_is_part_of_the_key(tmp_path):
    def closing_over(table):
        return MaskExtractor(lambda image: table[: image.shape[0], : image.shape[1]] > 0)

    def looked_up(image, *, table=None):
        return table[: image.shape[0], : image.shape[1]] > 0

    class Table:
        version = 1

        def __init__(self, table):
            self.table = table

        def __call__(self, image):
            return looked_up(image, table=self.table)

    tables = np.zeros((2, 100, 100), np.int64)
    tables[1, 50, 50] = 1
    makers = (
        closing_over,
        lambda table: MaskExtractor(looked_up, table=table),
        lambda table: MaskExtractor(Table, table=table),
    )
    for make in makers:
        for table in tables:
            (cached,) = make(table).extract([field()], cache_dir=tmp_path)
            assert cached.any() == table.any()
    assert len(list(tmp_path.iterdir())) == 6


def test_a_function_that_uses_what_cannot_be_known_is_not_cached(tmp_path, caplog):
    def odd(image):
        return image[..., 0] < 100 if ODDS else None

    def importing(image):
        import conftest

        return image[..., 0] < (100 if conftest else 0)

    for segmenter, parameters in ((odd, {}), (importing, {}), (below_any, {"threshold": Odd()})):
        caplog.clear()
        MaskExtractor(segmenter, **parameters).extract([field()], cache_dir=tmp_path)
        assert not list(tmp_path.iterdir())
        assert "not cached" in caplog.text


def below_any(image, *, threshold):
    return image[..., 0] < threshold.value


class Odd:
    value = 100


def test_what_installed_packages_define_is_known_by_their_version(tmp_path):
    def usual(image):
        import cv2
        from skimage.filters import threshold_otsu

        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return np.less(gray, min(threshold_otsu(gray), 255))

    MaskExtractor(usual).extract([field()], cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_function_that_reads_files_is_not_cached_without_a_version(tmp_path, caplog):
    np.save(tmp_path / "limit.npy", 100)

    def limited(image):
        return image[..., 0] < np.load(tmp_path / "limit.npy")

    def using(image):
        return limited(image)

    for segmenter in (limited, using):
        caplog.clear()
        MaskExtractor(segmenter).extract([field()], cache_dir=tmp_path / "cache")
        assert "not cached" in caplog.text
    limited.version = 1
    MaskExtractor(limited).extract([field()], cache_dir=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_version_counts_with_parameters_as_without():
    def limited(image, limit=100):
        return image[..., 0] < limit

    known = set()
    for limited.version in (1, 2):
        known |= {MaskExtractor(limited).recipe.fingerprint(), MaskExtractor(limited, limit=3).recipe.fingerprint()}
    assert len(known) == 4
    assert None not in known


@pytest.mark.parametrize("value", [float("inf"), float("nan"), {"limits": [1.0, float("-inf")]}])
def test_numbers_that_no_file_can_hold_are_refused(value):
    with pytest.raises(ConfigError, match="parameter 'threshold': expected finite numbers"):
        MaskExtractor(below, threshold=value)


def test_functions_that_call_each_other_are_cached(tmp_path):
    MaskExtractor(even).extract([field()], cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def even(image, depth=2):
    return np.asarray(below(image)) if depth == 0 else odd_depth(image, depth - 1)


def odd_depth(image, depth):
    return even(image, depth - 1)


def test_what_a_decorated_function_carries_is_part_of_its_key(tmp_path):
    def limited(limit):
        @functools.wraps(np.clip)  # takes the name of an installed function
        def wrapper(image):
            return image[..., 0] < limit

        return wrapper

    for limit in (50, 100, 100):
        MaskExtractor(limited(limit)).extract([field()], cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_model_without_a_version_is_known_by_its_methods(tmp_path):
    def model(value):
        class Model(BaseModel):
            limit: ClassVar[int] = value

            def __call__(self, image):
                return self.found(image)

            def found(self, image):
                return image[..., 0] < self.limit

        return MaskExtractor(Model)

    for limit in (50, 100, 100):
        model(limit).extract([field()], cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_cached_masks_are_pictures(tmp_path):
    mask = MaskExtractor().extract([field()], cache_dir=tmp_path)[0]
    (entry,) = tmp_path.iterdir()
    np.testing.assert_array_equal(np.array(Image.open(entry)), mask)


# --- imports ---------------------------------------------------------------------------------------------------------


def test_extraction_never_imports_torch():
    code = """
import sys
import numpy as np
from PIL import Image
from syncgan.extractor import MaskExtractor
image = np.full((64, 64, 3), 230, np.uint8)
image[20:40, 20:40] = 60
MaskExtractor("gmm", levels=3)(image)
MaskExtractor("gmm")(Image.fromarray(image))
MaskExtractor("gmm").extract([image])
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
