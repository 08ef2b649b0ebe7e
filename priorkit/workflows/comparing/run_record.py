"""A finished run read from its folder, as needed for a comparison or a page, without its model."""

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
from priorkit.report.hole_table import NAMES
from priorkit.runs.checksummed_json import opened_seal
from priorkit.runs.folder import CONFIG, SEALED, RunFolder
from priorkit.runs.manifest import read_listed
from priorkit.runs.records import read_data, read_summary
from priorkit.runtime.atomic_files import MANIFEST
from priorkit.wrapping import WrappedBackbone

__all__ = ["RunRecord"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRecord:
    """The contents of a run's folder."""

    folder: RunFolder
    name: str
    """The name in tables and pages, without paths of this machine."""
    config: RunConfig
    summary: Mapping[str, Any]
    versions: Mapping[str, str]
    wrapped: WrappedBackbone | None = None
    """The VAE of a run on one of the user's own code, which its folder does not contain."""
    row: str = ""
    """The row of a comparison for which it was trained."""

    @classmethod
    def read(cls, path: Path, name: str = "", wrapped: WrappedBackbone | None = None, row: str = "") -> "RunRecord":
        """Read a folder. Raises UsageError if it contains no finished run or is damaged."""
        folder = RunFolder.existing(path)
        summary = read_summary(folder.path)
        config = RunConfig.read(folder.config)
        return cls(folder, name or path.resolve().name, config, summary, _versions(folder), wrapped, row)

    @cached_property
    def figures(self) -> dict[str, Metric]:
        """All metrics by name."""
        resamples = self.summary.get("resamples") or {}
        drawn = {name: tuple(map(float, told.split())) for name, told in resamples.items()}
        return {name: Metric(**entry, resamples=drawn.get(name, ())) for name, entry in self.summary["metrics"].items()}

    @cached_property
    def data_content(self) -> str:
        """Hash of the data; empty if an early run did not record it."""
        recorded = read_data(self.folder.path)
        return "" if recorded is None else recorded.content

    @cached_property
    def backbone_content(self) -> str:
        """Return the hash of the backbone's weights."""
        return self.folder.checksums("backbone")["backbone"]

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl. Raises UsageError if it is damaged."""
        return self.folder.records()

    @property
    def stages(self) -> list[int]:
        """Return the numbers of the stages that have metrics, if there are several."""
        found = {int(match[1]) for name in self.figures if (match := re.search(r"_stage_(\d+)", name))}
        return sorted(found) if len(found) > 1 else []

    @property
    def stage_count(self) -> int:
        """Return the number of stages that were trained."""
        trained = [phase for phase in self.summary["cost"]["seconds"] if not phase.startswith("backbone")]
        return max(len(trained), len(self.stages))

    @cached_property
    def costs(self) -> dict[str, float]:
        """Return training seconds and steps of the prior, and the measured cost of sampling; without those not recorded."""
        cost = self.summary["cost"]
        spent = {phase: seconds for phase, seconds in cost["seconds"].items() if not phase.startswith("backbone")}
        steps: dict[str, int] = {}
        for record in self.records:
            steps[record["phase"]] = max(record["step"], steps.get(record["phase"], 0))
        found: dict[str, float] = {"seconds": sum(spent.values())}
        if steps or not spent:  # an early run without its log does not have its number of steps
            found["steps"] = sum(steps.get(phase, 0) for phase in spent)
        for name, key in (("samples_per_second",) * 2, ("calls_per_sample",) * 2, ("peak_memory", "peak_memory_bytes")):
            if cost.get(key) is not None:
                found[name] = cost[key]
        return {**found, "parameters": self._parameters()}

    @property
    def environment(self) -> dict[str, str]:
        """Return versions, threads and device; nothing that identifies the machine."""
        cost = self.summary["cost"]
        told = {key: str(cost[key]) for key in ("threads", "device", "machine") if key in cost}
        return {**self.versions, **told, "precision": self.config.engine.precision}

    @cached_property
    def outsiders(self) -> dict[str, Any]:
        """Return the 'ood' section, by set, of the output of `priorkit ood --json` in the run's folder; empty without
        one."""
        return next(self._printed("ood"), {})

    @cached_property
    def hole(self) -> dict[str, Metric]:
        """Return the metrics of the prior hole per layer from the first file of the run's folder with them: the output of
        `priorkit evaluate --json`, or its summary; empty without one."""
        for metrics in (*self._printed("metrics"), self.summary.get("metrics", {})):
            try:
                found = {name: Metric(**entry) for name, entry in metrics.items() if name.startswith(NAMES)}
            except TypeError:
                continue
            if found:
                return found
        return {}

    def _printed(self, key: str) -> Iterator[dict[str, Any]]:
        """Yield the tables with that name in the JSON files of the run's folder, sorted by file name; other files are
        skipped."""
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
        """Return the prior's number of parameters; buffers are in the weights file too, so a run without the count may
        overstate it."""
        known = self.summary["cost"].get("parameters")
        if known is not None:
            return int(known["prior"])
        return sum(tensor.numel() for tensor in self.folder.load_weights("prior").values())


def _versions(folder: RunFolder) -> dict[str, str]:
    content, _ = parse(read_listed(folder.path, CONFIG).decode(), str(folder.config))
    versions = content.get("versions", {}) if isinstance(content, dict) else {}
    return {str(name): str(value) for name, value in versions.items() if isinstance(value, str)}
