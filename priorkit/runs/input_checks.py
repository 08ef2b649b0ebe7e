"""What a user hands to a model, checked where it enters: data, latents and numbers.

A network computes something of anything of a right size; without these checks grey levels in place of [0, 1], NaN or an
image too few would give metrics that mean nothing.
"""

import math
from numbers import Real
from operator import index
from typing import Any

import numpy as np
import torch
from torch import Tensor

from priorkit.core import DataSpec
from priorkit.errors import UsageError

__all__ = ["checked_data", "checked_latents", "checked_scale", "checked_whole"]

SLACK = 1e-5
"""By which rounding may carry an image's entries out of [0, 1]."""


def checked_data(x: Any, spec: DataSpec, dtype: torch.dtype = torch.float32) -> Tensor:
    """Data (B, *spec.shape) as `dtype`, images in [0, 1]: of a tensor or an array of floating-point numbers as they are, of
    integers 0 ... levels - 1 their share of the largest level.

    Raises UsageError naming the shape and the range that are wanted.
    """
    wanted = f"(B, {', '.join(map(str, spec.shape))})"
    of = f"images in [0, 1], or integers from 0 to {(spec.levels or 2) - 1}" if spec.is_image else "finite numbers"
    data = _tensor("x", x, f"{of}, of the shape {wanted}")
    if data.shape[1:] != spec.shape or not len(data):
        unbatched = f"; one datum alone is x[None], of the shape {(1, *spec.shape)}" if data.shape == spec.shape else ""
        raise UsageError(f"x: expected data of {spec.name} with shape {wanted}, got {tuple(data.shape)}{unbatched}.")
    unit = spec.levels - 1 if spec.is_image and spec.levels and not data.is_floating_point() else 1
    data = data.to(dtype) / unit
    if not bool(data.isfinite().all()):
        raise UsageError(f"x: expected {of}; some entries are NaN or infinite, for example from diverged chains.")
    least, most = float(data.min()), float(data.max())
    if spec.is_image and (least < -SLACK or most > 1 + SLACK):
        raise UsageError(f"x: expected {of}; the entries are between {unit * least:g} and {unit * most:g}.")
    return data.clamp(0, 1) if spec.is_image else data


def checked_latents(u: Any, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Latents (B, dim) as `dtype`.  Raises UsageError for another shape, and for NaN or infinite ones."""
    latents = _tensor("u", u, f"latents of the shape (B, {dim})").to(dtype)
    if latents.ndim != 2 or latents.shape[1] != dim:
        raise UsageError(f"u: expected latents with shape (B, {dim}), got {tuple(latents.shape)}.")
    if not bool(latents.isfinite().all()):
        raise UsageError(
            f"u: expected latents (B, {dim}); some entries are NaN or infinite, for example from diverged chains."
        )
    return latents


def checked_whole(name: str, value: Any, least: int = 0) -> int:
    """A whole number from `least` on.  Raises UsageError naming it for anything else, a boolean too."""
    try:
        number = index(value) if not isinstance(value, bool | np.bool_) else None
    except TypeError:
        number = None
    if number is None or number < least:
        raise UsageError(f"{name}: expected an integer of at least {least}, got {value!r:.60}.")
    return number


def checked_scale(name: str, value: Any) -> float:
    """A finite number that is not negative.  Raises UsageError naming it."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise UsageError(f"{name}: expected a finite number of at least 0, got {value!r:.60}.")
    return float(value)


def _tensor(name: str, value: Any, wanted: str) -> Tensor:
    """A tensor of real numbers, each of which is there."""
    masked = isinstance(value, np.ma.MaskedArray) and bool(np.ma.getmaskarray(value).any())
    if isinstance(value, np.ndarray) and not masked and value.dtype.kind in "iuf":
        value = torch.from_numpy(value.astype(np.float32 if value.dtype.kind == "f" else np.int64))
    if isinstance(value, Tensor) and (unlike := _unlike_a_dense_tensor(value)):
        raise UsageError(f"{name}: expected a tensor or an array, {wanted}; got a {unlike} tensor.")
    if not isinstance(value, Tensor) or value.is_complex() or value.dtype is torch.bool:
        got = str(value.dtype) if isinstance(value, Tensor | np.ndarray) else type(value).__name__
        got = "a masked array" if masked else got
        raise UsageError(f"{name}: expected a tensor or an array, {wanted}; got {got}.")
    return value


def _unlike_a_dense_tensor(value: Tensor) -> str:
    """What kind of tensor, without numbers in plain order, a network cannot compute with; empty for a dense one."""
    kinds = {
        "nested": value.is_nested,
        "quantized": value.is_quantized,
        "sparse": value.layout is not torch.strided,
        "meta": value.is_meta,
    }
    return next((kind for kind, found in kinds.items() if found), "")
