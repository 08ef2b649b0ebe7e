"""Checkpoints of a run: folders `resume/000007`, each whole or ignored; the newest that holds is the latest.

A checkpoint has the state of the learners of its phase, the optimisers, the averaged weights and the metrics since the
last logged step, and the checksums of the weights of learners that finished before.
"""

import json
import logging
import shutil
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from priorkit.errors import UsageError
from priorkit.runs.folder import RunFolder
from priorkit.runtime.atomic_files import holds, replace_folder, sweep

__all__ = ["Checkpoint", "Checkpoints"]

log = logging.getLogger(__name__)

KEPT = 2

SHARE = 20
"""The next checkpoint is not due before this many times the last one's cost: at most 5 % of the time goes there."""


@dataclass
class Checkpoint:
    """Where a run stood."""

    phase: str
    learners: list[str]
    """Names of the modules that the phase trains."""
    step: int
    finished: bool
    """True at the end of the phase: its learners' state is final and no optimiser is kept."""
    done: dict[str, dict[str, float]]
    """Final metrics of the finished phases."""
    weights: dict[str, str]
    """Checksums of weights/*.safetensors of finished learners."""
    metrics_bytes: int
    skipped: int
    refused: int
    """Steps refused in a row up to here."""
    seconds: dict[str, float]
    """Wall-clock time of each phase so far."""
    window: int
    """Steps since the last logged one; their sums are among the tensors."""
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """By owner: learner/NAME, optimiser, average (with the best weights and their record), window (one row per process)."""
    micro_batches: int = 1
    """Number of micro-batches per shard in this phase."""
    metrics_sha256: str = ""
    """Of the first `metrics_bytes` of metrics.jsonl."""


class Checkpoints:
    """The checkpoints in a run's folder."""

    def __init__(self, folder: RunFolder, seconds: float = 0.0) -> None:
        """`seconds` lie between two checkpoints, or more where writing one takes long."""
        self.path = folder.resume
        self.seconds = seconds
        self.next = time.monotonic() + seconds

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() >= self.next

    def write(self, checkpoint: Checkpoint, begun: float | None = None) -> None:
        """Add a checkpoint, whose making began at the monotonic time `begun`, and drop those older than the last two."""
        begun = time.monotonic() if begun is None else begun
        meta: dict[str, Any] = asdict(checkpoint) | {"tensors": None}
        flat = {
            f"{owner}:{name}": value.detach().cpu().contiguous()
            for owner, tensors in checkpoint.tensors.items()
            for name, value in tensors.items()
        }
        sweep(self.path)
        numbers = self._numbers()
        number = max(numbers, default=0) + 1
        files = {"state.json": json.dumps(meta).encode(), "state.safetensors": save(flat)}
        replace_folder(self.path / f"{number:06d}", files)
        for old in sorted(numbers)[: max(0, len(numbers) + 1 - KEPT)]:
            shutil.rmtree(self.path / f"{old:06d}", ignore_errors=True)
        ended = time.monotonic()
        self.next = ended + max(self.seconds, SHARE * (ended - begun))

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint whose manifest holds; the log warns of each that is passed over.

        Raises UsageError for one of another version of priorkit.
        """
        for number in sorted(self._numbers(), reverse=True):
            folder = self.path / f"{number:06d}"
            if not holds(folder):
                log.warning("%s: is damaged; the run continues from the checkpoint before it", folder)
                continue
            try:
                state = json.loads((folder / "state.json").read_bytes())
                if "pieces" in state:  # the name in checkpoints of before 0.1.0
                    state["micro_batches"] = state.pop("pieces")
                checkpoint = Checkpoint(**state)
            except TypeError as error:
                told = (
                    f"{folder}: is not a checkpoint of this version of priorkit ({error}); resume with the "
                    "version that wrote it."
                )
                raise UsageError(told) from error
            checkpoint.tensors = {}
            for key, value in load((folder / "state.safetensors").read_bytes()).items():
                owner, name = key.split(":", 1)
                checkpoint.tensors.setdefault(owner, {})[name] = value
            return checkpoint
        return None

    def _numbers(self) -> list[int]:
        if not self.path.is_dir():
            return []
        return [int(folder.name) for folder in self.path.iterdir() if folder.name.isdigit()]
