"""No module imports one that imports it, directly or by way of others; imports for type checkers and inside functions count.

A package is not taken to import its own modules: its `__init__` only gives their names to others.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = {"priorkit": ROOT, "plugins": ROOT / "plugins", "benchmarks": ROOT / "benchmarks"}


def modules(tree):
    """Each module's name and file."""
    base, top = TREES[tree], ROOT / tree
    names = {}
    for file in sorted(top.rglob("*.py")):
        parts = file.relative_to(base).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


def imported(file, known):
    """The known modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= (names & known) or {node.module}
    return found & known


def cycle(graph):
    """The modules of a cycle, or none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("tree", TREES)
def test_no_modules_import_each_other(tree):
    files = modules(tree)
    packages = {name for name, file in files.items() if file.name == "__init__.py"}
    graph = {name: imported(file, files.keys()) - {name} for name, file in files.items() if name not in packages}
    assert cycle({name: found - packages for name, found in graph.items()}) == []


def test_a_cycle_is_found(tmp_path):
    (tmp_path / "one.py").write_text("def late():\n    from two import x\n")
    (tmp_path / "two.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from one import late\nx = 1\n"
    )
    graph = {name: imported(tmp_path / f"{name}.py", {"one", "two"}) for name in ("one", "two")}
    assert set(cycle(graph)) == {"one", "two"}
