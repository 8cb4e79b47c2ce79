"""Losses as pure functions, with the paper's equations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from syncgan.training.precision import widened

__all__ = ["discriminator_loss", "feature_matching", "generator_loss", "r1_penalty", "reconstruction_loss"]


def discriminator_loss(
    real_logits: Tensor,
    fake_logits: Tensor,
    *,
    kind: str = "bce",
    real_target: Tensor | float = 1.0,
    fake_target: Tensor | float = 0.0,
) -> Tensor:
    """Return D's loss: ``-(log D(real) + log(1 - D(fake)))`` for ``bce`` (Eq. 5; Eq. 2 with its sign slip mended).

    Parameters
    ----------
    real_logits, fake_logits : (N, 1, h, w) logits of D.
    kind : "bce" (paper) or "hinge", ``max(0, 1 - D(real)) + max(0, 1 + D(fake))``.
    real_target, fake_target : labels of real and fake for ``bce``, numbers or tensors that broadcast against the
        logits; label smoothing and label flips come in here (Sec. 3.4). Without a meaning for ``hinge``.

    Returns
    -------
    Scalar tensor: mean over patches and items, halves summed (not averaged, as pix2pix would).
    """
    if kind == "hinge":
        return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()
    return _bce(real_logits, real_target) + _bce(fake_logits, fake_target)


def generator_loss(fake_logits: Tensor, *, kind: str = "bce") -> Tensor:
    """Return G's non-saturating loss: ``-log D(G(.))`` for ``bce`` (Eq. 3 and 6), ``-D(G(.))`` for ``hinge``."""
    return -fake_logits.mean() if kind == "hinge" else _bce(fake_logits, 1.0)


def reconstruction_loss(rendered: Tensor, real: Tensor, *, kind: str = "mse") -> Tensor:
    """Return the mean squared (``mse``, Eq. 3) or absolute (``l1``, pix2pix) difference on the [-1, 1] range."""
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


def _bce(logits: Tensor, target: Tensor | float) -> Tensor:
    logits = widened(logits)
    labels = torch.as_tensor(target, dtype=logits.dtype, device=logits.device).expand_as(logits)
    return F.binary_cross_entropy_with_logits(logits, labels)
