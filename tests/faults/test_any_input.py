"""Whatever text or bytes are given, a reader understands or refuses them by an error of ours."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from syncgan import SynCGANConfig
from syncgan.data.folders import read_groups
from syncgan.data.images import read_image, read_mask
from syncgan.data.safe_names import csv_cell, safe_folder_names
from syncgan.errors import ArtefactError, ConfigError, DataError, ImageReadError, SyncganError
from syncgan.storage import read_folder, read_json

_FEW = settings(max_examples=60, deadline=None, derandomize=True, database=None)
_JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_SECTIONS = SynCGANConfig().model_dump(mode="json")
_KEYS = some.sampled_from(
    sorted({*_SECTIONS, *(key for part in _SECTIONS.values() if isinstance(part, dict) for key in part)})
)
_SETTINGS = some.dictionaries(_KEYS, _JSON | some.dictionaries(_KEYS, _JSON, max_size=3), max_size=3)
_MAGIC = some.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"BM", b"GIF89a"])


def _written(name: str, content: bytes) -> Path:
    path = Path(tempfile.mkdtemp()) / name
    path.write_bytes(content)
    return path


@_FEW
@given(_SETTINGS)
def test_any_settings_are_refused_or_come_back_from_a_file_as_they_are(values: dict[str, Any]) -> None:
    with suppress(ConfigError):
        config = SynCGANConfig.load(_written("c.json", json.dumps(values).encode()))
        path = _written("c.json", b"")
        config.save(path)
        assert SynCGANConfig.load(path) == config


@_FEW
@given(some.binary(max_size=60) | some.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_refused_as_configuration_table_json_or_artefact(content: bytes) -> None:
    for name in ("c.toml", "c.json"):
        with suppress(ConfigError):
            SynCGANConfig.load(_written(name, content))
    with suppress(DataError):
        read_groups(_written("groups.csv", b"file,g\n" + content), "g", ["a"])
    with suppress(ArtefactError):
        read_json(_written("a.json", content))
    with suppress(ArtefactError):
        read_folder(_written("manifest.json", content).parent, kind="thing")


@_FEW
@given(_MAGIC, some.binary(max_size=200))
def test_any_bytes_behind_the_mark_of_a_format_are_pixels_or_refused(magic: bytes, content: bytes) -> None:
    for reader in (read_image, read_mask):
        with suppress(ImageReadError):
            assert reader(_written("x.png", magic + content)).dtype == "uint8"


@_FEW
@given(some.lists(some.text(min_size=1, max_size=30), min_size=1, max_size=5, unique=True))
def test_any_class_names_become_different_folders_right_below_the_output(names: list[str]) -> None:
    try:
        folders = list(safe_folder_names(names).values())
    except SyncganError:
        assert any("\ud800" <= letter <= "\udfff" for name in names for letter in name)
        return
    assert len({folder.casefold() for folder in folders}) == len(names)
    root = Path("/out")
    for folder in folders:
        assert (root / folder).parent == root
        assert (root / folder).resolve().parent == root.resolve()


@_FEW
@given(some.text(max_size=20))
def test_no_text_becomes_a_formula(text: str) -> None:
    assert csv_cell(text)[:1] not in ("=", "+", "-", "@", "\t", "\r") or not text
