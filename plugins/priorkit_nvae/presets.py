"""Named configurations.

The published ones are those of NVAE (Vahdat and Kautz 2020, the commands published with its code) and of VAEBM's
Gaussian-decoder NVAEs (Xiao et al. 2021). `small` and `digits` are new, for two CPU cores, where depthwise convolutions
(`res_mbconv`) take twice the time of dense ones.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["PRESETS", "Preset"]

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
    "small": {
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
    },
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
