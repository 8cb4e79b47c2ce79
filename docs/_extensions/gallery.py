"""Show the scripts of ``examples/``: what sphinx-gallery needs besides its settings in ``conf.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx, after sphinx-gallery has completed its settings."""
    app.connect("config-inited", only_rst_headers, priority=900)
    return {"parallel_read_safe": True}


def only_rst_headers(app: Any, config: Any) -> None:
    """Keep the README.md of each plug-in from being taken for the header of a gallery."""
    config.sphinx_gallery_conf["source_suffix"] = {".rst": "restructuredtext"}


def arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """Return the arguments of a script that is run while the site is built: seconds, not minutes."""
    return [
        "--steps",
        "200",
        "--out",
        str(Path(gallery_conf["src_dir"], gallery_conf["gallery_dirs"], "quickstart.png")),
    ]
