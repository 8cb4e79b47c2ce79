import functools
import sys

import numpy as np
import pytest

from syncgan import ConfigError, MaskExtractor, PluginError, UnknownNameError
from syncgan.errors import ContractError
from syncgan.registry import REGISTRIES, Registry, make

MODULE = """
import numpy as np


def red(image):
    return image[..., 0] < 100


CONSTANT = 3
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on sys.path in which distributions can be installed by hand."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("plugin_red", "plugin_broken"):
        sys.modules.pop(name, None)


def install(site, distribution, points, *, group="syncgan.segmenters", version="1.2"):
    folder = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    lines = "".join(f"{name} = {target}\n" for name, target in points.items())
    (folder / "entry_points.txt").write_text(f"[{group}]\n{lines}")


@pytest.fixture
def registry():
    return Registry(
        "segmenter",
        group="syncgan.segmenters",
        builtins={"gmm": "syncgan.segmentation.gmm:GMMSegmenter"},
    )


# --- entry points ----------------------------------------------------------------------------------------------------


def test_a_plugin_of_an_installed_distribution_is_listed_without_being_imported(site, registry):
    install(site, "red-nuclei", {"red": "plugin_red:red"})
    (site / "plugin_red.py").write_text(MODULE)
    assert registry.names() == ["gmm", "red"]
    (row,) = [row for row in registry.describe() if row.name == "red"]
    assert (row.origin, row.target) == ("red-nuclei 1.2", "plugin_red:red")
    assert "plugin_red" not in sys.modules


def test_a_plugin_is_found_by_name_and_segments(site):
    install(site, "red-nuclei", {"red": "plugin_red:red"})
    (site / "plugin_red.py").write_text(MODULE)
    image = np.full((16, 16, 3), 200, np.uint8)
    image[4:8, 4:8] = (50, 30, 90)
    assert MaskExtractor("red")(image).sum() == 16


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no licence file')", "RuntimeError: no licence file"),
        ("import a_module_that_does_not_exist", "ModuleNotFoundError"),
        ("def other(image): ...", "AttributeError"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_broken_plugin_breaks_only_its_own_name_and_names_its_distribution(site, registry, code, reason):
    install(site, "broken-kit", {"broken": "plugin_broken:broken"})
    install(site, "red-nuclei", {"red": "plugin_red:red"})
    (site / "plugin_broken.py").write_text(code)
    (site / "plugin_red.py").write_text(MODULE)
    assert registry.names() == ["broken", "gmm", "red"]
    assert callable(registry.get("gmm"))
    assert callable(registry.get("red"))
    with pytest.raises(PluginError, match=r"'broken' of broken-kit 1\.2 cannot be imported") as raised:
        registry.get("broken")
    assert reason in str(raised.value)


def test_a_plugin_that_is_no_callable_is_refused(site, registry):
    install(site, "red-nuclei", {"constant": "plugin_red:CONSTANT"})
    (site / "plugin_red.py").write_text(MODULE)
    with pytest.raises(PluginError, match=r"'constant' of red-nuclei 1\.2 is int, expected a callable"):
        registry.get("constant")


def test_an_entry_point_cannot_shadow_a_builtin(site, registry):
    install(site, "red-nuclei", {"gmm": "plugin_red:red"})
    (site / "plugin_red.py").write_text(MODULE)
    assert registry.get("gmm").__module__ == "syncgan.segmentation.gmm"
    assert [row.origin for row in registry.describe() if row.name == "gmm"] == ["built-in"]
    assert "plugin_red" not in sys.modules


def test_a_name_that_two_distributions_claim_is_refused_with_both_names(site, registry):
    install(site, "red-nuclei", {"red": "plugin_red:red"})
    install(site, "more-red", {"red": "plugin_broken:red"})
    with pytest.raises(PluginError, match=r"several distributions \(more-red 1\.2, red-nuclei 1\.2\)"):
        registry.get("red")


def test_every_registry_reads_its_own_group_only(site):
    for registry in REGISTRIES:
        name = registry.group.partition(".")[2]
        install(site, f"kit-{name}", {f"only_{name}": "plugin_red:red"}, group=registry.group)
    for registry in REGISTRIES:
        added = [row.name for row in registry.describe() if row.origin.startswith("kit-")]
        assert added == [f"only_{registry.group.partition('.')[2]}"]


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.group)
def test_every_builtin_can_be_loaded(registry):
    builtins = [row.name for row in registry.describe() if row.origin == "built-in"]
    assert builtins
    assert all(callable(registry.get(name)) for name in builtins)


def test_a_builtin_cannot_be_replaced(registry):
    with pytest.raises(ConfigError, match="'gmm' is built in and cannot be replaced"):
        registry.register("gmm")


def test_the_decorator_returns_what_it_was_given_and_a_second_registration_replaces_the_first(registry):
    def first(image): ...
    def second(image): ...

    assert registry.register("mine")(first) is first
    registry.register("mine")(second)
    assert registry.get("mine") is second
    assert "mine" in registry


def test_a_registration_at_run_time_wins_over_an_entry_point(site, registry):
    install(site, "red-nuclei", {"red": "plugin_red:red"})

    @registry.register("red")
    def own(image): ...

    assert registry.get("red") is own
    assert [row.origin for row in registry.describe() if row.name == "red"] == ["registered"]


def test_an_object_with_call_can_be_registered_and_listed(registry):
    class Model:
        def __call__(self, image): ...

    registry.register("model")(Model())
    (row,) = [row for row in registry.describe() if row.name == "model"]
    assert row.target.endswith("Model")


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_name_must_be_a_name(registry, name):
    with pytest.raises(ConfigError, match="expected a name for the segmenter"):
        registry.register(name)


def test_what_is_no_callable_cannot_be_registered(registry):
    with pytest.raises(ConfigError, match="expected a callable as segmenter 'mine', got int"):
        registry.register("mine")(3)


def test_an_unknown_name_lists_what_exists_and_the_nearest(registry):
    with pytest.raises(UnknownNameError, match=r"unknown segmenter 'gnm': available are gmm; did you mean 'gmm'\?"):
        registry.get("gnm")


def test_a_registration_can_be_taken_back_and_nothing_else(registry):
    registry.register("mine")(len)
    registry.unregister("mine")
    assert "mine" not in registry
    for name in ("mine", "gmm"):
        with pytest.raises(UnknownNameError):
            registry.unregister(name)


def test_every_registry_is_public_and_reads_the_group_of_its_name():
    import syncgan

    public = {name: value for name in syncgan.__all__ if isinstance(value := getattr(syncgan, name), Registry)}
    assert {id(registry) for registry in REGISTRIES} == {id(registry) for registry in public.values()}
    assert {name: registry.group for name, registry in public.items()} == {
        name: f"syncgan.{name.lower()}" for name in public
    }


# --- factories -------------------------------------------------------------------------------------------------------


def test_a_factory_gets_the_keywords_that_it_takes():
    assert make(lambda levels: levels, levels=2, classes=5) == 2
    assert make(lambda **offered: offered, levels=2, classes=5) == {"levels": 2, "classes": 5}
    assert make(lambda: "nothing", levels=2) == "nothing"


def test_a_keyword_that_is_not_offered_keeps_its_default():
    assert make(lambda levels, depth=4: (levels, depth), levels=2) == (2, 4)


def test_a_factory_that_asks_for_more_than_is_offered_is_told_so():
    def deep(*, levels, depth):
        return levels, depth

    with pytest.raises(ContractError, match=r"deep: asks for depth, which nothing gives it \(offered are levels\)"):
        make(deep, levels=2)

    @functools.wraps(deep)
    def injected(**offered):
        return deep(depth=4, **offered)

    assert make(injected, levels=2) == (2, 4)
