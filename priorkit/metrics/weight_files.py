"""Weights that others publish: where they are looked up, how a user gets them, and how their files are read.

Nothing is downloaded unless the user asks for it, and nothing is unpickled: a file is accepted only if it contains tensors
and nothing else.
"""

import hashlib
import io
import os
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from priorkit.errors import UsageError
from priorkit.runtime.user_path import user_path

__all__ = ["PublishedWeights", "read_content", "tensors_of"]


@dataclass(frozen=True)
class PublishedWeights:
    """A file of weights that is not part of the package."""

    network: str
    """The network's name in messages."""
    needed_for: str
    """What cannot be computed without it."""
    url: str
    sha256: str
    """The file's hash, or its beginning."""
    megabytes: int
    variable: str
    """The environment variable that may contain its path."""
    file: str
    """Its name in torch's folder of downloads."""

    @property
    def kept(self) -> Path:
        """Where a download is stored."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.file

    def find(self, named: Path | None = None) -> Path:
        """Return the file: the given one, else that of the environment variable, else the download.

        Raises a UsageError that says what to download and where to put it.
        """
        for origin, value in (("the weights that were named", named), (self.variable, os.environ.get(self.variable))):
            if value:
                path = user_path(value)
                if not path.is_file():
                    raise UsageError(f"{path}: there is no such file ({origin}); {self._how_to_get_it()}")
                return path
        if self.kept.is_file():
            if not self._whole():
                told = "the file is incomplete or a different one; remove it"
                raise UsageError(f"{self.kept}: {told}. Then {self._how_to_get_it()}")
            return self.kept
        told = f"needs the weights of {self.network}, which are not on this machine"
        raise UsageError(f"{self.needed_for} {told}: {self._how_to_get_it()}")

    def download(self) -> Path:
        """Download the file to torch's folder, checked against its hash, and return it.

        Raises UsageError if the download fails or the file is not the expected one.
        """
        kept = self.kept
        if not (kept.is_file() and self._whole()):
            try:
                kept.parent.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(self.url, str(kept), self.sha256, progress=False)
            except (OSError, RuntimeError) as error:
                told = f"the weights of {self.network} could not be downloaded ({error})"
                raise UsageError(f"{told}; {self._how_to_get_it()}") from error
        return kept

    def _whole(self) -> bool:
        """Return whether the download has the expected hash; an incomplete one does not."""
        with self.kept.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest().startswith(self.sha256)

    def _how_to_get_it(self) -> str:
        return (
            f"download {self.url} (about {self.megabytes:,} MB) on a machine with a network and put it at {self.kept}, or "
            f"elsewhere and give its path with --feature-weights FILE or {self.variable}=FILE; with a network connection, "
            "use --feature-weights download."
        )


def read_content(path: Path) -> bytes:
    """Return a file's bytes. Raises UsageError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}).") from error


def tensors_of(path: Path, content: bytes) -> dict[str, Tensor]:
    """Return the tensors by name in a file with these bytes: safetensors, else a file of `torch.save`.

    Raises UsageError if it contains anything else.
    """
    try:
        if path.suffix.lower() == ".safetensors":
            return safetensors.torch.load(content)
        if _is_program(content):
            raise UsageError(f"{path}: not a file of weights, but a TorchScript program.")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        SafetensorError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        zipfile.BadZipFile,
    ) as error:
        raise UsageError(f"{path}: not a file of weights, or not only weights: {_first_line(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{path}: expected a mapping of names to tensors, got {type(state).__name__}.")
    return state


def _is_program(content: bytes) -> bool:
    """Return whether torch would take a file with these bytes for TorchScript, and open it as a program."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return False
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
