"""Stored posterior samples: in memory or on disk, in full precision or in half."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from priorkit.core import Latents, Rows, Streams
from priorkit.errors import UsageError
from priorkit.runtime.sent import sent

__all__ = ["SHOWN", "Bank", "stored"]

SHOWN = 6_000
"""Largest number of samples for beginning a stage of the prior, if they are not all in memory in full precision."""


@dataclass(frozen=True)
class Bank:
    """N samples; a batch of them is float32 on the device, wherever and in whichever precision they are stored."""

    kept: Mapping[str, Rows]
    """u, and z if the prior reads it, (N, D) each."""
    labels: Tensor | None
    """(N,), on the CPU if the samples are on disk, else on the device."""
    device: torch.device

    def __len__(self) -> int:
        return len(self.kept["u"])

    def __getitem__(self, indices: Tensor) -> Latents:
        """Return the chosen rows."""
        there = sent(indices, self.device)
        taken = {name: self._taken(rows, indices, there).to(torch.float32) for name, rows in self.kept.items()}
        return Latents(**taken, labels=None if self.labels is None else self._taken(self.labels, indices, there))

    def _taken(self, rows: Rows, indices: Tensor, there: Tensor) -> Tensor:
        """Return the chosen rows on the device; `there` are the indices on it."""
        if isinstance(rows, Tensor) and rows.device == there.device:
            return rows[there]
        return sent(rows[indices.cpu()], self.device)

    def shown(self, streams: Streams) -> Latents:
        """Return the samples for beginning a stage of the prior: all if they are in memory in full precision, else SHOWN of
        them, chosen at random."""
        whole = {name: rows for name, rows in self.kept.items() if isinstance(rows, Tensor)}
        if len(whole) == len(self.kept) and whole["u"].dtype == torch.float32:
            return Latents(**whole, labels=self.labels).to(self.device)
        order = torch.randperm(len(self), generator=streams.generator("positives.shown"))
        return self[order[:SHOWN].sort().values]


def stored(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values as they are stored; float16 changes each by at most max(2^-11 |value|, 2^-25).

    Raises UsageError if a value is outside the range of float16.
    """
    found = values.to(dtype)
    if found is values:
        return found
    if (found.isinf() & values.isfinite()).any():
        largest = values[values.isfinite()].abs().max().item()
        raise UsageError(
            f"trainer.bank_precision: a posterior sample has an entry of size {largest:.6g}, but the "
            f"largest float16 is {torch.finfo(dtype).max:.0f}. Use --set trainer.bank_precision=float32."
        )
    return found
