"""The lowest versions that pyproject.toml allows, as constraints for pip.

    python scripts/lowest_versions.py > lowest.txt
    pip install -c lowest.txt -e .

Of what priorkit needs and of every extra; a requirement without a lower bound has no line.
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def lowest() -> dict[str, str]:
    """The version of each package."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    named = [project["dependencies"], *project["optional-dependencies"].values()]
    bounds = {}
    for requirement in (Requirement(line) for lines in named for line in lines):
        for bound in requirement.specifier:
            if bound.operator == ">=":
                bounds[requirement.name] = bound.version
    return bounds


def main() -> None:
    """Print a line per package."""
    for name, version in sorted(lowest().items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
