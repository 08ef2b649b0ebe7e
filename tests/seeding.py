"""Generators of random numbers for tests."""

import torch

__all__ = ["seeded"]


def seeded(seed: int = 0) -> torch.Generator:
    """A new generator that begins with this seed."""
    return torch.Generator().manual_seed(seed)
