"""Inception as the FID is defined on it: torch-fidelity's port of the network of 2015-12-05, its features and its resizing.

The weights (about 95 MB) are not part of the package. They are looked up in the place given by the user, then in the
environment variable PRIORKIT_INCEPTION, then where torch-fidelity stores them; nothing is downloaded unless the user asks
for it. torch-fidelity would unpickle any file: here a file is accepted only if it contains tensors and nothing else.
"""

import hashlib
import io
import os
import pickle
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from priorkit.core import FeatureExtractor, Features
from priorkit.errors import UsageError
from priorkit.metrics.fidelity_library import fidelity_library
from priorkit.runtime.user_path import user_path

__all__ = ["VARIABLE", "Inception", "download_inception", "find_inception"]

VARIABLE = "PRIORKIT_INCEPTION"
LAYERS = ["2048", "logits_unbiased"]


class Inception(FeatureExtractor):
    """The last pooling layer (2,048 features), and the class scores without their bias, as used by the Inception score."""

    name = "inception"

    def __init__(self, *, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        """Raises UsageError if torch-fidelity or the weights are missing, or the file does not contain them."""
        super().__init__(weights=weights, device=device)
        found = fidelity_library()
        path = find_inception(weights)
        content = _tensors_alone(path)
        try:
            with torch.random.fork_rng(devices=[]):  # an evaluation does not use the caller's random numbers
                self.network = found.inception(
                    "inception-v3-compat", list(LAYERS), feature_extractor_weights_path=io.BytesIO(content)
                )
        except (RuntimeError, TypeError, AttributeError) as error:
            said = " ".join(str(error).split())[:200]
            raise UsageError(f"{path}: these are not the weights of torch-fidelity's Inception ({said}).") from error
        self.network.to(self.device).eval().requires_grad_(False)
        self.fingerprint = hashlib.sha256(content).hexdigest()[:16]
        self.about = (
            f"2,048 features of torch-fidelity {found.version}'s Inception v3 (weights {self.fingerprint[:8]}), "
            "resized to 299 x 299 as TensorFlow 1 did, grey images in three equal channels"
        )

    @classmethod
    def download(cls) -> Path:
        """As `download_inception`."""
        return download_inception()

    def __call__(self, images: Tensor) -> Features:
        """Return the features of images (B, 1 or 3, H, W), uint8."""
        if images.shape[1] not in (1, 3):
            raise UsageError(f"features 'inception': expected 1 or 3 channels, got {images.shape[1]}")
        vectors, logits = self.network(images.expand(-1, 3, -1, -1))
        return Features(vectors, logits)


def find_inception(weights: Path | None = None) -> Path:
    """Return the file of weights. Raises a UsageError that says what to download and where to put it."""
    named = {"the weights that were named": weights, VARIABLE: os.environ.get(VARIABLE)}
    for origin, value in named.items():
        if value:
            path = user_path(value)
            if not path.is_file():
                raise UsageError(f"{path}: there is no such file ({origin}); {_how_to_get_it()}")
            return path
    if _kept().is_file():
        if not _whole(_kept()):
            raise UsageError(f"{_kept()}: the file is incomplete or a different one; remove it. Then {_how_to_get_it()}")
        return _kept()
    raise UsageError(f"FID needs the weights of Inception, which are not on this machine: {_how_to_get_it()}")


def download_inception() -> Path:
    """Download the weights with torch-fidelity, to its folder and checked against the hash in the name; return the file.

    Raises UsageError if the download fails or the file is not the expected one.
    """
    kept = _kept()
    if not (kept.is_file() and _whole(kept)):
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(fidelity_library().inception_url, str(kept), _hash_of(kept), progress=False)
        except (OSError, RuntimeError) as error:
            raise UsageError(f"the weights of Inception could not be downloaded ({error}); {_how_to_get_it()}") from error
    return kept


def _kept() -> Path:
    """Return where torch-fidelity stores its download."""
    return Path(torch.hub.get_dir()) / "checkpoints" / fidelity_library().inception_url.rpartition("/")[2]


def _hash_of(kept: Path) -> str:
    """Return the beginning of the SHA-256 at the end of the file's name."""
    return kept.stem.rpartition("-")[2]


def _whole(kept: Path) -> bool:
    """Return whether the file matches its name; an incomplete download does not."""
    with kept.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest().startswith(_hash_of(kept))


def _how_to_get_it() -> str:
    return (
        f"download {fidelity_library().inception_url} (about 95 MB) on a machine with a network and "
        f"put it at {_kept()}, or elsewhere and give its path with --feature-weights FILE or "
        f"{VARIABLE}=FILE; with a network connection, use --feature-weights download."
    )


def _tensors_alone(path: Path) -> bytes:
    """Return the bytes that torch will read, after verifying that they are a mapping of names to tensors and nothing
    executable.

    The verified bytes are those that are loaded. Raises UsageError.
    """
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".safetensors":
            stream = io.BytesIO()
            torch.save(safetensors.torch.load(content), stream)
            return stream.getvalue()
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UsageError(f"{path}: not a file of weights, or not only weights: {_first_line(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{path}: expected a mapping of names to tensors, got {type(state).__name__}.")
    return content


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
