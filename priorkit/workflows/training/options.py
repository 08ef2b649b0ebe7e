"""Converts options written in Python to those of `--set`."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from priorkit.config.nested import leaves

__all__ = ["Options", "as_overrides"]

Options = Mapping[str, Any] | Iterable[str]
"""{'prior.stages': 2}, nested {'prior': {'stages': 2}}, or the texts of `--set`, ['prior.stages=2']."""


def as_overrides(options: Options | None) -> list[str]:
    """Return KEY=VALUE for every option, nested keys joined by dots."""
    if options is None:
        return []
    if isinstance(options, Mapping):
        return [f"{key}={json.dumps(value, default=_plain, ensure_ascii=False)}" for key, value in leaves(options)]
    return [options] if isinstance(options, str) else list(options)


def _plain(value: Any) -> Any:
    """Return other values as JSON types: NumPy's and torch's numbers and arrays as lists, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
