"""The folder of one run.

Contents:

    config.yaml               the resolved configuration
    data.json                 shape, grey levels and content hash of the data
    metrics.jsonl             one object per logged step; the same for the same seed, also after interruptions
    weights/*.safetensors     backbone and prior
    initial/                  a trained backbone that the run started from, if it did
    samples/*.png             pictures
    summary.json              the metrics, their protocols, and the costs
    resume/                   checkpoints and, until the run is complete, stored work: needed to resume
    MANIFEST.json             checksums of all these except weights and checkpoints, which have separate manifests
    run.lock                  the process that is training here, if any
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from priorkit.errors import UsageError
from priorkit.runs.manifest import listed, read_listed, seal, unseal
from priorkit.runs.records import DATA, METRICS, PILOT, SUMMARY, Step, read_steps
from priorkit.runtime.atomic_files import (
    MANIFEST,
    discard,
    read_file,
    read_tensors,
    sha256,
    sweep,
    write_bytes,
    write_json,
    write_tensors,
    writing,
)

__all__ = ["CONFIG", "INITIAL", "SEALED", "RunFolder"]

log = logging.getLogger(__name__)

CONFIG = "config.yaml"
WEIGHTS = f"weights/{MANIFEST}"
INITIAL = "initial/backbone.safetensors"
BEGINNING = (CONFIG, DATA, INITIAL)
"""Files written at the start of a run, and never again."""
SEALED = (*BEGINNING, METRICS, SUMMARY, PILOT, "origin.json", WEIGHTS)


class RunFolder:
    """Paths of a run's files and the functions that write them."""

    def __init__(self, path: Path) -> None:
        # The working directory may change while this object exists.
        self.path = path = path.absolute()
        self.config = path / CONFIG
        self.metrics = path / METRICS
        self.weights = path / "weights"
        self.initial_backbone = path / INITIAL
        self.samples = path / "samples"
        self.summary = path / SUMMARY
        self.resume = path / "resume"
        self.kept = self.resume / "kept"

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """Return the folder of a run that was started before, whose configuration is unchanged."""
        folder = cls(path)
        if not folder.config.is_file():
            raise UsageError(f"{path}: not a run (it has no config.yaml). Give a folder written by `priorkit train --out`.")
        read_listed(folder.path, CONFIG)
        return folder

    def begin(self) -> None:
        """Record the checksums of the files from the start of a run, and remove those of files about to be written."""
        unseal(self.path, BEGINNING)
        seal(self.path, BEGINNING)

    def close(self) -> None:
        """Record the checksums of all files of the run."""
        pictures = sorted(path.relative_to(self.path).as_posix() for path in self.samples.glob("*.png"))
        seal(self.path, (*SEALED, *pictures))

    def untouched(self) -> bool:
        """Return whether nothing has been logged or saved yet."""
        return not (self.metrics.exists() or any(self.resume.glob("[0-9]*")) or self.weights.exists())

    def sweep(self) -> None:
        """Remove files left by interrupted writers."""
        for folder in (self.path, self.weights, self.initial_backbone.parent, self.samples, self.resume, self.kept):
            sweep(folder)

    def log(self, record: dict[str, Any]) -> None:
        """Append one object to metrics.jsonl."""
        with writing(self.metrics), self.metrics.open("a") as stream:
            stream.write(json.dumps(record) + "\n")

    def logged(self) -> tuple[int, str]:
        """Return length and SHA-256 of metrics.jsonl, synced to disk, for a checkpoint."""
        if not self.metrics.exists():
            return 0, ""
        with writing(self.metrics), self.metrics.open("r+b") as stream:
            os.fsync(stream.fileno())
            return stream.seek(0, os.SEEK_END), sha256(self.metrics)

    def check_log(self, length: int, digest: str) -> None:
        """Verify that metrics.jsonl starts with what was logged before a checkpoint. Raises UsageError."""
        if not self.metrics.exists() and length:
            log.warning("%s: is missing; a new log starts where the run continues", self.metrics)
            return
        if not digest:  # nothing was logged, or the checkpoint is older than this check
            return
        read = read_file(self.metrics)[:length]
        if hashlib.sha256(read).hexdigest() != digest:
            raise UsageError(
                f"{self.metrics}: was changed after the run wrote it (its checksum differs). Restore it, or "
                "remove it to continue with a new log."
            )

    def cut_log(self, length: int) -> None:
        """Remove what was logged after a checkpoint; the resumed run logs it again."""
        if self.metrics.exists():
            with writing(self.metrics), self.metrics.open("r+b") as stream:
                stream.truncate(min(length, stream.seek(0, os.SEEK_END)))

    def records(self) -> list[Step]:
        """Return the lines of metrics.jsonl. Raises UsageError if it is damaged."""
        return read_steps(self.path)

    def save_weights(self, name: str, tensors: dict[str, Tensor], known: Mapping[str, str] | None = None) -> str:
        """Write weights/NAME.safetensors, and weights/MANIFEST.json with its checksum and the `known` ones; return the
        checksum."""
        digest = write_tensors(self.weights / f"{name}.safetensors", tensors)
        # Other files are not hashed again: they may have been damaged since.
        write_json(self.weights / MANIFEST, {**(known or {}), name: digest})
        return digest

    def load_weights(self, name: str, expected: str | None = None) -> dict[str, Tensor]:
        """Read weights/NAME.safetensors, verified with the manifest (or the given checksum)."""
        path = self.weights / f"{name}.safetensors"
        return read_tensors(path, self.checksums(name)[name] if expected is None else expected)

    def load_initial_backbone(self) -> dict[str, Tensor] | None:
        """Read the trained backbone that the run started from, verified with the manifest; None if there is none."""
        recorded = listed(self.path)
        if not self.initial_backbone.exists() and INITIAL not in recorded:
            return None
        return read_tensors(self.initial_backbone, recorded.get(INITIAL))

    def checksums(self, *names: str) -> dict[str, str]:
        """Return the records of weights/MANIFEST.json, by name. Raises UsageError if it cannot be read or has none of the
        names."""
        manifest = self.weights / MANIFEST
        try:
            known = json.loads(read_listed(self.path, WEIGHTS, "Was the training finished?"))
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"{self.weights}: no readable MANIFEST.json. If the training is unfinished, use `priorkit train --resume`."
            ) from error
        if not (isinstance(known, dict) and all(isinstance(digest, str) for digest in known.values())):
            raise UsageError(f"{manifest}: expected one checksum per name; the file was damaged or changed. Restore it.")
        for name in names:
            if name not in known:
                raise UsageError(f"{manifest}: has no checksum of {name}, so its weights cannot be checked. Restore it.")
        return known

    def cache(
        self,
        name: str,
        make: Callable[[], dict[str, Tensor]],
        *,
        write: bool = True,
        agree: Callable[[bool], bool] = bool,
    ) -> dict[str, Tensor]:
        """Return tensors computed once per run: read if they are complete, else computed again (bit by bit the same).

        Only one of several processes may `write`; `agree` is true if all have read, since they compute together.
        """
        path = self.kept / f"{name}.safetensors"
        digest = path.with_suffix(".sha256")
        found = None
        if path.exists() and digest.exists():
            try:
                found = read_tensors(path, read_file(digest).decode(errors="replace"))
            except UsageError:
                if write:
                    discard(path)
                    discard(digest)
        if agree(found is not None) and found is not None:
            return found
        # In the memory layout that they have when they are read: with another, sums differ in their last bits.
        tensors = {key: value.contiguous() for key, value in make().items()}
        if write:
            recorded = write_tensors(path, tensors)
            write_bytes(digest, recorded.encode())
        return tensors

    def drop_kept(self) -> None:
        """Delete the stored tensors, which a finished run does not need."""
        shutil.rmtree(self.kept, ignore_errors=True)
