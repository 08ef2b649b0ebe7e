r"""Scores of single images for out-of-distribution detection; for each, higher means more in-distribution.

'The top k layers' is defined for every prior: the density of the chosen layers, others integrated out, over N(0, I),

.. math:: \log r_S(u_S) = \log E_{\epsilon \sim N(0, I)}\, r(u_S, \epsilon_{\bar S}),

estimated with the same samples for all images.  For a separable energy that reads u it is the sum of the chosen layers'
terms, up to a constant.
"""

from collections.abc import Mapping
from functools import partial
from math import log

import torch
from torch import Generator, Tensor

from priorkit.core import Backbone, Layout, LogProb, Posterior, Prior
from priorkit.mcmc.gaussian_hmc import MAX_STEP, adapted, evaluate, transition

__all__ = ["chosen_log_ratios", "columns_of", "denoised", "likelihood_above", "part_log_ratio", "signal_of"]

SIGNAL = 0.72209628
"""A_1 of the diffusion paper's schedule of three levels, for priors without noise levels."""
MOVES = 20
CELLS = 2**24
"""Largest number of entries of the points at which a log ratio is evaluated at once."""


def columns_of(layout: Layout, layers: tuple[int, ...], device: torch.device) -> Tensor:
    """Return a mask over the columns of u, (D,), bool: those of the chosen layers."""
    mask = torch.zeros(layout.dim, dtype=torch.bool, device=device)
    for i in layers:
        mask[layout.offsets[i] : layout.offsets[i] + layout.sizes[i]] = True
    return mask


def part_log_ratio(log_ratio: LogProb, u: Tensor, columns: Tensor, others: Tensor) -> Tensor:
    """Return log of the mean over m of r(u with the columns that are not chosen from others[m]), up to a constant.

    u (B, D), columns (D,) bool, others (M, D) samples of N(0, I); returns (B,).
    """
    if bool(columns.all()):
        return log_ratio(u)
    values = [
        log_ratio(torch.where(columns, part[:, None], others).flatten(0, 1)).view(len(part), len(others)).logsumexp(1)
        for part in torch.split(u, max(1, CELLS // others.numel()))
    ]
    return torch.cat(values) - log(len(others))


def chosen_log_ratios(
    prior: Prior, u: Tensor, choices: Mapping[str, tuple[int, ...]], others: Tensor, *, stages: int | None = None
) -> dict[str, Tensor]:
    """Return the learned prior's log ratio of each choice of layers after `stages`, (B, D) -> (B,) each: `part_log_ratio`,
    or, if log r is a sum over layers, the sum of their terms, and then also each term by itself, as layer:i."""
    terms = prior.layer_log_ratio(u, stages=stages)
    if terms is not None:
        single = {f"layer:{i}": terms[:, i] for i in range(len(prior.layout))}
        return {name: terms[:, list(layers)].sum(1) for name, layers in choices.items()} | single
    log_ratio = partial(prior.log_ratio, stages=stages)
    columns = {name: columns_of(prior.layout, layers, u.device) for name, layers in choices.items()}
    return {name: part_log_ratio(log_ratio, u, column, others) for name, column in columns.items()}


def signal_of(prior: Prior) -> float:
    """Return A of the level to which `denoised` adds noise: the prior's first one, if it has noise levels."""
    return SIGNAL if prior.first_signal is None else prior.first_signal


def denoised(prior: Prior, u: Tensor, columns: Tensor, drawn: Tensor, generator: Generator | None) -> Tensor:
    """Return the diffusion scheme's points, (B, D): add noise of level 1 to u's chosen columns and to the other columns of
    `drawn` (B, D), samples of the prior, and sample p(u_0 | u_1) by a chain (paper 2405.13910, section 5.2).

    Under N(0, I) alone u_0 given u_1 = A u_0 + S e is A u_1 + S w with w ~ N(0, I); the chain moves w.
    """
    signal = signal_of(prior)
    noise = (1 - signal**2) ** 0.5
    above = signal * torch.where(columns, u, drawn) + noise * _normal(u, generator)

    def log_ratio(w: Tensor) -> Tensor:
        return prior.log_ratio(signal * above + noise * w)

    state, angle = evaluate(log_ratio, _normal(u, generator)), MAX_STEP
    for _ in range(MOVES):
        state, acceptance = transition(log_ratio, state, 1.0, angle, generator)
        angle = adapted(angle, acceptance)
    clean: Tensor = signal * above + noise * state.u
    return clean


def likelihood_above(
    backbone: Backbone, x: Tensor, posterior: Posterior, k: int, generator: Generator | None
) -> Tensor | None:
    """Return L^{>}: the bound on log p(x) that takes the top k layers from q(u | x) and those below from their Gaussian
    conditional prior, (B,); with all layers it is the ELBO. None if q has no density.

    Havtorn et al. 2021, "Hierarchical VAEs Know What They Don't Know", eq. 6. With a bottom-up q the KL of the top layers is
    that of q given the layers below them.
    """
    if posterior.kl is None:
        return None
    fixed = backbone.layout.top(k).dim
    u = torch.cat([posterior.u[:, :fixed], _normal(posterior.u[:, fixed:], generator)], dim=1)
    log_px: Tensor = backbone.generate(u).likelihood.log_prob(x)
    return log_px - posterior.kl[:, :k].sum(1)


def _normal(like: Tensor, generator: Generator | None) -> Tensor:
    return torch.empty_like(like).normal_(generator=generator)
