import itertools
import re
import threading
from functools import partial

import numpy as np
import pytest
import torch
from skimage import measure
from torch import nn

from syncgan import ContractError, UnknownNameError
from syncgan.registry import DISCRIMINATORS, IMAGE_GENERATORS, MASK_GENERATORS, SAMPLE_FILTERS, SEGMENTERS
from syncgan.testing import (
    Rule,
    check_discriminator,
    check_image_generator,
    check_mask_generator,
    check_segmenter,
    discriminator_rules,
    image_generator_rules,
    mask_generator_rules,
    sample_filter_rules,
    segmenter_rules,
)

# --- every built-in, rule by rule ------------------------------------------------------------------------------------

CONTRACTS = (
    (SEGMENTERS, segmenter_rules),
    (MASK_GENERATORS, mask_generator_rules),
    (IMAGE_GENERATORS, image_generator_rules),
    (DISCRIMINATORS, discriminator_rules),
    (SAMPLE_FILTERS, partial(sample_filter_rules, levels=3)),
)


def rules_of_builtins():
    for registry, rules_of in CONTRACTS:
        for row in registry.describe():
            if row.origin == "built-in":
                for rule in rules_of(row.name):
                    yield pytest.param(rule, id=f"{row.registry} {row.name}: {rule}")


@pytest.mark.parametrize("rule", list(rules_of_builtins()))
def test_a_built_in_keeps_its_contract(rule):
    rule()


def test_a_broken_rule_is_named_and_the_others_are_not():
    broken = []
    for rule in segmenter_rules(lambda image: dark(image) | True):
        try:
            rule()
        except ContractError as error:
            broken.append(str(error).rpartition("(rule: ")[2].rstrip(")"))
    assert broken == ["background is no nucleus"]


def test_a_rule_that_cannot_be_tried_names_the_one_that_is_broken_before_it():
    first, *_, last = segmenter_rules(lambda image: None)
    for rule in (first, last):
        with pytest.raises(ContractError, match=rf"\(rule: {re.escape(str(first))}\)$"):
            rule()


def test_a_rule_lets_other_errors_through():
    def unknown():
        raise UnknownNameError("no such thing")

    with pytest.raises(UnknownNameError, match=r"^no such thing$"):
        Rule("anything", unknown)()


# --- segmenters ------------------------------------------------------------------------------------------------------


def dark(image):
    return image.mean(axis=2) < 120


def with_levels(levels, highest):
    def semantic(image):
        return np.where(image.mean(axis=2) < 120, highest, 0)

    semantic.levels = levels
    return semantic


class Threshold:
    def __init__(self, limit=100):
        self.limit = limit

    def __call__(self, image):
        return (image[..., 0] < self.limit).astype(np.uint8) * 255


def instances(image):
    return measure.label(dark(image))


def local_function(limit):
    return lambda image: image[..., 1] < limit


@pytest.mark.parametrize(
    "segmenter",
    [
        dark,
        Threshold,
        Threshold(80),
        local_function(90),
        instances,
        with_levels(3, 2),
        with_levels(4, 2),  # levels that do not occur
        lambda image: np.zeros(image.shape[:2], bool),
    ],
)
def test_segmenters_that_keep_the_contract_pass(segmenter):
    check_segmenter(segmenter)


def test_parameters_reach_the_segmenter():
    check_segmenter(Threshold, limit=30)


def changes_its_input(image):
    image[...] = 0
    return image[..., 0]


def writes_back(image):
    """Leave no trace, but need an array that can be written into."""
    image[0, 0] = image[0, 0]
    return dark(image)


_calls = itertools.count()


def changes_its_mind(image):
    return np.full(image.shape[:2], next(_calls) % 2, np.uint8)


class Remembers:
    """Compares each image with the darkest that it has seen."""

    def __init__(self):
        self.darkest = 255.0

    def __call__(self, image):
        self.darkest = min(self.darkest, float(image.mean()))
        return image.mean(axis=2) < self.darkest


class Locked(Threshold):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Forgetful(Threshold):
    def __getstate__(self):
        return {"limit": 0}


class OddLevels(Threshold):
    levels = "3"


def darkest_fifth(image):
    return image[..., 0] <= np.percentile(image[..., 0], 20)


@pytest.mark.parametrize(
    ("segmenter", "message"),
    [
        (lambda image: image[..., 0] / 255, r"returned float64; .*threshold probabilities"),
        (lambda image: image[..., 0] * np.nan, "returned float64 with NaN"),
        (lambda image: image, r"returned shape \(64, 64, 3\) for an image of 64 x 64.*channels were kept"),
        (lambda image: np.moveaxis(image, 2, 0), r"returned shape \(3, 64, 64\).*channels were kept"),
        (lambda image: dark(image)[..., None], r"returned shape \(64, 64, 1\).*drop the last axis"),
        (lambda image: dark(image)[None], r"returned shape \(1, 64, 64\).*drop the first axis"),
        (lambda image: dark(image).T, r"a smear of 40 rows and 64 columns: .*shape \(64, 40\).*looks transposed"),
        (lambda image: dark(image)[::2, ::2], r"returned shape \(32, 32\).*one value a pixel \(rule"),
        (lambda image: dark(image) * -1, "negative values"),
        (lambda image: None, "returned NoneType.*is there a `return` missing"),
        (lambda image: {"mask": dark(image)}, "returned dict"),
        (lambda image: torch.from_numpy(dark(image)), r"returned a torch.Tensor; .*cpu\(\).numpy\(\)"),
        (with_levels(2, 2), r"levels = 2 but returned the value 2"),
        (OddLevels, r"declares levels = '3'; expected an integer in 2\.\.256"),
        (lambda image: ~dark(image), r"64 x 64: .*calls \d+% of the background nucleus; .*looks inverted"),
        (lambda image: instances(image) + 1, "calls 100% of the background nucleus; background must be 0"),
        (darkest_fifth, "one colour: .*calls 100% of the background.*where there is no contrast"),
        (lambda image: np.linalg.inv(image[..., 0] * 0.0) > 0, "raised LinAlgError: Singular matrix.*empty mask"),
        (lambda image: dark(image) & (image[..., 0] > image[1, 1, 0]), "one pixel: .*raised IndexError"),
        (changes_its_input, "changed the image it was given; copy it first"),
        (writes_back, "in a read-only array: .*raised ValueError: .*read-only.*copy the image before writing into it"),
        (changes_its_mind, "gave two masks for one image; fix its seed"),
        (Remembers, "gave another mask after other images"),
        (Locked, r"cannot be sent to another process \(TypeError: .*lock.*__getstate__"),
        (Forgetful, "a copy of segmenter .* gives another mask"),
    ],
)
def test_what_a_segmenter_does_wrong_is_said(segmenter, message):
    with pytest.raises(ContractError, match=message):
        check_segmenter(segmenter)


def test_an_unknown_segmenter_stays_an_unknown_name():
    with pytest.raises(UnknownNameError, match="gnm"):
        check_segmenter("gnm")


# --- mask generators -------------------------------------------------------------------------------------------------


class Upscaler(nn.Module):
    """The smallest network that keeps the contract of a mask generator."""

    noise_shape = (4,)

    def __init__(self, levels, resolution):
        super().__init__()
        self.linear = nn.Linear(4, levels * resolution**2)
        self.shape = (levels, resolution, resolution)

    def forward(self, noise, label=None):
        return self.linear(noise).unflatten(1, self.shape)


class Deaf(Upscaler):
    def forward(self, noise):
        return super().forward(noise)


class Draws:
    """An object that keeps the masks it was fitted on, and turns them."""

    def fit(self, masks, labels=None, seed=0):
        self.masks = torch.from_numpy(masks)

    def sample(self, n, label=None, seed=0):
        generator = np.random.default_rng(seed)
        chosen = generator.integers(len(self.masks), size=n)
        return np.stack([np.rot90(self.masks[index].numpy(), generator.integers(4)) for index in chosen])

    def state_dict(self):
        return {"masks": self.masks}

    def load_state_dict(self, state):
        self.masks = state["masks"]


class Forgets(Draws):
    def state_dict(self):
        return {"masks": self.masks * 0}


class Unseeded(Draws):
    def sample(self, n, label=None, seed=0):
        return (np.random.default_rng().random((n, 32, 32)) < 0.5).astype(np.uint8)


class Floats(Draws):
    def sample(self, n, label=None, seed=0):
        return super().sample(n, label, seed).astype(np.float32)


@pytest.mark.parametrize("factory", [Upscaler, Draws])
@pytest.mark.parametrize("levels", [2, 3])
def test_mask_generators_that_keep_the_contract_pass(factory, levels):
    check_mask_generator(factory, levels=levels)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda levels, resolution: Upscaler(levels + 1, resolution), r"expected logits \(N, 2, R, R\)"),
        (lambda: nn.Flatten(), r"expected logits .*, got \(2, 64\)"),
        (Deaf, "raised TypeError.*label"),
        (lambda: object(), "without fit, sample, state_dict, load_state_dict"),
        (Forgets, "gives other items after loading"),
        (Unseeded, "gave two results for one seed"),
        (Floats, "expected uint8"),
    ],
)
def test_what_a_mask_generator_does_wrong_is_said(factory, message):
    with pytest.raises(ContractError, match=message):
        check_mask_generator(factory)


def test_a_check_leaves_the_registries_as_they_were():
    before = MASK_GENERATORS.names(), IMAGE_GENERATORS.names()
    check_mask_generator(Upscaler)
    with pytest.raises(ContractError):
        check_image_generator(lambda: object())
    assert (MASK_GENERATORS.names(), IMAGE_GENERATORS.names()) == before


# --- image generators ------------------------------------------------------------------------------------------------


class Painter(nn.Module):
    def __init__(self, levels):
        super().__init__()
        self.paint = nn.Conv2d(levels, 3, 1)

    def forward(self, onehot, noise=None, label=None):
        return self.paint(onehot)


class BatchDependent(Painter):
    def forward(self, onehot, noise=None, label=None):
        return self.paint(onehot) + torch.rand(())


class Palette:
    """An object that gives each level its mean gray."""

    def fit(self, images, masks, labels=None, seed=0):
        self.grays = torch.tensor([int(images.mean(axis=1)[masks == level].mean()) for level in range(3)])

    def generate(self, masks, labels=None, seed=0):
        return np.repeat(self.grays.numpy().astype(np.uint8)[masks][:, None], 3, axis=1)

    def state_dict(self):
        return {"grays": self.grays}

    def load_state_dict(self, state):
        self.grays = state["grays"]


@pytest.mark.parametrize("factory", [Painter, Palette])
def test_image_generators_that_keep_the_contract_pass(factory):
    check_image_generator(factory, levels=3)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda levels: nn.Conv2d(levels, 3, 1), "raised TypeError"),
        (BatchDependent, "gave two results for one seed"),
        (lambda: Draws(), "without generate"),
    ],
)
def test_what_an_image_generator_does_wrong_is_said(factory, message):
    with pytest.raises(ContractError, match=message):
        check_image_generator(factory)


# --- discriminators --------------------------------------------------------------------------------------------------


class Critic(nn.Module):
    """The smallest network that keeps the contract of a discriminator, correct until a subclass breaks one thing."""

    def __init__(self, in_channels):
        super().__init__()
        self.first = nn.Conv2d(in_channels, 4, 4, stride=2)
        self.last = nn.Conv2d(4, 1, 3)

    def forward(self, x, label=None):
        return self.last(self.first(x).relu())


class WithFeatures(Critic):
    def features_and_logits(self, x, label=None):
        features = self.first(x).relu()
        return [features], self.last(features)


class Whole(Critic):
    def forward(self, x, label=None):
        return super().forward(x).mean(dim=(1, 2, 3))


class Infinite(Critic):
    def forward(self, x, label=None):
        return super().forward(x) / 0


class NoLabel(Critic):
    def forward(self, x):
        return super().forward(x)


class Detached(Critic):
    def forward(self, x, label=None):
        return super().forward(x.detach())


class AlwaysDrops(Critic):
    def forward(self, x, label=None):
        return nn.functional.dropout(super().forward(x), 0.5)


class OtherLogits(WithFeatures):
    def features_and_logits(self, x, label=None):
        features, logits = super().features_and_logits(x)
        return features, logits + 1


class OneFeature(WithFeatures):
    def features_and_logits(self, x, label=None):
        return super().features_and_logits(x)[0][0]


class Hidden(Critic):
    """Keeps a weight where no state reaches it."""

    def __init__(self, in_channels):
        super().__init__(in_channels)
        self.hidden = torch.randn(1)

    def forward(self, x, label=None):
        return super().forward(x) * self.hidden


class RefusesBatches(Critic):
    def forward(self, x, label=None):
        if len(x) == 2:  # a batch of training
            raise RuntimeError("batches of three only")
        return super().forward(x)


@pytest.mark.parametrize("factory", [Critic, WithFeatures])
def test_discriminators_that_keep_the_contract_pass(factory):
    check_discriminator(factory, levels=3)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: object(), "expected an nn.Module, got object"),
        (Whole, r"expected logits \(N, 1, h, w\), got \(1,\) for N = 1.*rule: it gives finite logits"),
        (Infinite, "expected finite logits"),
        (NoLabel, "raised TypeError.*label"),
        (Detached, "expected a finite gradient.*rule: a generator can learn"),
        (AlwaysDrops, "judges one input in two ways.*rule: in evaluation mode"),
        (OtherLogits, "gives other logits than forward.*rule: its features"),
        (OneFeature, "a list of tensors and the logits, got Tensor"),
        (Hidden, "judges otherwise after loading.*rule: its state"),
        (RefusesBatches, "raised RuntimeError: batches of three only.*rule: both GANs train"),
    ],
)
def test_what_a_discriminator_does_wrong_is_said(factory, message):
    with pytest.raises(ContractError, match=message):
        check_discriminator(factory)
