"""Chain diagnostics on autoregressions, whose effective sample size is known, and on chains that do not agree."""

import math
import sys

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from priorkit.config import resolve
from priorkit.core import DataSpec
from priorkit.errors import UsageError
from priorkit.metrics.chain_diagnostics import autocorrelation, chain_diagnostics, chain_figures, projections
from priorkit.workflows.assemble import build_model
from priorkit.workflows.measuring import chains

pytest.importorskip("arviz_stats", reason="the extra 'diagnostics' is not installed")


def autoregression(rho, states, chains, seed=0):
    """Stationary x_t = rho x_{t-1} + sqrt(1 - rho^2) e_t of variance 1, (states, chains)."""
    noise = np.random.default_rng(seed).normal(size=(states, chains))
    scaled = noise * math.sqrt(1 - rho**2)
    scaled[0] = noise[0]
    return torch.from_numpy(lfilter([1.0], [1.0, -rho], scaled, axis=0))


@pytest.mark.parametrize(("rho", "deviation"), [(-0.3, 0.013), (0.0, 0.008), (0.5, 0.014), (0.9, 0.025)])
def test_an_autoregression_has_the_known_effective_size(rho, deviation):
    """n (1 - rho) / (1 + rho) of n states."""
    states, chains = 4_000, 40
    found = chain_diagnostics(autoregression(rho, states, chains)[:, :, None], ["x"])
    expected = states * chains * (1 - rho) / (1 + rho)
    # The relative deviation of the estimate over 30 seeds, measured at this size; four of them.
    assert found.effective_size.item() == pytest.approx(expected, rel=4 * deviation)
    # R-hat - 1 is of the order of the variance of a chain's mean, (1 + rho) / (1 - rho) / states < 0.005; twice that.
    assert found.r_hat.item() == pytest.approx(1.0, abs=0.01)
    assert found.autocorrelation.item() == pytest.approx(rho, abs=0.02)


def test_the_autocorrelation_is_that_of_the_process_and_of_a_slow_sum():
    values = torch.stack([autoregression(0.8, 3_000, 10), autoregression(0.2, 3_000, 10, seed=1)], dim=2)
    found = autocorrelation(values, 5)
    powers = torch.arange(6)[:, None].double()
    # Bartlett: the error of a lag is below sqrt((1 + rho^2) / (1 - rho^2) / 30000) = 0.012; three of them.
    assert torch.allclose(found, torch.tensor([0.8, 0.2]).double() ** powers, atol=0.036)
    centred = values - values.mean((0, 1))
    for lag in range(6):
        slow = (centred[: 3_000 - lag] * centred[lag:]).mean((0, 1)) / centred.square().mean((0, 1))
        assert torch.allclose(found[lag], slow, atol=1e-10)


def test_chains_at_different_means_show():
    """Two chains three standard deviations apart: R-hat is far above 1, and few draws are worth anything."""
    values = torch.randn(500, 2, 1, generator=torch.Generator().manual_seed(0))
    values[:, 1] += 3
    found = chain_diagnostics(values, ["x"])
    assert found.r_hat.item() > 1.5 and found.effective_size.item() < 10
    assert found.autocorrelation.item() > 0.6


def test_chains_of_different_scales_show():
    values = torch.randn(500, 4, 1, generator=torch.Generator().manual_seed(1))
    values[:, :2] *= 4
    assert chain_diagnostics(values, ["x"]).r_hat.item() > 1.1


def test_chains_that_never_move_show():
    stuck = torch.randn(1, 6, 1, generator=torch.Generator().manual_seed(2)).expand(50, 6, 1)
    found = chain_diagnostics(torch.cat([stuck, torch.ones(50, 6, 1)], dim=2), ["apart", "same"])
    assert found.r_hat[0] > 100 and found.r_hat[1] == torch.inf
    assert torch.allclose(found.autocorrelation, torch.ones(2).double())


def test_projections_are_the_density_the_square_and_the_columns():
    states = torch.randn(9, 5, 4, generator=torch.Generator().manual_seed(3))
    density = lambda u: -u.pow(4).sum(1)  # noqa: E731
    values, names = projections(states, density, torch.tensor([0, 3]))
    assert names == ("log_density", "square", "u_0", "u_3") and values.shape == (9, 5, 4)
    for t in range(9):
        assert torch.allclose(values[t, :, 0], density(states[t]))
        assert torch.allclose(values[t, :, 1], states[t].square().sum(1))
        assert torch.equal(values[t, :, 2:], states[t][:, [0, 3]])


def test_figures_are_of_the_worst_projection_and_per_call():
    values = torch.stack([autoregression(rho, 1_000, 8, seed=seed) for seed, rho in enumerate((0.3, 0.0, 0.9))], dim=2)
    found = chain_diagnostics(values, ["log_density", "square", "u_0"])
    figures = chain_figures(found, calls=5_000, acceptance=0.7)
    assert figures["ess"].value == found.effective_size.min().item() == found.effective_size[2].item()
    assert figures["ess_per_call"].value == pytest.approx(figures["ess"].value / (8 * 5_000))
    assert figures["ess_per_call_log_density"].value == pytest.approx(found.effective_size[0].item() / (8 * 5_000))
    assert figures["r_hat_max"].value == found.r_hat.max().item() >= figures["r_hat_median"].value
    assert figures["autocorrelation"].value == pytest.approx(0.9, abs=0.03)
    assert figures["acceptance"].value == 0.7 and "acceptance" not in chain_figures(found, calls=1)
    assert all("8 chains, 1000 states" in figure.protocol for figure in figures.values())


def test_wrong_input_is_a_usage_error():
    with pytest.raises(UsageError, match="at least 8 states of 2 chains"):
        chain_diagnostics(torch.zeros(7, 3, 1), ["x"])
    with pytest.raises(UsageError, match="at least 8 states of 2 chains"):
        chain_diagnostics(torch.zeros(20, 1, 1), ["x"])
    with pytest.raises(UsageError, match="diverged"):
        chain_diagnostics(torch.full((20, 3, 1), torch.nan), ["x"])
    with pytest.raises(UsageError, match=r"expected values \(T, B, 2\)"):
        chain_diagnostics(torch.zeros(20, 3, 1), ["x", "y"])


def test_without_the_library_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_stats.base", None)
    with pytest.raises(UsageError, match=r"pip install 'priorkit\[diagnostics\]'"):
        chain_diagnostics(torch.zeros(20, 3, 1), ["x"])


def tiny_model(sampler, *options, prior="multistage"):
    torch.set_num_threads(1)
    sizes = ["backbone.hidden=8", "backbone.latents=[2, 2]"]
    sizes += ["prior.energy.width=4", "prior.stages=1"] if prior == "multistage" else []
    config = resolve(None, [*sizes, *options], backbone="twolayer", data="digits", prior=prior, sampler=sampler)
    return build_model(config, DataSpec("digits", (1, 8, 8), 17, 10), torch.device("cpu"))


@pytest.mark.parametrize(
    ("sampler", "options", "states", "calls"),
    [
        ("langevin", ["sampler.step_size=0.5"], 200, 200),
        ("mala", ["sampler.choose=fixed", "sampler.step_size=0.8"], 175, 7 * 26),
        ("hmc", ["sampler.choose=fixed", "sampler.leapfrog_steps=3"], 50, 2 * 76),
    ],
)
def test_a_model_s_chains(monkeypatch, sampler, options, states, calls):
    """An untrained prior is N(0, I), where each sampler mixes at once; blocks stop before the calls are used up."""
    monkeypatch.setattr(chains, "CALLS", 200)
    made = tiny_model(sampler, *options)
    figures = dict(chains.figures_of_chains(made, seed=3))
    assert dict(chains.figures_of_chains(made, seed=3)) == figures
    assert ("chains_acceptance" in figures) == (sampler != "langevin")
    assert figures["chains_r_hat_max"].value < 1.1 and figures["chains_ess"].value > 100
    left = states - states // 2
    assert f"32 chains, {left} states each" in figures["chains_ess"].protocol
    assert f"{calls * left // states} evaluations each" in figures["chains_ess"].protocol
    assert "and 4 coordinates" in figures["chains_ess"].protocol


def test_what_has_no_chains():
    assert not dict(chains.figures_of_chains(tiny_model("mala", prior="gaussian")))
    with pytest.raises(UsageError, match="no steps"):
        dict(chains.figures_of_chains(tiny_model("sir")))
