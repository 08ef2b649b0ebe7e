"""Named configurations.

The published ones are those of NVAE (Vahdat and Kautz 2020, the commands published with its code) and of VAEBM's
Gaussian-decoder NVAEs (Xiao et al. 2021). `digits`, `small` and `small-64` are new, for two CPU cores, where
depthwise convolutions (`res_mbconv`) take twice the time of dense ones.
"""

from collections.abc import Mapping
from typing import Any

from priorkit.core import DataSpec
from priorkit.errors import UsageError

__all__ = ["AUTO", "PRESETS", "Preset", "preset_for"]

AUTO = "auto"
"""The preset that follows from the data."""

Preset = Mapping[str, Any]
"""Values of the settings."""


def _published(
    *,
    width: int,
    scales: int,
    groups: int,
    epochs: int,
    warmup_epochs: int = 5,
    least_groups: int | None = None,
    **settings: Any,
) -> Preset:
    """Return the common settings of the published configurations; `least_groups` turns adaptive groups on."""
    values = {
        "num_channels_enc": width,
        "num_channels_dec": width,
        "num_latent_scales": scales,
        "num_groups_per_scale": groups,
        "ada_groups": least_groups is not None,
        "min_groups_per_scale": least_groups or 1,
        "num_latent_per_group": 20,
        "num_preprocess_blocks": 1,
        "num_preprocess_cells": 2,
        "num_postprocess_blocks": 1,
        "num_postprocess_cells": 2,
        "num_cell_per_cond_enc": 2,
        "num_cell_per_cond_dec": 2,
        "num_nf": 1,
        "weight_decay_norm": 1e-2,
        "warmup": warmup_epochs / epochs,
    }
    return {**values, **settings}


_ANNEALED: dict[str, Any] = {"weight_decay_norm_anneal": True, "weight_decay_norm_init": 1.0}
_HQ: dict[str, Any] = {
    "width": 30,
    "scales": 5,
    "groups": 16,
    "least_groups": 4,
    "num_nf": 2,
    "num_x_bits": 5,
    **_ANNEALED,
}
_GAUSSIAN: dict[str, Any] = {"decoder": "normal", "weight_decay_norm_anneal": True, "weight_decay_norm_init": 10.0}
_VAEBM_64: dict[str, Any] = {
    "width": 48,
    "scales": 3,
    "groups": 5,
    "warmup_epochs": 1,
    "weight_decay_norm": 1e-1,
    **_GAUSSIAN,
}

_SMALL: dict[str, Any] = {
    "arch_instance": "res_bnswish",
    "num_channels_enc": 12,
    "num_channels_dec": 12,
    "num_latent_scales": 2,
    "num_groups_per_scale": 4,
    "ada_groups": True,
    "num_latent_per_group": 8,
    "num_preprocess_blocks": 2,
    "num_preprocess_cells": 1,
    "num_postprocess_blocks": 2,
    "num_postprocess_cells": 1,
    "num_mixture_dec": 5,
    "weight_decay_norm": 1e-2,
    "warmup": 0.02,
}

PRESETS: dict[str, Preset] = {
    "digits": {
        "arch_instance": "res_bnswish",
        "num_channels_enc": 16,
        "num_channels_dec": 16,
        "num_latent_scales": 2,
        "num_groups_per_scale": 1,
        "num_latent_per_group": 4,
        "num_preprocess_blocks": 2,
        "num_preprocess_cells": 1,
        "num_postprocess_blocks": 2,
        "num_postprocess_cells": 1,
        "num_mixture_dec": 3,
        "learning_rate": 3e-2,
        "warmup": 0.02,
        "kl_final": 0.4,
    },
    "small": _SMALL,
    # One halving more, so that the latents have the shapes that they have with images of 32 pixels.
    "small-64": {**_SMALL, "num_preprocess_blocks": 3, "num_postprocess_blocks": 3},
    "mnist": _published(
        width=32,
        scales=2,
        groups=10,
        least_groups=1,
        epochs=400,
        decoder="bernoulli",
        num_nf=0,
        num_preprocess_blocks=2,
        num_preprocess_cells=3,
        num_postprocess_blocks=2,
        num_postprocess_cells=3,
    ),
    "cifar10": _published(width=128, scales=1, groups=30, epochs=400),
    "celeba-64": _published(width=64, scales=3, groups=20, least_groups=1, epochs=90, weight_decay_norm=1e-1),
    "imagenet-32": _published(width=192, scales=1, groups=28, epochs=45, warmup_epochs=1, **_ANNEALED),
    "celeba-hq-256": _published(epochs=300, **_HQ),
    "ffhq-256": _published(epochs=200, learning_rate=8e-3, weight_decay_norm=1e-1, **_HQ),
    "lsun-church-64": _published(epochs=60, **_VAEBM_64),
    "vaebm-cifar10": _published(width=128, scales=1, groups=30, epochs=400, weight_decay_norm=1e-1, **_GAUSSIAN),
    "vaebm-celeba-64": _published(epochs=50, **_VAEBM_64),
    "vaebm-celeba-hq-256": _published(
        width=32, scales=5, groups=4, num_nf=2, num_x_bits=5, epochs=200, learning_rate=6e-3, **_GAUSSIAN
    ),
}

_UP_TO = ((16, "digits"), (48, "small"), (64, "small-64"))
"""Largest side of images, and the preset for it."""
_LARGE = (256, "celeba-hq-256")


def preset_for(spec: DataSpec) -> str:
    """Return the name of the preset for images of this shape. Raises UsageError if there is none."""
    side = spec.shape[-1] if spec.is_image else 0
    for most, name in _UP_TO:
        if side <= most:
            return name
    if side == _LARGE[0]:
        return _LARGE[1]
    raise UsageError(
        f"nvae: no preset for images of {side} x {side} pixels; resize them to 64 or 256, or choose one with --set "
        "backbone.preset=NAME and its number of halvings with --set backbone.num_preprocess_blocks=N and "
        "num_postprocess_blocks=N."
    )
