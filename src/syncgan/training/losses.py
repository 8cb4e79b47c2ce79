"""Losses as pure functions, with the paper's equations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from syncgan.training.precision import widened

__all__ = [
    "discriminator_loss",
    "feature_matching",
    "generator_loss",
    "gradient_penalty",
    "mode_seeking",
    "patch_distribution_distance",
    "r1_penalty",
    "reconstruction_loss",
    "variety_shortfall",
]


_FAINT = 0.02  # two and a half gray levels of 255: what is fainter need not be matched


def discriminator_loss(
    logits: Tensor, *, real: bool, kind: str = "bce", target: Tensor | float | None = None
) -> Tensor:
    """Return D's loss on real or on generated items; the two are added, not averaged as pix2pix would.

    For ``bce`` they are ``-log D(real)`` and ``-log(1 - D(fake))`` (Eq. 5; Eq. 2 with its sign slip mended).

    Parameters
    ----------
    logits : (N, 1, h, w) logits of D.
    real : whether D should take the items for real.
    kind : "bce" (paper); "hinge", ``max(0, 1 - D(real))`` and ``max(0, 1 + D(fake))``; or "wasserstein-gp",
        ``-D(real)`` and ``D(fake)``, to which `gradient_penalty` belongs.
    target : label for ``bce``, a number or a tensor that broadcasts against the logits, instead of 1 for real and 0
        for generated; label smoothing and label flips come in here (Sec. 3.4). Without a meaning for the others.

    Returns
    -------
    Scalar tensor: mean over patches and items.
    """
    if kind == "bce":
        return _bce(logits, float(real) if target is None else target)
    signed = -widened(logits) if real else widened(logits)
    return F.relu(1 + signed).mean() if kind == "hinge" else signed.mean()


def generator_loss(fake_logits: Tensor, *, kind: str = "bce") -> Tensor:
    """Return G's non-saturating loss: ``-log D(G(.))`` for ``bce`` (Eq. 3 and 6), else ``-D(G(.))``."""
    return _bce(fake_logits, 1.0) if kind == "bce" else -widened(fake_logits).mean()


def reconstruction_loss(rendered: Tensor, real: Tensor, *, kind: str = "mse", cell: int = 1) -> Tensor:
    """Return the mean squared (``mse``, Eq. 3) or absolute (``l1``, pix2pix) difference on the [-1, 1] range.

    Parameters
    ----------
    rendered, real : (N, 3, S, S) float in [-1, 1].
    kind : "mse" or "l1".
    cell : side in pixels of the cells whose means are compared; 1 compares pixels. Detail finer than a cell, which
        nothing in a mask foretells, is then left to the other losses instead of being averaged away.
    """
    if cell > 1:
        rendered, real = F.avg_pool2d(rendered, cell), F.avg_pool2d(real, cell)
    return F.mse_loss(rendered, real) if kind == "mse" else F.l1_loss(rendered, real)


def feature_matching(fake_features: list[Tensor], real_features: list[Tensor]) -> Tensor:
    """Return the mean absolute difference of D's features of rendered and real images, averaged over layers.

    References
    ----------
    Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs", CVPR 2018.
    """
    distances = [F.l1_loss(fake, real.detach()) for fake, real in zip(fake_features, real_features, strict=True)]
    return torch.stack(distances).mean()


def r1_penalty(real_logits: Tensor, real: Tensor) -> Tensor:
    """Penalise D's gradient on real items (R1).

    Parameters
    ----------
    real_logits : (N, 1, h, w) float tensor, computed from `real`.
    real : (N, C, H, W) float tensor in [-1, 1] with ``requires_grad``.

    Returns
    -------
    Scalar tensor: mean over the batch of the squared gradient norm.

    References
    ----------
    Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018.
    """
    per_item = widened(real_logits).mean(dim=(1, 2, 3)).sum()
    (gradient,) = torch.autograd.grad(per_item, real, create_graph=True)
    return widened(gradient).square().sum(dim=(1, 2, 3)).mean()


def gradient_penalty(mixed_logits: Tensor, mixed: Tensor) -> Tensor:
    """Penalise a critic whose gradient norm differs from one, between real and generated items.

    Parameters
    ----------
    mixed_logits : (N, 1, h, w) float tensor, computed from `mixed`.
    mixed : (N, C, H, W) float tensor with ``requires_grad``: ``a * real + (1 - a) * fake``, a uniform in [0, 1].

    Returns
    -------
    Scalar tensor: mean over the batch of ``(norm - 1) ** 2``.

    References
    ----------
    Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017, Eq. 3. The score of an item is the mean
    over its patches.
    """
    per_item = widened(mixed_logits).mean(dim=(1, 2, 3)).sum()
    (gradient,) = torch.autograd.grad(per_item, mixed, create_graph=True)
    # The root of zero has no gradient.
    norm = (widened(gradient).square().sum(dim=(1, 2, 3)) + 1e-12).sqrt()
    return (norm - 1).square().mean()


def mode_seeking(first: Tensor, second: Tensor, first_noise: Tensor, second_noise: Tensor) -> Tensor:
    """Penalise two renderings of one mask that differ little although their noise differs.

    Parameters
    ----------
    first, second : (N, 3, S, S) renderings of the same maps.
    first_noise, second_noise : their noise.

    Returns
    -------
    Scalar tensor: mean over items of ``|z1 - z2| / |G(z1) - G(z2)|``, with mean absolute differences.

    References
    ----------
    Mao et al., "Mode Seeking Generative Adversarial Networks for Diverse Image Synthesis", CVPR 2019, Eq. 4, as a
    quotient to be minimised.
    """
    apart = widened(first - second).abs().flatten(1).mean(dim=1)
    noise = widened(first_noise - second_noise).abs().flatten(1).mean(dim=1)
    return (noise / (apart + 1e-2)).mean()


def variety_shortfall(generated: Tensor, real: Tensor, label: Tensor | None = None) -> Tensor:
    """Return by how much generated items differ less from each other than real items do; zero when they differ more.

    Parameters
    ----------
    generated, real : (N, C, H, W) batches.
    label : (N,) class indices of both, to compare items within their class only; None for one class.

    Returns
    -------
    Scalar tensor: difference of the mean absolute differences over all pairs. Without a pair it is zero.

    Notes
    -----
    A discriminator that looks at one item at a time cannot see that all items are alike. This is the simplest
    statistic of a batch that can, in the spirit of minibatch discrimination (Salimans et al., "Improved Techniques
    for Training GANs", NeurIPS 2016), with the real batch as its measure instead of a learned one. It compares the
    items of the batch that it is given, so a batch that is cut into parts gives another, noisier value; and as the
    shortfall of a small batch is never negative, it asks for a little more variety than there is in the real items.
    """
    first, second = torch.triu_indices(len(real), len(real), offset=1, device=real.device)
    if label is not None:
        same = label[first] == label[second]
        first, second = first[same], second[same]
    if not len(first):
        return generated.sum() * 0

    def apart(items: Tensor) -> Tensor:
        return widened(items[first] - items[second]).abs().mean()

    return F.relu(apart(real.detach()) - apart(generated))


def patch_distribution_distance(rendered: Tensor, real: Tensor, directions: Tensor, positions: Tensor) -> Tensor:
    """Return how far the patches of each rendered image are distributed from those of its real image.

    The sliced Wasserstein distance: patches are projected on directions, and the sorted projections compared, in
    standard deviations of the real ones. Unlike a pixel-wise loss it has no opinion on where a detail stands, so it
    does not blur what the mask cannot tell.

    Parameters
    ----------
    rendered, real : (N, 3, S, S) float in [-1, 1].
    directions : (N, K, 3, p, p) float, unit vectors in the space of p x p patches.
    positions : (N, G, M) int64, flat positions in the S x S plane at which patches are taken, the same in both images;
        each of the G groups is a distribution of its own.

    Returns
    -------
    Scalar tensor: mean over items, groups, directions and ranks of the absolute difference.

    References
    ----------
    Elnekave and Weiss, "Generating Natural Images with Direct Patch Distributions Matching", ECCV 2022; the division
    by the spread is ours.
    """
    mine, theirs = (_ranked_projections(widened(images), directions, positions) for images in (rendered, real.detach()))
    # Relative to the spread of the real projections, so that faint fine detail counts as much as coarse contrast.
    spread = theirs.std(dim=2, keepdim=True) + _FAINT
    return ((mine - theirs) / spread).abs().mean()


def _ranked_projections(images: Tensor, directions: Tensor, positions: Tensor) -> Tensor:
    """Return the sorted projections of the patches of each group: (N, G, M, K)."""
    patches = _patches(images, directions.shape[-1], positions.flatten(1))
    projected = patches @ directions.flatten(2).transpose(1, 2).to(patches.dtype)
    return projected.reshape(*positions.shape, -1).sort(dim=2).values


def _patches(images: Tensor, side: int, positions: Tensor) -> Tensor:
    """Return the patches around flat positions (N, M) of (N, C, H, W), reflected at the border: (N, M, C * side²)."""
    margin = side // 2
    padded = F.pad(images, (margin,) * 4, mode="reflect")
    row, column = positions // images.shape[-1], positions % images.shape[-1]
    line = torch.arange(side, device=images.device)
    offsets = (line[:, None] * padded.shape[-1] + line).flatten()
    where = ((row * padded.shape[-1] + column)[:, :, None] + offsets).flatten(1)
    channels = images.shape[1]
    taken = padded.flatten(2).gather(2, where[:, None].expand(-1, channels, -1))
    return taken.reshape(len(images), channels, *positions.shape[1:], -1).transpose(1, 2).flatten(2)


def _bce(logits: Tensor, target: Tensor | float) -> Tensor:
    logits = widened(logits)
    labels = torch.as_tensor(target, dtype=logits.dtype, device=logits.device).expand_as(logits)
    return F.binary_cross_entropy_with_logits(logits, labels)
