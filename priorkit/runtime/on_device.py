"""Constants of the host on the devices where they are used, copied to each of them once."""

import torch
from torch import Tensor

__all__ = ["OnDevice"]


class OnDevice:
    """One tensor that never changes. A copy waits until the device has done all its work, so that a chain that copies a
    constant at every step cannot run ahead of it."""

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def __call__(self, like: Tensor) -> Tensor:
        """Return the constant with the device and the data type of a tensor."""
        key = (like.device, like.dtype)
        if key not in self._copies:
            with torch.inference_mode(False):  # a copy made inside could not be differentiated through later
                self._copies[key] = self._values.to(like.device, like.dtype)
        return self._copies[key]
