"""What every page of HTML has in common: templates that escape what they are given, a style, and a policy.

The policy lets a browser run no script and load nothing, whatever a name or a file has smuggled in.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["content_policy", "page_style", "page_template"]


@cache
def page_template(name: str) -> Template:
    """Return a template of the package; a value that it lacks is an error."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_resource(name))


def page_style() -> str:
    """Return the style sheet, which pages hold in themselves."""
    return _resource("report.css")


def content_policy(style: str) -> str:
    """Return the ``Content-Security-Policy`` of a page with this style sheet and embedded pictures."""
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _resource(name: str) -> str:
    return resources.files("syncgan.evaluation").joinpath("templates", name).read_text(encoding="utf-8")
