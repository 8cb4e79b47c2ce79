"""What users of imbalanced-learn and of Hugging Face datasets know works with syncgan as it is."""

import importlib.util
import pickle
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset

from syncgan import ConfigError, DataError, Phantom, SynCGANAugmenter, SynCGANConfig, UnknownNameError
from syncgan.bridges import SynCGANSampler
from syncgan.data.datasets import read_dataset, read_targets, wrap_dataset

needs_imblearn = pytest.mark.skipif(
    importlib.util.find_spec("imblearn") is None, reason="the extra `imbalanced` is not installed"
)
needs_datasets = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="Hugging Face `datasets` is not installed"
)

FEW = ["mask_gan.warm_start_steps=0", "mask_gan.steps=2", "image_gan.steps=2", "filters.mask_plausibility=false"]
CONFIG = SynCGANConfig.preset("tiny").updated(FEW)
PHANTOM = Phantom(5, image_size=32)
X = np.stack([PHANTOM.image(index) for index in range(8)])  # 5 benign, 3 malignant
Y = np.array(PHANTOM.targets[:8])
NAMES = np.array(PHANTOM.classes)[Y]


@pytest.fixture(scope="module")
def augmenter():
    return SynCGANAugmenter(CONFIG, device="cpu").fit(list(zip(X, Y, strict=True)))


# --- imbalanced-learn ------------------------------------------------------------------------------------------------


@needs_imblearn
def test_real_images_come_first_and_untouched_then_synthetic_ones_until_classes_are_equal():
    sampler = SynCGANSampler(random_state=3, config=CONFIG, device="cpu")
    images, labels = sampler.fit_resample(X, NAMES)
    np.testing.assert_array_equal(images[:8], X)
    assert labels.tolist() == [*NAMES, "malignant", "malignant"]
    assert sampler.is_synthetic_.tolist() == [False] * 8 + [True] * 2
    assert sampler.sampling_strategy_ == {"malignant": 2}
    same = SynCGANAugmenter(CONFIG, device="cpu", seed=3).fit(list(zip(X, NAMES.tolist(), strict=True)))
    np.testing.assert_array_equal(images[8:], same.sample("malignant", 2, seed=3).images.permute(0, 2, 3, 1))
    np.testing.assert_array_equal(
        images[8:], sampler.augmenter_.sample("malignant", 2, seed=3).images.permute(0, 2, 3, 1)
    )


@needs_imblearn
@pytest.mark.parametrize(
    "strategy",
    ["auto", "minority", "not minority", "not majority", "all", 0.8, {0: 6, 1: 4}, lambda y: {1: len(y)}],
    ids=["auto", "minority", "not minority", "not majority", "all", "share", "counts", "function"],
)
@pytest.mark.filterwarnings("ignore:After over-sampling:UserWarning")
def test_a_strategy_gives_the_counts_that_imbalanced_learns_own_sampler_gives(strategy, augmenter):
    from imblearn.over_sampling import RandomOverSampler

    own = RandomOverSampler(sampling_strategy=strategy).fit_resample(Y[:, None], Y)[1]
    sampler = SynCGANSampler(sampling_strategy=strategy, random_state=0, augmenter=augmenter)
    assert Counter(sampler.fit_resample(X, Y)[1].tolist()) == Counter(own.tolist())
    assert sampler.augmenter_ is augmenter


@needs_imblearn
@pytest.mark.parametrize("shape", [(8, 20, 28), (8, 20, 28, 1), (8, 20, 28, 3)])
def test_synthetic_images_take_the_shape_of_the_real_ones(shape, augmenter):
    images, _ = SynCGANSampler(random_state=0, augmenter=augmenter).fit_resample(np.zeros(shape, np.uint8), Y)
    assert images.shape == (10, *shape[1:])
    assert images.dtype == np.uint8
    assert images[8:].std() > 0


@needs_imblearn
def test_one_seed_one_result_and_no_seed_another_each_time(augmenter):
    def drawn(random_state):
        sampler = SynCGANSampler(random_state=random_state, augmenter=augmenter, sampling_strategy={1: 6})
        return sampler.fit_resample(X, Y)[0][8:].tobytes(), sampler.seed_

    assert drawn(7) == drawn(np.int64(7))
    assert drawn(np.random.RandomState(0)) == drawn(np.random.RandomState(0))
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    pixels, seed = drawn(None)
    assert drawn(None)[1] != seed
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert drawn(seed)[0] == pixels


def flattened(images):
    return images.reshape(len(images), -1) / 255


@needs_imblearn
def test_in_a_pipeline_each_fold_learns_from_its_training_part_alone(monkeypatch):
    from imblearn.pipeline import make_pipeline
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.preprocessing import FunctionTransformer

    seen = []
    fit = SynCGANAugmenter.fit

    def watched(self, dataset, **options):
        seen.append({image.tobytes() for image, _ in dataset})
        return fit(self, dataset, **options)

    monkeypatch.setattr(SynCGANAugmenter, "fit", watched)
    sampler = SynCGANSampler(random_state=0, config=CONFIG, device="cpu", sampling_strategy="not majority")
    pipeline = make_pipeline(sampler, FunctionTransformer(flattened), DummyClassifier())
    images, labels = np.concatenate([X, X[:5] ^ 1]), np.concatenate([NAMES, NAMES[:5]])  # 10 benign, 3 malignant
    folds = StratifiedKFold(3).split(images, labels)
    folds = [(train, test) for train, test in folds]
    scores = cross_val_score(pipeline, images, labels, cv=folds[:2], error_score="raise")
    assert len(scores) == 2
    assert seen == [{image.tobytes() for image in images[train]} for train, _ in folds[:2]]
    assert pipeline.fit(X, NAMES).predict(X[:3]).shape == (3,)


@needs_imblearn
def test_nothing_is_learned_where_no_class_needs_images():
    sampler = SynCGANSampler(config=CONFIG, random_state=0)
    images, labels = sampler.fit_resample(X[2:], Y[2:])
    np.testing.assert_array_equal(images, X[2:])
    np.testing.assert_array_equal(labels, Y[2:])
    assert sampler.augmenter_ is None
    assert not sampler.is_synthetic_.any()


@needs_imblearn
def test_a_sampler_is_an_estimator_of_scikit_learn(augmenter):
    from sklearn.base import clone

    sampler = SynCGANSampler(sampling_strategy={1: 6}, random_state=1, config=CONFIG, device="cpu", augmenter=augmenter)
    copied = clone(sampler)
    assert copied.get_params().keys() == {"sampling_strategy", "random_state", "config", "device", "augmenter"}
    assert copied.set_params(random_state=2).random_state == 2
    for one, other in zip(
        sampler.fit_resample(X, Y), copied.set_params(random_state=1).fit_resample(X, Y), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert pickle.loads(pickle.dumps(copied)).seed_ == 1  # noqa: S301


@needs_imblearn
@pytest.mark.parametrize(
    ("changes", "arguments", "error", "message"),
    [
        ({"sampling_strategy": "most"}, (X, Y), ConfigError, "sampling_strategy: .* needs to be one of"),
        ({"sampling_strategy": {0: 2}}, (X, Y), ConfigError, "sampling_strategy: .* greater or equal to the original"),
        ({"random_state": "x"}, (X, Y), ConfigError, "expected an integer, a RandomState or None as random_state"),
        ({}, (X / 255, Y), DataError, r"got float64 \(8, 32, 32, 3\); reshape flattened images"),
        ({}, (X.reshape(8, -1), Y), DataError, r"got uint8 \(8, 3072\)"),
        ({}, (X.transpose(0, 3, 1, 2), Y), DataError, r"expected X as uint8 images \(N, H, W, 3\) or \(N, H, W\)"),
        ({}, (X, Y[:-1]), DataError, r"one label an image, got y of shape \(7,\) for 8 images"),
        ({}, (X, np.where(Y, 9, 0)), UnknownNameError, "unknown class 9: the model knows 0"),
    ],
)
def test_what_a_sampler_cannot_use_is_refused(changes, arguments, error, message, augmenter):
    with pytest.raises(error, match=message):
        SynCGANSampler(**{"random_state": 0, "augmenter": augmenter, **changes}).fit_resample(*arguments)


def test_without_imbalanced_learn_the_sampler_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "imblearn.utils", None)
    monkeypatch.setitem(sys.modules, "imblearn", None)
    sampler = SynCGANSampler(random_state=0)
    with pytest.raises(ConfigError, match=r"pip install 'syncgan\[imbalanced\]'"):
        sampler.fit_resample(X, Y)


# --- Hugging Face datasets -------------------------------------------------------------------------------------------

GRAYS = [0, 10, 20, 30]


def hub_dataset(size=8, labels=(0, 1, 0, 1), **columns):
    from datasets import ClassLabel, Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = {"image": ImageFeature(), "label": ClassLabel(names=["benign", "malignant"])}
    features |= {name: Value("string") for name in columns}
    images = [Image.fromarray(np.full((size, size, 3), gray, np.uint8)) for gray in GRAYS]
    return Dataset.from_dict({"image": images, "label": list(labels), **columns}, features=Features(features))


def render(label, numbers):
    """Give the images of a class one gray."""
    count = len(numbers)
    return np.full((count, 3, 8, 8), 100 + 10 * label, np.uint8), np.zeros((count, 8, 8), np.uint8), {}


def wrap(dataset, strategy=1.0):
    return wrap_dataset(
        dataset, classes=("benign", "malignant"), label_values=(0, 1), render=render, strategy=strategy, seed=5
    )


def as_floats(rows):
    images = [torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 for image in rows["image"]]
    return {"image": images, "label": rows["label"]}


def as_model_inputs(rows):
    return {"pixel_values": as_floats(rows)["image"], "labels": rows["label"]}


@needs_datasets
def test_a_hugging_face_dataset_goes_through_fit_and_wrap():
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    rows = {"image": [Image.fromarray(image) for image in X], "label": Y.tolist()}
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=PHANTOM.classes)})
    dataset = Dataset.from_dict(rows, features=features).with_transform(as_floats)
    augmenter = SynCGANAugmenter(CONFIG, device="cpu").fit(dataset)
    assert augmenter.classes_ == ("benign", "malignant")
    augmented = augmenter.wrap(dataset, strategy="balance")
    assert augmented.classes == ["benign", "malignant"]
    batch = next(iter(DataLoader(augmented, batch_size=10)))
    assert batch["image"].shape == (10, 3, 32, 32)
    assert batch["label"].tolist() == [*Y, 1, 1]
    expected = augmenter.sample(1, 2, seed=0).images / 255
    torch.testing.assert_close(batch["image"][8:], torch.as_tensor(expected, dtype=torch.float32), check_dtype=False)


@needs_datasets
def test_rows_are_read_raw_with_the_names_of_their_labels():
    dataset = hub_dataset(patient=list("pqrs"))
    dataset.set_transform(as_floats)
    raw = read_dataset(dataset)
    assert [image[0, 0, 0] for image in raw.images] == GRAYS
    assert raw.labels == [0, 1, 0, 1]
    assert raw.classes == ("benign", "malignant")
    assert torch.is_tensor(dataset[0]["image"])


@needs_datasets
def test_labels_are_read_without_decoding_more_than_one_image_a_label(monkeypatch):
    from datasets import Image as ImageFeature

    dataset = hub_dataset()
    decoded = []
    decode = ImageFeature.decode_example
    monkeypatch.setattr(ImageFeature, "decode_example", lambda *args, **kw: decoded.append(1) or decode(*args, **kw))
    assert read_targets(dataset.select([3, 2, 0])) == [1, 0, 0]
    assert read_targets(Subset(dataset, [1, 0])) == [1, 0]
    assert len(decoded) == 4


@needs_datasets
def test_synthetic_rows_pass_through_the_transform_that_is_set():
    dataset = hub_dataset()
    dataset.set_transform(as_model_inputs)
    augmented = pickle.loads(pickle.dumps(wrap(dataset, {"malignant": 2})))  # noqa: S301
    assert list(augmented[5]) == list(augmented[0]) == ["pixel_values", "labels"]
    assert augmented[5]["pixel_values"].unique().item() == pytest.approx(110 / 255)
    assert [augmented[index]["labels"] for index in range(6)] == [0, 1, 0, 1, 1, 1]


@needs_datasets
def test_a_transform_of_some_columns_leaves_the_others():
    dataset = hub_dataset()
    dataset.set_transform(
        lambda rows: {"image": [np.asarray(image)[:4] for image in rows["image"]]},
        columns=["image"],
        output_all_columns=True,
    )
    augmented = wrap(dataset, {"malignant": 1})
    assert augmented[4]["image"].shape == augmented[0]["image"].shape == (4, 8, 3)
    assert augmented[4]["label"] == 1


@needs_datasets
def test_a_transform_that_is_exchanged_later_counts_for_both_kinds():
    dataset = hub_dataset()
    dataset.set_transform(as_floats)
    augmented = wrap(dataset)
    dataset.set_transform(as_model_inputs)
    assert list(augmented[4]) == list(augmented[0]) == ["pixel_values", "labels"]
    dataset.reset_format()
    assert isinstance(augmented[4]["image"], Image.Image)
    assert isinstance(augmented[0]["image"], Image.Image)


@needs_datasets
@pytest.mark.parametrize(
    ("kind", "image", "label"), [("torch", torch.Tensor, torch.Tensor), ("numpy", np.ndarray, np.int64)]
)
def test_formats_of_arrays_are_kept(kind, image, label):
    augmented = wrap(hub_dataset().with_format(kind))
    real, synthetic = augmented[0], augmented[7]
    assert isinstance(synthetic["image"], image)
    assert isinstance(synthetic["label"], label)
    assert synthetic["image"].shape == real["image"].shape
    assert (real["label"].dtype, int(synthetic["label"])) == (synthetic["label"].dtype, 1)


@needs_datasets
def test_sizes_that_differ_do_not_matter_where_the_transform_renames_the_image():
    assert len(wrap(hub_dataset(size=12).with_transform(as_model_inputs))) == 8


@needs_datasets
def test_columns_and_splits_that_cannot_be_used_are_refused_with_the_remedy():
    from datasets import DatasetDict

    with pytest.raises(DataError, match=r"got the keys 'image', 'label', 'patient': .* select only these two columns"):
        wrap(hub_dataset(patient=list("pqrs")))
    assert len(wrap(hub_dataset(patient=list("pqrs")).select_columns(["image", "label"]))) == 8
    with pytest.raises(DataError, match="the keys 'image' and 'label', got 'img', 'label'; rename them"):
        read_dataset(hub_dataset().rename_column("image", "img"))
    with pytest.raises(DataError, match="got the mapping DatasetDict with 'train'; pass one of its datasets"):
        read_dataset(DatasetDict({"train": hub_dataset()}))
    with pytest.raises(DataError, match=r"got the iterable IterableDataset; pass list\(dataset\)"):
        read_dataset(hub_dataset().to_iterable_dataset())
    with pytest.raises(DataError, match=r"item 1: expected a label of the dataset's classes \(0..1\), got -1"):
        read_dataset(hub_dataset(labels=(0, -1, 0, 1)))


@needs_datasets
def test_an_export_is_read_back_by_imagefolder_with_labels_and_metadata(tmp_path, augmenter, monkeypatch):
    from datasets import load_dataset

    monkeypatch.setattr("socket.socket.connect", None)  # nothing is fetched
    summary = augmenter.export(tmp_path / "synthetic", {"0": 2, "1": 1}, seed=4)
    rows = load_dataset("imagefolder", data_dir=str(summary.folder / "images"), cache_dir=str(tmp_path / "cache"))[
        "train"
    ]
    samples = [augmenter.sample(label, count, seed=4) for label, count in ((0, 2), (1, 1))]
    images = torch.cat([part.images for part in samples]).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(np.stack([np.asarray(row["image"]) for row in rows]), images)
    assert rows["label"][:] == [0, 0, 1]
    assert rows["class"][:] == ["0", "0", "1"]
    assert set(rows["seed"]) == {4}
    masks = [np.asarray(Image.open(summary.folder / "images" / path)) for path in rows["mask"]]
    assert np.stack(masks).shape == (3, 32, 32)
    assert len(augmenter.wrap(rows.select_columns(["image", "label"]), 1.0)) == 6
