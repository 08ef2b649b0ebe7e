"""Maximum likelihood of p(u_t | u_{t+1}): noised data against samples of the conditional density from the same v."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from priorkit.core import Chain, Latents, LogProb, Loss, Sampler, Sampling, Step, TiltedNormal, frozen
from priorkit_diffusion.conditional import Conditional
from priorkit_diffusion.levels import LevelDensities
from priorkit_diffusion.schedule import at_level
from priorkit_diffusion.step_sizes import adjusted, paces

__all__ = ["choose_paces", "heldout_losses", "recovery_loss"]

PILOTS = 200
"""Number of chains of a pilot run."""
JUDGED = 2_000
"""Largest number of held-out points for the validation of a level."""
SHOWN = ("acceptance", "displacement", "gradient_norm")
"""Metrics of the negatives' chains that are logged, if the sampler has them."""


@dataclass(frozen=True)
class _Pair:
    """Noised data u_t and samples of p(u_t | v) for the same v, (B, D) each, and the chain of the latter."""

    positive: Tensor
    negative: Tensor
    chain: Chain


def recovery_loss(prior: LevelDensities, batch: Latents, step: Step, sampler: Sampler) -> Loss:
    """Return E F(negative) - E F(positive), whose gradient is that of minus the log likelihood (paper, eq. 12)."""
    settings, levels = prior.settings, prior.schedule.levels
    if step.index % settings.retune == 0:
        choose_paces(prior, sampler, batch.u, step.generator)
    sampler = adjusted(sampler, steps=settings.training_steps, step_size=prior.step_size)
    level = torch.randint(levels, (len(batch),), generator=step.generator, device=batch.u.device)
    pair = _pair(prior, batch.u, level, sampler, step.generator)
    above, below = prior.energies(torch.cat([pair.positive, pair.negative]), level.repeat(2)).sum(1).chunk(2)
    terms = below - above
    unscaled = settings.loss_weight == "none" and settings.chain == "paper"
    value = (terms * prior.step_sizes(terms)[level] if unscaled else terms).mean()
    metrics = {"positive": above.mean().detach(), "negative": below.mean().detach()}
    metrics["level_loss"] = _means(terms.detach(), level, levels)
    metrics |= {name: pair.chain.diagnostics[name].mean() for name in SHOWN if name in pair.chain.diagnostics}
    if settings.labels:
        metrics["label_loss"] = (label_loss := _label_loss(prior, pair.positive, level, batch.labels)).detach()
        value = value + label_loss
    return Loss(value, metrics)


def heldout_losses(prior: LevelDensities, u: Tensor, sampler: Sampler, generator: Generator | None) -> dict[str, float]:
    """Return the loss of each level on data u (N, D), with chains as in sampling."""
    u = u[torch.randperm(len(u), generator=generator, device=u.device)[:JUDGED]]
    sampler, figures = adjusted(sampler, step_size=prior.step_size), {}
    for t in range(prior.schedule.levels):
        level = at_level(u, t)
        pair = _pair(prior, u, level, sampler, generator)
        with torch.no_grad():
            below, above = (prior.energies(states, level).sum(1).mean() for states in (pair.negative, pair.positive))
        figures[f"heldout_loss_{t}"] = float(below - above)
    return figures


@torch.no_grad()
def choose_paces(prior: LevelDensities, sampler: Sampler, u: Tensor, generator: Generator | None) -> None:
    """Set the prior's paces by pilot runs from data u (N, D); nothing changes if the sampler has no step size."""
    u = u[torch.randperm(len(u), generator=generator, device=u.device)[:PILOTS]]

    def log_prob(own: Conditional) -> LogProb:
        return TiltedNormal(lambda w: prior.energies(own.state(w), own.level).sum(1))

    pilots: list[tuple[LogProb, Tensor]] = [(prior.density(), u)]
    for t in range(prior.schedule.levels):
        level = at_level(u, t)
        here = prior.schedule.noised(u, level, generator)
        own = Conditional.of(prior.schedule, level, prior.schedule.above(here, level, generator))
        pilots.append((log_prob(own), own.noise(here)))
    with frozen(prior):
        found = paces(sampler, pilots, generator=generator)
    if found is not None:
        prior.size.fill_(found[0])
        prior.pace.copy_(prior.pace.new_tensor(found[1]))


def _pair(prior: LevelDensities, u: Tensor, level: Tensor, sampler: Sampler, generator: Generator | None) -> _Pair:
    """Return the pair for data u (B, D) at levels (B,)."""
    positive = prior.schedule.noised(u, level, generator)
    v = prior.schedule.above(positive, level, generator)
    with frozen(prior), torch.autocast(u.device.type, enabled=False):
        chain = prior.recover(v, level, Sampling(sampler, generator))
    return _Pair(positive, chain.u, chain)


def _label_loss(prior: LevelDensities, positive: Tensor, level: Tensor, labels: Tensor | None) -> Tensor:
    """Return the labels' cross-entropy at the rows of level 0, of which there may be none."""
    clean = level == 0
    if labels is not None and not bool(clean.any()):
        return positive.new_zeros(())
    return prior.labels.loss(prior.inputs(positive[clean]), None if labels is None else labels[clean])


def _means(values: Tensor, level: Tensor, levels: int) -> Tensor:
    """Return the mean of values (B,) over the rows of each level, (T,); 0 for a level without rows."""
    sums, counts = (values.new_zeros(levels).index_add(0, level, each) for each in (values, torch.ones_like(values)))
    return sums / counts.clamp(min=1)
