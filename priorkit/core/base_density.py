"""The base of a prior that is a ratio to another prior, as chains and estimates use it."""

from dataclasses import replace
from functools import partial
from typing import Protocol

from torch import Generator, Tensor

from priorkit.core.condition import Condition, for_rows
from priorkit.core.sampler import Sampler
from priorkit.core.sampling import Sampling
from priorkit.core.settings import Settings
from priorkit.errors import UsageError
from priorkit.mcmc.chain import Chain
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.tilted_normal import BaseDensity

__all__ = ["base_density", "base_draw", "base_stages", "without_chains"]


class _Drawn(Protocol):
    @property
    def u(self) -> Tensor: ...


class _Base(Protocol):
    """What is asked of a base: a `Prior`, which imports this module."""

    stages: int

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor: ...

    def draw(self, n: int, sampling: Sampling) -> _Drawn: ...


class _WithoutChains(Sampler):
    """In place of the sampler of a prior whose draws are exact."""

    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Raises UsageError."""
        raise UsageError("prior.base_prior: this prior draws by chains; use a base with exact draws, such as mixture.")


def without_chains(stages: int | None = None, generator: Generator | None = None) -> Sampling:
    """Returns a request for exact draws."""
    return Sampling(_WithoutChains(Settings()), generator, stages=stages)


def base_draw(base: _Base, n: int, sampling: Sampling) -> Tensor:
    """Returns n exact draws of the base after as many of its stages, given the fixed columns, (n, D).

    Of several draws for each condition, those of a condition stand together.  The base knows no labels.
    """
    top = None if sampling.condition is None else sampling.condition.top
    condition = None if top is None else Condition(top=for_rows(top, n))
    return base.draw(n, replace(sampling, keep_every=0, stages=base_stages(base, sampling.stages), condition=condition)).u


def base_density(base: _Base, sampling: Sampling) -> BaseDensity:
    """Returns the base after as many of its stages; its draws have the fixed columns in place."""

    def draw(n: int, generator: Generator | None) -> Tensor:
        return base_draw(base, n, replace(sampling, generator=generator))

    return BaseDensity(partial(base.log_ratio, stages=base_stages(base, sampling.stages)), draw)


def base_stages(base: _Base, stages: int | None) -> int | None:
    """Returns the base's stages among these, which are the first; None for all."""
    return None if stages is None or stages >= base.stages else stages
