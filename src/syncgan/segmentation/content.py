"""A digest of all that decides what a function returns: its code, what it carries, and the globals that it uses.

The one idea: what cannot be known for certain has no digest. What other packages define is known by their version.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import importlib
import platform
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

__all__ = ["digest_of", "digest_of_class", "reads_files"]

# What such names return depends on files, which may change while the code does not.
_FROM_FILES = {"fromfile", "genfromtxt", "imread", "load", "load_file", "loadtxt", "memmap"}
_READERS = _FROM_FILES | {"from_pretrained", "open", "read", "read_bytes", "read_text"}
_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)


class _UnknownContentError(Exception):
    """Two values of this kind may differ without a sign of it."""


def digest_of(value: object) -> str | None:
    """Return a digest that changes when the content of `value` changes, or None if its content cannot be known.

    Known are plain constants and containers of them, NumPy arrays, paths, enumerations, functions (with closure,
    defaults, and the globals they use, so far as these are known), installed modules with a version, and what
    such modules define.
    """
    digest = hashlib.sha256()
    try:
        for part in _parts(value, {}):
            digest.update(len(part).to_bytes(8, "big") + part)
    except (_UnknownContentError, RecursionError):  # a list may hold itself
        return None
    return digest.hexdigest()


def reads_files(function: object) -> bool:
    """Say whether a function, or one that it uses, names what reads files: its digest then does not tell all.

    Functions of installed packages are taken not to.
    """
    return _reads_files(function, set())


def _reads_files(function: object, seen: set[int]) -> bool:
    if not isinstance(function, FunctionType) or _is_versioned(function) or id(function) in seen:
        return False
    seen.add(id(function))
    used = [*_cells_of(function), *_globals_of(function).values()]
    return not _READERS.isdisjoint(_names_in(function.__code__)) or any(_reads_files(one, seen) for one in used)


def _names_in(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names_in(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def digest_of_class(cls: type) -> str | None:
    """Return a digest of the methods and constants of a class, without those that installed packages define; or None.

    Names with a leading underscore count only if they are functions; the fields of a model are its parameters.
    """
    members: dict[str, Any] = {}
    for base in cls.__mro__:
        for name, value in vars(base).items() if not _has_version(base.__module__) else ():
            plain = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if isinstance(plain, FunctionType) or not name.startswith(("_", "model_")):
                members[f"{base.__qualname__}.{name}"] = plain
    return digest_of(members)


def _parts(value: Any, seen: dict[int, int]) -> Iterator[bytes]:
    """Yield the content piece by piece; `seen` numbers the functions on the way, which may call one another."""
    kind = type(value)
    yield f"{kind.__module__}.{kind.__qualname__}".encode()
    if kind in _PLAIN or isinstance(value, (PurePath, np.dtype)):
        yield repr(value).encode()
    elif kind in (np.ndarray, np.memmap) or isinstance(value, np.generic):
        yield from _array_parts(np.asarray(value))
    elif kind in (list, tuple):
        yield from _all_parts(value, seen)
    elif kind is dict:
        yield from _all_parts([part for item in value.items() for part in item], seen)
    elif kind in (set, frozenset):
        yield from sorted(b"".join(_parts(item, seen)) for item in value)
    elif isinstance(value, Enum):
        yield from _all_parts([value.name, value.value], seen)
    elif isinstance(value, functools.partial):
        yield from _all_parts([value.func, value.args, value.keywords], seen)
    elif isinstance(value, ModuleType):
        yield _version_of(value.__name__)
    elif isinstance(value, FunctionType) and not _is_versioned(value):
        yield from _function_parts(value, seen)
    else:
        yield _defined_elsewhere(value)


def _all_parts(values: Any, seen: dict[int, int]) -> Iterator[bytes]:
    yield str(len(values)).encode()
    for value in values:
        yield from _parts(value, seen)


def _array_parts(array: np.ndarray[Any, Any]) -> Iterator[bytes]:
    if array.dtype.hasobject:
        raise _UnknownContentError
    yield f"{array.dtype.str} {array.dtype.descr} {array.shape}".encode()
    yield array.tobytes()


def _function_parts(function: FunctionType, seen: dict[int, int]) -> Iterator[bytes]:
    if id(function) in seen:
        yield str(seen[id(function)]).encode()
        return
    seen[id(function)] = len(seen)
    yield from _code_parts(function.__code__, seen)
    for module in sorted(_named_by(function.__code__, "IMPORT_NAME")):
        yield _imported_version_of(module)
    used = _globals_of(function)
    carried = [function.__defaults__, function.__kwdefaults__, _cells_of(function), list(used)]
    yield from _all_parts([*carried, *used.values()], seen)


def _cells_of(function: FunctionType) -> list[Any]:
    return [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]


def _globals_of(function: FunctionType) -> dict[str, Any]:
    """Return the globals that a function uses, by name in order."""
    names = _named_by(function.__code__, "LOAD_GLOBAL", "LOAD_NAME") & set(function.__globals__)
    return {name: function.__globals__[name] for name in sorted(names)}


def _code_parts(code: CodeType, seen: dict[int, int]) -> Iterator[bytes]:
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)).encode()
    for constant in code.co_consts:
        yield from _code_parts(constant, seen) if isinstance(constant, CodeType) else _parts(constant, seen)


def _named_by(code: CodeType, *operations: str) -> set[str]:
    names = {step.argval for step in dis.get_instructions(code) if step.opname in operations}
    return names.union(*(_named_by(inner, *operations) for inner in code.co_consts if isinstance(inner, CodeType)))


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _defined_elsewhere(value: Any) -> bytes:
    """Return name and version of a class, function or ufunc that is found in a module with a version."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    module = getattr(value, "__module__", None) or ("numpy" if isinstance(value, np.ufunc) else None)
    bound = getattr(value, "__self__", None)
    if bound is not None and not (isinstance(value, BuiltinFunctionType) and isinstance(bound, ModuleType)):
        raise _UnknownContentError
    if not isinstance(value, (type, FunctionType, BuiltinFunctionType, np.ufunc)) or "<locals>" in f"{name}":
        raise _UnknownContentError
    return _version_of(module) + f":{name}".encode()


def _version_of(module: str | None) -> bytes:
    package = (module or "").partition(".")[0]
    if package in sys.stdlib_module_names and package != "__main__":
        return f"{module} {platform.python_version()}".encode()
    source, version = (getattr(sys.modules.get(package), name, None) for name in ("__file__", "__version__"))
    # A package that is worked on changes without a change of its version; an installed one does not.
    installed = {"site-packages", "dist-packages"} & set(PurePath(source or "").parts)
    if not installed or not isinstance(version, str):
        raise _UnknownContentError
    return f"{module} {version}".encode()


def _imported_version_of(module: str) -> bytes:
    try:  # the function is about to do the same
        importlib.import_module(module.partition(".")[0])
    except (ImportError, ValueError):
        raise _UnknownContentError from None
    return _version_of(module)


def _is_versioned(function: FunctionType) -> bool:
    """Say whether a version tells what a function does: its code and, if it wraps another one, that one too."""
    return _has_version(function.__module__) and _has_version(function.__globals__.get("__name__"))


def _has_version(module: str | None) -> bool:
    try:
        return bool(_version_of(module))
    except _UnknownContentError:
        return False
