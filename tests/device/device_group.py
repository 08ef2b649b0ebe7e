"""A process group that knows only the fake device, as NCCL knows only GPUs; gloo exchanges the values."""

from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch.distributed as dist

from priorkit.testing.fake_device import DEVICE, DeviceTensor

TENSORS = ("all_reduce", "broadcast", "all_gather")
"""The collective functions on tensors that priorkit and torch's distributed optimiser call."""


@contextmanager
def device_group():
    """Inside the block, a collective with a tensor of the CPU is an error; its values then count as changed."""
    with ExitStack() as stack:
        for name in TENSORS:
            stack.enter_context(patch.object(dist, name, _on_device(name, getattr(dist, name))))
        yield


def _on_device(name, function):
    def called(first, *given, **named):
        return function(_values(name, first), *(_values(name, one) for one in given), **named)

    return called


def _values(name, value):
    if isinstance(value, list):
        return [_values(name, one) for one in value]
    if isinstance(value, DeviceTensor):
        return value.on_cpu
    if hasattr(value, "device"):
        raise RuntimeError(f"{name}: no backend for a tensor of {value.device}; this group has one for {DEVICE.type}")
    return value
