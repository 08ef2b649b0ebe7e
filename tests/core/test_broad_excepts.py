"""Errors of any class are caught where a third party's code is called, or passed on, and nowhere without the reason."""

import ast
from pathlib import Path

import pytest

import priorkit

ROOT = Path(priorkit.__file__).parents[1]
FILES = [path for folder in ("priorkit", "plugins") for path in sorted((ROOT / folder).rglob("*.py"))]


def broad(file: Path) -> list[int]:
    """The lines that catch errors of any class."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    handlers = [node for node in nodes if isinstance(node, ast.ExceptHandler)]
    kinds = {node.lineno: "" if node.type is None else ast.unparse(node.type) for node in handlers}
    return [line for line, kind in kinds.items() if kind in ("", "Exception", "BaseException")]


@pytest.mark.skipif(not (ROOT / "plugins").is_dir(), reason="the sources are not beside the tests")
def test_each_has_its_reason_beside_it():
    bare = []
    for file in FILES:
        lines = file.read_text(encoding="utf-8").splitlines()
        bare += [
            f"{file.relative_to(ROOT)}:{number}"
            for number in broad(file)
            if "#" not in lines[number - 1] and not lines[number - 2].lstrip().startswith("#")
        ]
    assert not bare
