"""Configurations as others may see them: without the folders of this machine."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["without_places"]

PLACE = re.compile(r"((?:zip|folder):|(?:[^/~]*:)?(?=[/~]))(.*)", re.DOTALL)
"""A place of a file: what stands before it, and the place, absolute or said to be one."""


def without_places(value: Any) -> Any:
    """Options without folders of this machine: of a path, also after zip: or folder:, its last part alone."""
    if isinstance(value, Mapping):
        return {key: without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_places(item) for item in value]
    if not isinstance(value, str):
        return value
    place = PLACE.fullmatch(value)
    return f"{place[1]}{Path(place[2]).name}" if place else value
