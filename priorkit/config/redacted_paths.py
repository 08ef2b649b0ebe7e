"""Configurations as others may see them: without the folders of this machine."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["without_places"]

PLACE = re.compile(r"((?:zip|folder|stream):|(?:[^/~]*:)?(?=[/~]))(.*)", re.DOTALL)
"""A place of a file: what stands before it, and the place, absolute or said to be one."""


def without_places(value: Any) -> Any:
    """Options without folders of this machine: of a path, also after zip:, folder: or stream:, its last part alone."""
    if isinstance(value, Mapping):
        return {key: without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_places(item) for item in value]
    if not isinstance(value, str):
        return value
    place = PLACE.fullmatch(value)
    if not place:
        return value
    # What follows the question mark of an address may be a key to it.
    path = place[2].partition("?")[0] if "://" in place[2] else place[2]
    return f"{place[1]}{Path(path).name}"
