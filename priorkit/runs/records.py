"""The contents of a run's JSON files, validated.

Their checksums are in the run's manifest; the schemas also apply to older runs without a manifest.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from priorkit.core import DataSpec
from priorkit.data import Dataset
from priorkit.errors import UsageError
from priorkit.runs.manifest import listed, read_listed
from priorkit.runtime.atomic_files import write_json

__all__ = [
    "DATA", "METRICS", "PILOT", "SUMMARY", "RecordedData", "Step", "read_data", "read_pilot", "read_steps", "read_summary",
    "write_data",
]  # fmt: skip

DATA = "data.json"
METRICS = "metrics.jsonl"
PILOT = "pilot.json"
SUMMARY = "summary.json"

Model = TypeVar("Model", bound=BaseModel)

Step = dict[str, Any]
"""A line of metrics.jsonl: `phase`, `step` and metrics."""


class _Shape(BaseModel):
    """Types are strict: 17 and not "17"."""

    model_config = ConfigDict(strict=True, extra="allow")


class RecordedData(_Shape):
    """data.json: what is needed of the data to build the run's model without them."""

    name: str
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
    levels: Annotated[int, Field(ge=2)] | None
    classes: Annotated[int, Field(ge=0)]
    content: str
    """Hash of the content; empty for an imported backbone, whose file does not identify its training data."""

    @property
    def spec(self) -> DataSpec:
        """Return the specification from which a model is built."""
        return DataSpec(self.name, self.shape, self.levels, self.classes)


class _Figure(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    value: float
    spread: float | None
    protocol: str


class _Cost(_Shape):
    seconds: dict[str, float]
    parameters: dict[str, int] | None = None
    samples_per_second: float | None = None
    calls_per_sample: float | None = None
    peak_memory_bytes: int | None = None


class _Summary(_Shape):
    metrics: dict[str, _Figure]
    resamples: dict[str, Annotated[str, Field(pattern=r"^[-+.e0-9 ]*$")]] | None = None
    """Values of a metric on resamples of what it is measured on, separated by spaces."""
    cost: _Cost
    samples: int | None = None
    sample_seed: int = 0


class _Pilot(_Shape):
    seconds: float
    steps: int


class _Step(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, float]

    phase: str
    step: int


def write_data(folder: Path, data: Dataset) -> None:
    """Write data.json."""
    write_json(folder / DATA, {**asdict(data.spec), "content": data.content, "protocol": data.protocol})


def read_data(folder: Path) -> RecordedData | None:
    """Return the contents of data.json; None if an early run did not write it. Raises UsageError if it is damaged."""
    if not (folder / DATA).exists() and DATA not in listed(folder):
        return None
    return _validated(RecordedData, folder / DATA, read_listed(folder, DATA), "not the description of a run's data")


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the contents of summary.json. Raises UsageError if the run has none or it is damaged."""
    absent = f"The run is unfinished, or has lost it; `priorkit train --resume {folder}` goes on with it."
    content = read_listed(folder, SUMMARY, absent)
    _validated(_Summary, folder / SUMMARY, content, "not a summary of a run")
    found: dict[str, Any] = json.loads(content)
    return found


def read_pilot(folder: Path) -> tuple[int, float]:
    """Return steps and seconds of a finished pilot. Raises UsageError."""
    found = _validated(_Pilot, folder / PILOT, read_listed(folder, PILOT), "not the record of a pilot")
    return found.steps, found.seconds


def read_steps(folder: Path) -> list[Step]:
    """Return the lines of metrics.jsonl, empty if it does not exist. Raises UsageError naming an invalid line."""
    path = folder / METRICS
    if not path.exists() and METRICS not in listed(folder):
        return []
    found: list[Step] = []
    for number, line in enumerate(read_listed(folder, METRICS).splitlines(), start=1):
        try:
            _Step.model_validate_json(line)
            found.append(json.loads(line))
        except (ValidationError, ValueError) as error:
            raise UsageError(f"{path}, line {number}: not a logged step; the file is damaged. Restore it.") from error
    return found


def _validated(model: type[Model], path: Path, content: bytes, problem: str) -> Model:
    try:
        json.loads(content)  # numbers of thousands of digits, which pydantic would accept
        return model.model_validate_json(content)
    except (ValueError, RecursionError) as error:
        told = " ".join(str(error).split())
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            told = ": ".join((".".join(map(str, first["loc"])), first["msg"])).lstrip(": ")
        raise UsageError(f"{path}: {problem} ({told[:200]}); the file is damaged. Restore it.") from error
