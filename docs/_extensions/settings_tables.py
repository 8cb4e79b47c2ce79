"""Write tables of settings from the classes that hold them, so that they cannot go out of date.

The line ``% settings`` of a page is replaced by one table a section of the configuration, the lines ``% segmenters``
and ``% filters`` by one table a built-in segmenter or sample filter.
"""

from __future__ import annotations

import inspect
import types
import typing
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from syncgan.config import SynCGANConfig, presets
from syncgan.config import sections as sections_of_config
from syncgan.registry import SAMPLE_FILTERS, SEGMENTERS

PRESETS = ("default", "tiny", "paper")
MARK, SEGMENTERS_MARK, FILTERS_MARK = "% settings", "% segmenters", "% filters"
SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}


def fill(app: Any, name: str, source: list[str]) -> None:
    """Replace the mark by the tables."""
    if MARK in source[0]:
        for file in (sections_of_config.__file__, presets.__file__, __file__):
            app.env.note_dependency(file)
        source[0] = source[0].replace(MARK, "\n\n".join(sections()))
    if SEGMENTERS_MARK in source[0]:
        app.env.note_dependency(__file__)
        source[0] = source[0].replace(SEGMENTERS_MARK, "\n\n".join(segmenters()))
    if FILTERS_MARK in source[0]:
        app.env.note_dependency(__file__)
        source[0] = source[0].replace(FILTERS_MARK, "\n\n".join(filters()))


def sections() -> list[str]:
    """Return the tables as Markdown, the general settings first."""
    presets = {name: SynCGANConfig.preset(name) for name in PRESETS}
    inner = {name: field for name, field in SynCGANConfig.model_fields.items() if is_section(field)}
    plain = {name: field for name, field in SynCGANConfig.model_fields.items() if name not in inner}
    parts = [table("General", "Keys without a section.", plain, presets)]
    for name, field in inner.items():
        values = {preset: getattr(config, name) for preset, config in presets.items()}
        summary = (field.annotation.__doc__ or "").splitlines()[0]
        parts.append(table(f"`{name}`", summary, field.annotation.model_fields, values))
    return parts


def segmenters() -> list[str]:
    """Return the parameters of every built-in segmenter as Markdown."""
    parts = []
    for info in SEGMENTERS.describe():
        if info.origin == "built-in":
            model = SEGMENTERS.get(info.name)
            parts.append(parameters(info.name, model.__doc__.splitlines()[0], model.model_fields))
    return parts


def filters() -> list[str]:
    """Return the parameters of every built-in sample filter as Markdown."""
    parts = []
    for info in SAMPLE_FILTERS.describe():
        if info.origin == "built-in":
            plugin = SAMPLE_FILTERS.get(info.name)
            hints = typing.get_type_hints(plugin.__init__ if inspect.isclass(plugin) else plugin, include_extras=True)
            defaults = {name: parameter.default for name, parameter in inspect.signature(plugin).parameters.items()}
            own = {
                name: FieldInfo.from_annotated_attribute(hint, defaults[name])
                for name, hint in hints.items()
                if typing.get_origin(hint) is typing.Annotated
            }
            parts.append(parameters(info.name, (plugin.__doc__ or "").splitlines()[0], own))
    return parts


def parameters(name: str, summary: str, fields: dict[str, FieldInfo]) -> str:
    """Return the table of the parameters of one plug-in."""
    lines = [f"### `{name}`", "", summary, ""]
    lines += ["| parameter | default | allowed | meaning |", "|" + "---|" * 4]
    for key, field in fields.items():
        cells = [f"`{key}`", shown_value(field.default), allowed(field), field.description or ""]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def table(title: str, summary: str, fields: dict[str, FieldInfo], values: dict[str, Any]) -> str:
    """Return one table; ``tiny`` and ``paper`` are shown where they differ from ``default``."""
    lines = [
        f"### {title}",
        "",
        summary,
        "",
        "| setting | default | tiny | paper | allowed | meaning |",
        "|" + "---|" * 6,
    ]
    for name, field in fields.items():
        default, *others = (getattr(values[preset], name) for preset in PRESETS)
        shown = [shown_value(default), *("" if value == default else shown_value(value) for value in others)]
        cells = [f"`{name}`", *shown, allowed(field), field.description or ""]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def is_section(field: FieldInfo) -> bool:
    """Tell whether a field is a section of settings."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def shown_value(value: Any) -> str:
    """Return a value as it is written in TOML or Python."""
    text = str(list(value)) if isinstance(value, tuple) else repr(value).replace("'", '"')
    return f"`{text.replace('True', 'true').replace('False', 'false')}`"


def allowed(field: FieldInfo) -> str:
    """Return bounds and choices of a field."""
    bounds = limits(field.metadata)
    return kind(field.annotation) + (f", {bounds}" if bounds else "")


def kind(annotation: Any) -> str:
    """Return the type of a setting in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f'`"{choice}"`' for choice in arguments)
    if origin is typing.Annotated:
        bounds = limits([piece for item in arguments[1:] for piece in getattr(item, "metadata", [item])])
        return kind(arguments[0]) + (f", {bounds}" if bounds else "")
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind(argument) for argument in arguments)
    if origin is tuple:
        return "list of names" if arguments[-1] is Ellipsis else f"{len(arguments)} numbers"
    names = {
        int: "integer",
        float: "number",
        str: "name",
        bool: "`true` or `false`",
        dict: "table",
        type(None): "nothing",
    }
    return names.get(origin or annotation, getattr(annotation, "__name__", str(annotation)))


def limits(metadata: list[Any]) -> str:
    """Return bounds such as "1 to 8"."""
    found = {sign: value for item in metadata for sign in SIGNS if (value := getattr(item, sign, None)) is not None}
    if found.keys() == {"ge", "le"}:
        return f"{found['ge']:g} to {found['le']:g}"
    return ", ".join(f"{word} {found[sign]:g}" for sign, word in SIGNS.items() if sign in found)
