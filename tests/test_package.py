import json
import os
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

import syncgan

HEAVY = {"torch", "torchvision", "sklearn", "skimage", "scipy", "matplotlib", "cv2", "numpy", "pandas", "joblib"}


def modules_after(statement):
    """Top-level modules that a fresh interpreter holds after `statement`."""
    code = f"{statement}; import sys, json; print(json.dumps(sorted(sys.modules)))"
    # What the tests' own coverage measurement imports in a new process must not count.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_syncgan_imports_nothing_heavy():
    assert not HEAVY & modules_after("import syncgan")


@pytest.mark.parametrize("statement", ["syncgan.SynCGANConfig()", "syncgan.SEGMENTERS.names()", "dir(syncgan)"])
def test_configuration_and_registries_do_not_import_torch(statement):
    assert not {"torch", "torchvision"} & modules_after(f"import syncgan; {statement}")


def test_extracting_a_mask_from_an_array_does_not_import_torch():
    used = "from syncgan import MaskExtractor, Phantom; MaskExtractor('gmm')(Phantom(1, image_size=32).image(0))"
    assert not {"torch", "torchvision"} & modules_after(used)


def test_training_imports_little_besides_torch():
    unneeded = {"torchvision", "sklearn", "skimage", "scipy", "matplotlib", "pandas", "joblib"}
    assert not unneeded & modules_after("import syncgan.training.loop, syncgan.image_cgan, syncgan.mask_gan")


@pytest.mark.parametrize("name", syncgan.__all__)
def test_every_public_name_exists(name):
    assert getattr(syncgan, name) is not None


def test_all_is_listed_once_and_by_dir():
    assert len(syncgan.__all__) == len(set(syncgan.__all__))
    assert set(syncgan.__all__) <= set(dir(syncgan))


def test_star_import_gives_exactly_the_public_names():
    namespace = {}
    exec("from syncgan import *", namespace)  # noqa: S102
    assert set(namespace) - {"__builtins__"} == set(syncgan.__all__)


def test_type_checkers_see_the_same_names_as_the_interpreter(project):
    declared = (project / "src/syncgan/__init__.py").read_text(encoding="utf-8").partition("if TYPE_CHECKING:")[2]
    for name, home in syncgan._HOMES.items():
        assert f"    from syncgan.{home} import {name} as {name}\n" in declared


def test_an_unknown_attribute_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match=r"module 'syncgan' has no attribute 'nonsense'"):
        _ = syncgan.nonsense


def test_every_error_is_a_syncgan_error():
    from syncgan import errors

    assert all(issubclass(getattr(errors, name), syncgan.SyncganError) for name in errors.__all__)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigError", ValueError),
        ("DataError", ValueError),
        ("UnknownNameError", LookupError),
        ("NotFittedError", AttributeError),
        ("RunExistsError", FileExistsError),
    ],
)
def test_errors_are_also_what_python_programmers_catch(name, builtin):
    assert issubclass(getattr(syncgan, name), builtin)


def test_py_typed_is_shipped():
    assert resources.files("syncgan").joinpath("py.typed").is_file()


def test_the_version_is_one(project):
    declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    citation = (project / "CITATION.cff").read_text(encoding="utf-8")
    assert syncgan.__version__ == declared == metadata.version("syncgan")
    assert f"\nversion: {declared}\n" in citation
    assert f"## {declared}" in (project / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_licence_is_apache_2(project):
    text = (project / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert metadata.metadata("syncgan")["License-Expression"] == "Apache-2.0"


def test_warnings_point_at_the_line_that_called_syncgan() -> None:

    from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig

    few = ["mask_gan.warm_start_steps=0", "mask_gan.steps=1", "image_gan.steps=1", "image_gan.width=4"]
    loose = ["filters.mask_plausibility=false", "extractor.exclude_failed=false", "image_gan.selection=last"]
    augmenter = SynCGANAugmenter(SynCGANConfig.preset("tiny").updated([*few, *loose]), device="cpu")
    with pytest.warns(UserWarning, match="validation and groups are not used") as said:
        augmenter.fit(Phantom(3, image_size=32), groups=range(6))
    assert {Path(warning.filename).name for warning in said if "not used" in str(warning.message)} == {
        "test_package.py"
    }
