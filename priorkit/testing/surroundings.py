"""Global state that a plugin must not change."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["untouched"]


@contextmanager
def untouched(what: str) -> Iterator[None]:
    """Raise AssertionError if the block changes a global random state, the default dtype or the gradient mode."""
    before = _state()
    yield
    changed = [name for name, value in _state().items() if value != before[name]]
    assert not changed, f"{what} changes {', '.join(changed)}; draw from the generator that is given"


def _state() -> dict[str, object]:
    return {
        "torch's global random state": torch.get_rng_state().numpy().tobytes(),
        "numpy's global random state": repr(np.random.get_state(legacy=False)),
        "python's global random state": random.getstate(),
        "torch's default dtype": torch.get_default_dtype(),
        "the gradient mode": torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads(),
    }
