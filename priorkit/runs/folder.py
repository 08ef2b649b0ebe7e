"""The folder of one run.

    config.yaml               the resolved configuration
    metrics.jsonl             one object a logged step; the same for the same seed, whatever was killed and resumed
    weights/*.safetensors     backbone and prior
    initial/                  a trained backbone that the run started from, if it did
    samples/*.png             pictures
    summary.json              the figures, their protocols, and the costs
    resume/                   checkpoints and, until the run is complete, kept work: what a killed run needs
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from priorkit.errors import UsageError
from priorkit.runs.atomic import read_tensors, sha256, write_bytes, write_json, write_tensors, writing

__all__ = ["RunFolder"]


class RunFolder:
    """Paths of a run's files and the few ways they are written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.weights = path / "weights"
        self.initial_backbone = path / "initial" / "backbone.safetensors"
        self.samples = path / "samples"
        self.summary = path / "summary.json"
        self.resume = path / "resume"
        self.kept = self.resume / "kept"

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """The folder of a run that was begun before."""
        folder = cls(path)
        if not folder.config.is_file():
            raise UsageError(
                f"{path}: not a run (it has no config.yaml). Name a folder that `priorkit train --out` has written."
            )
        return folder

    def log(self, record: dict[str, Any]) -> None:
        """Append one object to metrics.jsonl."""
        with writing(self.metrics), self.metrics.open("a") as stream:
            stream.write(json.dumps(record) + "\n")

    def logged_bytes(self) -> int:
        """Length of metrics.jsonl, safe on the disk, which a checkpoint remembers."""
        if not self.metrics.exists():
            return 0
        with writing(self.metrics), self.metrics.open("r+b") as stream:
            os.fsync(stream.fileno())
            return stream.seek(0, os.SEEK_END)

    def cut_log(self, length: int) -> None:
        """Forget what was logged after a checkpoint; the resumed run logs it again."""
        if self.metrics.exists():
            with writing(self.metrics), self.metrics.open("r+b") as stream:
                stream.truncate(min(length, stream.seek(0, os.SEEK_END)))

    def records(self) -> list[dict[str, Any]]:
        """What metrics.jsonl holds."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text().splitlines()]

    def save_weights(self, name: str, tensors: dict[str, Tensor]) -> str:
        """Write weights/NAME.safetensors and note its checksum in weights/MANIFEST.json; gives the checksum."""
        digest = write_tensors(self.weights / f"{name}.safetensors", tensors)
        known = {path.stem: sha256(path) for path in sorted(self.weights.glob("*.safetensors"))}
        write_json(self.weights / "MANIFEST.json", known)
        return digest

    def load_weights(self, name: str, expected: str | None = None) -> dict[str, Tensor]:
        """Read weights/NAME.safetensors, checked against the manifest (or the given checksum)."""
        path = self.weights / f"{name}.safetensors"
        return read_tensors(path, self.checksums(name)[name] if expected is None else expected)

    def checksums(self, *names: str) -> dict[str, str]:
        """What weights/MANIFEST.json records, by name.  Raises UsageError where it cannot be read or tells nothing of any of
        the names."""
        manifest = self.weights / "MANIFEST.json"
        try:
            known = json.loads(manifest.read_bytes())
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.weights}: no readable MANIFEST.json; was the training finished?") from error
        if not (isinstance(known, dict) and all(isinstance(digest, str) for digest in known.values())):
            raise UsageError(f"{manifest}: expected a checksum for each name; the file was damaged or changed. Restore it.")
        for name in names:
            if name not in known:
                raise UsageError(f"{manifest}: has no checksum of {name}, so its weights cannot be checked. Restore it.")
        return known

    def keep(
        self,
        name: str,
        make: Callable[[], dict[str, Tensor]],
        *,
        write: bool = True,
        agree: Callable[[bool], bool] = bool,
    ) -> dict[str, Tensor]:
        """Tensors made once in the life of a run: read back if they are whole, else made again (with equal bits).

        Of several processes only one may `write`; `agree` is true if all have read, since they make together.
        """
        path = self.kept / f"{name}.safetensors"
        digest = path.with_suffix(".sha256")
        found = None
        if path.exists() and digest.exists():
            try:
                found = read_tensors(path, digest.read_text())
            except UsageError:
                if write:
                    path.unlink(missing_ok=True)
        if agree(found is not None) and found is not None:
            return found
        tensors = make()
        if write:
            recorded = write_tensors(path, tensors)
            write_bytes(digest, recorded.encode())
        return tensors

    def drop_kept(self) -> None:
        """Free the space of the kept tensors, which a finished run needs no more."""
        shutil.rmtree(self.kept, ignore_errors=True)
