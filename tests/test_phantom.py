"""The phantom promises pure items, exact masks and classes that differ in their nuclei, not in their colour."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from syncgan.data.phantom import RECIPES, STAINS, Phantom
from syncgan.errors import ConfigError

SIZES = [16, 32, 50, 128, 256]


def nuclear_areas(phantom: Phantom, index: int) -> np.ndarray:
    """Areas in pixels of the nuclei that the border does not cut; all of them if it cuts each."""
    labels = phantom.instances(index)
    areas = np.bincount(labels.ravel())[1:]
    cut = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    whole = np.delete(areas, cut[cut > 0] - 1)
    return whole if whole.size else areas


@pytest.fixture(scope="module")
def smears() -> Phantom:
    return Phantom(60, image_size=32)


# --- purity ---------------------------------------------------------------------------------------------------------


def test_item_is_the_same_whatever_was_read_before():
    read_in_order, read_backwards = Phantom(3, image_size=32), Phantom(3, image_size=32)
    forward = [read_in_order.image(i) for i in range(6)]
    backward = [read_backwards.image(i) for i in reversed(range(6))]
    for first, second in zip(forward, reversed(backward), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("part", ["image", "mask", "instances"])
def test_item_depends_neither_on_the_number_of_items_nor_on_the_other_classes(part):
    few = Phantom(2, image_size=32)
    many = Phantom(9, image_size=32, classes=("atypical", "malignant", "benign"))
    np.testing.assert_array_equal(getattr(few, part)(3), getattr(many, part)(9 + 1))


def test_seed_class_and_number_each_change_the_item():
    images = [Phantom(2, image_size=32, seed=seed).image(i).tobytes() for seed in (0, 1) for i in range(4)]
    assert len(set(images)) == 8


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the legacy state is what must not move
    Phantom(1, image_size=32).image(0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_mask_does_not_depend_on_the_stain():
    giemsa, pap = (Phantom(1, image_size=32, stains=(name,)) for name in ("giemsa", "papanicolaou"))
    np.testing.assert_array_equal(giemsa.mask(1), pap.mask(1))
    assert (giemsa.image(1) != pap.image(1)).any()


# --- masks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RECIPES)
def test_shapes_and_dtypes_at_every_size(size, name):
    phantom = Phantom(1, image_size=size, classes=[name])
    image, mask, instances = phantom.image(0), phantom.mask(0), phantom.instances(0)
    assert (image.shape, image.dtype) == ((size, size, 3), np.uint8)
    assert (mask.shape, mask.dtype, set(np.unique(mask))) == ((size, size), np.uint8, {0, 1})
    assert (instances.shape, instances.dtype) == ((size, size), np.int32)


@pytest.mark.parametrize("size", SIZES)
def test_mask_is_the_union_of_consecutive_instances(size):
    phantom = Phantom(4, image_size=size)
    for index in range(len(phantom)):
        labels = phantom.instances(index)
        np.testing.assert_array_equal(phantom.mask(index), labels > 0)
        np.testing.assert_array_equal(np.unique(labels[labels > 0]), np.arange(1, labels.max() + 1))


def test_instances_count_from_one_where_nuclei_cover_the_whole_field():
    giant = replace(RECIPES["benign"], nucleus_diameter_um=(40.0, 40.0), anisonucleosis=0.0)
    labels = Phantom(1, image_size=16, classes={"giant": giant}, field_of_view_um=15).instances(0)
    assert labels.min() == 1


def test_nuclei_are_darker_than_their_surroundings_in_every_image(smears):
    for index in range(len(smears)):
        red, inside = smears.image(index)[..., 0].astype(float), smears.mask(index) == 1
        assert red[inside].mean() < red[~inside].mean() - 30


def test_an_independent_threshold_finds_the_nuclei_where_the_mask_says():
    from skimage.filters import threshold_otsu

    phantom, dice = Phantom(10, image_size=128), []
    for index in range(len(phantom)):
        red, mask = phantom.image(index)[..., 0], phantom.mask(index) == 1
        found = red < threshold_otsu(red)
        dice.append(2 * (found & mask).sum() / (found.sum() + mask.sum()))
    assert np.median(dice) > 0.9


def test_nuclei_are_at_least_five_pixels_across_in_the_smallest_usual_image(smears):
    areas = np.concatenate([nuclear_areas(smears, i) for i in range(smears.n_per_class)])
    assert 2 * np.sqrt(np.median(areas) / np.pi) >= 5


def test_masks_are_a_lazy_sequence_of_mask(smears):
    assert len(smears.masks) == len(smears)
    np.testing.assert_array_equal(smears.masks[-1], smears.mask(len(smears) - 1))
    np.testing.assert_array_equal(smears.masks[1:3][1], smears.mask(2))
    assert sum(1 for _ in Phantom(2, image_size=16).masks) == 4


# --- classes --------------------------------------------------------------------------------------------------------


def test_nuclear_area_rises_from_benign_to_malignant():
    phantom = Phantom(30, image_size=64, classes=("benign", "atypical", "malignant"))
    mean = [np.mean([nuclear_areas(phantom, 30 * y + k).mean() for k in range(30)]) for y in range(3)]
    assert mean[0] * 1.1 < mean[1] < mean[2] / 1.1
    assert mean[2] > 1.7 * mean[0]


def test_malignant_nuclei_vary_more_within_an_image():
    phantom = Phantom(30, image_size=128)
    areas = [nuclear_areas(phantom, i) for i in range(60)]
    variation = [a.std() / a.mean() if a.size > 2 else np.nan for a in areas]
    assert np.nanmedian(variation[30:]) > 2 * np.nanmedian(variation[:30])


def test_mean_colour_does_not_give_the_class_away_but_the_mask_does(smears):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def accuracy(features: list[list[float]]) -> float:
        classifier = make_pipeline(StandardScaler(), LogisticRegression())
        return float(cross_val_score(classifier, np.array(features), smears.targets, cv=5).mean())

    colours = [smears.image(i).mean((0, 1)).tolist() for i in range(len(smears))]
    areas = [nuclear_areas(smears, i) for i in range(len(smears))]
    assert accuracy(colours) < 0.7
    assert accuracy([[a.mean(), a.std() / a.mean(), a.size] for a in areas]) > 0.85


# --- dataset protocol -----------------------------------------------------------------------------------------------


def test_items_follow_torchvision_conventions():
    phantom = Phantom(2, image_size=32, classes=("benign", "atypical", "malignant"))
    image, label = phantom[-1]
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size, label) == ("RGB", (32, 32), 2)
    assert phantom.class_to_idx == {"benign": 0, "atypical": 1, "malignant": 2}
    assert phantom.targets == [0, 0, 1, 1, 2, 2] == [y for _, y in phantom.samples] == [y for _, y in phantom]
    assert len({name for name, _ in phantom.samples}) == len(phantom)


def test_transform_and_target_transform_are_applied():
    phantom = Phantom(1, image_size=32, transform=lambda image: image.size, target_transform=lambda y: y + 10)
    assert phantom[1] == ((32, 32), 11)


def test_transforms_sees_image_and_label_together():
    assert Phantom(1, image_size=32, transforms=lambda image, y: (image.mode, -y))[1] == ("RGB", -1)


def test_a_shallow_copy_without_transforms_yields_raw_items():
    phantom = Phantom(1, image_size=32, transform=lambda _: "changed")
    raw = copy.copy(phantom)
    raw.transform = raw.target_transform = raw.transforms = None
    np.testing.assert_array_equal(np.asarray(raw[0][0]), phantom.image(0))
    assert phantom[0][0] == "changed"


def test_pickle_keeps_every_item():
    phantom = Phantom(1, image_size=32, seed=7, classes={"own": RECIPES["atypical"]})
    again = pickle.loads(pickle.dumps(phantom))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(phantom.image(0), again.image(0))
    assert repr(phantom) == repr(again)


# Python 3.12 warns whenever a process with threads forks, which is the DataLoader's choice on Linux.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_torch_dataloader_with_workers_sees_the_same_items():
    torch = pytest.importorskip("torch")
    from torchvision.transforms.functional import pil_to_tensor

    phantom = Phantom(3, image_size=32, transform=pil_to_tensor)
    batches = list(torch.utils.data.DataLoader(phantom, batch_size=4, num_workers=2))
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    expected = np.stack([phantom.image(i) for i in range(6)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(images.numpy(), expected)
    assert labels.tolist() == phantom.targets


def test_rendering_does_not_import_torch():
    code = (
        "import sys; from syncgan.data.phantom import Phantom; p = Phantom(1, image_size=32); p[0]; p.masks[1];"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"n_per_class": 0}, "n_per_class"),
        ({"n_per_class": 2.5}, "n_per_class"),
        ({"n_per_class": True}, "n_per_class"),
        ({"image_size": 15}, "image_size"),
        ({"classes": ()}, "at least one class"),
        ({"classes": {}}, "at least one class"),
        ({"classes": ("benign", "benign")}, "once"),
        ({"classes": ("benign", "bening")}, "benign, atypical, malignant"),
        ({"classes": {"own": "benign"}}, "CellRecipe"),
        ({"stains": ()}, "at least one stain"),
        ({"stains": ("gram",)}, "giemsa"),
        ({"field_of_view_um": 3}, "field_of_view_um"),
        ({"transform": str, "transforms": zip}, "either"),
    ],
)
def test_bad_arguments_are_refused_with_a_hint(arguments, hint):
    with pytest.raises(ConfigError, match=hint):
        Phantom(**arguments)


@pytest.mark.parametrize(
    "change",
    [
        {"anisonucleosis": 2.0},
        {"nucleus_diameter_um": (9.0, 8.0)},
        {"nucleus_diameter_um": 9.0},
        {"packing": (0.8, 0.9)},
        {"packing": "tight"},
        {"bare_nuclei": float("nan")},
    ],
)
def test_a_recipe_out_of_range_names_its_field(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(RECIPES["benign"], **change)


@pytest.mark.parametrize("index", [4, -5, 1000])
@pytest.mark.parametrize("part", ["__getitem__", "image", "mask", "instances"])
def test_an_index_out_of_range_raises_index_error(index, part):
    with pytest.raises(IndexError, match="from -4 to 3"):
        getattr(Phantom(2, image_size=32), part)(index)


def test_a_name_given_as_one_string_is_one_class():
    assert Phantom(1, image_size=16, classes="benign").classes == ["benign"]


@pytest.mark.parametrize("stain", STAINS)
def test_every_stain_leaves_a_bright_background_and_dark_nuclei(stain):
    phantom = Phantom(1, image_size=64, stains=(stain,))
    grey, mask = phantom.image(0).mean(-1), phantom.mask(0) == 1
    assert np.percentile(grey[~mask], 75) > 160 > np.median(grey[mask])
