"""The example distributions in examples/, installed as a user would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from syncgan import MaskExtractor, UnknownNameError

PLUGINS = ("plugin_segmenter", "plugin_generator")
USE_IT = """
import json
from syncgan import MaskExtractor, Phantom, UnknownNameError

phantom = Phantom(2, image_size=96)
extractor = MaskExtractor("macenko", min_area_px=60)
masks = extractor.extract(phantom, n_jobs=2)
overlap = sum(int((mask & (truth > 0)).sum()) for mask, truth in zip(masks, phantom.masks))
total = sum(int(mask.sum()) + int((truth > 0).sum()) for mask, truth in zip(masks, phantom.masks))
refused = []
for name, parameters in (("macenco", {}), ("macenko", {"min_area": 60}), ("macenko", {"min_area_px": 0})):
    try:
        MaskExtractor(name, **parameters)
    except (UnknownNameError, ValueError) as error:
        refused.append(str(error))
print(json.dumps({"described": extractor.describe(), "dice": 2 * overlap / total, "refused": refused}))
"""


@pytest.fixture(scope="module")
def plugins(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of copies of the distributions, so that building leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("plugins")
    for name in PLUGINS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(project / "examples" / name, folder / name, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def environment(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of processes that have the plug-ins installed."""
    site = tmp_path_factory.mktemp("site")
    flags = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir", "--target", str(site))
    sources = [str(plugins / name) for name in PLUGINS]
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, *sources], check=True, capture_output=True)
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def output_of(*command: str, env: dict[str, str], cwd: Path) -> str:
    done = subprocess.run([sys.executable, *command], env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_they_are_listed_with_their_distributions(environment: dict[str, str], tmp_path: Path) -> None:
    lines = output_of("-m", "syncgan", "plugins", "--json", env=environment, cwd=tmp_path).splitlines()
    rows = {(row["registry"], row["name"]): row["origin"] for row in json.loads(lines[-1])["plugins"]}
    assert rows["segmenter", "macenko"] == "syncgan-macenko 1.0.0"
    assert rows["mask generator", "turned"] == rows["image generator", "residual"] == "syncgan-layers 1.0.0"


def test_a_segmenter_is_used_by_name_with_parameters_and_what_it_lacks_is_refused(
    environment: dict[str, str], tmp_path: Path
) -> None:
    said = json.loads(output_of("-c", USE_IT, env=environment, cwd=tmp_path))
    assert said["described"]["name"] == "macenko"
    assert said["described"]["parameters"]["min_area_px"] == 60
    assert said["dice"] > 0.8
    unknown_name, unknown_parameter, out_of_bounds = said["refused"]
    assert "unknown segmenter 'macenco'" in unknown_name
    assert "did you mean 'macenko'?" in unknown_name
    assert "no parameter 'min_area'" in unknown_parameter
    assert "did you mean 'min_area_px'?" in unknown_parameter
    assert "greater than or equal to 1" in out_of_bounds


@pytest.mark.parametrize("name", PLUGINS)
def test_its_own_tests_pass(name: str, environment: dict[str, str], plugins: Path) -> None:
    output_of("-m", "pytest", "-q", "-p", "no:cacheprovider", env=environment, cwd=plugins / name)


def test_without_the_distribution_its_name_is_unknown() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown segmenter 'macenko': available are .*gmm"):
        MaskExtractor("macenko")


@pytest.mark.parametrize("name", PLUGINS)
def test_its_readme_names_its_files(name: str, project: Path) -> None:
    folder = project / "examples" / name
    text = (folder / "README.md").read_text(encoding="utf-8")
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in {".py", ".toml"}]
    assert len(files) >= 3
    assert all(f"`{file}`" in text for file in files)
