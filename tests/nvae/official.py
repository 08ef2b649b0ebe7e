"""Reading the reference vectors and their checkpoints, for tests only."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from priorkit_nvae import NVAE, NvaeSettings

from priorkit.core import DataSpec

VECTORS = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors" / "nvae"
NAMES = sorted(path.stem for path in VECTORS.glob("*.pt")) or ["absent"]


def arrays(name, dtype=torch.float64):
    """The reference arrays; floats in the wanted type."""
    path = VECTORS / f"{name}.npz"
    if not path.exists():
        pytest.skip("the reference vectors (../shared/vectors/nvae) are not here")
    with np.load(path, allow_pickle=False) as stored:
        read = {key: torch.from_numpy(stored[key]) for key in stored.files}
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in read.items()}


def checkpoint(name):
    """(args, state dict without aliases, number of aliases)."""
    path = VECTORS / f"{name}.pt"
    if not path.exists():
        pytest.skip("the reference vectors (../shared/vectors/nvae) are not here")
    with torch.serialization.safe_globals([argparse.Namespace]):
        stored = torch.load(path, weights_only=True)
    state = stored["state_dict"]
    kept = {key: value for key, value in state.items() if not key.endswith(".weight_normalized")}
    return vars(stored["args"]), kept, len(state) - len(kept)


def model(name, dtype=torch.float64):
    """The network of a checkpoint, loaded strictly, in evaluation mode."""
    args, state, _ = checkpoint(name)
    fields = {key: args[key] for key in NvaeSettings.model_fields if key in args}
    decoder = "normal" if args["num_mixture_dec"] == 1 else "logistic"
    settings = NvaeSettings(**{**fields, "decoder": decoder, "mixture_edges": "nvae"})
    network = NVAE(settings, DataSpec("cifar10", (3, 32, 32), 256))
    network.load_state_dict(state)
    return network.to(dtype).eval()
