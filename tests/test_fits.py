"""Every kind of map-style dataset that people train with is read raw, and gets synthetic items of its own kind."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    StackDataset,
    Subset,
    TensorDataset,
    default_collate,
    random_split,
)
from torchvision import datasets, transforms, tv_tensors
from torchvision.transforms import v2

from syncgan import DataError, SynCGANAugmenter, SynCGANConfig
from syncgan.data.datasets import read_dataset, read_targets, wrap_dataset
from syncgan.data.raw import class_names

SIZE = 8
LABELS = [0, 1, 1, 0, 1, 0]
PIXELS = np.random.default_rng(0).integers(0, 256, (len(LABELS), SIZE, SIZE, 3), dtype=np.uint8)
GRAY = PIXELS[..., 0]
FLOAT = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


class Cifar(datasets.VisionDataset):
    """As torchvision's CIFAR10: arrays and a list in memory, PIL items, each transform called by itself."""

    def __init__(self, labels=LABELS, **hooks):
        super().__init__(None, **hooks)
        self.data, self.targets = PIXELS, list(labels)
        self.classes = ["benign", "malignant"]
        self.class_to_idx = {"benign": 0, "malignant": 1}

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image, label = self.raw(index)
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def raw(self, index):
        return Image.fromarray(self.data[index]), self.targets[index]


class Joint(Cifar):
    """As torchvision's detection sets: one call on image and label."""

    def __getitem__(self, index):
        return self.raw(index) if self.transforms is None else self.transforms(*self.raw(index))


class Mnist(Cifar):
    """As torchvision's MNIST: gray, tensors in memory, `class_to_idx` that is computed."""

    classes = property(lambda self: ["0 - zero", "1 - one"], lambda self, value: None)
    class_to_idx = property(lambda self: {name: i for i, name in enumerate(self.classes)}, lambda self, value: None)

    def __init__(self, **hooks):
        super().__init__(**hooks)
        self.data, self.targets = torch.from_numpy(GRAY), torch.tensor(LABELS)

    def raw(self, index):
        return Image.fromarray(self.data[index].numpy()), int(self.targets[index])


class Svhn(Cifar):
    """As torchvision's SVHN: channels first, labels as an array under another name."""

    def __init__(self, **hooks):
        super().__init__(**hooks)
        self.data, self.labels = PIXELS.transpose(0, 3, 1, 2), np.array(self.__dict__.pop("targets"))

    def raw(self, index):
        return Image.fromarray(self.data[index].transpose(1, 2, 0)), int(self.labels[index])


class MedMnist(Dataset):
    """As MedMNIST: labels of shape (N, 1), and (1,) in an item."""

    def __init__(self, transform=None):
        self.imgs, self.labels = PIXELS, np.array(LABELS, np.uint8)[:, None]
        self.transform, self.target_transform = transform, None

    def __len__(self):
        return len(self.imgs)

    def __getitem__(self, index):
        image = Image.fromarray(self.imgs[index])
        return image if self.transform is None else self.transform(image), self.labels[index].astype(int)


class Table(Dataset):
    """As in the PyTorch tutorial on datasets: a table of names and labels, uint8 tensors from files."""

    def __init__(self, transform=None, target_transform=None):
        self.img_labels = list(csv.reader(f"{index}.png,{label}" for index, label in enumerate(LABELS)))
        self.transform, self.target_transform = transform, target_transform

    def __len__(self):
        return len(self.img_labels)

    def __getitem__(self, index):
        image, label = torch.from_numpy(PIXELS[index]).permute(2, 0, 1), np.int64(self.img_labels[index][1])
        if self.transform:
            image = self.transform(image)
        if self.target_transform:
            label = self.target_transform(label)
        return image, label


class Dicts(Dataset):
    """As MONAI's: dicts, and a transform of the whole item."""

    def __init__(self, transform=None):
        self.data, self.transform = (
            [{"image": p, "label": label} for p, label in zip(PIXELS, LABELS, strict=True)],
            transform,
        )

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index] if self.transform is None else self.transform(self.data[index])


class Pairs(Cifar):
    """As torchvision's v2 guide: `transform` on (image, label), in one argument or two."""

    def __init__(self, *, starred, **hooks):
        super().__init__(**hooks)
        self.starred = starred

    def __getitem__(self, index):
        pair = tv_tensors.Image(torch.from_numpy(PIXELS[index]).permute(2, 0, 1)), self.targets[index]
        if self.transform is None:
            return pair
        return self.transform(*pair) if self.starred else self.transform(pair)


class Transformed(Dataset):
    """As many write it after `random_split`: a transform around a part of a dataset."""

    def __init__(self, subset, transform=None):
        self.subset, self.transform = subset, transform

    def __len__(self):
        return len(self.subset)

    def __getitem__(self, index):
        image, label = self.subset[index]
        return image if self.transform is None else self.transform(image), label


def colour_tensors():
    return torch.from_numpy(PIXELS).permute(0, 3, 1, 2)


def scaled(item):
    return {**item, "image": item["image"] / 255}


MNIST_WAY = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
SHRINK = v2.Compose([FLOAT, v2.Resize(5)])
KINDS = {
    "CIFAR10": lambda: Cifar(transform=FLOAT, target_transform=float),
    "CIFAR10 without transform": lambda: Cifar(),
    "subset of a subset": lambda: Subset(Subset(Cifar(transform=FLOAT), [5, 4, 3, 2, 1]), [3, 0, 2]),
    "random_split": lambda: random_split(Cifar(transform=FLOAT), [4, 2])[0],
    "concatenated subsets": lambda: ConcatDataset([Subset(Cifar(transform=FLOAT), part) for part in ([4, 0], [1])]),
    "a transform around a subset": lambda: Transformed(Subset(Cifar(), [1, 0, 3, 4]), FLOAT),
    "MNIST": lambda: Mnist(transform=MNIST_WAY),
    "a subset of MNIST": lambda: Subset(Mnist(transform=MNIST_WAY), [5, 1]),
    "SVHN": lambda: Svhn(transform=FLOAT),
    "MedMNIST": lambda: MedMnist(transform=FLOAT),
    "a table": lambda: Table(transform=v2.ToDtype(torch.float32, scale=True), target_transform=int),
    "TensorDataset": lambda: TensorDataset(colour_tensors(), torch.tensor(LABELS)),
    "TensorDataset (N, 1, H, W)": lambda: TensorDataset(torch.from_numpy(GRAY)[:, None], torch.tensor(LABELS)),
    "TensorDataset (N, H, W)": lambda: TensorDataset(torch.from_numpy(GRAY), torch.tensor(LABELS)),
    "StackDataset": lambda: StackDataset(list(PIXELS), LABELS),
    "StackDataset with names": lambda: StackDataset(image=list(PIXELS), label=LABELS),
    "MONAI": lambda: Dicts(transform=scaled),
    "v2 on image and label": lambda: Joint(transforms=SHRINK),
    "transform and target_transform as one": lambda: Joint(transform=FLOAT, target_transform=float),
    "v2 on one pair": lambda: Pairs(starred=False, transform=SHRINK),
    "v2 on two arguments": lambda: Pairs(starred=True, transform=SHRINK),
}


def render(label, numbers):
    """Give the images of a class one gray."""
    count = len(numbers)
    images = np.full((count, 3, SIZE, SIZE), 100 + 10 * label, np.uint8)
    return images, np.zeros((count, SIZE, SIZE), np.uint8), {}


def wrap(dataset, strategy=1.0, names=None):
    names = names or class_names(dataset) or {0: "a", 1: "b"}
    return wrap_dataset(
        dataset, classes=tuple(names.values()), label_values=tuple(names), render=render, strategy=strategy, seed=5
    )


def described(value):
    """Return what a loop could notice of an item, save the pixels' and the label's values."""
    if isinstance(value, dict):
        return {key: described(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value), [described(part) for part in value]
    if isinstance(value, Image.Image):
        return value.mode, value.size
    return type(value), getattr(value, "shape", None), getattr(value, "dtype", None)


def gray_of(image):
    """Return the one gray of a synthetic image, before or after a transform."""
    values = np.asarray(image)
    assert np.ptp(values) == pytest.approx(0, abs=1e-6)
    return values.flat[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataset_of_every_kind_is_read_raw(kind):
    dataset = KINDS[kind]()
    raw = read_dataset(dataset)
    position = {item.tobytes(): i for i, item in enumerate(PIXELS)}
    position |= {np.repeat(item[..., None], 3, axis=2).tobytes(): i for i, item in enumerate(GRAY)}
    assert raw.labels == [LABELS[position[image.tobytes()]] for image in raw.images]
    assert read_targets(dataset) == raw.labels


@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_items_of_a_dataset_of_every_kind_are_like_the_real_ones(kind):
    dataset = KINDS[kind]()
    augmented = wrap(dataset)
    real = len(dataset)
    assert len(augmented) == 2 * real
    for index in range(real, 2 * real):
        assert described(augmented[index]) == described(dataset[0])
    if isinstance(dataset[0], tuple) and not isinstance(dataset[0][0], Image.Image):
        images, labels = next(iter(DataLoader(augmented, batch_size=2 * real)))
        assert len(images) == 2 * real
        assert labels.flatten().tolist() == augmented.targets


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (lambda: Cifar(transform=FLOAT), 110 / 255),
        (lambda: Mnist(transform=MNIST_WAY), (110 / 255 - 0.1307) / 0.3081),
        (lambda: Joint(transforms=SHRINK), 110 / 255),
        (lambda: Transformed(Subset(Cifar(), [1, 0]), FLOAT), 110 / 255),
        (lambda: Dicts(transform=scaled), 110 / 255),
        (lambda: TensorDataset(torch.from_numpy(GRAY), torch.tensor(LABELS)), 110),
    ],
    ids=["each", "gray", "joint", "around", "item", "none"],
)
def test_the_transform_is_applied_to_synthetic_images_once(dataset, expected):
    item = wrap(dataset(), strategy={1: 1})[-1]
    image, label = (item["image"], item["label"]) if isinstance(item, dict) else item
    assert label == 1
    assert gray_of(image) == pytest.approx(expected, abs=1e-5)


def test_files_that_a_loader_of_ones_own_reads_are_wrapped(tmp_path):
    for name in ("benign", "malignant"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "0.npy", PIXELS[0])
    dataset = datasets.DatasetFolder(tmp_path, loader=np.load, extensions=(".npy",), transform=FLOAT)
    assert read_dataset(dataset).names == ["benign/0.npy", "malignant/0.npy"]
    assert described(wrap(dataset)[3]) == described(dataset[1])


def test_labels_with_gaps_keep_their_names():
    class Letters(Cifar):
        """As EMNIST's letters: a class that never occurs, and labels from 1."""

        def __init__(self):
            super().__init__([label + 1 for label in LABELS])
            self.classes = ["N/A", "a", "b"]
            del self.class_to_idx

    assert read_dataset(Letters()).class_names == {1: "a", 2: "b"}
    augmented = wrap(Letters(), {"b": 2})
    assert augmented.targets[-2:] == [2, 2]
    assert [augmented.classes[label] for label in augmented.targets[-2:]] == ["b", "b"]
    assert augmented.class_to_idx == {"N/A": 0, "a": 1, "b": 2}


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([(PIXELS[0], 0)])


class Hidden(Cifar):
    """Keeps its transform where nobody looks."""

    def __getitem__(self, index):
        return FLOAT(super().__getitem__(index)[0]), self.targets[index]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (lambda: TensorDataset(colour_tensors() / 255, torch.tensor(LABELS)), "item 0: .* uint8 .* float32; pass the"),
        (Hidden, "item 0: expected uint8 images, got float32; pass the dataset without its transform"),
        (lambda: TensorDataset(torch.from_numpy(PIXELS), torch.tensor(LABELS)), r"\(8, 8, 3\); put RGB channels first"),
        (lambda: TensorDataset(colour_tensors(), torch.eye(2)[LABELS]), r"shape \(2,\); .* yield class indices"),
        (Stream, r"got the iterable Stream; pass list\(dataset\)"),
        (lambda: ChainDataset([Stream()]), r"got the iterable ChainDataset; pass list\(dataset\)"),
        (lambda: (item for item in Cifar()), r"got the iterable generator; pass list\(dataset\)"),
        (lambda: {"train": Cifar(), "test": Cifar()}, "got the mapping dict with 'train', 'test'; pass one of its"),
    ],
    ids=["floats", "hidden transform", "channels last", "one-hot", "iterable", "chain", "generator", "splits"],
)
def test_what_cannot_be_read_is_refused_with_the_remedy(dataset, message):
    with pytest.raises(DataError, match=message):
        read_dataset(dataset())
    with pytest.raises(DataError, match=message):
        wrap(dataset(), names={0: "benign", 1: "malignant"})


# --- one real fit for each kind of label ------------------------------------------------------------------------------


def smears(mode="RGB"):
    from syncgan import Phantom

    return [Phantom(4, image_size=32)[index][0].convert(mode) for index in range(8)]


def fitted(dataset):
    few = ["mask_gan.warm_start_steps=0", "mask_gan.steps=2", "image_gan.steps=2", "filters.mask_plausibility=false"]
    return SynCGANAugmenter(SynCGANConfig.preset("tiny").updated(few), device="cpu").fit(dataset)


def test_labels_with_gaps_go_through_fit_wrap_and_batch_transform():
    dataset = Transformed([(image, 3 if index < 4 else 7) for index, image in enumerate(smears())], FLOAT)
    augmenter = fitted(random_split(dataset, [6, 2], generator=torch.Generator().manual_seed(0))[0])
    assert augmenter.label_values_ == (3, 7)
    augmented = augmenter.wrap(dataset, strategy={3: 2, 7: 1})
    mix = augmenter.batch_transform(p=1.0, transform=v2.ToDtype(torch.float32, scale=True))
    for images, labels in DataLoader(augmented, batch_size=11):
        mixed, same = mix(images, labels)
        assert same.tolist() == [3] * 4 + [7] * 4 + [3, 3, 7]
        assert mixed.shape == (11, 3, 32, 32)
        assert not (mixed == images).flatten(1).all(dim=1).any()


def test_gray_images_with_names_go_through_fit_and_wrap():
    dataset = [(image, "LSIL" if index < 4 else "HSIL") for index, image in enumerate(smears("L"))]
    augmenter = fitted(dataset)
    assert augmenter.classes_ == ("HSIL", "LSIL")
    augmented = augmenter.wrap(dataset, strategy={"LSIL": 1, "HSIL": 1})
    assert [augmented[index][1] for index in (8, 9)] == ["HSIL", "LSIL"]
    assert {augmented[index][0].mode for index in (0, 8, 9)} == {"L"}
    batch = default_collate(
        [(v2.functional.pil_to_tensor(image), augmented.targets[i]) for i, (image, _) in enumerate(augmented)]
    )
    mixed, _ = augmenter.batch_transform(p=1.0)(*batch)
    assert mixed.shape == (10, 1, 32, 32)
