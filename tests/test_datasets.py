import pickle
import random
import warnings
from collections import deque, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset

from syncgan.data.datasets import (
    AugmentedDataset,
    read_dataset,
    read_targets,
    require_trainable,
    resolve_strategy,
    wrap_dataset,
)
from syncgan.data.items import ItemTemplate
from syncgan.data.raw import item_groups
from syncgan.errors import ConfigError, DataError, UnknownNameError

SIZE = 8
pytestmark = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create", "ignore:.*multi-threaded.*fork:DeprecationWarning"
)


class Arrays(Dataset):
    """CIFAR-like: arrays in memory, PIL items, transforms in the usual attributes."""

    def __init__(self, labels=(0, 1, 0, 1), size=SIZE, transform=None, target_transform=None):
        self.data = np.stack([pixels_of(index, size) for index in range(len(labels))])
        self.targets = list(labels)
        self.transform = transform
        self.target_transform = target_transform
        self.decoded = deque()  # shared with copies, which lists are not

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        self.decoded.append(index)
        image, label = Image.fromarray(self.data[index]), self.targets[index]
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label


class Named(Arrays):
    def __init__(self, classes, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes


def pixels_of(index, size=SIZE):
    return np.random.default_rng(index).integers(0, 256, (size, size, 3), dtype=np.uint8)


def render(label, numbers):
    """Give sample i of a class the value 100 + 10 * label + i, its mask the value i % 2, and the score i / 2."""
    index, count = np.asarray(numbers), len(numbers)
    images = np.broadcast_to((100 + 10 * label + index).astype(np.uint8)[:, None, None, None], (count, 3, SIZE, SIZE))
    masks = np.broadcast_to((index % 2).astype(np.uint8)[:, None, None], (count, SIZE, SIZE))
    return images.copy(), masks.copy(), {"half": index / 2}


def wrap(dataset, strategy=1.0, classes=("a", "b"), label_values=(0, 1), **kwargs):
    return wrap_dataset(
        dataset, classes=classes, label_values=label_values, render=render, strategy=strategy, seed=5, **kwargs
    )


def to_float(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def folder(root, counts=(3, 2), size=(12, 10)):
    for name, count in zip(("HSIL", "NILM"), counts, strict=True):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full((*size, 3), 10 * index, np.uint8)).save(root / name / f"{index}.png")
    return root


# --- reading raw items -----------------------------------------------------------------------------------------------


def test_image_folder_with_to_tensor_is_read_raw_and_not_changed(tmp_path):
    from torchvision import datasets, transforms

    pipeline = transforms.Compose([transforms.Resize(4), transforms.ToTensor()])
    dataset = datasets.ImageFolder(folder(tmp_path), transform=pipeline, target_transform=str)
    before = dict(vars(dataset))
    raw = read_dataset(dataset)
    assert vars(dataset) == before
    assert raw.labels == [0, 0, 0, 1, 1]
    assert raw.classes == ("HSIL", "NILM")
    assert raw.names[1] == "HSIL/1.png"
    assert raw.images[2].shape == (12, 10, 3)
    assert raw.images[2].dtype == np.uint8
    assert (raw.images[2] == 20).all()


@pytest.mark.parametrize("hook", ["transform", "target_transform", "transforms"])
def test_every_transform_of_a_vision_dataset_is_set_aside(tmp_path, hook):
    from torchvision.datasets import ImageFolder, VisionDataset

    class Joint(VisionDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            image, label = Image.fromarray(pixels_of(index)), index
            return (image, label) if self.transforms is None else self.transforms(image, label)

    def broken(*_):
        raise AssertionError("a transform was called")

    dataset = Joint(tmp_path, **{hook: broken})
    assert read_dataset(dataset).labels == [0, 1]
    if hook != "transforms":
        assert read_dataset(ImageFolder(folder(tmp_path), **{hook: broken})).labels == [0, 0, 0, 1, 1]


def test_subset_and_concat_are_followed_to_raw_items_and_names():
    parts = [Named(["a", "b"], transform=to_float), Named(["a", "b"], labels=(1, 1, 0), transform=to_float)]
    dataset = Subset(ConcatDataset(parts), [5, 0, 6])
    raw = read_dataset(dataset)
    assert raw.labels == [1, 0, 0]
    np.testing.assert_array_equal(raw.images[0], parts[1].data[1])
    assert raw.class_names == {0: "a", 1: "b"}
    assert dataset.dataset is not None
    assert dataset.dataset.datasets == parts


def test_a_transform_that_is_called_unasked_can_be_set_aside():
    class Unasked(Arrays):
        def __getitem__(self, index):
            return self.transform(Image.fromarray(self.data[index])), self.targets[index]

    assert read_dataset(Unasked(transform=to_float)).images[0].dtype == np.uint8


def test_a_dataset_wrapped_for_transforms_v2_just_works(tmp_path):
    from torchvision import datasets
    from torchvision.transforms import v2

    transform = v2.Compose([v2.Resize((6, 6)), v2.ToImage()])
    dataset = datasets.wrap_dataset_for_transforms_v2(datasets.ImageFolder(folder(tmp_path), transform=transform))
    assert read_dataset(dataset).images[0].shape == (12, 10, 3)
    augmented = wrap(dataset, {0: 1}, classes=("HSIL", "NILM"))
    assert augmented[5][0].shape == (3, 6, 6)
    assert type(augmented[5][0]) is type(dataset[0][0])


GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)
IMAGES = {
    "gray array": GRAY,
    "gray array with channel": GRAY[..., None],
    "gray tensor": torch.from_numpy(GRAY)[None],
    "gray PIL": Image.fromarray(GRAY),
    "colour tensor": torch.from_numpy(GRAY).expand(3, 3, 4),
    "colour array": np.repeat(GRAY[..., None], 3, axis=2),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_every_kind_of_image_gives_the_same_rgb_pixels(kind):
    raw = read_dataset([(IMAGES[kind], 0)])
    np.testing.assert_array_equal(raw.images[0], np.repeat(GRAY[..., None], 3, axis=2))


def test_transparency_is_composited_on_white():
    image = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert (read_dataset([(image, 0)]).images[0] == 255).all()


def test_pictures_read_do_not_share_memory_with_the_dataset():
    source = pixels_of(0)
    assert not np.shares_memory(read_dataset([(source, 0)]).images[0], source)


@pytest.mark.parametrize(
    "item",
    [
        (pixels_of(0), 3),
        [pixels_of(0), np.int64(3)],
        {"image": pixels_of(0), "label": torch.tensor(3), "path": "x"},
        (pixels_of(0), np.array([3], dtype=np.uint8)),
        (pixels_of(0), 3, "more"),
    ],
    ids=["tuple", "list", "dict", "array label", "triple"],
)
def test_items_and_labels_of_every_kind_are_read(item):
    raw = read_dataset([item])
    assert raw.labels == [3]
    assert type(raw.labels[0]) is int
    assert raw.classes == ("3",)


def test_name_labels_are_numbered_in_sorted_order():
    raw = read_dataset([(pixels_of(0), "NILM"), (pixels_of(1), "HSIL")])
    assert raw.labels == [1, 0]
    assert raw.class_names == {0: "HSIL", 1: "NILM"}


def test_progress_counts_items():
    seen = []
    read_dataset(Arrays(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


PICTURE = pixels_of(0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((PICTURE / 255.0, 0), r"item 1: expected uint8 images, got float64; pass the dataset without its transform"),
        ((torch.zeros(3, 4, 4), 0), r"item 1: expected uint8 images, got float32; pass the dataset without"),
        ((torch.zeros(4, 4, 4, dtype=torch.uint8), 0), r"item 1: expected a \(3, H, W\)"),
        ((np.zeros((4, 4, 3), np.uint16), 0), r"item 1: expected uint8 images, got uint16; scale all alike to 8 bits"),
        ((np.zeros((4, 4, 4), np.uint8), 0), r"item 1: .* got \(4, 4, 4\); leave transparency out"),
        ((np.zeros((4, 4, 7), np.uint8), 0), r"item 1: expected an \(H, W, 3\)"),
        ((np.zeros((0, 4, 3), np.uint8), 0), r"item 1: expected an image with pixels"),
        ((Image.new("I;16", (4, 4)), 0), r"item 1: expected an 8-bit image, got a PIL image of mode 'I;16'"),
        (("x.png", 0), r"item 1: expected a PIL image, a uint8 array or a uint8 tensor, got str"),
        ((PICTURE, 1.0), r"item 1: expected an integer or a class name as label, got float 1.0"),
        ((PICTURE, True), r"item 1: expected an integer or a class name as label, got bool"),
        ((PICTURE, torch.tensor([0.0, 1.0])), r"item 1: .* got float32 values of shape \(2,\)"),
        ((PICTURE, "b"), r"item 1: expected all labels to be integers, got 'b'"),
        ((PICTURE,), r"item 1: expected \(image, label\) .* got tuple of 1"),
        (PICTURE, r"item 1: expected \(image, label\) .* got ndarray"),
        ({"img": PICTURE, "label": 0}, r"item 1: expected the keys 'image' and 'label', got 'img', 'label'"),
    ],
)
def test_an_item_that_cannot_be_used_is_named_with_the_remedy(bad, message):
    with pytest.raises(DataError, match=message):
        read_dataset([(PICTURE, 0), bad])


def test_a_damaged_file_is_named(tmp_path):
    from torchvision.datasets import ImageFolder

    root = folder(tmp_path)
    (root / "NILM" / "0.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"NILM/0\.png: cannot be loaded \(UnidentifiedImageError"):
        read_dataset(ImageFolder(root))


def test_class_names_that_no_file_can_hold_are_refused():
    for dataset in (Named(["a", "caf\udce9"]), [(pixels_of(0), "a"), (pixels_of(1), "caf\udce9")]):
        with pytest.raises(DataError, match=r"valid Unicode.* got 'caf.*rename the class"):
            read_dataset(dataset)


def test_a_dataset_that_changes_its_images_at_random_is_warned_of():
    class Jittered(Arrays):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return np.asarray(image) // random.randrange(2, 100), label

    with pytest.warns(UserWarning, match=r"item \d: read twice, it gave two images.*transform, target_transform"):
        read_dataset(Jittered(size=64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_dataset(Arrays(transform=lambda image: image.rotate(random.randrange(360))))


def test_a_label_outside_the_classes_is_named():
    with pytest.raises(DataError, match=r"item 2: expected a label of the dataset's classes \(0..1\), got 2"):
        read_dataset(Named(["a", "b"], labels=(0, 1, 2)))


def test_class_to_idx_names_labels_that_start_at_3():
    dataset = Arrays(labels=(3, 4))
    dataset.class_to_idx = {"a": 3, "b": 4}
    assert read_dataset(dataset).class_names == {3: "a", 4: "b"}


def test_a_mapping_of_labels_to_names_is_refused_with_what_to_do():
    dataset = Arrays()
    dataset.class_to_idx = {0: "a", 1: "b"}
    with pytest.raises(DataError, match=r"class_to_idx of name -> label, got 0 -> 'a'; swap them"):
        read_dataset(dataset)


def test_class_names_may_be_an_array_as_label_encoders_have_them():
    assert read_dataset(Named(np.array(["a", "b"]))).classes == ("a", "b")


def test_parts_that_disagree_about_a_label_are_refused():
    with pytest.raises(DataError, match=r"one name for label 1, got 'b' and 'c'"):
        read_dataset(ConcatDataset([Named(["a", "b"]), Named(["a", "c"])]))


def test_two_labels_with_one_name_are_refused():
    with pytest.raises(DataError, match="one label for each class name, got several for 'a'"):
        read_dataset(Named(["a", "a"]))


def test_merged_classes_share_a_label():
    dataset = Arrays()
    dataset.class_to_idx = {"LSIL": 0, "HSIL": 1, "ASC-H": 1}
    assert read_dataset(dataset).classes == ("LSIL", "HSIL+ASC-H")


def test_transforms_that_cannot_be_set_aside_are_reported():
    class Fixed(Arrays):
        transform = property(lambda self: to_float, lambda self, value: None if value is None else 1 / 0)

    with pytest.raises(DataError, match=r"transforms of Fixed cannot be set aside \(ZeroDivisionError"):
        read_dataset(Fixed())


def test_iterables_and_paths_are_refused_with_the_remedy(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.raises(DataError, match=r"map-style dataset, got the iterable Stream; pass list\(dataset\)"):
        read_dataset(Stream())
    with pytest.raises(DataError, match="ImageFolder"):
        read_dataset(tmp_path)


def test_targets_are_read_with_one_decoded_item_a_label():
    dataset = Arrays(labels=(3, 4, 3, 4, 4), target_transform=lambda label: label - 3)
    assert read_targets(dataset) == [3, 4, 3, 4, 4]
    assert read_targets(Subset(dataset, [4, 2])) == [4, 3]
    assert list(dataset.decoded) == [0, 1, 4, 2]


def test_names_that_are_not_unicode_can_be_written():
    dataset = Arrays()
    dataset.samples = [("a/caf\udce9.png", 0)] * len(dataset)
    assert set(read_dataset(dataset).names) == {"a/caf\\udce9.png"}


def test_targets_that_the_items_contradict_are_not_believed():
    class Remapped(Arrays):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, label + 7

    assert read_targets(Remapped(labels=(0, 1))) == [7, 8]

    class Swapped(Arrays):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, {0: 0, 1: 2, 2: 1}[label]

    assert read_targets(Swapped(labels=(0, 0, 1, 1, 2, 2))) == [0, 0, 2, 2, 1, 1]


@pytest.mark.parametrize("missing", [None, float("nan"), np.float64("nan"), "", " "])
def test_every_item_needs_a_group(missing):
    assert item_groups(None, 3) is None
    assert item_groups([7, "b", "nan"], 3) == ["7", "b", "nan"]
    with pytest.raises(DataError, match=r"a group for each of 3 items, got none for 1 \(item 1 first\)"):
        item_groups(["a", missing, "b"], 3)
    with pytest.raises(DataError, match="one group an item, got 2 groups and 3 items"):
        item_groups(["a", "b"], 3)


def test_groups_of_a_table_are_taken_in_its_order():
    pandas = pytest.importorskip("pandas")
    assert item_groups(pandas.Series(["a", "b", "c"], index=[2, 0, 1]), 3) == ["a", "b", "c"]
    with pytest.raises(DataError, match="a group for each"):
        item_groups(pandas.Series(["a", pandas.NA]), 2)


def len_of_three(_):
    return 3


def item_of(labels):
    return lambda _, index: (PICTURE, labels[index])


@pytest.mark.parametrize("attribute", ["targets", "labels"])
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_targets_of_any_container_are_python_integers(attribute, kind):
    dataset = Arrays(labels=(2, 0, 1))
    stored = vars(dataset).pop("targets")
    dataset.__class__ = type("Stored", (Arrays,), {"__len__": len_of_three, "__getitem__": item_of(stored)})
    setattr(dataset, attribute, kind(stored))
    targets = read_targets(dataset)
    assert targets == [2, 0, 1]
    assert all(type(target) is int for target in targets)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((), "expected a dataset with images, got an empty one"),
        ((1, 1), r"expected at least 2 classes, got 1 \(1\) in 2 items"),
        ((0, 0, 1), r"expected at least 2 images in every class, got fewer: '1' has 1"),
    ],
)
def test_too_little_to_train_on_is_refused(labels, message):
    with pytest.raises(DataError, match=message):
        require_trainable(read_dataset([(PICTURE, label) for label in labels]))


# --- strategy -----------------------------------------------------------------------------------------------------

CLASSES = {"a": 3, "b": 5}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (2.0, {3: 8, 5: 2}),
        (0.5, {3: 2, 5: 1}),
        (0, {3: 0, 5: 0}),
        ("balance", {3: 0, 5: 3}),
        ({"b": 7}, {3: 0, 5: 7}),
        ({3: 1, "b": np.int64(2)}, {3: 1, 5: 2}),
        (lambda counts: {label: 10 - count for label, count in counts.items()}, {3: 6, 5: 9}),
    ],
)
def test_strategy_gives_counts_of_every_class(strategy, expected):
    assert resolve_strategy(strategy, {3: 4, 5: 1}, classes=CLASSES) == expected


@pytest.mark.parametrize(
    "strategy",
    [
        -1.0,
        float("nan"),
        float("inf"),
        True,
        None,
        "balanced",
        [1, 2],
        {"a": -1},
        {"a": 1.5},
        {"a": True},
        {"a": 1, 3: 1},
        lambda counts: 3,
    ],
)
def test_strategy_that_makes_no_sense_is_refused(strategy):
    with pytest.raises(ConfigError):
        resolve_strategy(strategy, {3: 4, 5: 1}, classes=CLASSES)


@pytest.mark.parametrize("key", ["c", 4, True, None])
def test_strategy_for_an_unknown_class_lists_the_known_ones(key):
    with pytest.raises(UnknownNameError, match=r"a \(3\), b \(5\)"):
        resolve_strategy({key: 1}, {3: 4, 5: 1}, classes=CLASSES)


@given(st.dictionaries(st.integers(0, 9), st.integers(1, 1000), min_size=1))
def test_balance_makes_all_classes_equal(counts):
    added = resolve_strategy("balance", counts, classes={str(label): label for label in counts})
    assert {counts[label] + added[label] for label in counts} == {max(counts.values())}


# --- wrap ---------------------------------------------------------------------------------------------------------


def test_real_items_come_first_and_untouched_then_synthetic_by_class():
    dataset = [(Image.fromarray(pixels_of(index)), index % 2) for index in range(4)]
    augmented = wrap(dataset, {"b": 2, "a": 1})
    assert [augmented[index] for index in range(4)] == dataset
    assert augmented[0][0] is dataset[0][0]
    assert len(augmented) == 7
    assert augmented.targets == [0, 1, 0, 1, 0, 1, 1]
    assert augmented.is_synthetic.tolist() == [False] * 4 + [True] * 3
    assert [np.asarray(augmented[index][0]).max() for index in (4, 5, 6)] == [100, 110, 111]
    assert augmented[-1][1] == 1
    assert augmented.masks[:, 0, 0].tolist() == [0, 0, 1]
    assert augmented.provenance(6) == {"class": "b", "label": 1, "seed": 5, "index": 1, "half": 0.5}
    assert augmented.provenance(3) == {"class": "b", "label": 1, "seed": None, "index": 3}


def test_iteration_ends_and_wrong_indices_raise():
    augmented = wrap(Arrays(), {"a": 1})
    assert len(list(augmented)) == 5
    for index in (5, -6):
        with pytest.raises(IndexError):
            augmented[index]


def test_image_folder_with_to_tensor_just_works(tmp_path):
    from torchvision import datasets, transforms

    pipeline = transforms.Compose([transforms.Resize((6, 6)), transforms.ToTensor()])
    dataset = datasets.ImageFolder(folder(tmp_path), transform=pipeline, target_transform=lambda label: label + 10)
    augmented = wrap(dataset, 2.0, classes=("HSIL", "NILM"))
    images, labels = next(iter(DataLoader(augmented, batch_size=15)))
    assert images.shape == (15, 3, 6, 6)
    assert images.dtype == torch.float32
    assert labels.tolist() == [10] * 3 + [11] * 2 + [10] * 6 + [11] * 4
    assert augmented.targets == [0] * 3 + [1] * 2 + [0] * 6 + [1] * 4
    assert images[5].unique().item() == pytest.approx(100 / 255)
    assert augmented.classes == dataset.classes
    assert augmented.class_to_idx == dataset.class_to_idx


def test_fake_data_in_subset_and_concat_just_works():
    from torchvision import datasets, transforms

    parts = [datasets.FakeData(6, (3, SIZE, SIZE), 2, transforms.ToTensor(), random_offset=k) for k in (0, 100)]
    dataset = Subset(ConcatDataset(parts), range(1, 11))
    augmented = wrap(dataset, {0: 2, 1: 2})
    assert augmented[12][0].shape == (3, SIZE, SIZE)
    assert augmented[12][0].unique().item() == pytest.approx(110 / 255)
    assert augmented.targets[:10] == [int(dataset[index][1]) for index in range(10)]
    assert augmented.classes == ["a", "b"]
    assert augmented.class_to_idx == {"a": 0, "b": 1}


Pair = namedtuple("Pair", ["picture", "grade"])
RGB = np.full((SIZE, SIZE, 3), 100, np.uint8)
ITEMS = {
    "PIL": (Image.fromarray(RGB), 0),
    "gray PIL": (Image.fromarray(RGB).convert("L"), 0),
    "RGBA PIL": (Image.fromarray(RGB).convert("RGBA"), 0),
    "array": [RGB, np.int16(0)],
    "gray array": (RGB[..., 0], np.array(0)),
    "gray array with channel": (RGB[..., :1], 0),
    "tensor": {"label": torch.tensor(0), "image": torch.from_numpy(RGB).permute(2, 0, 1)},
    "gray tensor": Pair(torch.from_numpy(RGB[..., 0])[None], "a"),
}


def described(item):
    keys = list(item) if isinstance(item, dict) else None
    values = [item["image"], item["label"]] if keys else list(item)
    modes = [value.mode for value in values if isinstance(value, Image.Image)]
    return type(item), keys, modes, [(type(v), getattr(v, "shape", None), getattr(v, "dtype", None)) for v in values]


@pytest.mark.parametrize("kind", ITEMS)
def test_synthetic_items_have_the_kind_of_the_real_ones(kind):
    item = ITEMS[kind]
    synthetic = wrap([item], {"a": 1})[1]
    assert described(synthetic) == described(item)
    assert np.asarray(synthetic["image"] if isinstance(item, dict) else synthetic[0]).flat[0] == 100


def test_images_of_several_kinds_are_warned_of():
    colour = Image.fromarray(pixels_of(0))
    items = [(colour.convert("L"), 0), (colour, 1), (colour, 0), (colour, 1)]
    with pytest.warns(UserWarning, match=r"item 1 is a PIL image of mode RGB, .* are a PIL image of mode L"):
        wrap(items)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrap(items, transform=lambda image: image.convert("RGB"))


@pytest.mark.parametrize("mode", ["P", "1"])
def test_synthetic_images_are_not_dithered(mode):
    gradient = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    dressed = ItemTemplate.of((Image.fromarray(gradient).convert(mode), 0)).dress(gradient)
    assert dressed.mode == mode
    found = np.asarray(dressed.convert("RGB")).astype(int)
    assert (found == found[:1]).all()  # dithering would differ from row to row
    if mode == "P":
        assert abs(found - gradient).mean() < 2


def test_tv_tensor_images_stay_tv_tensor_images():
    from torchvision import tv_tensors

    dataset = [(tv_tensors.Image(torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)), label) for label in (0, 1)]
    assert type(wrap(dataset)[2][0]) is tv_tensors.Image


def test_changing_a_synthetic_item_in_place_does_not_reach_the_store():
    augmented = wrap([(pixels_of(index), index % 2) for index in range(4)])
    augmented[5][0][:] = 0
    assert augmented[5][0].min() == 101


class Sample(Arrays):
    """Transforms called on the whole item, as in the PyTorch data tutorial."""

    def __getitem__(self, index):
        sample = {"image": self.data[index], "label": self.targets[index]}
        return self.transform(sample) if self.transform else sample


class Keyword(Arrays):
    """Transforms called by keyword, as albumentations wants it."""

    def __getitem__(self, index):
        return self.transform(image=self.data[index])["image"], self.targets[index]


def test_transforms_are_called_on_synthetic_items_as_on_real_ones():
    sample = wrap(
        Sample(transform=lambda item: {**item, "image": to_float(item["image"]), "label": item["label"] + 50})
    )
    assert sample[4]["label"] == 50
    assert sample[4]["image"].unique().item() == pytest.approx(100 / 255)
    keyword = wrap(Keyword(transform=lambda image: {"image": to_float(image)}))
    assert keyword[6][0].unique().item() == pytest.approx(110 / 255)


def test_a_transform_called_in_another_way_is_refused():
    class Masked(Arrays):
        def __getitem__(self, index):
            found = self.transform(image=self.data[index], mask=self.data[index])
            return found["image"], self.targets[index]

    with pytest.raises(DataError, match="`transform` is called in a way that cannot be repeated"):
        wrap(Masked(transform=dict))
    with pytest.raises(ConfigError, match="expected a callable as transform, got int"):
        wrap(Arrays(), transform=3)


def test_a_transform_that_replaces_the_stale_one_is_seen():
    from torchvision.datasets import FakeData

    dataset = FakeData(4, (3, SIZE, SIZE), 2, transform=to_float)
    augmented = wrap(dataset, {"a": 1})
    dataset.transform = lambda image: to_float(image) + 1
    assert augmented[4][0].unique().item() == pytest.approx(100 / 255 + 1)


def test_a_transform_that_is_set_where_none_was_is_refused_rather_than_left_out():
    dataset = Arrays()
    augmented = wrap(Subset(dataset, range(len(dataset))))
    last = augmented[len(augmented) - 1]
    dataset.transform = to_float
    with pytest.raises(DataError, match="`transform` of Arrays was set after `wrap`"):
        augmented[len(augmented) - 1]
    again = wrap(Subset(dataset, range(len(dataset))))
    assert again[len(again) - 1][0].dtype != np.asarray(last[0]).dtype


def test_the_argument_transform_comes_after_the_datasets_own_for_both_kinds():
    augmented = wrap(Arrays(transform=to_float), transform=lambda image: image.mean())
    assert augmented[0][0] == to_float(Image.fromarray(pixels_of(0))).mean()
    assert augmented[4][0].item() == pytest.approx(100 / 255)


def test_the_kind_of_the_raw_items_decides_about_refusal():
    class Normalised(Arrays):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return to_float(image), label

    with pytest.raises(DataError, match="item 0: expected uint8 images, got float32; pass the dataset without"):
        wrap(Normalised())
    with pytest.raises(DataError, match="item 0: expected items of an image and a label only, got 3 elements"):
        wrap([(PICTURE, 0, "path"), (PICTURE, 1, "path")])
    with pytest.raises(DataError, match="got an empty one"):
        wrap([])


def test_labels_that_start_at_3_keep_their_values():
    augmented = wrap(Arrays(labels=(3, 7, 3)), 1.0, label_values=(3, 7))
    assert augmented.targets == [3, 7, 3, 3, 3, 7]
    assert augmented[5][1] == 7


def test_labels_and_names_that_the_model_does_not_know_are_refused():
    with pytest.raises(DataError, match=r"item 3: expected a label of the model, which knows a \(0\), b \(1\), got 2"):
        wrap(Arrays(labels=(0, 1, 0, 2)))
    with pytest.raises(DataError, match="item 0: expected one of the classes 'a', 'b' as label, got 'c'"):
        wrap([(PICTURE, "c")])
    with pytest.raises(DataError, match="expected label 1 to be 'b' as in the model, got 'c'"):
        wrap(Named(["a", "c"]))


def test_name_labels_take_the_models_numbers():
    augmented = wrap([(PICTURE, "b"), (PICTURE, "b")], {"a": 1}, classes=("a", "b"))
    assert augmented.targets == [1, 1, 0]
    assert augmented[2][1] == "a"


def test_a_model_without_class_names_serves_a_dataset_that_has_them():
    assert len(wrap(Named(["x", "y"]), 1.0, classes=("0", "1"))) == 8


def test_different_sizes_warn_only_where_no_transform_unifies_them():
    def enlarge(image):
        return image.resize((20, 20))

    with pytest.warns(UserWarning, match=r"different sizes after all transforms \(12 x 12, 8 x 8; .* add a Resize"):
        wrap(Arrays(size=12))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrap(Arrays(size=12, transform=enlarge))
        wrap(Arrays(size=12), transform=enlarge)
        wrap(Arrays(size=12), strategy=0)


def test_parts_with_different_transforms_warn():
    parts = [Arrays(transform=to_float), Arrays()]
    with pytest.warns(UserWarning, match="different transforms"):
        wrap(ConcatDataset(parts))


def test_wrapping_leaves_global_random_state_alone():
    def jitter(image):
        size = 8 + random.randrange(2) + np.random.randint(2) + int(torch.randint(2, ()))  # noqa: NPY002
        return image.resize((size, size))

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrap(Arrays(size=12, transform=jitter))
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002


def batches(augmented, workers, context=None):
    loader = DataLoader(augmented, batch_size=3, num_workers=workers, multiprocessing_context=context)
    return [(images.tolist(), labels.tolist()) for images, labels in loader]


def test_a_worker_gives_the_items_of_the_main_process_through_its_transforms():
    augmented = wrap(Arrays(transform=to_float))
    assert batches(augmented, 2, "fork") == batches(augmented, 0)


def test_pickle_round_trip_gives_the_same_items():
    augmented = wrap(Arrays(transform=to_float))
    copied = pickle.loads(pickle.dumps(augmented))  # noqa: S301
    assert isinstance(copied, AugmentedDataset)
    assert batches(copied, 0) == batches(augmented, 0)
    copied.dataset.transform = None
    assert isinstance(copied[4][0], Image.Image)


def test_a_dataset_that_remembers_its_items_is_not_changed():
    class Remembering(Arrays):
        def __init__(self):
            super().__init__(transform=to_float)
            self.known = {}

        def __getitem__(self, index):
            if index not in self.known:
                self.known[index] = super().__getitem__(index)
            return self.known[index]

    dataset = Remembering()
    wrap(dataset)
    read_dataset(dataset)
    assert dataset.known == {}


def test_a_transform_that_is_called_twice_for_an_item_is_refused():
    class Twice(Arrays):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return self.transform(image), label

    with pytest.raises(DataError, match="called more than once for an item"):
        wrap(Twice(transform=lambda image: image))
