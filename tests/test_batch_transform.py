import contextlib
import pickle

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate
from torchvision.transforms import ToTensor, v2

from syncgan.data.batch_rendering import BatchRenderer
from syncgan.data.batch_transform import BatchTransform, share_of
from syncgan.data.sampling import ClassSampler
from syncgan.errors import ConfigError, DataError

SIZE = 8
LABELS = (3, 4, 5)


def render(labels, seeds):
    """Fill image k with 100 + label, its first pixel with seed % 100: a pure function of label and seed."""
    assert labels.dtype == torch.int64
    images = (100 + labels).to(torch.uint8)[:, None, None, None].repeat(1, 3, SIZE, SIZE)
    images[:, :, 0, 0] = torch.tensor([seed % 100 for seed in seeds], dtype=torch.uint8)[:, None]
    return images


def to_float(images):
    return images.float() / 255 - 0.5


def batch(count=64, channels=3, size=SIZE, dtype=torch.uint8):
    return torch.zeros(count, channels, size, size, dtype=dtype), torch.arange(count) % 3 + 3


def mix(**kwargs):
    return BatchTransform(render, label_values=LABELS, **kwargs)


def test_items_are_replaced_by_samples_of_their_label():
    images, labels = batch()
    mixed, same = mix(p=0.5)(images, labels)
    assert same is labels
    changed = mixed[:, 0, 1, 1] > 0
    assert 20 <= changed.sum() <= 44
    assert torch.equal(mixed[changed][:, 0, 1, 1].long(), 100 + labels[changed])
    assert images.max() == 0


def test_labels_of_a_column_are_taken_and_come_back_as_they_came():
    images, labels = batch()
    mixed, same = mix()(images, labels[:, None])
    assert same.shape == (64, 1)
    assert torch.equal(same[:, 0], labels)
    assert torch.equal(mixed, mix()(images, labels)[0])
    with pytest.raises(DataError, match=r"expected integer labels \(N,\) or \(N, 1\), got \(64, 2\)"):
        mix()(images, labels[:, None].expand(-1, 2))


@pytest.mark.parametrize(("p", "replaced"), [(0.0, 0), (1.0, 64)])
def test_extreme_probabilities(p, replaced):
    images, labels = batch()
    mixed, _ = mix(p=p)(images, labels)
    assert (mixed[:, 0, 1, 1] > 0).sum() == replaced
    assert (mixed is images) == (p == 0)


def test_the_step_decides_and_global_state_does_not():
    images, labels = batch()
    first, second = mix(seed=1), mix(seed=1)
    run = [first(images, labels)[0] for _ in range(3)]
    torch.rand(1)
    second.set_step(2)
    assert torch.equal(second(images, labels)[0], run[2])
    assert not torch.equal(run[0], run[1])
    assert not torch.equal(mix(seed=2)(images, labels)[0], run[0])
    assert second.step == 3


def test_a_smaller_batch_is_a_prefix():
    images, labels = batch()
    assert torch.equal(mix()(images[:10], labels[:10])[0], mix()(images, labels)[0][:10])


def test_state_dict_goes_on_where_it_stopped():
    images, labels = batch()
    first, second = mix(), mix()
    first(images, labels)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(images, labels)[0], first(images, labels)[0])


def test_renderer_that_is_a_module_is_no_part_of_the_transform():
    class Renderer(nn.Linear):
        def forward(self, labels, seeds):
            return render(labels, seeds)

    module = BatchTransform(Renderer(2, 2), label_values=LABELS)
    assert not list(module.parameters())
    assert list(module.state_dict()) == ["_extra_state"]
    assert pickle.loads(pickle.dumps(mix()))(*batch())[0].shape == (64, 3, SIZE, SIZE)  # noqa: S301


def test_evaluation_mode_changes_nothing():
    images, labels = batch()
    module = mix(p=1.0).eval()
    assert module(images, labels)[0] is images
    assert module.step == 0


def test_uint8_batches_of_another_size_are_resized():
    mixed, _ = mix(p=1.0)(*batch(3, size=20))
    assert mixed.shape == (3, 3, 20, 20)
    assert mixed.dtype == torch.uint8
    assert mixed[:, 0, 10, 10].tolist() == [103, 104, 105]


def test_gray_batches_stay_gray():
    mixed, _ = mix(p=1.0)(*batch(3, channels=1))
    assert mixed.shape == (3, 1, SIZE, SIZE)
    assert mixed[:, 0, 1, 1].tolist() == [103, 104, 105]
    normalised, _ = mix(p=1.0, transform=to_float)(*batch(3, channels=1, dtype=torch.float32))
    assert normalised[0, 0, 1, 1].item() == pytest.approx(103 / 255 - 0.5)


def test_float_batches_take_the_users_normalisation_and_can_be_trained_on():
    images, labels = batch(6, dtype=torch.float32)
    mixed, _ = mix(p=1.0, transform=to_float)(images.requires_grad_(), labels)
    assert not mixed.is_inference()
    weight = torch.ones(1, requires_grad=True)
    (mixed * weight).sum().backward()
    assert weight.grad.item() == pytest.approx(to_float(render(labels, [0] * 6)).sum().item(), rel=0.2)


def test_mixup_and_cutmix_follow():
    from torchvision.transforms import v2

    images, labels = mix(p=0.5, transform=to_float)(*batch(8, dtype=torch.float32))
    for follower in (v2.MixUp(num_classes=6), v2.CutMix(num_classes=6)):
        assert follower(images, labels)[1].shape == (8, 6)


FLOAT = torch.float32


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (None, r"expected a transform for a batch of torch.float32, got None; pass batch_transform\(transform=...\)"),
        (
            lambda images: images,
            r"to return \(4, 3, 8, 8\) torch.float32 like the batch, got \(4, 3, 8, 8\) torch.uint8",
        ),
        (lambda images: images[..., 1:].float(), r"got \(4, 3, 8, 7\) torch.float32"),
        (lambda images: None, "got NoneType"),
    ],
)
def test_a_float_batch_without_a_fitting_transform_is_refused(transform, message):
    module = mix(p=1.0, transform=transform)
    with pytest.raises(ConfigError, match=message):
        module(*batch(4, dtype=FLOAT))
    assert module.step == 0


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (batch()[0], torch.zeros(64, 3), "before MixUp, CutMix"),
        (batch()[0], torch.zeros(64), "before MixUp, CutMix"),
        (batch()[0], [3] * 64, "expected integer labels"),
        (batch()[0], torch.full((64,), 9), r"the model knows \(3, 4, 5\), got 9"),
        (batch()[0], torch.full((5,), 3), "got 5 labels for 64 images"),
        (batch()[0][0], torch.full((3,), 3), "expected a batch of images"),
    ],
)
def test_batches_of_another_kind_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        mix()(images, labels)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), True, "half", None])
def test_p_outside_0_to_1_is_refused(p):
    with pytest.raises(ConfigError, match="probability"):
        mix(p=p)


def test_a_transform_that_cannot_be_called_is_refused():
    with pytest.raises(ConfigError, match="expected a callable as transform, got int"):
        mix(transform=3)


@pytest.mark.parametrize("step", [-1, 1.5, True])
def test_steps_are_whole_numbers(step):
    with pytest.raises(ConfigError, match="step"):
        mix().set_step(step)


def refusal(items):
    """Return the refusal as text: an error raised in a worker would leave the loader to be shut down later."""
    try:
        mix()(*default_collate(items))
    except ConfigError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_loader_worker_is_told_where_it_belongs():
    items = [(torch.zeros(3, SIZE, SIZE, dtype=torch.uint8), 3)] * 2
    loader = DataLoader(items, batch_size=2, num_workers=1, collate_fn=refusal, multiprocessing_context="fork")
    assert [text.partition("; ")[2] for text in loader] == ["apply it in the training loop, after the DataLoader"]


# --- ratio -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "p"), [(0, 0.0), (1, 0.5), (2.0, 2 / 3), (None, 0.5)])
def test_a_ratio_gives_so_many_synthetic_items_for_a_real_one(ratio, p):
    assert share_of(0.5, ratio) == pytest.approx(p)


def test_a_ratio_and_a_probability_are_refused_together():
    with pytest.raises(ConfigError, match="got both"):
        share_of(0.25, 1.0)


@pytest.mark.parametrize("ratio", [-1, float("inf"), float("nan"), True, "two"])
def test_a_ratio_that_makes_no_sense_is_refused(ratio):
    with pytest.raises(ConfigError, match="finite ratio synthetic : real"):
        share_of(0.5, ratio)


# --- rendering -------------------------------------------------------------------------------------------------------


class Renderer:
    """Renders a map's first pixel, its class and the seed."""

    def render(self, maps, classes, item_seeds):
        images = torch.zeros((len(maps), 3, SIZE, SIZE), dtype=torch.uint8)
        images[:, 0] = maps[:, :1, :1]
        images[:, 1] = classes.to(torch.uint8)[:, None, None]
        images[:, 2] = torch.tensor([seed % 251 for seed in item_seeds], dtype=torch.uint8)[:, None, None]
        return images


def sampler(drawn, **changes):
    def source(index):
        def draw(item_seeds):
            drawn.append((index, len(item_seeds)))
            values = torch.tensor([100 * index + seed % 100 for seed in item_seeds], dtype=torch.uint8)
            return values[:, None, None].expand(-1, SIZE, SIZE).clone()

        return draw

    values = {
        "classes": ["x", "y"],
        "mask_sources": [source(0), source(1)],
        "mask_ranges": None,
        "renderer": Renderer(),
        "levels": 256,
        "size": SIZE,
        "max_attempts": 1,
        "device": torch.device("cpu"),
        "sample_filters": {},
    }
    return ClassSampler(**{**values, **changes})


def batch_renderer(drawn, pool, **changes):
    return BatchRenderer(sampler(drawn, **changes), (3, 7), seed=1, pool=pool, autocast=contextlib.nullcontext)


@pytest.mark.parametrize("pool", [0, 5])
def test_an_image_depends_on_its_label_and_seed_alone(pool):
    labels, seeds = torch.tensor([7, 3, 7, 3]), [11, 12, 13, 14]
    together = batch_renderer([], pool)(labels, seeds)
    one_by_one = [batch_renderer([], pool)(labels[at : at + 1], seeds[at : at + 1]) for at in range(4)]
    assert torch.equal(together, torch.cat(one_by_one))
    assert together[:, 1, 0, 0].tolist() == [1, 0, 1, 0]


def test_a_pool_is_drawn_once_and_its_masks_are_used_again_with_new_noise():
    drawn = []
    render = batch_renderer(drawn, pool=5)
    assert drawn == []  # nothing is done before the first batch
    images = torch.cat([render(torch.full((50,), 7), list(range(first, first + 50))) for first in (0, 50)])
    assert drawn == [(0, 5), (1, 5)]
    masks, seeds = images[:, 0, 0, 0], images[:, 2, 0, 0]
    assert len(masks.unique()) == 5
    assert ((masks >= 100) & (masks < 200)).all()  # of its own class
    assert len(seeds.unique()) == 100


def test_without_a_pool_every_image_has_a_mask_of_its_own():
    drawn = []
    render = batch_renderer(drawn, pool=0)
    assert len(render(torch.full((50,), 7), list(range(50)))[:, 0, 0, 0].unique()) == 50
    assert drawn == [(1, 50)]


@pytest.mark.parametrize("pool", [-1, 2.0, True, None])
def test_a_pool_is_a_number_of_masks(pool):
    with pytest.raises(ConfigError, match="whole number of masks"):
        batch_renderer([], pool)


def test_a_pool_and_sample_filters_exclude_each_other():
    with pytest.raises(ConfigError, match="sample filters mine look at every image"):
        batch_renderer([], 5, sample_filters={"mine": lambda images, masks, levels: torch.ones(len(images)) > 0})


def test_without_reading_labels_unknown_ones_are_still_named_in_the_first_batch():
    images, labels = batch()
    transform = mix(reads_labels=False)
    transform(images, labels)
    with pytest.raises(DataError, match="labels that the model knows"):
        mix(reads_labels=False)(images, labels + 1)


def test_a_transform_for_single_images_is_refused_with_what_to_give():
    transform = v2.Compose([v2.Resize(SIZE), ToTensor()])
    with pytest.raises(
        ConfigError, match=r"batch of uint8 images \(\d+, 3, 8, 8\) \(TypeError: pic should be.*ToDtype"
    ):
        mix(p=1.0, transform=transform)(*batch(4, dtype=torch.float32))

    def full(images):
        raise torch.OutOfMemoryError("none left")

    with pytest.raises(torch.OutOfMemoryError):  # batch-size finders look for it
        mix(p=1.0, transform=full)(*batch(4, dtype=torch.float32))
