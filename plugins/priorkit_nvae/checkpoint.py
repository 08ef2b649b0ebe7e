"""The file format of the published NVAE training script, read and written.

A dict with `state_dict`, `args` (an `argparse.Namespace`) and the state of the training: optimiser, scheduler and gradient
scaler are neither read nor written.
"""

import argparse
import io
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorkit.core import Backbone, CheckpointFormat, DataSpec, Imported
from priorkit.errors import UsageError
from priorkit_nvae.checkpoint_args import args_of, cell_table, plain_args, settings_of, spec_of
from priorkit_nvae.checkpoint_file import read_file
from priorkit_nvae.checkpoint_state import checked_state, official_state, outline
from priorkit_nvae.model import NVAE
from priorkit_nvae.readjustment import readjust_batch_norm
from priorkit_nvae.settings import NvaeSettings

__all__ = ["NvaeCheckpoint"]

COUNTERS = ("epoch", "global_step")


class NvaeCheckpoint(CheckpointFormat):
    """Checkpoints of the published NVAE code (`checkpoint.pt`), and of code derived from it."""

    def read(self, path: Path, spec: DataSpec | None = None) -> Imported:
        """Return state, settings and arguments; only tensors and plain values are ever built from the file."""
        content = read_file(path)
        args = content.get("args")
        if not isinstance(args, argparse.Namespace) or "state_dict" not in content:
            raise UsageError(f"{path} has no state_dict with args, so it is not a checkpoint of the NVAE training script.")
        try:
            return _imported(content, vars(args), spec, path.stat().st_size)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error

    def write(self, backbone: Backbone, kept: Mapping[str, Any]) -> bytes:
        """Return the same file without the optimiser; for a network trained here, with arguments that describe its
        settings."""
        if not isinstance(backbone, NVAE):
            raise UsageError(
                f"the NVAE format is for nvae backbones, but the backbone of this run is a {type(backbone).__name__}."
            )
        args = kept["args"] if "args" in kept else args_of(backbone.settings, backbone.spec)
        if "args" in kept and not _means(args, backbone):
            raise UsageError(
                "the stored arguments of the imported file do not describe the backbone of this run; import "
                "the checkpoint again."
            )
        # A file that names a GPU could not be read on a machine without one.
        copy = backbone if backbone.device.type == "cpu" else deepcopy(backbone).cpu()
        content = {
            **{name: kept.get(name, 0) for name in COUNTERS},
            "state_dict": official_state(copy),
            "args": argparse.Namespace(**args),
            "arch_instance": cell_table(backbone.settings.arch_instance),
        }
        stream = io.BytesIO()
        torch.save(content, stream)
        return stream.getvalue()

    def readjust(self, backbone: Backbone, draws: Iterable[Tensor], *, temperature: float) -> None:
        """Only layers of the decoder process samples, so only their statistics change. Raises UsageError if they become
        infinite."""
        if not isinstance(backbone, NVAE):
            raise UsageError(
                "batch norms can be readjusted only in an nvae backbone, but this run has a "
                f"{type(backbone).__name__}; leave out --readjust-bn."
            )
        readjust_batch_norm(backbone, draws, temperature=temperature)
        if not all(bool(buffer.isfinite().all()) for buffer in backbone.buffers()):
            raise UsageError("the readjusted batch-norm statistics are not finite; import the file without --readjust-bn.")


def _imported(content: Mapping[str, Any], args: Mapping[str, Any], given: DataSpec | None, most_bytes: int) -> Imported:
    spec = spec_of(args, given)
    settings = settings_of(args, spec)
    stored = content["state_dict"]
    network = outline(settings, spec, len(stored) if isinstance(stored, Mapping) else 0)
    state, notes = checked_state(stored, network, most_bytes)
    kept, dropped = plain_args(args)
    if dropped:
        notes.append(f"args that are no plain values were dropped: {', '.join(name[:60] for name in dropped[:5])}.")
    counters = {name: content[name] for name in COUNTERS if type(content.get(name)) is int and abs(content[name]) < 2**63}
    return Imported("nvae", settings.model_dump(mode="json"), spec, state, {"args": kept, **counters}, notes)


def _means(args: Mapping[str, Any], network: NVAE) -> bool:
    """Return True if the arguments describe the network, apart from its training."""
    meant: NvaeSettings = settings_of(args, network.spec)
    training = ("preset", "warmup", "kl_final")
    fields = [name for name in NvaeSettings.model_fields if name not in training]
    return all(getattr(meant, name) == getattr(network.settings, name) for name in fields)
