"""Selects the held-out examples of a set without splits: a function of its content only."""

import numpy as np
import torch
from torch import Tensor

from priorkit.errors import UsageError

__all__ = ["HOLDOUT_LIMIT", "HOLDOUT_SHARE", "divide", "shuffled"]

HOLDOUT_SHARE = 0.1
HOLDOUT_LIMIT = 5000


def shuffled(count: int, content: str) -> Tensor:
    """Return a permutation of 0 ... count - 1, seeded by a hexadecimal content hash; (count,), int64."""
    # numpy guarantees that RandomState's stream never changes; torch.randperm has no such guarantee, and a split must
    # not change when torch is upgraded.
    state = np.random.RandomState(int(content[:8], 16))
    return torch.from_numpy(state.permutation(count).astype(np.int64))


def divide(count: int, content: str, share: float | None, name: str) -> tuple[Tensor, Tensor, str]:
    """Return training rows, held-out rows, and a description of the split.

    A share of None holds out 10 %, at most 5,000; a given share is used as it is, 0 holds out nothing.
    """
    if share is not None and not 0 <= share < 1:
        raise UsageError(f"{name}: the held-out fraction must be at least 0 and below 1, got {share}.")
    if share == 0:
        return torch.arange(count), torch.arange(0), f"all {count:,} examples, none held out"
    held = min(HOLDOUT_LIMIT, round(HOLDOUT_SHARE * count)) if share is None else round(share * count)
    held = max(1, held)
    if held >= count:
        raise UsageError(
            f"{name}: {count} examples cannot be split into training and held-out examples; use more, or "
            "--set data.holdout=0."
        )
    order = shuffled(count, content)
    return order[held:], order[:held], f"{count - held:,} train / {held:,} held out, a permutation fixed by the content"
