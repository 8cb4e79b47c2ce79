"""Contract checks for plug-ins: run one on a few synthetic inputs and say precisely what is wrong.

For the test suite of whoever writes a plug-in::

    from syncgan.testing import check_segmenter

    def test_my_segmenter():
        check_segmenter(my_segmenter)

Every check returns None, or raises `syncgan.ContractError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syncgan.config import SynCGANConfig
from syncgan.data.phantom import Phantom
from syncgan.errors import ContractError, SyncganError
from syncgan.image_cgan import MaskToImageCGAN
from syncgan.mask_gan import MaskGAN
from syncgan.registry import IMAGE_GENERATORS, MASK_GENERATORS, Registry
from syncgan.segmentation.protocol import normalise_output
from syncgan.segmentation.resolve import ResolvedSegmenter, resolve

__all__ = ["check_image_generator", "check_mask_generator", "check_segmenter"]

_IMAGE_SIZE = 32
_ITEMS = 3
_CHECKED = "plug-in under check"


def check_segmenter(segmenter: str | Callable[..., Any], **parameters: Any) -> None:
    """Check that a segmenter fulfils its contract (see `syncgan.segmentation.protocol`).

    It is called with smears of several sizes, an even image, a black one and one of a single pixel. Each time it must
    return an (H, W) map of an allowed kind, the same map when called again, and leave the image as it was.

    Parameters
    ----------
    segmenter : a name in ``SEGMENTERS``, a callable of one (H, W, 3) uint8 image, or a class of such callables.
    **parameters : its own parameters.

    Raises
    ------
    ContractError
        What it did, on which image, and what was expected.

    Examples
    --------
    >>> check_segmenter("gmm")
    >>> check_segmenter(lambda image: image[..., 0] / 255)
    Traceback (most recent call last):
    ...
    syncgan.errors.ContractError: on a smear of 64 x 64: segmenter ...returned float64; expected bool...
    """
    resolved = resolve(segmenter, parameters)
    for what, image in _test_images():
        given = image.copy()
        first = _segmented(resolved, given, what)
        if not np.array_equal(given, image):
            raise ContractError(f"on {what}: segmenter {resolved.name!r} changed the image it was given; copy it first")
        if not np.array_equal(first, _segmented(resolved, image.copy(), what)):
            raise ContractError(
                f"on {what}: segmenter {resolved.name!r} gave two masks for one image; "
                "fix its seed, so that a run can be repeated"
            )


def check_mask_generator(factory: str | Callable[..., Any], *, levels: int = 2) -> None:
    """Check that a factory makes a usable mask generator: it is fitted, sampled, and restored from its state.

    Parameters
    ----------
    factory : a name in ``MASK_GENERATORS`` or the factory itself.
    levels : L of the maps that it shall learn.

    Raises
    ------
    ContractError
        What it did, and what was expected.
    """
    _, maps, labels = _training_set(levels)

    def check(name: str) -> None:
        config = _config(levels).merged({"mask_gan": {"generator": name}})
        for told in (None, labels):
            model = MaskGAN(config, device="cpu").fit(maps, told, levels=levels)
            restored = MaskGAN.from_state(*model.state(), device="cpu")
            _compare(f"mask generator {name!r}", model.sample, restored.sample)

    _under_a_name(MASK_GENERATORS, factory, check)


def check_image_generator(factory: str | Callable[..., Any], *, levels: int = 2) -> None:
    """Check that a factory makes a usable image generator: it is fitted, renders, and is restored from its state.

    Parameters
    ----------
    factory : a name in ``IMAGE_GENERATORS`` or the factory itself.
    levels : L of the maps that it shall render.

    Raises
    ------
    ContractError
        What it did, and what was expected.
    """
    images, maps, labels = _training_set(levels)

    def check(name: str) -> None:
        config = _config(levels).merged({"image_gan": {"generator": name}})
        model = MaskToImageCGAN(config, device="cpu").fit(images, maps, labels, levels=levels)
        restored = MaskToImageCGAN.from_state(*model.state(), device="cpu")
        _compare(
            f"image generator {name!r}",
            lambda count: model.generate(maps[:count], labels[:count]),
            lambda count: restored.generate(maps[:count], labels[:count]),
        )

    _under_a_name(IMAGE_GENERATORS, factory, check)


def _test_images() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for side in (64, 48):
        yield f"a smear of {side} x {side}", Phantom(1, image_size=side).image(0)
    yield "a smear of 40 rows and 64 columns", np.ascontiguousarray(Phantom(1, image_size=64).image(1)[:40])
    yield "an image of one colour", np.full((32, 32, 3), 200, np.uint8)
    yield "a black image", np.zeros((32, 32, 3), np.uint8)
    yield "an image of one pixel", np.full((1, 1, 3), 128, np.uint8)


def _segmented(resolved: ResolvedSegmenter, image: NDArray[np.uint8], what: str) -> NDArray[np.uint8]:
    try:
        output = resolved.call(image)
        return normalise_output(output, image.shape, levels_declared=resolved.levels, name=resolved.name)[0]
    except ContractError as error:
        raise ContractError(f"on {what}: {error}") from error
    except Exception as error:
        raise ContractError(
            f"on {what}: segmenter {resolved.name!r} raised {type(error).__name__}: {error}; "
            "return an empty mask where there is nothing to find"
        ) from error


def _training_set(levels: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[int]]:
    """Return images (N, 3, S, S), maps (N, S, S) in which every level occurs, and labels of two classes."""
    phantom = Phantom(2, image_size=_IMAGE_SIZE)
    images = np.stack([phantom.image(index) for index in range(len(phantom))]).transpose(0, 3, 1, 2)
    stripes = np.arange(_IMAGE_SIZE, dtype=np.uint8) * (levels - 1) // _IMAGE_SIZE
    maps = np.stack([np.where(mask > 0, levels - 1, stripes[None, :]) for mask in phantom.masks]).astype(np.uint8)
    return np.ascontiguousarray(images), maps, phantom.targets


def _config(levels: int) -> SynCGANConfig:
    short = {"steps": 2, "batch_size": 2, "width": 4, "discriminator_width": 4}
    return SynCGANConfig.preset("tiny").merged({"levels": levels, "mask_gan": short, "image_gan": short})


def _under_a_name(registry: Registry, factory: str | Callable[..., Any], check: Callable[[str], None]) -> None:
    """Run `check` with the name of `factory`, which is registered for so long if it has none."""
    name = factory if isinstance(factory, str) else _CHECKED
    if not isinstance(factory, str):
        registry.register(name)(factory)
    try:
        check(name)
    except SyncganError:
        raise
    except Exception as error:
        raise ContractError(f"{registry.kind} {name!r} raised {type(error).__name__}: {error}") from error
    finally:
        if not isinstance(factory, str):
            registry.unregister(name)


def _compare(what: str, draw: Callable[[int], Tensor], draw_restored: Callable[[int], Tensor]) -> None:
    """Require that one seed gives one result: again, with fewer items, and after saving and loading."""
    drawn = draw(_ITEMS)
    for other, complaint in (
        (draw(_ITEMS), "gave two results for one seed; draw from the noise or seed it is given, and from nothing else"),
        (draw(_ITEMS - 1), "gave other items when fewer were asked for; let no item depend on its neighbours"),
        (draw_restored(_ITEMS), "gives other items after loading; put everything that it needs into state_dict"),
    ):
        if not torch.equal(drawn[: len(other)], other):
            raise ContractError(f"{what} {complaint}")
