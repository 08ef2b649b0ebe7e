"""The sampler on the waymarks: one step size for each, and the steps spread over them."""

from collections.abc import Sequence

from torch import Generator, Tensor

from priorkit.core import Chain, LogProb, Sampler

__all__ = ["WaymarkSampler", "sampler_at", "steps_at"]


class WaymarkSampler(Sampler):
    """A sampler for each intermediate density, with a step size of its own."""

    def __init__(self, samplers: Sequence[Sampler]) -> None:
        """`samplers` are those of waymark 0, the data, up to the last but one."""
        super().__init__(samplers[0].settings)
        self._samplers = tuple(samplers)

    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Run the sampler of the data's density."""
        return self._samplers[0].run(log_prob, start, generator=generator, keep_every=keep_every)

    def at(self, k: int) -> Sampler:
        """Return the sampler of waymark k."""
        return self._samplers[k]


def steps_at(sampler: Sampler, bridges: int) -> dict[int, int | None]:
    """Return the number of steps at each waymark that has any, in the order of sampling, from the noise to the data.

    The steps are divided evenly; what is left over goes to the waymarks nearest to the data.  A sampler without a number of
    steps draws from the data's density at once.
    """
    total = getattr(sampler.settings, "steps", None)
    if total is None:
        return {0: None}
    each, left = divmod(total, bridges)
    counts = {k: each + (k < left) for k in reversed(range(bridges))}
    return {k: count for k, count in counts.items() if count}


def sampler_at(sampler: Sampler, k: int, steps: int | None) -> Sampler:
    """Return the sampler of waymark k with that number of steps; with its own where it is None."""
    own = sampler.at(k) if isinstance(sampler, WaymarkSampler) else sampler
    return own if steps is None else type(own)(own.settings.model_copy(update={"steps": steps}))
