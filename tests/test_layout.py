"""The shape of the source: layers, cycles, file sizes, docstrings."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import exitnas

ROOT = Path(exitnas.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MAX_LINES = 300

#: package -> packages it must not import, neither at the top of a file nor inside a function.
FORBIDDEN = {
    "exits": "supernet search training inference modeling objectives policies tuning cli backbones tasks drawing",
    "backbones": "exits supernet search training inference modeling objectives policies tuning cli tasks drawing",
    "policies": "exits supernet search training inference modeling objectives tuning cli backbones tasks drawing",
    "tasks": "exits supernet search training inference modeling objectives policies tuning cli backbones drawing",
    "supernet": "search training inference modeling objectives policies tuning cli tasks drawing",
    "objectives": "supernet search training inference modeling policies tuning cli tasks drawing",
    "modeling": "supernet search training inference tuning cli drawing",
    "engine": "exits supernet search training inference modeling objectives tuning cli tasks drawing",
    "training": "search inference tuning cli report",
    "reporting": "search training inference modeling tuning cli report",
    "inference": "search supernet tuning cli drawing",
}

#: Modules that are a part of the house of their own: the model runs the engine, the rest of `inference` opens models;
#: training tells its progress and writes TensorBoard, and the report reads what all of them left.
PARTS = {"exitnas.inference.engine": "engine", "exitnas.inference.simulate": "engine"}


def module_name(path: Path) -> str:
    """`exitnas.a.b` of a file; a package's `__init__.py` is the package."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> set[str]:
    return {module_name(path) for path in FILES}


def nodes(tree: ast.AST, nested: bool) -> Iterator[ast.AST]:
    """All nodes but those only seen by type checkers, with or without the bodies of functions."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.FunctionDef) and not nested:
            continue
        yield child
        yield from nodes(child, nested)


def imports(path: Path, nested: bool) -> set[str]:
    """Modules of exitnas that a file imports."""
    known, found = modules(), set()
    for node in nodes(ast.parse(path.read_text(encoding="utf-8")), nested):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else str(node.module))
    return {name for name in found if name in known and name != "exitnas"}


def package(name: str) -> str:
    """The part of the house a module belongs to: `exitnas.a.b` -> `a`."""
    if name.startswith("exitnas.reporting.report"):
        return "report"
    return PARTS.get(name) or (name.split(".")[1] if "." in name else name)


def test_the_parser_sees_imports(tmp_path: Path):
    path = tmp_path / "m.py"
    path.write_text("from exitnas import hub\nimport os\ndef f():\n    from exitnas.cli.main import main\n")
    assert imports(path, nested=False) == {"exitnas.hub"}
    assert imports(path, nested=True) == {"exitnas.hub", "exitnas.cli.main"}
    assert len(FILES) > 50


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {module_name(path): imports(path, nested=False) - {module_name(path)} for path in FILES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError with the cycle


def test_packages_do_not_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = defaultdict(set)
    for path in FILES:
        here = package(module_name(path))
        graph[here] |= {package(name) for name in imports(path, nested=True)} - {here}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", FORBIDDEN)
def test_layers(name: str):
    forbidden = set(FORBIDDEN[name].split())
    wrong = [
        f"{path.relative_to(ROOT)} imports {target}"
        for path in FILES
        if package(module_name(path)) == name
        for target in imports(path, nested=True)
        if package(target) in forbidden
    ]
    assert wrong == []


def test_only_the_command_line_imports_the_command_line():
    outside = [path for path in FILES if package(module_name(path)) != "cli" and path.name != "__main__.py"]
    assert [path.name for path in outside if any(package(name) == "cli" for name in imports(path, nested=True))] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_is_short_and_documented(path: Path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    undocumented = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert undocumented == []
