"""The order of stages: by number, so that stage 10 follows stage 9."""

import re

__all__ = ["last_number"]


def last_number(name: str) -> int:
    """Return the number at the end of a name, such as 'prior.10' or '_stage_10'; 0 if there is none."""
    found = re.search(r"(\d+)$", name)
    return int(found[1]) if found else 0
