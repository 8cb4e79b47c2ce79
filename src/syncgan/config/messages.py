"""What is wrong with a configuration, in sentences: key, what was expected, what came, and the nearest key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError

__all__ = ["nearest", "readable"]


def readable(model: type[BaseModel], error: ValidationError) -> str:
    """Turn pydantic's report into sentences: key, what was expected, what came."""
    sentences: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        # pydantic names the branch of a union in the location; a reader knows only the key.
        key = ".".join(str(part) for part in problem["loc"] if not str(part).startswith(("constrained-", "literal[")))
        expected = _lowered(problem["msg"]).removeprefix("value error, ")
        if problem["type"] == "extra_forbidden":
            known = _known_keys(model, problem["loc"][:-1])
            hint = nearest(str(problem["loc"][-1]), known)
            sentences[key] = f"unknown key {key!r}: expected one of {', '.join(known)}{hint}"
        elif key in sentences:
            sentences[key] = sentences[key].replace(
                ", got ", f" or {expected.removeprefix('input should be ')}, got ", 1
            )
        else:
            sentences[key] = f"{key}: {expected}, got {problem['input']!r}" if key else expected
    return "; ".join(sentences.values())


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return list(model.model_fields)


def nearest(name: object, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" for the known name that is most alike, or nothing."""
    match = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]
