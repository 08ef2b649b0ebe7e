"""Named random streams: a generator is a function of (seed, name, numbers), so nothing random needs to be saved.

A step asks for the stream of its phase, its index and its shard; a resumed run therefore sees the numbers that the
uninterrupted one saw, and two shards of a batch never share theirs, whichever process computes them.
"""

import hashlib
from dataclasses import dataclass

import torch

from priorkit.errors import UsageError

__all__ = ["LARGEST_SEED", "Streams"]

LARGEST_SEED = 2**64 - 1
"""Seeds are unsigned integers of 64 bits, as other programs take them."""


@dataclass(frozen=True)
class Streams:
    """All random streams of one seed."""

    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UsageError(f"seed: expected an integer from 0 to 2**64 - 1 = {LARGEST_SEED}, got {self.seed!r:.60}.")

    def generator(self, name: str, *numbers: int, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh generator that depends on the seed, the stream's name and the numbers alone."""
        key = f"{self.seed}/{name}/{'/'.join(map(str, numbers))}".encode()
        value = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1
        return torch.Generator(device=device).manual_seed(value)
