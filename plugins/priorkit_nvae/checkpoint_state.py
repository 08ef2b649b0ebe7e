"""The tensors of a published checkpoint: its duplicate names, and their validation.

A convolution without weight normalisation appears twice, as `NAME.weight` and `NAME.weight_normalized`.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from priorkit.core import DataSpec
from priorkit.errors import UsageError
from priorkit_nvae.convolution import WeightNormConv2d
from priorkit_nvae.geometry import Geometry
from priorkit_nvae.model import NVAE
from priorkit_nvae.settings import NvaeSettings

__all__ = ["checked_state", "official_state", "outline"]

ALIAS = ".weight_normalized"
NAMED = 3
"""Number of keys listed in a message."""


def outline(settings: NvaeSettings, spec: DataSpec, tensors: int) -> NVAE:
    """Return the network without storage, after checking that a file can plausibly contain so many tensors."""
    geometry = Geometry.of(settings, spec)
    groups = len(geometry.scales)
    cells = (groups - 1) * (settings.num_cell_per_cond_enc + settings.num_cell_per_cond_dec) + groups * settings.num_nf
    cells += settings.num_preprocess_blocks * settings.num_preprocess_cells
    cells += settings.num_postprocess_blocks * settings.num_postprocess_cells
    if cells > tensors:
        raise UsageError(f"args: describe a network of {cells:,} cells, but state_dict has only {tensors:,} tensors.")
    with torch.device("meta"):
        return NVAE(settings, spec)


def checked_state(stored: Any, network: nn.Module, most_bytes: int) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state dict for `network` (without storage, from `outline`) from the stored one, and notes.

    All tensors together may use `most_bytes`, the size of the file: strides of 0 could claim any size. Raises UsageError for
    other keys, shapes or types, for numbers that are not finite, and for contradicting duplicates.
    """
    tensors = _tensors(stored)
    wanted = network.state_dict()
    kept = {key: value for key, value in tensors.items() if not key.endswith(ALIAS)}
    aliases = {key: value for key, value in tensors.items() if key.endswith(ALIAS)}
    strays = [key for key in aliases if f"{key.removesuffix(ALIAS)}.weight" not in wanted]
    _refuse("lacks", [key for key in wanted if key not in kept])
    _refuse("has unknown", [*(key for key in kept if key not in wanted), *strays])
    for key, value in kept.items():
        if value.shape != wanted[key].shape or value.dtype != wanted[key].dtype:
            raise UsageError(
                f"state_dict: {key} is {value.dtype} {tuple(value.shape)}, but args need {wanted[key].dtype} "
                f"{tuple(wanted[key].shape)}."
            )
    if sum(value.numel() * value.element_size() for value in kept.values()) > most_bytes:
        raise UsageError("state_dict: its tensors have more bytes than the file; the file is damaged or malicious.")
    _refuse("has infinite values or negative variances in", [key for key, value in kept.items() if not _sound(key, value)])
    twins = {f"{name}{ALIAS}": f"{name}.weight" for name in _plain_convolutions(network)}
    contrary = [name for name in aliases if name in twins and not _same(aliases[name], kept[twins[name]])]
    _refuse("contradicts its own .weight in", contrary)
    return kept, _notes(aliases, twins)


def official_state(network: nn.Module) -> "OrderedDict[str, Tensor]":
    """Return the network's state with the duplicate names of the published format; duplicates are the same tensor."""
    state = network.state_dict()
    twins = {f"{name}.weight": f"{name}{ALIAS}" for name in _plain_convolutions(network)}
    official: OrderedDict[str, Tensor] = OrderedDict()
    for key, value in state.items():
        official[key] = value
        if key in twins:
            official[twins[key]] = value
    # Versions of the modules, which torch stores as an attribute of the dict and reads when it loads one.
    official._metadata = state._metadata  # type: ignore[attr-defined]
    return official


def _plain_convolutions(network: nn.Module) -> list[str]:
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and not isinstance(module, WeightNormConv2d)
    ]


def _tensors(stored: Any) -> Mapping[str, Tensor]:
    if not isinstance(stored, Mapping) or not stored or not all(isinstance(key, str) for key in stored):
        raise UsageError("state_dict: expected a mapping from names to tensors.")
    for key, value in stored.items():
        if type(value) not in (Tensor, nn.Parameter) or value.layout != torch.strided or value.device.type != "cpu":
            raise UsageError(f"state_dict: {key[:100]} is not an ordinary tensor.")
    return stored


def _refuse(what: str, keys: Iterable[str]) -> None:
    found = [key[:100] for key in keys]
    if found:
        more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
        raise UsageError(f"state_dict: {what} {', '.join(found[:NAMED])}{more}; it is damaged or does not match args.")


def _sound(key: str, value: Tensor) -> bool:
    if not value.is_floating_point():
        return True
    return bool(value.isfinite().all()) and not (key.endswith("running_var") and bool((value < 0).any()))


def _same(alias: Tensor, weight: Tensor) -> bool:
    return alias.shape == weight.shape and alias.dtype == weight.dtype and bool(torch.equal(alias, weight))


def _notes(aliases: Mapping[str, Tensor], twins: Mapping[str, str]) -> list[str]:
    strays, absent = len(aliases.keys() - twins.keys()), len(twins.keys() - aliases.keys())
    notes = []
    if strays:
        notes.append(f"{strays} stray entries {ALIAS[1:]} were dropped: the network computes them.")
    if absent:
        notes.append(f"{absent} duplicate names {ALIAS[1:]} are missing, as in old files; an export writes them.")
    return notes
