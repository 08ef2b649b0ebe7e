"""Samples of the aggregated posterior: data encoded by the frozen backbone, once if they fit."""

from dataclasses import fields

import torch
from torch import Generator, Tensor

from priorkit.core import Examples, Latents, Rows, Workbench
from priorkit_twophase.bank import Bank, stored

__all__ = ["encode", "infer", "rows_that_fit"]

CHUNK = 500
"""Number of data encoded at once; part of the definition of the samples, since each chunk has a separate random stream."""


HALF = frozenset({"mean", "scale", "features"})
"""Always stored as float16: 2^-11 of a posterior's moments is small compared with the width of the posterior."""


@torch.no_grad()
def rows_that_fit(gibibytes: float, bench: Workbench, dtype: torch.dtype = torch.float32) -> int:
    """Return the number of rows of u, with the prior's other inputs, that fit into the given memory."""
    dim, beside = bench.backbone.layout.dim, bench.prior.beside
    size = dtype.itemsize * dim * (2 if bench.prior.energy_input == "z" else 1) + (4 * dim if "moments" in beside else 0)
    if "features" in beside:
        features = bench.backbone.space().features(torch.zeros(2, dim, device=bench.device))
        size += 0 if features is None else 2 * features.shape[1]
    return int(gibibytes * 2**30 / size)


@torch.no_grad()
def infer(bench: Workbench, data: Examples, indices: Tensor, generator: Generator) -> Latents:
    """Return one sample of q(u | x) for each of the chosen data."""
    posterior, beside = bench.backbone.infer(bench.batch(data, indices), generator=generator), bench.prior.beside
    moments = {"mean": posterior.mean, "scale": posterior.scale} if "moments" in beside else {}
    return Latents(
        posterior.u,
        bench.backbone.latents(posterior.u) if bench.prior.energy_input == "z" else None,
        bench.labels(data, indices),
        **moments,
        features=bench.backbone.space().features(posterior.u) if "features" in beside else None,
    )


def encode(
    bench: Workbench,
    data: Examples,
    split: str,
    samples: int,
    rows: int,
    *,
    dtype: torch.dtype = torch.float32,
    on_disk: bool = False,
) -> Bank:
    """Return `samples` samples of q(u | x) for each x of a split, or as many as give at most `rows`; stored as `dtype`.

    Sample-major: rows k * N ... k * N + N - 1 are the k-th samples. If not even one sample of each fits, only the first
    `rows` data are used.
    """
    count = min(len(data), max(1, rows))
    repeats = max(1, min(samples, rows // max(1, count)))

    parts = [(k, indices) for k in range(repeats) for indices in torch.split(torch.arange(count), CHUNK) if len(indices)]
    name, title = f"positives-{split}", f"posterior of the {split} split"

    def chunk(number: int) -> dict[str, Tensor]:
        sample, indices = parts[number]
        generator = bench.streams.generator(f"positives.{split}", sample, int(indices[0]), device=bench.device)
        found = infer(bench, data, indices, generator)
        read = {entry.name: getattr(found, entry.name) for entry in fields(found) if entry.name != "labels"}
        kept = {key: value for key, value in read.items() if value is not None}
        return {key: stored(value, torch.float16 if key in HALF else dtype) for key, value in kept.items()}

    def make() -> dict[str, Tensor]:
        found = bench.parallel_map(chunk, len(parts), progress=bench.progress, title=title)
        return found or {"u": torch.empty(0, bench.backbone.layout.dim)}

    labels = None if data.labels is None else data.labels[:count].repeat(repeats)
    kept: dict[str, Rows]
    if on_disk and parts:
        kept = dict(bench.row_cache(name, chunk, len(parts), repeats * count, progress=bench.progress, title=title))
    else:
        kept = {key: value.to(bench.device) for key, value in bench.cache(name, make).items()}
        labels = None if labels is None else labels.to(bench.device)
    return Bank(kept, labels, bench.device)
