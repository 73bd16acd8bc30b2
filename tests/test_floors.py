"""The layers of the house: who may import whom, read from the syntax tree, function bodies included."""

import ast
from pathlib import Path

import pytest

import xpycro

ROOT = Path(xpycro.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# A module may import from its own room and from lower floors; rooms of one floor do not import each other.
FLOORS = {
    "errors": 0, "units": 0, "schema": 0, "provenance": 0,
    "engine": 1,
    "io": 2, "processing": 2, "analysis": 2,
    "viz": 3,
    "replay": 4, "accessor": 4, "cli": 4, "simulate": 4,
    "__init__": 5, "__main__": 5,
}  # fmt: skip
BASE = {"errors", "units", "schema", "provenance"}
# What the top floor may import of itself.
ALLOWED_ON_TOP = {("cli", "replay"), ("cli", "simulate")}


def room(path: Path) -> str:
    relative = path.relative_to(ROOT).with_suffix("")
    return relative.parts[0]


def imported_rooms(path: Path) -> set[str]:
    """Rooms of xpycro that a module imports anywhere, ``importlib`` strings and registered "module:function" apart."""
    rooms = set()
    package = ("xpycro", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            # "from xpycro import schema" names a room, "from xpycro.schema import pick" a thing in one
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "xpycro" else [base]
        for name in names:
            parts = name.split(".")
            if parts[0] == "xpycro":
                rooms.add(parts[1] if len(parts) > 1 else "__init__")
    return rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_what_lies_below(path):
    mine = room(path)
    assert mine in FLOORS, f"{path} is in no room of the house"
    for other in imported_rooms(path):
        assert other in FLOORS, f"{path} imports xpycro.{other}, which is no room"
        if other == mine or FLOORS[other] < FLOORS[mine]:
            continue
        if mine in BASE and other in BASE:
            continue
        assert (mine, other) in ALLOWED_ON_TOP, f"{path.relative_to(ROOT)} ({mine}) must not import {other}"


def test_only_the_package_imports_the_accessor():
    importers = [
        p for p in MODULES if room(p) != "__init__" and "accessor" in imported_rooms(p) and room(p) != "accessor"
    ]
    assert importers == []


def test_the_base_floor_has_no_cycle():
    order = {"errors": 0, "units": 0, "schema": 1, "provenance": 2}
    for name, height in order.items():
        for other in imported_rooms(ROOT / f"{name}.py"):
            assert order[other] < height, f"{name} imports {other}"


def test_the_walker_sees_function_bodies(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.test_floors.ROOT", tmp_path)
    module = tmp_path / "engine" / "bad.py"
    module.parent.mkdir()
    module.write_text("def f():\n    from ..viz import style\n    from xpycro import io\n    import xpycro.cli\n")
    assert imported_rooms(module) == {"viz", "io", "cli"}
