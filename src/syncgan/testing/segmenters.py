"""The contract of segmenters, tried out on smears and on images in which there is nothing to find."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from syncgan.data.phantom import Phantom
from syncgan.errors import ContractError
from syncgan.segmentation.parallel import as_sent
from syncgan.segmentation.protocol import normalise_output
from syncgan.segmentation.resolve import ResolvedSegmenter, resolve
from syncgan.testing.rules import Rule, named, try_all

__all__ = ["check_segmenter", "segmenter_rules"]

# A poor segmenter takes cytoplasm or red cells for nuclei, but not this share of all that is none.
_MAX_NUCLEAR_BACKGROUND = 0.8
_MAP = "an image gives one (H, W) map of an allowed kind"


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
        What it did, on which image, what was expected, and the rule.

    Examples
    --------
    >>> check_segmenter("gmm")
    >>> check_segmenter(lambda image: image[..., 0] / 255)
    Traceback (most recent call last):
    ...
    syncgan.errors.ContractError: on a smear of 64 x 64: segmenter ...returned float64; expected bool...
    """
    try_all(segmenter_rules(segmenter, **parameters))


def segmenter_rules(segmenter: str | Callable[..., Any], **parameters: Any) -> list[Rule]:
    """Return the rules, see `check_segmenter`, one by one; the segmenter is made and called when one of them is.

    Examples
    --------
    >>> for rule in segmenter_rules("otsu"):
    ...     print(rule)
    an image gives one (H, W) map of an allowed kind
    the image is left as it was
    one image has one mask
    background is no nucleus
    no mask depends on the images before
    it can be sent to another process
    """
    trial = _Segmenter(segmenter, parameters)
    return [
        Rule(_MAP, trial.gives_maps),
        Rule("the image is left as it was", trial.leaves_the_image),
        Rule("one image has one mask", trial.repeats_itself),
        Rule("background is no nucleus", trial.knows_background),
        Rule("no mask depends on the images before", trial.has_no_memory),
        Rule("it can be sent to another process", trial.reaches_another_process),
    ]


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
    smear = _smear("a smear", (64, 64))
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


@dataclass(frozen=True)
class _Answer:
    """What a segmenter did with one image, when it was given twice in a row."""

    case: _Case
    first: NDArray[np.uint8]
    second: NDArray[np.uint8]
    image_changed: bool


class _Segmenter:
    """One segmenter under check; its rules share what it did with every image."""

    def __init__(self, segmenter: str | Callable[..., Any], parameters: dict[str, Any]) -> None:
        self._segmenter = segmenter
        self._parameters = parameters

    @cached_property
    def _resolved(self) -> ResolvedSegmenter:
        return resolve(self._segmenter, self._parameters)

    @cached_property
    def _answers(self) -> list[_Answer]:
        with named(_MAP):
            return [self._asked(case) for case in _cases()]

    def _asked(self, case: _Case) -> _Answer:
        given = case.given()
        first = _map_of(self._resolved, case, given)
        changed = not np.array_equal(given, case.image)
        return _Answer(case, first, _map_of(self._resolved, case, case.given()), changed)

    def gives_maps(self) -> None:
        _ = self._answers

    def leaves_the_image(self) -> None:
        for answer in self._answers:
            if answer.image_changed:
                raise ContractError(
                    f"on {answer.case.what}: segmenter {self._resolved.name!r} changed the image it was given; "
                    "copy it first"
                )
        read_only = replace(_smear("a smear in a read-only array", (64, 64)), writable=False)
        _map_of(self._resolved, read_only, read_only.given())

    def repeats_itself(self) -> None:
        for answer in self._answers:
            if not np.array_equal(answer.first, answer.second):
                raise ContractError(
                    f"on {answer.case.what}: segmenter {self._resolved.name!r} gave two masks for one image; "
                    "fix its seed, so that a run can be repeated"
                )

    def knows_background(self) -> None:
        for answer in self._answers:
            _require_background(self._resolved, answer.case, answer.first)

    def has_no_memory(self) -> None:
        for answer in reversed(self._answers):
            case = answer.case
            if not np.array_equal(answer.first, _map_of(self._resolved, case, case.given())):
                raise ContractError(
                    f"on {case.what}: segmenter {self._resolved.name!r} gave another mask after other images; "
                    "let nothing that one call leaves behind decide the next"
                )

    def reaches_another_process(self) -> None:
        _require_a_working_copy(self._resolved, self._answers[0].case, self._answers[0].first)


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


def _require_a_working_copy(resolved: ResolvedSegmenter, case: _Case, before: NDArray[np.uint8]) -> None:
    """Require that the segmenter reaches another process, by cloudpickle, as joblib sends it."""
    try:
        copy = replace(resolved, call=pickle.loads(as_sent(resolved.call)))  # noqa: S301  our own bytes
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
