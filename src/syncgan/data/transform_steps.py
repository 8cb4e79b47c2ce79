"""A dataset's own transforms, seen at work: which of them an item meets, in which order, and how they are called.

That is seen rather than guessed: the first item is read once through recorders in place of the transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from syncgan.data.items import ItemTemplate, join_item, split_item
from syncgan.data.views import HOOKS, leaves, let_through, locate, name_of, naming, raw_view, require_map_style
from syncgan.errors import DataError

__all__ = ["Step", "inspect", "on_image", "require_unset", "unset_hooks"]

Call = Literal["image", "label", "pair", "item", "keyword"]


@dataclass(frozen=True)
class Step:
    """One call of a transform, repeated on synthetic items: whose, in which attribute, and with what."""

    owner: Any
    hook: str
    call: Call

    def __call__(self, item: Any) -> Any:
        """Return the item as the transform leaves it."""
        transform = getattr(self.owner, self.hook)
        return item if transform is None else _apply(_CALLS[self.call], transform, item)


def _call_on_image(transform: Callable[..., Any], image: Any, label: Any) -> tuple[Any, Any]:
    return transform(image), label


def _call_on_label(transform: Callable[..., Any], image: Any, label: Any) -> tuple[Any, Any]:
    return image, transform(label)


def _call_on_pair(transform: Callable[..., Any], image: Any, label: Any) -> tuple[Any, Any]:
    image, label = transform(image, label)
    return image, label


def _call_by_keyword(transform: Callable[..., Any], image: Any, label: Any) -> tuple[Any, Any]:
    return transform(image=image)["image"], label  # albumentations' way


_CALLS: dict[Call, Callable[..., tuple[Any, Any]] | None] = {
    "image": _call_on_image,
    "label": _call_on_label,
    "pair": _call_on_pair,
    "keyword": _call_by_keyword,
    "item": None,
}


def _apply(call: Callable[..., tuple[Any, Any]] | None, transform: Callable[..., Any], item: Any) -> Any:
    if call is None:
        return transform(item)
    image, label = split_item(item)
    image, label = call(transform, image, label)
    return {**item, "image": image, "label": label} if isinstance(item, Mapping) else join_item(item, image, label)


def inspect(dataset: Any) -> tuple[ItemTemplate, tuple[Step, ...]]:
    """Read the first item through recorders: what kind it is, and which transforms it meets in which order."""
    require_map_style(dataset)
    if len(dataset) == 0:
        raise DataError(
            "expected a dataset with items, got an empty one; synthetic items take their kind from the first"
        )
    steps: list[Step] = []

    def recorder(owner: Any, hook: str) -> Callable[..., Any]:
        def record(*args: Any, **kwargs: Any) -> Any:
            step = Step(owner, hook, _kind_of_call(hook, args, kwargs))
            if any(step.owner is known.owner and step.hook == known.hook for known in steps):
                raise DataError(
                    f"`{hook}` is called more than once for an item, which cannot be repeated on synthetic items; "
                    "give it to `wrap` instead"
                )
            steps.append(step)
            return let_through(*args, **kwargs)

        return record

    with naming(name_of(0, locate(dataset)[0])):
        template = ItemTemplate.of(raw_view(dataset, recorder)[0])
    return template, tuple(steps)


def unset_hooks(dataset: Any) -> tuple[tuple[Any, str], ...]:
    """Return (owner, attribute) of the transforms that a dataset and its innermost parts could have, and have not."""
    owners = {id(owner): owner for owner in (dataset, *leaves(dataset))}.values()
    return tuple((owner, hook) for owner in owners for hook in HOOKS if getattr(owner, hook, hook) is None)


def require_unset(hooks: Iterable[tuple[Any, str]]) -> None:
    """Refuse transforms that were set where none was: how they are called could not be seen."""
    for owner, hook in hooks:
        if getattr(owner, hook) is not None:
            raise DataError(
                f"`{hook}` of {type(owner).__name__} was set after `wrap`, so it would reach real items only; set it "
                "first, and wrap then"
            )


def _kind_of_call(hook: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
    if list(kwargs) == ["image"] and not args:
        return "keyword"
    if kwargs or len(args) not in (1, 2):
        raise DataError(
            f"`{hook}` is called in a way that cannot be repeated on synthetic items; give it to `wrap` instead"
        )
    if len(args) == 2:
        return "pair"
    if isinstance(args[0], (Mapping, tuple, list)):
        return "item"
    return "label" if hook == "target_transform" else "image"


def on_image(transform: Callable[..., Any], item: Any) -> Any:
    """Return the item with its image transformed."""
    return _apply(_call_on_image, transform, item)
