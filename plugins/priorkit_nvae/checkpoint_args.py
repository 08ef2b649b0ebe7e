"""The arguments in a published checkpoint and the corresponding settings, in both directions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from priorkit.core import DataSpec
from priorkit.errors import UsageError
from priorkit_nvae.cells import CELL_TABLES
from priorkit_nvae.settings import NvaeSettings

__all__ = ["DEFAULTS", "args_of", "cell_table", "plain_args", "settings_of", "spec_of"]

DEFAULTS: dict[str, Any] = {
    "dataset": "mnist", "arch_instance": "res_mbconv", "num_latent_scales": 1, "num_groups_per_scale": 10,
    "num_latent_per_group": 20, "ada_groups": False, "min_groups_per_scale": 1, "num_channels_enc": 32,
    "num_channels_dec": 32, "num_preprocess_blocks": 2, "num_preprocess_cells": 3, "num_postprocess_blocks": 2,
    "num_postprocess_cells": 3, "num_cell_per_cond_enc": 1, "num_cell_per_cond_dec": 1, "num_mixture_dec": 10,
    "num_nf": 0, "num_x_bits": 8, "use_se": False, "res_dist": False, "batch_size": 200, "learning_rate": 1e-2,
    "learning_rate_min": 1e-4, "weight_decay": 3e-4, "weight_decay_norm": 0.0, "weight_decay_norm_init": 10.0,
    "weight_decay_norm_anneal": False, "epochs": 200, "warmup_epochs": 5, "fast_adamax": False,
    "kl_anneal_portion": 0.3, "kl_const_portion": 1e-4, "kl_const_coeff": 1e-4, "cont_training": False, "root": "",
    "save": "exp", "data": "", "num_proc_node": 1, "node_rank": 0, "local_rank": 0, "global_rank": 0,
    "num_process_per_node": 1, "master_address": "127.0.0.1", "seed": 1, "distributed": True,
}  # fmt: skip
"""Defaults of the published script's parser for missing fields; old files lack some."""

LIMITS = {
    "num_latent_scales": 16, "num_groups_per_scale": 1_000, "num_latent_per_group": 4_096, "min_groups_per_scale": 1_000,
    "num_channels_enc": 4_096, "num_channels_dec": 4_096, "num_preprocess_blocks": 10, "num_preprocess_cells": 100,
    "num_postprocess_blocks": 10, "num_postprocess_cells": 100, "num_cell_per_cond_enc": 100,
    "num_cell_per_cond_dec": 100, "num_mixture_dec": 1_000, "num_nf": 100,
}  # fmt: skip
"""Far above any trained network; a file with more is designed to exhaust the reader."""

BINARY = ("mnist", "omniglot")
LARGEST_SIDE = 4_096
OUR_NAMES = {"celeba_64": "celeba", "lsun_church_64": "lsun-church"}
"""Data sets that have another name in priorkit."""
CLASSES = {"mnist": 10, "cifar10": 10}
PRESETS_OF = {
    "mnist": "mnist", "omniglot": "mnist", "celeba_64": "celeba-64", "imagenet_32": "imagenet-32",
    "celeba_256": "celeba-hq-256", "ffhq": "ffhq-256", "lsun_church_64": "lsun-church-64",
}  # fmt: skip
"""The nearest preset; every field is given, so it only names the family."""


def spec_of(args: Mapping[str, Any], given: DataSpec | None) -> DataSpec:
    """Return the images on which the file's network was trained.

    Raises UsageError if `given`, from the user, has another shape or number of grey levels, and, without it, for a data set
    that the published code does not have.
    """
    dataset = args.get("dataset", DEFAULTS["dataset"])
    if not isinstance(dataset, str):
        raise UsageError(f"args.dataset: expected a name, got a {type(dataset).__name__}.")
    shape = _shape(dataset)
    if given is None:
        if shape is None:
            raise UsageError(
                f"args.dataset is {dataset[:60]!r}, which the published code does not support; give the "
                "training data of the network with --data."
            )
        return DataSpec(OUR_NAMES.get(dataset, dataset), shape, 256, CLASSES.get(dataset, 0))
    allowed = {shape} if shape is not None else {(1, 28, 28), (3, given.shape[-1], given.shape[-1])}
    if given.shape not in allowed:
        wanted = " or ".join(map(str, sorted(allowed)))
        raise UsageError(
            f"--data {given.name}: its data have the shape {given.shape}, but the network in the file "
            f"needs {wanted}; give its training data."
        )
    if given.levels not in ((None, 2, 256) if given.shape[0] == 1 else (None, 256)):
        raise UsageError(
            f"--data {given.name}: has {given.levels} grey levels, but the network in the file needs 256; "
            "give its training data."
        )
    return given


def _shape(dataset: str) -> tuple[int, int, int] | None:
    if dataset in BINARY:
        return (1, 28, 28)
    if dataset in ("cifar10", "ffhq"):
        return (3, 32, 32) if dataset == "cifar10" else (3, 256, 256)
    found = re.fullmatch(r"(?:celeba|imagenet|lsun)(?:.*)_(\d{1,4})", dataset, re.ASCII)
    side = int(found[1]) if found else 0
    return (3, side, side) if 1 <= side <= LARGEST_SIDE else None


def settings_of(args: Mapping[str, Any], spec: DataSpec) -> NvaeSettings:
    """Return the settings for a file's arguments; missing ones have the parser's defaults."""
    full = {**DEFAULTS, **args}
    fields = {name: full[name] for name in NvaeSettings.model_fields if name in DEFAULTS}
    for name, most in LIMITS.items():
        if not isinstance(fields[name], int) or not 0 <= fields[name] <= most:
            raise UsageError(f"args.{name}: expected a whole number up to {most:,}, got {str(fields[name])[:60]}.")
    if fields["arch_instance"] not in list(CELL_TABLES):
        raise UsageError(
            f"args.arch_instance: {str(fields['arch_instance'])[:60]!r} is not one of {', '.join(CELL_TABLES)}."
        )
    fields["decoder"] = "bernoulli" if spec.shape[0] == 1 else "normal" if fields["num_mixture_dec"] == 1 else "logistic"
    fields["preset"] = PRESETS_OF.get(full["dataset"], "cifar10")
    fields["warmup"] = _warmup(full["warmup_epochs"], full["epochs"])
    try:
        return NvaeSettings.model_validate({**fields, "kl_final": 1.0, "mixture_edges": "nvae"})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"args.{where}: {first['msg']}, got {str(first['input'])[:60]}.") from error


def _warmup(epochs: Any, total: Any) -> float:
    """Return the fraction of the training; it does not affect the network, so an invalid value is not an error."""
    if isinstance(epochs, int | float) and isinstance(total, int | float) and total > 0 and 0 <= epochs <= total:
        return epochs / total
    return float(NvaeSettings.model_fields["warmup"].default)


@dataclass(frozen=True)
class _Target:
    dataset: str
    mixtures: int


def args_of(settings: NvaeSettings, spec: DataSpec) -> dict[str, Any]:
    """Return the published script's arguments for a network trained here. Raises UsageError if they cannot express it."""
    target = _target(settings, spec)
    args = dict(DEFAULTS) | {name: getattr(settings, name) for name in NvaeSettings.model_fields if name in DEFAULTS}
    args["warmup_epochs"] = round(settings.warmup * args["epochs"])
    return {**args, "dataset": target.dataset, "num_mixture_dec": target.mixtures}


def _target(settings: NvaeSettings, spec: DataSpec) -> _Target:
    """Return the data set's name in the published code, and the number of mixtures that selects the decoder."""
    channels, side, _ = spec.shape
    known = {ours: theirs for theirs, ours in OUR_NAMES.items()} | {"cifar10": "cifar10"}
    match settings.decoder:
        case "bernoulli" if spec.shape == (1, 28, 28):
            return _Target("mnist", settings.num_mixture_dec)
        case "normal" if channels == 3:
            mixtures = 1
        case "logistic" if channels == 3 and settings.num_mixture_dec > 1 and spec.levels in (256, None):
            mixtures = settings.num_mixture_dec
        case _:
            raise UsageError(
                f"nvae: the published format has no {settings.decoder} decoder for {spec.name} (shape "
                f"{spec.shape}, {spec.levels} grey levels, {settings.num_mixture_dec} mixture components): it "
                "supports binarised 28x28 images, and colour images of 256 levels with Gaussian pixels or at "
                "least two mixture components."
            )
    name = known.get(spec.name, "")
    # imagenet_SIDE is the only name for colour images of any size.
    return _Target(name if _shape(name) == spec.shape else f"imagenet_{side}", mixtures)


def plain_args(args: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments that JSON can represent unchanged, and the names of the others."""
    plain = {name: value for name, value in args.items() if _is_plain(value)}
    return plain, [name for name in args if name not in plain]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_scalar(item) for item in value)
    return _is_scalar(value)


def _is_scalar(value: Any) -> bool:
    return value is None or type(value) in (bool, float, str) or (type(value) is int and abs(value) < 2**63)


def cell_table(arch_instance: str) -> dict[str, list[str]]:
    """Return the expanded table that a file contains besides its arguments."""
    table = CELL_TABLES[arch_instance]
    first = {"pre": "down", "enc": "down", "dec": "up", "post": "up"}
    names = {f"{way}_{kind}": list(table[kind]) for kind in ("enc", "dec", "pre", "post") for way in ("normal", first[kind])}
    return {**names, "ar_nn": [""]}
