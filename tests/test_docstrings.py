"""Whatever the API reference lists says what it takes, what it gives and what it raises."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

PROJECT = Path(__file__).resolve().parent.parent
ARRAY = re.compile(r"\b(Tensor|NDArray|ndarray|Mask|Pixels|Image)\b")
SHAPE = re.compile(r"\((N|n|H|B|S|L|K|M|\d|[a-z]+)(,|\))|[Ss]calar|shape|one a |one for each|bool tensor|`Samples`")


def listed() -> dict[str, object]:
    """Return what the page of the API lists, by its full name."""
    found, module = {}, ""
    for line in (PROJECT / "docs" / "api" / "index.md").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split()[-1]
        elif re.fullmatch(r"   [\w.]+", line):
            found[f"{module}.{line.strip()}"] = resolved(f"{module}.{line.strip()}")
    return found


def resolved(name: str) -> object:
    """Return the object of a dotted name, importing modules on the way."""
    place = importlib.import_module(name.partition(".")[0])
    for part in name.split(".")[1:]:
        if not hasattr(place, part):
            importlib.import_module(f"{place.__name__}.{part}")
        place = getattr(place, part)
    return place


def documented() -> Iterator[tuple[str, object]]:
    """Yield name and object of everything public: what is listed, and the public members of it."""
    for name, place in listed().items():
        yield name, place
        if inspect.ismodule(place):
            for member in place.__all__:
                yield f"{name}.{member}", getattr(place, member)
        if inspect.isclass(place):
            for member, value in own_members(place).items():
                value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
                if isinstance(value, functools.cached_property):
                    value = value.func
                public = not member.startswith("_") or member == "__call__"
                if public and (inspect.isfunction(value) or isinstance(value, property)):
                    yield f"{name}.{member}", value


def own_members(place: type) -> dict[str, object]:
    """Return what a class and those of this package that it inherits define."""
    own = [base for base in reversed(place.__mro__) if base.__module__.startswith("syncgan.")]
    return {name: value for base in own for name, value in vars(base).items()}


PUBLIC = dict(documented())
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}


def test_everything_public_is_explained() -> None:
    assert [name for name, place in PUBLIC.items() if not (place.__doc__ or "").strip()] == []


def test_every_parameter_is_named() -> None:
    unnamed = {name: missing for name, place in PUBLIC.items() if callable(place) and (missing := unnamed_in(name))}
    assert unnamed == {}


def unnamed_in(name: str) -> list[str]:
    """Return the parameters of which neither the docstring nor what it refers to says anything."""
    place = PUBLIC[name]
    if inspect.isclass(place) and issubclass(place, BaseModel | BaseException):
        return []  # fields of models have descriptions, which a test of the configuration asks for
    text = with_what_it_refers_to(name)
    parameters = [key for key in inspect.signature(place).parameters if key not in ("self", "cls")]
    return [key for key in parameters if not re.search(rf"\b{re.escape(key)}\b", text)]


def with_what_it_refers_to(name: str) -> str:
    """Return the docstring, and those of what it names by "see `other`" or "as for `other`"."""
    text = inspect.getdoc(PUBLIC[name]) or ""
    beside = [f"{name.rpartition('.')[0]}.{other}" for other in re.findall(r"(?:see|as for) `([\w.]+)`", text)]
    return "\n".join([text, *(inspect.getdoc(PUBLIC[other]) or "" for other in beside if other in PUBLIC)])


def test_what_gives_arrays_says_their_shape() -> None:
    returned = {name: str(inspect.signature(place).return_annotation) for name, place in FUNCTIONS.items()}
    arrays = [name for name, given in returned.items() if ARRAY.search(given)]
    assert len(arrays) > 10
    assert [name for name in arrays if not SHAPE.search(FUNCTIONS[name].__doc__ or "")] == []


def test_what_raises_by_itself_says_so() -> None:
    silent = {name: errors for name in FUNCTIONS if (errors := unmentioned_errors(name))}
    assert silent == {}


def unmentioned_errors(name: str) -> list[str]:
    """Return the errors that a function raises in its own lines, and of which its docstring says nothing."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(FUNCTIONS[name])))
    made = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    raised = {call.func.id for call in made if isinstance(call.func, ast.Name)}
    return sorted(error for error in raised if error not in (FUNCTIONS[name].__doc__ or ""))
