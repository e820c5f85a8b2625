"""The registry: names, nearest names, lazy rows; and every row of every registry in the package."""

import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import exitnas
from exitnas.errors import UsageError, require
from exitnas.registry import Registry, nearest


def all_registries() -> dict[str, Registry]:
    """Every `Registry` held by a package of exitnas, by `package.NAME`."""
    found = {}
    for info in walk_packages(exitnas.__path__, "exitnas."):
        if info.ispkg:
            package = import_module(info.name)
            found |= {f"{info.name}.{k}": v for k, v in vars(package).items() if isinstance(v, Registry)}
    return found


REGISTRIES = all_registries()
ROWS = [pytest.param(rows, name, id=f"{where}-{name}") for where, rows in REGISTRIES.items() for name in rows]


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry whose rows live in a module that nobody imported yet."""
    (tmp_path / "paint_for_tests.py").write_text("class Paint:\n    def __init__(self, shade=0): self.shade = shade\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "paint_for_tests", raising=False)
    return Registry("colour", {"red": "paint_for_tests:Paint", "Dark": ("paint_for_tests:Paint", {"shade": 9})})


def test_names_are_known_without_importing_anything(colours: Registry):
    assert colours.names() == list(colours) == ["red", "Dark"]
    assert "red" in colours
    assert "reed" not in colours
    assert "paint_for_tests" not in sys.modules
    colours.get("red")
    assert "paint_for_tests" in sys.modules


def test_a_row_can_fix_arguments_and_a_call_can_override_them(colours: Registry):
    assert colours.fixed("red") == {}
    assert colours.fixed("Dark") == {"shade": 9}
    assert colours.create("red").shade == 0
    assert colours.create("Dark").shade == 9
    assert colours.create("Dark", shade=2).shade == 2
    colours.fixed("Dark")["shade"] = 1
    assert colours.fixed("Dark") == {"shade": 9}


def test_unknown_names_are_refused_with_the_nearest(colours: Registry):
    for call in (colours.get, colours.check, colours.fixed, colours.create):
        with pytest.raises(UsageError, match=r"^unknown colour 'dork': did you mean Dark\? known: red, Dark$"):
            call("dork")
    assert nearest("zzz", ["red", "Dark"]) == "known: red, Dark"
    assert nearest("text", [" text", "extra", ""]) == "did you mean ' text' or extra? known: ' text', extra, ''"


def test_a_row_can_be_added_once(colours: Registry):
    colours.register("pale", "paint_for_tests:Paint", shade=1)
    assert colours.create("pale").shade == 1
    with pytest.raises(UsageError, match="colour 'pale' is already registered"):
        colours.register("pale", "paint_for_tests:Paint")


def test_require():
    require(True, "never said")
    with pytest.raises(UsageError, match=r"^said$"):
        require(False, "said")


def test_the_registries_of_the_package_are_found():
    names = {where.rpartition(".")[2] for where in REGISTRIES}
    assert {"ACTIVATIONS", "ENCODERS", "POOLINGS", "BACKBONES", "POLICIES", "OBJECTIVES", "METRICS"} <= names


@pytest.mark.parametrize(("registry", "name"), ROWS)
def test_every_row_resolves_to_something_documented(registry: Registry, name: str):
    entry = registry.get(name)
    assert callable(entry)
    assert (entry.__doc__ or "").strip()
