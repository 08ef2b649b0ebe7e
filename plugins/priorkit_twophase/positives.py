"""Samples of the aggregated posterior: every datum encoded by the frozen backbone, once."""

import torch
from torch import Tensor

from priorkit.core import Examples, Latents, Workbench

__all__ = ["encode"]

CHUNK = 500
"""Data encoded at once; part of the definition of the samples, since each chunk has its own random stream."""


def encode(bench: Workbench, data: Examples, split: str, samples: int) -> Latents:
    """`samples` draws of q(u | x) for each x of a split, sample-major: rows k*N ... k*N + N - 1 are the k-th draws."""

    @torch.no_grad()
    def chunk(sample: int, indices: Tensor) -> Tensor:
        generator = bench.streams.generator(f"positives.{split}", sample, int(indices[0]), device=bench.device)
        return bench.backbone.infer(data.batch(indices).to(bench.device), generator=generator).u

    @torch.no_grad()
    def make() -> dict[str, Tensor]:
        parts = [(k, indices) for k in range(samples) for indices in torch.split(torch.arange(len(data)), CHUNK)]
        u = torch.cat([chunk(*part) for part in bench.progress(parts, len(parts), f"posterior of the {split} split")])
        if bench.prior.reads == "u":
            return {"u": u}
        return {"u": u, "z": torch.cat([bench.backbone.latents(part) for part in torch.split(u, CHUNK)])}

    kept = bench.keep(f"positives-{split}", make)
    labels = None if data.labels is None else data.labels.repeat(samples).to(bench.device)
    return Latents(**{name: value.to(bench.device) for name, value in kept.items()}, labels=labels)
