"""Options that differ between runs, and whether the runs have one backbone."""

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from priorkit.config.nested import leaves
from priorkit.workflows.comparing.run_record import RunRecord

__all__ = ["differing_options", "flat_options", "grouped", "same_backbone"]

LEFT_OUT = ("seed", "engine", "minutes", "evaluation")
"""Sections in which runs of one row may differ."""


def grouped(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Return groups of runs whose configurations are equal except for the seeds, in the order of their first runs."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        tree = run.config.model_dump(mode="json")
        key = json.dumps({name: value for name, value in tree.items() if name not in LEFT_OUT}, sort_keys=True)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def differing_options(runs: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Return the options, by dotted key, that are not equal in all runs, with a value per run; '' if a run has no such
    option."""
    flat = [flat_options(run) for run in runs]
    keys = dict.fromkeys(key for options in flat for key in options)
    found = {key: [options.get(key, "") for options in flat] for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def same_backbone(runs: Sequence[RunRecord]) -> bool:
    """Return whether several runs have backbones with equal weights, by their checksums."""
    found = {run.backbone_content for run in runs}
    return len(runs) > 1 and len(found) == 1 and found != {""}


def flat_options(run: RunRecord) -> dict[str, str]:
    """Return all options of a run by dotted key, as text; of paths only the last part."""
    tree = run.config.model_dump(mode="json")
    return {key: _told(value) for key, value in leaves({k: v for k, v in tree.items() if k not in LEFT_OUT})}


def _told(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    start, colon, rest = value.partition(":")
    if PurePath(rest if colon else value).is_absolute() or "/" in value:
        return f"{start}{colon}{PurePath(rest).name}" if colon else PurePath(value).name
    return value
