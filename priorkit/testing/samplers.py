"""Checks of samplers, on a Gaussian whose moments are known."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from priorkit.core import Chain, LogProb, Sampler
from priorkit.testing.body import Body
from priorkit.testing.options import settings_of
from priorkit.testing.surroundings import untouched

__all__ = ["CHECKS"]

MEAN = (0.6, -0.4, 0.0)
DEVIATION = (0.7, 0.9, 1.0)
CORRELATION = 0.4
"""Correlation of the first two coordinates. The target is close to N(0, I), as priors in u-space are."""
MANY = 2_000


def covariance() -> Tensor:
    """Return the target's covariance, (3, 3)."""
    deviation = torch.tensor(DEVIATION)
    correlation = torch.eye(3)
    correlation[0, 1] = correlation[1, 0] = CORRELATION
    return correlation * deviation[:, None] * deviation


def log_density(u: Tensor) -> Tensor:
    """Return the target's log density up to a constant, (B, 3) -> (B,)."""
    precision: Tensor = torch.linalg.inv(covariance()).to(u)
    off = u - u.new_tensor(MEAN)
    return -0.5 * ((off @ precision) * off).sum(1)


def start(count: int) -> Tensor:
    """Return the start of chains: N(0, I), (count, 3)."""
    return torch.randn(count, 3, generator=_seeded(21))


def _seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def _made(plugin: Any, given: Mapping[str, Any]) -> Sampler:
    sampler: Sampler = plugin(settings_of(plugin, given))
    return sampler.tuned(log_density, start(200), generator=_seeded(4))


def _run(sampler: Sampler, count: int, seed: int = 0, target: LogProb = log_density, keep: int = 0) -> Chain:
    return sampler.run(target, start(count), generator=_seeded(seed), keep_every=keep)


def states_have_their_shape(plugin: Any, given: Mapping[str, Any]) -> None:
    """`run` returns a Chain whose states are (B, D), finite, detached and of the start's type; the start is unchanged."""
    sampler = _made(plugin, given)
    for count, dtype in ((1, torch.float32), (5, torch.float32), (5, torch.float64)):
        begin = start(count).to(dtype)
        before = begin.clone()
        chain = sampler.run(log_density, begin, generator=_seeded(0))
        assert isinstance(chain, Chain), f"run gives {type(chain).__name__}, not a priorkit.core.Chain"
        assert chain.u.shape == (count, 3), f"chains from {(count, 3)} end in the shape {tuple(chain.u.shape)}"
        assert chain.u.dtype == dtype, f"chains from {dtype} end in {chain.u.dtype}"
        assert bool(torch.isfinite(chain.u).all()), "chains on a Gaussian left the finite numbers"
        assert not chain.u.requires_grad, "the states carry a gradient; detach them"
        assert torch.equal(begin, before), "run changes the start in place; clone it"


def moments_of_a_gaussian_are_right(plugin: Any, given: Mapping[str, Any]) -> None:
    """Chains from N(0, I) on a correlated Gaussian close to it end with its mean and covariance.

    Tolerance, in units of the standard deviations: four standard errors of 2,000 chains and 0.12 for chains of finite length
    in a mean, twice that in a covariance.
    """
    u = _run(_made(plugin, given), MANY).u
    deviation, allowed = torch.tensor(DEVIATION), 4 / MANY**0.5 + 0.12
    mean = (u.mean(0) - torch.tensor(MEAN)).abs() / deviation
    assert bool((mean < allowed).all()), f"means are off by up to {float(mean.max()):.2f} standard deviations"
    error = (u.T.cov() - covariance()).abs() / (deviation[:, None] * deviation)
    assert bool((error < 2 * allowed).all()), f"covariances are off by up to {float(error.max()):.0%} of the variances"


def draws_follow_the_seed(plugin: Any, given: Mapping[str, Any]) -> None:
    """The generator's seed determines the chains, and no global random state changes."""
    sampler = _made(plugin, given)
    with untouched("run"):
        first, again, other = _run(sampler, 20).u, _run(sampler, 20).u, _run(sampler, 20, seed=1).u
    assert torch.equal(first, again), "two runs with generators of one seed differ"
    assert not torch.equal(first, other), "runs with generators of two seeds are the same; the generator is not used"


def rows_are_independent(plugin: Any, given: Mapping[str, Any]) -> None:
    """Nothing in one chain, not even a density of NaN, affects the others."""
    sampler = _made(plugin, given)
    whole, part = _run(sampler, 8), _run(sampler, 8, target=_nan_in_the_first)
    assert torch.equal(whole.u[1:], part.u[1:]), "chains change when the density of another chain is NaN"


def _nan_in_the_first(u: Tensor) -> Tensor:
    """Return NaN for the first of eight chains; a sampler may evaluate several points of each at once."""
    return log_density(u).masked_fill(torch.arange(len(u), device=u.device) < len(u) // 8, torch.nan)


def trajectories_have_every_kth_state(plugin: Any, given: Mapping[str, Any]) -> None:
    """`keep_every` = k stores the start and the state after every k-th step, and changes nothing else."""
    sampler = _made(plugin, given)
    plain, every, second = _run(sampler, 6), _run(sampler, 6, keep=1), _run(sampler, 6, keep=2)
    assert plain.trajectory is None, "run keeps states though keep_every is 0"
    assert torch.equal(plain.u, every.u), "keep_every changes the chain"
    assert every.trajectory is not None and second.trajectory is not None, "run keeps no states though keep_every is not 0"
    assert every.trajectory.shape[1:] == (6, 3), f"a trajectory has the shape {tuple(every.trajectory.shape)}"
    assert torch.equal(every.trajectory[0], start(6)), "the first kept state is not the start"
    assert torch.equal(every.trajectory[-1], every.u), "with keep_every=1 the last kept state is not the chain's end"
    assert torch.equal(second.trajectory, every.trajectory[::2]), "keep_every=2 does not keep every second state"


def calls_are_counted(plugin: Any, given: Mapping[str, Any]) -> None:
    """`calls` is the number of evaluations of the density per chain."""
    rows = 0

    def counted(u: Tensor) -> Tensor:
        nonlocal rows
        rows += len(u)
        return log_density(u)

    chain = _run(_made(plugin, given), 6, target=counted)
    assert chain.calls * 6 == rows, f"the chain tells of {chain.calls} evaluations, and there were {rows / 6:g}"


def diagnostics_have_one_entry_a_step(plugin: Any, given: Mapping[str, Any]) -> None:
    """Diagnostics are vectors of equal length, one entry per step, finite and detached."""
    found = _run(_made(plugin, given), 6).diagnostics
    lengths = {name: tuple(value.shape) for name, value in found.items()}
    assert all(len(shape) == 1 for shape in lengths.values()), f"diagnostics are not vectors: {lengths}"
    assert len(set(lengths.values())) <= 1, f"diagnostics have different lengths: {lengths}"
    wrong = [name for name, value in found.items() if value.requires_grad or not bool(torch.isfinite(value).all())]
    assert not wrong, f"diagnostics that are not finite or carry a gradient: {', '.join(wrong)}"


def tuning_is_a_function_of_the_seed(plugin: Any, given: Mapping[str, Any]) -> None:
    """`tuned` returns a sampler of the same class, the same one for the same seed, and does not change the original."""
    sampler = plugin(settings_of(plugin, given))
    before = sampler.settings
    first, again = (sampler.tuned(log_density, start(100), generator=_seeded(4)) for _ in range(2))
    assert isinstance(first, plugin), f"tuned gives {type(first).__name__}"
    assert first.settings == again.settings, "two tunings with generators of one seed differ"
    assert sampler.settings == before, "tuned changes the sampler itself; give a new one"


def runs_in_any_gradient_mode(plugin: Any, given: Mapping[str, Any]) -> None:
    """Under no_grad, under inference_mode and with gradients, the chains are the same."""
    sampler, found = _made(plugin, given), []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            found.append(_run(sampler, 10).u.clone())
    assert all(torch.equal(found[0], other) for other in found[1:]), "chains depend on the caller's gradient mode"


CHECKS: list[Body] = [
    states_have_their_shape,
    moments_of_a_gaussian_are_right,
    draws_follow_the_seed,
    rows_are_independent,
    trajectories_have_every_kth_state,
    calls_are_counted,
    diagnostics_have_one_entry_a_step,
    tuning_is_a_function_of_the_seed,
    runs_in_any_gradient_mode,
]
