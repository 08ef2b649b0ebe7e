"""Validates a user's input to a model: data, latents and numbers.

A network accepts any input of the right size; without these checks, grey levels instead of [0, 1], NaN or a missing image
would give meaningless metrics.
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
"""Tolerance for rounding of an image's entries outside [0, 1]."""


def checked_data(x: Any, spec: DataSpec, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return data (B, *spec.shape) as `dtype`, images in [0, 1]: floating-point tensors and arrays unchanged, integers 0 ...
    levels - 1 divided by the largest level.

    Raises UsageError naming the expected shape and range.
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
    """Return latents (B, dim) as `dtype`. Raises UsageError for another shape, and for NaN or infinite values."""
    latents = _tensor("u", u, f"latents of the shape (B, {dim})").to(dtype)
    if latents.ndim != 2 or latents.shape[1] != dim:
        raise UsageError(f"u: expected latents with shape (B, {dim}), got {tuple(latents.shape)}.")
    if not bool(latents.isfinite().all()):
        raise UsageError(
            f"u: expected latents (B, {dim}); some entries are NaN or infinite, for example from diverged chains."
        )
    return latents


def checked_whole(name: str, value: Any, least: int = 0) -> int:
    """Return an integer of at least `least`. Raises UsageError naming the argument for anything else, also a boolean."""
    try:
        number = index(value) if not isinstance(value, bool | np.bool_) else None
    except TypeError:
        number = None
    if number is None or number < least:
        raise UsageError(f"{name}: expected an integer of at least {least}, got {value!r:.60}.")
    return number


def checked_scale(name: str, value: Any) -> float:
    """Return a finite number that is not negative. Raises UsageError naming the argument."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise UsageError(f"{name}: expected a finite number of at least 0, got {value!r:.60}.")
    return float(value)


def _tensor(name: str, value: Any, wanted: str) -> Tensor:
    """Return a tensor of real numbers."""
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
    """Return why a network cannot use a kind of tensor, such as a sparse one; '' for a dense tensor."""
    kinds = {
        "nested": value.is_nested,
        "quantized": value.is_quantized,
        "sparse": value.layout is not torch.strided,
        "meta": value.is_meta,
    }
    return next((kind for kind, found in kinds.items() if found), "")
