"""Contract checks for plug-ins: run one on a few synthetic inputs and say precisely what is wrong.

For the test suite of whoever writes a plug-in::

    from syncgan.testing import check_segmenter

    def test_my_segmenter():
        check_segmenter(my_segmenter)

Every check returns None, or raises `syncgan.ContractError`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from joblib import wrap_non_picklable_objects
from numpy.typing import NDArray
from torch import Tensor

from syncgan.config import SynCGANConfig
from syncgan.data.filter_contract import require_contract
from syncgan.data.phantom import Phantom
from syncgan.data.sample_filters import make_filter
from syncgan.errors import ContractError, SyncganError
from syncgan.extractor import MaskExtractor
from syncgan.image_cgan import MaskToImageCGAN
from syncgan.mask_gan import MaskGAN
from syncgan.registry import IMAGE_GENERATORS, MASK_GENERATORS, SAMPLE_FILTERS, Registry
from syncgan.segmentation.protocol import normalise_output
from syncgan.segmentation.resolve import ResolvedSegmenter, resolve

__all__ = ["check_image_generator", "check_mask_generator", "check_sample_filter", "check_segmenter"]

_IMAGE_SIZE = 32
_ITEMS = 3
_CHECKED = "plug-in under check"

# A poor segmenter takes cytoplasm or red cells for nuclei, but not this share of all that is none.
_MAX_NUCLEAR_BACKGROUND = 0.8


def check_segmenter(segmenter: str | Callable[..., Any], **parameters: Any) -> None:
    """Check that a segmenter fulfils its contract (see `syncgan.segmentation.protocol`).

    It is called with smears of several sizes, one of them gray, one in a read-only array, and with images in which
    there is nothing to find. Each time it must return an (H, W) map of an allowed kind, in which the background is 0,
    and leave the image as it was. It must return the same map when called again, after other images, and from a copy
    in another process.

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
    cases = list(_cases())
    maps = [_checked_map(resolved, case) for case in cases]
    _require_no_memory(resolved, cases, maps)
    _require_a_working_copy(resolved, cases[0], maps[0])


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


def check_sample_filter(plugin: str | Callable[..., Any], *, levels: int = 2, **parameters: Any) -> None:
    """Check that a sample filter fulfils its contract (see `syncgan.data.sample_filters.FittedFilter`).

    One that learns is fitted, scores, and is restored from its state. Either kind must give what its contract says,
    the same when asked again, the same for a sample alone as among others, and leave what it was given as it was.

    Parameters
    ----------
    plugin : a name in ``SAMPLE_FILTERS``, a callable of samples, or a factory of a filter that learns.
    levels : L of the masks.
    **parameters : the filter's own.

    Raises
    ------
    ContractError
        What it did, and what was expected.

    Examples
    --------
    >>> check_sample_filter("dark_nuclei")
    >>> check_sample_filter(lambda images, masks, levels: images.float().mean(dim=(1, 2, 3)) > images.float().mean())
    Traceback (most recent call last):
    ...
    syncgan.errors.ContractError: sample filter 'plug-in under check' judges a sample otherwise when it is alone; ...
    """
    images, maps, numbers = _training_set(levels, per_class=4)
    samples = torch.from_numpy(images), torch.from_numpy(maps), torch.tensor(numbers)
    offered = {
        "levels": levels,
        "classes": 2,
        "image_size": _IMAGE_SIZE,
        "seed": 0,
        "device": torch.device("cpu"),
        "extractor": MaskExtractor(levels=levels).describe(),
    }

    def check(name: str) -> None:
        require_contract(name, lambda: make_filter(name, parameters, **offered, shared={}), samples, levels)

    _under_a_name(SAMPLE_FILTERS, plugin, check)


@dataclass(frozen=True)
class _Case:
    """One image that a segmenter is tried on.

    Attributes
    ----------
    what : the image in words, for messages.
    image : (H, W, 3) uint8 RGB.
    background : (H, W) bool, True where there is certainly no nucleus; None where that cannot be said.
    writable : whether the segmenter is given an array that it could write into.
    """

    what: str
    image: NDArray[np.uint8]
    background: NDArray[np.bool_] | None = None
    writable: bool = True

    def given(self) -> NDArray[np.uint8]:
        """Return a copy for the segmenter."""
        image = self.image.copy()
        image.flags.writeable = self.writable
        return image


def _cases() -> Iterator[_Case]:
    yield _smear("a smear of 64 x 64", (64, 64))
    yield _smear("a smear of 48 x 48", (48, 48))
    yield _smear("a smear of 40 rows and 64 columns", (40, 64))
    yield _smear("a smear of 192 rows and 160 columns", (192, 160))
    smear = _smear("a smear in a read-only array", (64, 64))
    yield replace(smear, writable=False)
    gray = smear.image.mean(axis=2, keepdims=True).round().astype(np.uint8)
    yield replace(smear, what="a gray smear", image=np.repeat(gray, 3, axis=2))
    everywhere = np.ones((32, 32), np.bool_)
    yield _Case("an image of one colour", np.full((32, 32, 3), 200, np.uint8), everywhere)
    yield _Case("a white image", np.full((32, 32, 3), 255, np.uint8), everywhere)
    yield _Case("a black image", np.zeros((32, 32, 3), np.uint8))
    yield _Case("an image of 3 rows and 200 columns", np.tile(smear.image[30:33], (1, 4, 1))[:, :200].copy())
    yield _Case("an image of one pixel", np.full((1, 1, 3), 128, np.uint8))


def _smear(what: str, shape: tuple[int, int]) -> _Case:
    height, width = shape
    phantom = Phantom(1, image_size=max(shape))
    nuclei = np.asarray(phantom.masks[0])[:height, :width] > 0
    return _Case(what, phantom.image(0)[:height, :width].copy(), ~nuclei)


def _checked_map(resolved: ResolvedSegmenter, case: _Case) -> NDArray[np.uint8]:
    """Return the map of one image, or refuse what the segmenter does with it."""
    given, name = case.given(), resolved.name
    first = _map_of(resolved, case, given)
    if not np.array_equal(given, case.image):
        raise ContractError(f"on {case.what}: segmenter {name!r} changed the image it was given; copy it first")
    if not np.array_equal(first, _map_of(resolved, case, case.given())):
        raise ContractError(
            f"on {case.what}: segmenter {name!r} gave two masks for one image; "
            "fix its seed, so that a run can be repeated"
        )
    _require_background(resolved, case, first)
    return first


def _map_of(resolved: ResolvedSegmenter, case: _Case, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    output = _output(resolved, case, image)
    try:
        return normalise_output(output, image.shape, levels_declared=resolved.levels, name=resolved.name)[0]
    except ContractError as error:
        raise ContractError(f"on {case.what}: {error}{_remedy(output, image.shape)}") from error


def _output(resolved: ResolvedSegmenter, case: _Case, image: NDArray[np.uint8]) -> Any:
    remedy = (
        "return an empty mask where there is nothing to find"
        if case.writable
        else "copy the image before writing into it: parallel extraction passes large images as read-only arrays"
    )
    try:
        output = resolved.call(image)
    except Exception as error:
        raise ContractError(
            f"on {case.what}: segmenter {resolved.name!r} raised {type(error).__name__}: {error}; {remedy}"
        ) from error
    if isinstance(output, Tensor):
        raise ContractError(
            f"on {case.what}: segmenter {resolved.name!r} returned a torch.Tensor; "
            "expected a NumPy array, for example `mask.cpu().numpy()`"
        )
    return output


def _remedy(output: object, image_shape: tuple[int, ...]) -> str:
    """Say what probably went wrong with an output that is refused, as a clause to append, or nothing."""
    if output is None:
        return "; is there a `return` missing?"
    height, width = image_shape[:2]
    remedies = {
        (width, height): "it looks transposed: rows come first",
        (height, width, 1): "drop the last axis, for example `mask[..., 0]`",
        (height, width, 3): "the channels were kept: reduce them to one value a pixel",
        (1, height, width): "drop the first axis, for example `mask[0]`",
        (3, height, width): "the channels were kept: reduce them to one value a pixel",
    }
    shape = getattr(output, "shape", None)
    return f"; {remedies[shape]}" if shape != (height, width) and shape in remedies else ""


def _require_background(resolved: ResolvedSegmenter, case: _Case, levels: NDArray[np.uint8]) -> None:
    if case.background is None:
        return
    nucleus = levels == (resolved.levels or 2) - 1
    share = float(nucleus[case.background].mean())
    if share > _MAX_NUCLEAR_BACKGROUND:
        remedy = (
            "return an empty mask where there is no contrast"
            if case.background.all()
            else "background must be 0: the map looks inverted, or its instance labels do not start at 1"
        )
        raise ContractError(
            f"on {case.what}: segmenter {resolved.name!r} calls {share:.0%} of the background nucleus; {remedy}"
        )


def _require_no_memory(resolved: ResolvedSegmenter, cases: list[_Case], maps: list[NDArray[np.uint8]]) -> None:
    for case, before in reversed(list(zip(cases, maps, strict=True))):
        if not np.array_equal(before, _map_of(resolved, case, case.given())):
            raise ContractError(
                f"on {case.what}: segmenter {resolved.name!r} gave another mask after other images; "
                "let nothing that one call leaves behind decide the next"
            )


def _require_a_working_copy(resolved: ResolvedSegmenter, case: _Case, before: NDArray[np.uint8]) -> None:
    """Require that the segmenter reaches another process, by cloudpickle, as joblib sends it."""
    try:
        sent = pickle.dumps(wrap_non_picklable_objects(resolved.call, keep_wrapper=False))
        copy = replace(resolved, call=pickle.loads(sent))  # noqa: S301  our own bytes
    except Exception as error:
        raise ContractError(
            f"segmenter {resolved.name!r} cannot be sent to another process ({type(error).__name__}: {error}), so "
            "there is no parallel extraction; make locks, open files and the like when they are first needed, and "
            "leave them out of `__getstate__`"
        ) from error
    if not np.array_equal(before, _map_of(copy, case, case.given())):
        raise ContractError(
            f"on {case.what}: a copy of segmenter {resolved.name!r}, as it is sent to another process, gives another "
            "mask; put everything that decides a mask into its state"
        )


def _training_set(levels: int, per_class: int = 2) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[int]]:
    """Return images (N, 3, S, S), maps (N, S, S) in which every level occurs, and labels of two classes."""
    phantom = Phantom(per_class, image_size=_IMAGE_SIZE)
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
