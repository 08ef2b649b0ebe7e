"""Tensors of the host sent to a device, without waiting for it."""

import torch
from torch import Tensor

__all__ = ["sent"]


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on the device; one of the host goes there through pinned memory.

    A copy from other memory waits until the device has done all its work, also if it is asked not to.
    """
    if values.device.type != "cpu" or device.type == "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
