r"""Step sizes of a sampler at each level.

A sampler has one step size s, tuned on the prior's density of u_0. Level t uses coordinates x in which the best step is also
s: w = rho_t x with rho_t = sqrt(s_t / s), since a Langevin step of size s_t in w is one of size s_t / rho_t^2 in x. So one
chain can move rows of different levels, and a step size or a sampler that the user chooses later remains valid for all
levels.
"""

from collections.abc import Sequence

from torch import Generator, Tensor

from priorkit.core import LogProb, Sampler

__all__ = ["adjusted", "paces"]


def adjusted(sampler: Sampler, **changes: float | None) -> Sampler:
    """Return the sampler with the given options changed, if it has them and a value is given."""
    fields = type(sampler.settings).model_fields
    known = {name: value for name, value in changes.items() if name in fields and value is not None}
    return type(sampler)(sampler.settings.model_copy(update=known)) if known else sampler


def paces(
    sampler: Sampler, pilots: Sequence[tuple[LogProb, Tensor]], *, generator: Generator | None
) -> tuple[float, list[float]] | None:
    """Return s of the first density and rho = sqrt(s_t / s) of each of the others; None for a sampler without a step size.

    Each density comes with the start of its pilot run, (B, D).
    """
    if not hasattr(sampler.settings, "step_size"):
        return None
    tuned = [sampler.tuned(density, start, generator=generator).settings for density, start in pilots]
    sizes = [float(getattr(settings, "step_size")) for settings in tuned]  # noqa: B009
    return sizes[0], [(size / sizes[0]) ** 0.5 for size in sizes[1:]]
