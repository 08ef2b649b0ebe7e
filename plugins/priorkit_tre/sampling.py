"""The sampler on the waymarks: one step size for each, and the steps spread over them."""

from priorkit.core import Sampler

__all__ = ["sampler_at", "steps_at"]


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
    own = sampler.for_layer(k)
    return own if steps is None else type(own)(own.settings.model_copy(update={"steps": steps}))
