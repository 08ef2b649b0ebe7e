"""The lowest versions of `.ci/lowest`: all that priorkit itself needs has one, and it is within its own range."""

import runpy
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


def test_each_dependency_has_a_lowest_version_within_its_range():
    lowest = runpy.run_path(str(ROOT / "scripts" / "lowest_versions.py"))["lowest"]()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [Requirement(line) for line in project["dependencies"]]
    assert {one.name for one in needed} <= set(lowest)
    named = [Requirement(line) for lines in project["optional-dependencies"].values() for line in lines]
    for one in [*needed, *named]:
        if one.name in lowest:
            assert one.specifier.contains(Version(lowest[one.name])), f"{one}: {lowest[one.name]}"
    assert lowest["torch"] == "2.6"
