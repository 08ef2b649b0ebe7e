"""Mixing of the run's sampler on the learned prior: chains much longer than those that draw samples."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import process_time

import torch
from torch import Generator, Tensor

from priorkit.core import Chain, Prior, Progress, Sampler, Sampling, Streams, no_progress
from priorkit.errors import UsageError
from priorkit.metrics import Metric
from priorkit.metrics.chain_diagnostics import chain_diagnostics, chain_figures, chain_library, projections
from priorkit.model import Model

__all__ = ["figures_of_chains"]

CHAINS = 32
CALLS = 1_000
"""Largest number of evaluations of the log density per chain."""
SECONDS = 30.0
"""Processor time after which no new block of steps starts; the protocol then reports fewer states."""
BLOCK = 25
"""Steps between two checks of the time; their states are in memory together."""
COLUMNS = 64
"""Largest number of coordinates to examine, chosen at random."""


def figures_of_chains(model: Model, *, seed: int = 0, progress: Progress = no_progress) -> Iterator[tuple[str, Metric]]:
    """Yield the metrics `chains_...` of the run's sampler on the learned prior's density, started from its base, with the
    step size chosen as in sampling; the first half of the states is discarded.

    Nothing for a prior without training. Raises UsageError for a sampler without steps, a prior without a density, diverging
    chains or a missing library.
    """
    if not model.prior.stages:
        return
    chain_library()
    log = _Log(model, _columns(model.backbone.layout.dim, seed))
    generator = Streams(seed).generator("chains", device=model.backbone.device)
    # On the density of all layers, also if the prior draws them one by one.
    tuned = Prior.tuned(model.prior, model.sampler, generator=Streams(0).generator("pilot", device=model.backbone.device))
    for chain in _blocks(model, _in_blocks(tuned), generator, progress):
        log.note(chain)
    for name, figure in log.figures().items():
        yield f"chains_{name}", figure


def _in_blocks(sampler: Sampler) -> Sampler:
    """Return the same sampler for one block of steps."""
    if "steps" not in type(sampler.settings).model_fields:
        raise UsageError("the sampler has no steps, so there are no chains to diagnose")
    return type(sampler)(sampler.settings.model_copy(update={"steps": BLOCK}))


def _columns(dim: int, seed: int) -> Tensor:
    return torch.randperm(dim, generator=Streams(seed).generator("chains.columns"))[:COLUMNS].sort().values


def _blocks(model: Model, sampler: Sampler, generator: Generator, progress: Progress) -> Iterator[Chain]:
    """Yield chains, each continuing the previous one, until calls or time are used up."""
    u, calls, begun = model.prior.base_draw(CHAINS, Sampling(sampler, generator)), 0, process_time()
    for _ in progress(range(CALLS // BLOCK), CALLS // BLOCK, "long chains"):
        chain = sampler.run(model.prior.density(), u, generator=generator, keep_every=1)
        yield chain
        u, calls = chain.u, calls + chain.calls
        if calls + chain.calls > CALLS or process_time() - begun > SECONDS:
            return


@dataclass
class _Log:
    """Projections of each state of the blocks, without the states."""

    model: Model
    columns: Tensor
    names: tuple[str, ...] = ()
    values: list[Tensor] = field(default_factory=list)
    acceptance: list[Tensor] = field(default_factory=list)
    calls: int = 0

    def note(self, chain: Chain) -> None:
        if chain.trajectory is None:
            raise UsageError("the sampler records no states, so there are no chains to diagnose")
        seen, self.names = projections(chain.trajectory[1:], self.model.prior.log_prob, self.columns)
        self.values.append(seen.cpu())
        self.calls += chain.calls
        if "acceptance" in chain.diagnostics:
            self.acceptance.append(chain.diagnostics["acceptance"].cpu())

    def figures(self) -> dict[str, Metric]:
        """Return the metrics of the second half."""
        values = torch.cat(self.values)
        first = len(values) // 2
        found = chain_diagnostics(values[first:], self.names)
        acceptance = float(torch.cat(self.acceptance)[first:].mean()) if self.acceptance else None
        return chain_figures(found, calls=self.calls * found.states // len(values), acceptance=acceptance)
