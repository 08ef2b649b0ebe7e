"""A finished run read from its folder: what a comparison and a page need of it, without its model."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import safe_open

from priorkit.config import RunConfig
from priorkit.config.document import parse
from priorkit.errors import UsageError
from priorkit.metrics import Figure
from priorkit.runs.folder import RunFolder

__all__ = ["RunRecord"]


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
        """Raises UsageError for a folder that holds no finished run."""
        folder = RunFolder.existing(path)
        try:
            summary = json.loads(folder.summary.read_bytes())
            summary["metrics"], summary["cost"]["seconds"]
        except FileNotFoundError as error:
            raise UsageError(
                f"{path}: this run is unfinished (it has no summary.json); `priorkit train --resume {path}` goes on with it."
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{folder.summary}: not a summary of a run; train it again or restore the file.") from error
        return cls(folder, name or path.resolve().name, RunConfig.read(folder.config), summary, _versions(folder))

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """All figures by their names."""
        return {name: Figure(**entry) for name, entry in self.summary["metrics"].items()}

    @cached_property
    def data_content(self) -> str:
        """Hash of the data's content; empty where an early run did not keep it."""
        try:
            return str(json.loads((self.folder.path / "data.json").read_bytes())["content"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    @cached_property
    def backbone_content(self) -> str:
        """Hash of the backbone's weights."""
        try:
            return str(json.loads((self.folder.weights / "MANIFEST.json").read_bytes())["backbone"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """metrics.jsonl."""
        return self.folder.records()

    @property
    def stages(self) -> list[int]:
        """The numbers of the stages that have figures, where there are several."""
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
        found: dict[str, float] = {"seconds": sum(spent.values()), "steps": sum(steps.get(phase, 0) for phase in spent)}
        for name, key in (("samples_per_second",) * 2, ("calls_per_sample",) * 2, ("peak_memory", "peak_memory_bytes")):
            if cost.get(key) is not None:
                found[name] = cost[key]
        if (parameters := self._parameters()) is not None:
            found["parameters"] = parameters
        return found

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
    def hole(self) -> dict[str, Figure]:
        """The hole by layer, from the first file of the run's folder that holds it: what `priorkit evaluate --json` printed,
        or its summary; empty without one."""
        for metrics in self._printed("metrics"):
            try:
                found = {name: Figure(**entry) for name, entry in metrics.items() if name.startswith("hole_")}
            except TypeError:
                continue
            if found:
                return found
        return {}

    def _printed(self, key: str) -> Iterator[dict[str, Any]]:
        """The tables of that name in the JSON files of the run's folder, by the files' names; others are passed over."""
        for path in sorted(self.folder.path.glob("*.json")):
            try:
                content = json.loads(path.read_bytes())
            except (OSError, ValueError):
                continue
            if isinstance(content, dict) and isinstance(content.get(key), dict):
                yield dict(content[key])

    def _parameters(self) -> int | None:
        """Of the prior; buffers are in the weights file too, so that a run without the count may overstate it."""
        known = self.summary["cost"].get("parameters")
        if known is not None:
            return int(known["prior"])
        try:
            with safe_open(self.folder.weights / "prior.safetensors", framework="pt") as file:
                return sum(_entries(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
        except (OSError, ValueError):
            return None


def _entries(shape: list[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _versions(folder: RunFolder) -> dict[str, str]:
    content, _ = parse(folder.config.read_text(), str(folder.config))
    versions = content.get("versions", {}) if isinstance(content, dict) else {}
    return {str(name): str(value) for name, value in versions.items() if isinstance(value, str)}
