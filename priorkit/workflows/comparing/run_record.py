"""A finished run read from its folder: what a comparison and a page need of it, without its model."""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from priorkit.config import RunConfig
from priorkit.config.document import parse
from priorkit.errors import UsageError
from priorkit.metrics import Metric
from priorkit.runs.checksummed_json import opened_seal
from priorkit.runs.folder import CONFIG, SEALED, RunFolder
from priorkit.runs.manifest import read_listed
from priorkit.runs.records import read_data, read_summary
from priorkit.runtime.atomic_files import MANIFEST

__all__ = ["RunRecord"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder tells."""

    folder: RunFolder
    name: str
    """Its name in tables and pages; no path of the machine."""
    config: RunConfig
    summary: Mapping[str, Any]
    versions: Mapping[str, str]

    @classmethod
    def read(cls, path: Path, name: str = "") -> "RunRecord":
        """Raises UsageError for a folder that holds no finished run, and for a damaged one."""
        folder = RunFolder.existing(path)
        summary = read_summary(folder.path)
        return cls(folder, name or path.resolve().name, RunConfig.read(folder.config), summary, _versions(folder))

    @cached_property
    def figures(self) -> dict[str, Metric]:
        """All metrics by their names."""
        return {name: Metric(**entry) for name, entry in self.summary["metrics"].items()}

    @cached_property
    def data_content(self) -> str:
        """Hash of the data's content; empty where an early run did not keep it."""
        recorded = read_data(self.folder.path)
        return "" if recorded is None else recorded.content

    @cached_property
    def backbone_content(self) -> str:
        """Hash of the backbone's weights."""
        return self.folder.checksums("backbone")["backbone"]

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """metrics.jsonl.  Raises UsageError where it is damaged."""
        return self.folder.records()

    @property
    def stages(self) -> list[int]:
        """The numbers of the stages that have metrics, where there are several."""
        found = {int(match[1]) for name in self.figures if (match := re.search(r"_stage_(\d+)", name))}
        return sorted(found) if len(found) > 1 else []

    @cached_property
    def costs(self) -> dict[str, float]:
        """Training seconds and steps of the prior, and what the run measured of its samples; absent where it did not."""
        cost = self.summary["cost"]
        spent = {phase: seconds for phase, seconds in cost["seconds"].items() if not phase.startswith("backbone")}
        steps: dict[str, int] = {}
        for record in self.records:
            steps[record["phase"]] = max(record["step"], steps.get(record["phase"], 0))
        found: dict[str, float] = {"seconds": sum(spent.values())}
        if steps or not spent:  # an early run whose log is gone does not tell its steps
            found["steps"] = sum(steps.get(phase, 0) for phase in spent)
        for name, key in (("samples_per_second",) * 2, ("calls_per_sample",) * 2, ("peak_memory", "peak_memory_bytes")):
            if cost.get(key) is not None:
                found[name] = cost[key]
        return {**found, "parameters": self._parameters()}

    @property
    def environment(self) -> dict[str, str]:
        """Versions, threads and device; nothing that tells whose machine it was."""
        cost = self.summary["cost"]
        told = {key: str(cost[key]) for key in ("threads", "device", "machine") if key in cost}
        return {**self.versions, **told, "precision": self.config.engine.precision}

    @cached_property
    def outsiders(self) -> dict[str, Any]:
        """What `priorkit ood --json` printed into a file of the run's folder: its 'ood', by set; empty without one."""
        return next(self._printed("ood"), {})

    @cached_property
    def hole(self) -> dict[str, Metric]:
        """The hole by layer, from the first file of the run's folder that holds it: what `priorkit evaluate --json` printed,
        or its summary; empty without one."""
        for metrics in (*self._printed("metrics"), self.summary.get("metrics", {})):
            try:
                found = {name: Metric(**entry) for name, entry in metrics.items() if name.startswith("hole_")}
            except TypeError:
                continue
            if found:
                return found
        return {}

    def _printed(self, key: str) -> Iterator[dict[str, Any]]:
        """The tables of that name in the JSON files of the run's folder, by the files' names; others are passed over."""
        for path in sorted(self.folder.path.glob("*.json")):
            if path.name in (*SEALED, MANIFEST):
                continue
            try:
                content = opened_seal(path)
            except UsageError as error:
                log.warning("left out: %s", error)
                continue
            if isinstance(content, dict) and isinstance(content.get(key), dict):
                yield dict(content[key])

    def _parameters(self) -> int:
        """Of the prior; buffers are in the weights file too, so that a run without the count may overstate it."""
        known = self.summary["cost"].get("parameters")
        if known is not None:
            return int(known["prior"])
        return sum(tensor.numel() for tensor in self.folder.load_weights("prior").values())


def _versions(folder: RunFolder) -> dict[str, str]:
    content, _ = parse(read_listed(folder.path, CONFIG).decode(), str(folder.config))
    versions = content.get("versions", {}) if isinstance(content, dict) else {}
    return {str(name): str(value) for name, value in versions.items() if isinstance(value, str)}
