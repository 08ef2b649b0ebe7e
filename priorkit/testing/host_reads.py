"""Counts how often Python reads values of tensors, for which it waits until the device has done all its work."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["HostReads", "host_reads"]

READS = ("item", "tolist", "numpy", "cpu", "__int__", "__float__", "__bool__", "__index__", "__array__")
"""Methods that need the values on the host."""


class HostReads:
    """The number of reads so far."""

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def host_reads() -> Iterator[HostReads]:
    """Count the reads by this process inside the block; a read that calls another counts once."""
    found, own, inside = HostReads(), dict(vars(torch.Tensor)), [False]

    def counting(name: str) -> Any:
        read = getattr(torch.Tensor, name)

        def counted(tensor: torch.Tensor, *given: Any, **named: Any) -> Any:
            if inside[0]:
                return read(tensor, *given, **named)
            found.count += 1
            inside[0] = True
            try:
                return read(tensor, *given, **named)
            finally:
                inside[0] = False

        return counted

    try:
        for name in READS:
            setattr(torch.Tensor, name, counting(name))
        yield found
    finally:
        for name in READS:
            if name in own:
                setattr(torch.Tensor, name, own[name])
            else:
                delattr(torch.Tensor, name)
