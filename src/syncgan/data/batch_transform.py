"""Replace items of a batch by fresh synthetic samples, on the device, after the DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import get_worker_info

from syncgan.errors import ConfigError, DataError, SyncganError
from syncgan.rng import moved, numpy_generator, seed_for

__all__ = ["BatchTransform", "share_of"]

_DEFAULT_P = 0.5

RenderBatch = Callable[[Tensor, list[int]], Tensor]
"""``(labels (k,) int64, k seeds) -> images (k, 3, S, S) uint8``, a pure function of each label and seed."""


class BatchTransform(nn.Module):
    """Replace each item of a batch with probability `p` by a synthetic sample of the same label.

    Used as torchvision's MixUp and CutMix are, and before them: ``images, labels = mix(images, labels)`` in the
    training loop. What is replaced, and by what, depends on the seed and the step alone. The step advances with each
    batch in training mode and is part of the ``state_dict``, so a resumed training goes on as it would have. In
    evaluation mode batches pass unchanged. With several training processes, give each its own seed.

    Parameters
    ----------
    render : ``(labels, seeds) -> images``: labels (k,) int64 and k seeds to (k, 3, S, S) uint8 images on any device,
        each a pure function of its label and seed.
    label_values : the labels that `render` knows.
    p : probability in [0, 1] that an item is replaced.
    transform : what turns (k, 3, S, S) uint8 into images like those of the batch; (k, 1, S, S) for a gray batch.
        Needed for float batches (the dataset's normalisation); uint8 batches are resized without it.
    seed : names the stream of replacements.
    reads_labels : whether the labels of every batch are looked at on the host. Without that, a batch on a GPU is mixed
        without waiting for it; unknown labels are then named in the first batch only, and stop the GPU later.

    Attributes
    ----------
    step : int, the number of batches seen in training mode.

    Raises
    ------
    ConfigError
        `p` is not a number in [0, 1], or `transform` cannot be called.
    """

    _render: RenderBatch

    def __init__(
        self,
        render: RenderBatch,
        *,
        label_values: Sequence[int],
        p: float = 0.5,
        transform: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        reads_labels: bool = True,
    ) -> None:
        super().__init__()
        if isinstance(p, bool) or not isinstance(p, (int, float, np.integer, np.floating)) or not 0 <= p <= 1:
            raise ConfigError(f"expected a probability in [0, 1] as p, got {p!r}")
        if transform is not None and not callable(transform):
            raise ConfigError(f"expected a callable as transform, got {type(transform).__name__}")
        # Past nn.Module's registration: a renderer that is a module is not a part to be trained or saved with this one.
        object.__setattr__(self, "_render", render)
        self.label_values = tuple(int(value) for value in label_values)
        self.p = float(p)
        self.transform = transform
        self.seed = int(seed)
        self.step = 0
        self._reads_labels = reads_labels
        self._has_read = False

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch with some images replaced, and the labels as they came.

        Parameters
        ----------
        images : (N, 3, H, W) or (N, 1, H, W), uint8 in 0..255 or float of any normalisation, on any device.
        labels : (N,) or (N, 1) integers, the labels that the model was fitted on.

        Returns
        -------
        Images of the same shape, dtype and device; the same tensor where nothing was replaced.

        Raises
        ------
        ConfigError
            Called in a DataLoader's worker, a float batch without `transform`, or a `transform` that returns images
            unlike those of the batch.
        DataError
            Images or labels of another shape or type, or labels that the model does not know.
        """
        _refuse_worker()
        if not self.training:
            return images, labels
        _check_batch(images, labels)
        own = labels.flatten()
        self._require_known(own)
        positions = self._drawn(len(own))
        if positions:
            images = self._replaced(images, own, positions)
        self.step += 1
        return images, labels

    def set_step(self, step: int) -> None:
        """Go to a step: the next batch is treated as number `step`, counted from 0; a negative one is a ConfigError."""
        if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or step < 0:
            raise ConfigError(f"expected a whole number of at least 0 as step, got {step!r}")
        self.step = int(step)

    def get_extra_state(self) -> Tensor:
        """Return the step for the ``state_dict``, a scalar."""
        return torch.tensor(self.step, dtype=torch.int64)

    def set_extra_state(self, state: Any) -> None:
        """Take the step from `state`, that of a ``state_dict``."""
        self.set_step(int(state))

    def extra_repr(self) -> str:
        """Describe the module in ``repr``."""
        return f"p={self.p}, seed={self.seed}, classes={len(self.label_values)}"

    def _drawn(self, count: int) -> list[int]:
        draws = numpy_generator(self.seed, "batch_transform", self.step).random(count)
        return [position for position in range(count) if draws[position] < self.p]

    def _require_known(self, labels: Tensor) -> None:
        if labels.is_cuda and self._has_read and not self._reads_labels:
            values = moved(torch.tensor(self.label_values), labels.device)
            torch._assert_async(torch.isin(labels, values).all(), "labels that the model does not know")
            return
        self._has_read = True
        unknown = sorted(set(labels.tolist()) - set(self.label_values))
        if unknown:
            raise DataError(
                f"expected labels that the model knows ({_listed(self.label_values)}), got {_listed(unknown)}; "
                "apply target transforms after the batch transform"
            )

    def _replaced(self, images: Tensor, labels: Tensor, positions: list[int]) -> Tensor:
        wanted = labels[moved(torch.tensor(positions), labels.device)]
        seeds = [seed_for(self.seed, "batch_transform", self.step, position) for position in positions]
        with torch.inference_mode():
            rendered = self._render(wanted, seeds).to(images.device, non_blocking=images.is_cuda)
        # Inference tensors cannot take part in autograd; the copy is a normal tensor.
        fresh = self._like(images, rendered.clone())
        mixed = images.clone()
        mixed[moved(torch.tensor(positions), images.device)] = fresh
        return mixed

    @torch.no_grad()
    def _like(self, images: Tensor, rendered: Tensor) -> Tensor:
        """Turn (k, 3, S, S) uint8 into images like those of the batch."""
        if images.shape[1] == 1:
            rendered = _gray(rendered)
        if self.transform is not None:
            return _checked(self._transformed(rendered), images, len(rendered))
        if images.dtype != torch.uint8:
            raise ConfigError(
                f"expected a transform for a batch of {images.dtype}, got None; pass batch_transform(transform=...) "
                "that turns uint8 images (k, 3, S, S) into what the dataset's own transforms give"
            )
        return _resized(rendered, images.shape[-2:])

    def _transformed(self, rendered: Tensor) -> Any:
        try:
            return self.transform(rendered)  # type: ignore[misc]
        except (SyncganError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            # The transform is the user's, and most often one that is meant for single PIL images.
            raise ConfigError(
                f"the transform fails on a batch of uint8 images {tuple(rendered.shape)} "
                f"({type(error).__name__}: {error}); give one for batches of tensors, with "
                "torchvision.transforms.v2.ToDtype(torch.float32, scale=True) in place of ToTensor"
            ) from error


def share_of(p: float, ratio: float | None) -> float:
    """Return the probability of a replacement: `p`, or what gives `ratio` synthetic items for a real one in the mean.

    Raises
    ------
    ConfigError
        The ratio is negative, not finite or no number, or `p` is given too.

    Examples
    --------
    >>> share_of(0.5, None), share_of(0.5, 3.0)
    (0.5, 0.75)
    """
    if ratio is None:
        return p
    if (
        isinstance(ratio, bool)
        or not isinstance(ratio, (int, float, np.integer, np.floating))
        or not 0 <= ratio < float("inf")
    ):
        raise ConfigError(f"expected a finite ratio synthetic : real of at least 0, got {ratio!r}")
    if p != _DEFAULT_P:
        raise ConfigError(f"expected p or ratio, got both ({p} and {ratio}); leave one out")
    return float(ratio / (1 + ratio))


def _refuse_worker() -> None:
    if get_worker_info() is not None:
        raise ConfigError(
            "the batch transform runs on the model's device and was called in a DataLoader worker; "
            "apply it in the training loop, after the DataLoader"
        )


def _check_batch(images: Tensor, labels: Tensor) -> None:
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(f"expected a batch of images (N, 3, H, W) or (N, 1, H, W), got {_shown(images)}")
    if not _are_integers(labels) or labels.shape[1:] not in ((), (1,)):
        raise DataError(
            f"expected integer labels (N,) or (N, 1), got {_shown(labels)}; apply it before MixUp, CutMix or one-hot"
        )
    if len(labels) != len(images):
        raise DataError(f"expected one label an image, got {len(labels)} labels for {len(images)} images")


def _are_integers(labels: Any) -> bool:
    return isinstance(labels, Tensor) and not labels.is_floating_point() and labels.dtype != torch.bool


def _checked(result: Any, images: Tensor, count: int) -> Tensor:
    expected = (count, *images.shape[1:])
    if not isinstance(result, Tensor) or tuple(result.shape) != expected or result.dtype != images.dtype:
        raise ConfigError(
            f"expected the transform to return {expected} {images.dtype} like the batch, got {_shown(result)}; "
            "give it the dataset's resize, dtype and normalisation"
        )
    return result


def _shown(value: Any) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _gray(images: Tensor) -> Tensor:
    # ITU-R 601, as Pillow's mode "L".
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
    return (images.to(torch.float32) * weights).sum(dim=1, keepdim=True).round_().to(torch.uint8)


def _resized(images: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    scaled = F.interpolate(images.to(torch.float32), size=tuple(size), mode="bilinear", antialias=True)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)
