"""What the documentation shows is true and runs: code blocks, commands, and the scripts in examples/."""

import importlib.util
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from syncgan import SynCGANConfig
from syncgan.registry import REGISTRIES

PROJECT = Path(__file__).resolve().parent.parent
README = PROJECT / "README.md"
EXAMPLES = sorted((PROJECT / "examples").glob("*.py"))
PAGES = [README, *sorted((PROJECT / "docs").glob("*.md")), *sorted((PROJECT / "docs" / "how-to").glob("*.md"))]
OPTIONAL = ("datasets", "imblearn")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def skip_without_what_it_imports(code):
    """Skip where code needs a library that syncgan does not."""
    for module in OPTIONAL:
        needed = re.search(rf"^\s*(import|from) {module}\b", code, re.MULTILINE)
        if needed and importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def run_code_of(page):
    namespace = {"__name__": "__main__"}
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)  # noqa: S102
    return namespace


@pytest.fixture
def sandbox(tmp_path, monkeypatch, quick_presets):
    """An empty working directory; what code registers is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    return tmp_path


def test_the_readmes_code_runs_and_leaves_what_the_readme_says(sandbox):
    namespace = run_code_of(README)
    assert len(list(sandbox.glob("synthetic/images/*/*.png"))) == 16
    assert len(namespace["train"]) == 3 * 24
    table = README.read_text(encoding="utf-8").partition("## What is in a run folder")[2].partition("## ")[0]
    entries = {name.rstrip("/") for name in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)}
    there = {path.name for path in (sandbox / "run").iterdir() if not path.name.startswith(".")}
    assert there == entries - {"report.html", "previews"}  # which the commands write


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if blocks(page, "python")], ids=lambda page: page.name)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, sandbox, monkeypatch):
    skip_without_what_it_imports("\n".join(blocks(page, "python")))
    # Lightning is shown, not needed: its DataModule only holds the methods that are shown.
    lightning = types.ModuleType("lightning")
    lightning.LightningDataModule = type("LightningDataModule", (), {"trainer": None})
    monkeypatch.setitem(sys.modules, "lightning", lightning)
    run_code_of(page)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_on_its_own(example, tmp_path):
    skip_without_what_it_imports(example.read_text(encoding="utf-8"))
    done = subprocess.run(
        [sys.executable, str(example), "--quick"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_fits_on_one_screen(example):
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 70


def _joined(block):
    """Return the lines of a block, each with those that a backslash continues it on."""
    return block.replace("\\\n", " ").splitlines()


def shown_commands():
    """Return (command, option) for all `syncgan COMMAND --option` that the README and the docs show."""
    lines = {line for page in PAGES for block in blocks(page, "console") for line in _joined(block)}
    found = set()
    for line in lines:
        for part in re.split(r"&&|#", line):
            words = part.split()
            if words[:1] == ["syncgan"] and not words[1].startswith("-") and words[1].islower():
                found |= {(words[1], option) for option in ("--help", *words) if option.startswith("--")}
    return sorted(found)


@pytest.mark.parametrize("command", sorted({command for command, _ in shown_commands()}))
def test_every_command_that_is_shown_exists_with_its_options(command):
    done = subprocess.run(
        [sys.executable, "-m", "syncgan", command, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )
    assert done.returncode == 0, done.stderr
    known = set(re.findall(r"--[a-z][a-z-]*", done.stdout))
    shown = {option.partition("=")[0] for name, option in shown_commands() if name == command}
    assert shown - known == set()


def test_the_readme_shows_one_command_for_the_main_job_and_one_for_the_tests():
    lines = [line for block in blocks(README, "console") for line in block.splitlines()]
    assert lines.count("pip install . && syncgan demo") == 1
    assert len([line for line in lines if "python -m pytest" in line]) == 1


def test_the_readmes_table_of_presets_is_true():
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) px \| (\d) \| ([\w ]+?) \|", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {row[0] for row in rows} == {"tiny", "default", "paper"}
    for name, size, levels, source in rows:
        config = SynCGANConfig.preset(name)
        found = config.stain_classes + 1 if config.stain_classes else config.levels
        assert [int(size), int(levels)] == [config.image_size, found]
        assert (source == "parts of real masks") == (config.mask_gan.generator == "mosaic")
