"""Small files in the published format, for tests only."""

import argparse
from collections import OrderedDict

import torch
from priorkit_nvae import NVAE, NvaeSettings
from priorkit_nvae.checkpoint_args import DEFAULTS

from priorkit.core import DataSpec

ALIAS = ".weight_normalized"
SPEC = DataSpec("imagenet_32", (3, 32, 32), 256)
SIZES = {
    "arch_instance": "res_mbconv", "num_latent_scales": 1, "num_groups_per_scale": 2, "num_latent_per_group": 2,
    "num_channels_enc": 4, "num_channels_dec": 4, "num_preprocess_blocks": 2, "num_preprocess_cells": 1,
    "num_postprocess_cells": 1, "num_cell_per_cond_enc": 1, "num_cell_per_cond_dec": 1, "num_mixture_dec": 2,
    "num_nf": 0, "use_se": True, "res_dist": True, "ada_groups": False, "min_groups_per_scale": 1,
}  # fmt: skip


def network(spec=SPEC, options=None, seed=0):
    """A tiny network with batch-norm statistics of its own."""
    torch.manual_seed(seed)
    sizes = {**SIZES, "decoder": "logistic", "kl_final": 1.0, "preset": "cifar10", **(options or {})}
    made = NVAE(NvaeSettings(**{**sizes, "num_postprocess_blocks": sizes["num_preprocess_blocks"]}), spec)
    with torch.no_grad():
        for name, buffer in made.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 2)
    return made.eval()


def content(spec=SPEC, *, dataset="imagenet_32", options=None, **args):
    """What a file with such a network holds, written without the code under test."""
    made = network(spec, options)
    state = OrderedDict()
    for key, value in made.state_dict().items():
        state[key] = value
        if value.ndim == 4 and key.endswith(".weight") and key.replace("weight", "log_weight_norm") not in made.state_dict():
            state[key.removesuffix(".weight") + ALIAS] = value
    said = {**DEFAULTS, **SIZES, "num_postprocess_blocks": 2, "learning_rate": 1e-3, "dataset": dataset, **args}
    optimiser = {"state": {0: {"step": 3, "exp_avg": torch.rand(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return {
        "epoch": 7, "global_step": 99, "state_dict": state, "args": argparse.Namespace(**said),
        "arch_instance": {}, "optimizer": optimiser, "scheduler": {}, "grad_scalar": {},
    }  # fmt: skip


def save(stored, path, *, old=False):
    """Write a file in the new container or the one before it."""
    torch.save(stored, path, _use_new_zipfile_serialization=not old)
    return path


def load(path):
    """Read a file without the code under test."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, weights_only=True)
