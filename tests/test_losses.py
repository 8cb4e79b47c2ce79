import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from syncgan.config import ImageGANConfig, MaskGANConfig
from syncgan.training import losses
from syncgan.training.augmentation import dihedral, draw_dihedral
from syncgan.training.batches import batch_indices
from syncgan.training.objectives import ImageBatch, ImageObjective, MaskBatch, MaskObjective

logit = st.floats(-8, 8)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1, 1)


def number(value):
    """Return a scalar without a word about its graph."""
    return value.item()


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def of_d(real, fake, *, real_target=None, fake_target=None, **kind):
    of_real = losses.discriminator_loss(real, real=True, target=real_target, **kind)
    return number(of_real + losses.discriminator_loss(fake, real=False, target=fake_target, **kind))


# --- losses ----------------------------------------------------------------------------------------------------------


@given(st.lists(logit, min_size=1, max_size=4), st.lists(logit, min_size=1, max_size=4))
def test_discriminator_loss_is_equation_5(real, fake):
    expected = -np.mean([math.log(sigmoid(value)) for value in real])
    expected -= np.mean([math.log(1 - sigmoid(value)) for value in fake])
    assert of_d(tensor(*real), tensor(*fake)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(logit, logit, st.floats(0.9, 1), st.floats(0, 0.1))
def test_smoothed_labels_enter_the_cross_entropy(real, fake, real_label, fake_label):
    def entropy(value, label):
        return -(label * math.log(sigmoid(value)) + (1 - label) * math.log(1 - sigmoid(value)))

    found = of_d(tensor(real), tensor(fake), real_target=torch.tensor(real_label), fake_target=fake_label)
    expected = entropy(real, real_label) + entropy(fake, fake_label)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(logit)
def test_generator_loss_is_minus_log_d_and_not_the_saturating_form(value):
    assert number(losses.generator_loss(tensor(value))) == pytest.approx(-math.log(sigmoid(value)), rel=1e-4, abs=1e-6)


def test_an_undecided_discriminator_costs_log_4_and_its_generator_log_2():
    assert of_d(tensor(0.0), tensor(0.0)) == pytest.approx(math.log(4))
    assert number(losses.generator_loss(tensor(0.0))) == pytest.approx(math.log(2))


def test_hinge_losses_by_hand():
    real, fake = tensor(2.0, 0.5), tensor(-3.0, 0.0)
    assert of_d(real, fake, kind="hinge") == pytest.approx((0 + 0.5) / 2 + (0 + 1) / 2)
    assert number(losses.generator_loss(fake, kind="hinge")) == pytest.approx(1.5)


def test_extreme_logits_stay_finite():
    assert of_d(tensor(-200.0), tensor(200.0)) == pytest.approx(400)


def test_bfloat16_logits_are_judged_in_float32():
    logits = torch.tensor([[[[3.0]]]])
    assert losses.generator_loss(logits.bfloat16()).dtype == torch.float32
    assert number(losses.generator_loss(logits.bfloat16())) == pytest.approx(number(losses.generator_loss(logits)))


def test_reconstruction_by_hand():
    rendered, real = torch.tensor([0.5, -1.0]), torch.tensor([-0.5, 1.0])
    assert number(losses.reconstruction_loss(rendered, real, kind="mse")) == pytest.approx((1 + 4) / 2)
    assert number(losses.reconstruction_loss(rendered, real, kind="l1")) == pytest.approx((1 + 2) / 2)


def test_feature_matching_averages_over_layers_and_trains_only_the_generator():
    fake = [torch.tensor([1.0, 3.0], requires_grad=True), torch.tensor([0.0], requires_grad=True)]
    real = [torch.tensor([0.0, 0.0], requires_grad=True), torch.tensor([4.0], requires_grad=True)]
    loss = losses.feature_matching(fake, real)
    loss.backward()
    assert number(loss) == pytest.approx((2 + 4) / 2)
    assert all(part.grad is not None for part in fake)
    assert all(part.grad is None for part in real)


def test_r1_of_a_linear_discriminator_is_its_squared_norm():
    weight = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    real = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits = (real * weight).sum(dim=(1, 2, 3)).reshape(5, 1, 1, 1)
    assert number(losses.r1_penalty(logits, real)) == pytest.approx(number(weight.square().sum()), rel=1e-5)


def test_r1_of_a_quadratic_discriminator_is_the_mean_squared_gradient():
    real = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits = 0.5 * real.square().sum(dim=(1, 2, 3)).reshape(5, 1, 1, 1)  # gradient: the item itself
    expected = number(real.detach().square().sum(dim=(1, 2, 3)).mean())
    assert number(losses.r1_penalty(logits, real)) == pytest.approx(expected, rel=1e-5)


def test_r1_can_be_differentiated_to_the_discriminators_weights():
    weight = torch.ones(1, 2, 2, requires_grad=True)
    real = torch.zeros(3, 1, 2, 2, requires_grad=True)
    losses.r1_penalty((real * weight).sum(dim=(1, 2, 3)).reshape(3, 1, 1, 1), real).backward()
    assert torch.allclose(weight.grad, 2 * torch.ones(1, 2, 2))  # d |w|^2 / dw


# --- objectives ------------------------------------------------------------------------------------------------------


class Recorder(nn.Module):
    """A discriminator that answers one logit an item and remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.seen = []

    def forward(self, x, label=None):
        self.seen.append(x)
        return self.scale * x.mean(dim=(1, 2, 3), keepdim=True)


class Plain(nn.Module):
    """A generator with one weight."""

    def __init__(self, channels):
        super().__init__()
        self.out = nn.Conv2d(1, channels, 1)

    def forward(self, x, **conditions):
        return self.out(x[:, :1])


def mask_objective(**settings):
    real = torch.zeros(6, 2, 4, 4)
    return MaskObjective(
        Plain(2),
        Recorder(),
        config=MaskGANConfig(**settings),
        batches=lambda step: MaskBatch(step, real, torch.zeros(6, 1, 4, 4)),
        seed=0,
        address=("mask_gan",),
    )


def targets(objective, steps):
    drawn = [objective._targets(step, torch.zeros(6, 1, 2, 2)) for step in range(steps)]
    return torch.stack([real for real, _, _ in drawn]), torch.stack([fake for _, fake, _ in drawn])


def test_smoothed_labels_fill_the_papers_ranges_and_do_not_leave_them():
    real, fake = targets(mask_objective(flip_probability=0.0), 400)
    for labels, (low, high) in ((real, (0.9, 1.0)), (fake, (0.0, 0.1))):
        assert low <= number(labels.min()) < low + 0.002
        assert high - 0.002 < number(labels.max()) <= high
        assert number(labels.mean()) == pytest.approx((low + high) / 2, abs=0.003)


def test_labels_are_flipped_for_a_whole_step_at_the_configured_rate():
    real, fake = targets(mask_objective(flip_probability=0.25), 2000)
    flipped = real.flatten(1).max(dim=1).values < 0.5
    assert number(flipped.float().mean()) == pytest.approx(0.25, abs=0.03)  # three standard deviations
    assert bool((real[flipped] <= 0.1).all())
    assert bool((fake[flipped] >= 0.9).all())
    assert bool((real[~flipped] >= 0.9).all())


def test_labels_of_a_step_are_the_same_whenever_it_is_taken():
    once, again = (mask_objective()._targets(17, torch.zeros(6, 1, 1, 1)) for _ in range(2))
    assert torch.equal(once[0], again[0])
    assert torch.equal(once[1], again[1])


def test_the_generators_step_uses_hard_labels_even_when_all_of_ds_labels_are_flipped():
    objective = mask_objective(flip_probability=1.0)
    batch = objective.draw(0)
    fake = objective.render(batch)
    logits = objective.discriminator(fake)
    expected = torch.nn.functional.softplus(-logits).mean()  # -log sigmoid
    assert number(objective.generator_losses(batch, fake)["adversarial"]) == pytest.approx(number(expected), rel=1e-6)


def test_rendered_masks_are_level_probabilities_on_the_model_range():
    objective = mask_objective()
    fake = objective.render(objective.draw(0))
    assert torch.allclose(((fake + 1) / 2).sum(dim=1), torch.ones(6, 4, 4))


def test_r1_is_applied_every_so_many_steps_at_its_full_strength():
    class Linear(nn.Module):
        def forward(self, x, label=None):
            return 3 * x.sum(dim=(1, 2, 3), keepdim=True)

    def penalty(step):
        config = {"r1_weight": 2.0, "r1_every": 4, "flip_probability": 0.0}
        labels = {"real_label_range": (1, 1), "fake_label_range": (0, 0)}
        with_r1, without = mask_objective(**config, **labels), mask_objective(flip_probability=0.0, **labels)
        with_r1.discriminator = without.discriminator = Linear()
        fake = torch.zeros(6, 2, 4, 4)
        batch = with_r1.draw(step)
        return number(sum(with_r1.discriminator_losses(batch, fake)) - sum(without.discriminator_losses(batch, fake)))

    squared_norm = 9 * 2 * 4 * 4
    assert penalty(0) == pytest.approx(2.0 / 2 * 4 * squared_norm, rel=1e-5)
    assert penalty(1) == pytest.approx(0)
    assert penalty(4) == pytest.approx(penalty(0))


def noisy(level):
    return list(level + 0.02 * np.random.default_rng(0).standard_normal(len(level)))


@pytest.mark.parametrize(
    ("history", "saturated"),
    [
        (noisy(np.ones(240)), True),
        (noisy(np.ones(239)), False),  # not yet three windows
        (noisy(np.concatenate([np.full(80, 5.0), np.ones(240)])), True),  # only the last three windows count
        (noisy(np.linspace(1.5, 1.0, 240)), False),
        (noisy(np.linspace(1.0, 1.5, 240)), False),
        (noisy(1 + np.abs(np.linspace(-0.3, 0.3, 240))), False),  # V: the first and the last window agree
        (noisy(1 - np.abs(np.linspace(-0.3, 0.3, 240))), False),
        (noisy(1 + np.abs(np.linspace(-0.5, 0.1, 240))), False),  # the last two windows agree: a turning point
    ],
)
def test_a_loss_is_saturated_when_it_has_neither_trend_nor_turn(history, saturated):
    objective = mask_objective(saturation_window=800, saturation_tolerance=0.02)
    assert objective.saturated(history, interval=10) is saturated


def test_saturation_is_off_without_a_window():
    assert not mask_objective(saturation_window=0).saturated([1.0] * 100, interval=10)


def image_objective(**settings):
    maps = torch.zeros(4, 2, 8, 8)
    maps[:, 0] = 1
    images = torch.full((4, 3, 8, 8), 0.25)
    batch = ImageBatch(0, maps, images, {}, None)
    return ImageObjective(
        Plain(3),
        Recorder(),
        config=ImageGANConfig(**{"feature_matching_weight": 0.0, **settings}),
        batches=lambda step: batch,
        validation=lambda: [batch, batch],
    ), batch


def test_the_renderers_loss_is_equation_3():
    objective, batch = image_objective(reconstruction="mse", reconstruction_weight=100.0)
    fake = objective.render(batch)
    terms = objective.generator_losses(batch, fake)
    logits = objective.discriminator(torch.cat([batch.maps, fake], dim=1))
    expected = torch.nn.functional.softplus(-logits).mean() + 100 * (fake - 0.25).square().mean()
    assert number(sum(terms.values())) == pytest.approx(number(expected), rel=1e-5)


def test_the_discriminator_sees_mask_and_image_concatenated():
    objective, batch = image_objective()
    fake = objective.render(batch).detach()
    list(objective.discriminator_losses(batch, fake))
    real_pair, fake_pair = objective.discriminator.seen
    assert torch.equal(real_pair, torch.cat([batch.maps, batch.images], dim=1))
    assert torch.equal(fake_pair, torch.cat([batch.maps, fake], dim=1))


def test_validation_is_the_mean_loss_in_eval_mode_without_a_graph_and_restores_the_mode():
    objective, batch = image_objective()
    terms = objective.generator_losses(batch, objective.render(batch))
    value = objective.validate(objective.generator)["generator"]
    assert value == pytest.approx(number(sum(terms.values())), rel=1e-5)
    assert objective.generator.training
    assert objective.discriminator.training


def test_validation_passes_in_parts_where_memory_ran_out():
    objective, _ = image_objective(texture_weight=0.0)
    seen = []
    objective.generator.register_forward_hook(lambda network, inputs, out: seen.append(len(inputs[0])))
    whole, parts = (objective.validate(objective.generator, parts=parts)["generator"] for parts in (1, 3))
    assert seen == [4, 4, 1, 1, 2, 1, 1, 2]
    assert parts == pytest.approx(whole, rel=1e-5)


# --- batches and symmetries ------------------------------------------------------------------------------------------


@given(items=st.integers(1, 30), batch_size=st.integers(1, 40), seed=st.integers(0, 5))
def test_every_item_is_seen_equally_often(items, batch_size, seed):
    steps = items  # items * batch_size positions are exactly batch_size passes over the items
    drawn = torch.cat(
        [batch_indices(step, items=items, batch_size=batch_size, seed=seed, address=("x",)) for step in range(steps)]
    )
    assert torch.equal(torch.bincount(drawn, minlength=items), torch.full((items,), batch_size))


def test_an_epoch_holds_every_item_once_in_an_order_of_its_own():
    orders = [batch_indices(step, items=50, batch_size=50, seed=0, address=("x",)) for step in range(2)]
    assert all(torch.equal(order.sort().values, torch.arange(50)) for order in orders)
    assert not torch.equal(*orders)


@given(step=st.integers(0, 10**6), items=st.integers(1, 9), batch_size=st.integers(1, 20))
def test_the_batch_of_a_step_needs_no_steps_before_it(step, items, batch_size):
    first, again = (batch_indices(step, items=items, batch_size=batch_size, seed=1, address=("x",)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (batch_size,)


def test_the_eight_symmetries_of_the_square_are_all_there_and_differ():
    square = torch.arange(9).reshape(1, 3, 3)
    found = {tuple(dihedral(square, torch.tensor([element])).flatten().tolist()) for element in range(8)}
    flat = np.arange(9).reshape(3, 3)
    turns = [np.rot90(flat, quarter) for quarter in range(4)]
    expected = {tuple(matrix.flatten().tolist()) for turn in turns for matrix in (turn, np.fliplr(turn))}
    assert found == expected
    assert len(expected) == 8


def test_image_and_mask_are_turned_alike():
    elements = draw_dihedral(64, torch.Generator().manual_seed(0))
    masks = torch.randint(0, 2, (64, 8, 8), generator=torch.Generator().manual_seed(1))
    images = masks[:, None].expand(-1, 3, -1, -1)
    assert torch.equal(dihedral(images, elements)[:, 0], dihedral(masks, elements))
    assert set(elements.tolist()) == set(range(8))
