r"""Whether chains have mixed, and what an independent draw costs.

Of m chains with n states each, seen through one number a state: the effective sample size
:math:`m n / (1 + 2 \sum_t \rho_t)` of the rank-normalised values, and split :math:`\hat R`, the larger of those of the
rank-normalised values and of their distances from the median (Vehtari et al. 2021, "Rank-normalization, folding, and
localization", sections 3 and 4).  Both are computed by the library arviz-stats.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from priorkit.core import LogProb
from priorkit.core.metric import Metric
from priorkit.errors import UsageError

__all__ = ["ChainDiagnostics", "autocorrelation", "chain_diagnostics", "chain_figures", "chain_library", "projections"]

MIN_STATES = 8
ROWS = 256
"""Number of states whose log density is evaluated at once."""


@dataclass(frozen=True)
class ChainDiagnostics:
    """How well chains have mixed, for each of P projections of their states."""

    names: tuple[str, ...]
    effective_size: Tensor
    """Number of independent samples that all states together are equivalent to, (P,), float64."""
    r_hat: Tensor
    """(P,), float64; 1 if the chains agree, infinite if no state ever changed."""
    autocorrelation: Tensor
    """Autocorrelation of successive states, (P,), float64."""
    states: int
    chains: int


def projections(states: Tensor, log_prob: LogProb, columns: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Return the projections of states (T, B, D), (T, B, 2 + len(columns)), and their names: the log density, |u|^2 and the
    given columns."""
    flat = states.flatten(0, 1)
    with torch.no_grad():
        density = torch.cat([log_prob(rows) for rows in torch.split(flat, ROWS)])
    seen = torch.cat([density[:, None], flat.square().sum(1, keepdim=True), flat[:, columns.to(flat.device)]], dim=1)
    names = ("log_density", "square", *(f"u_{column}" for column in columns.tolist()))
    return seen.view(*states.shape[:2], -1), names


def chain_diagnostics(values: Tensor, names: Sequence[str]) -> ChainDiagnostics:
    """Return the diagnostics of values (T, B, P): T successive states of B chains, with P projections of these names.

    Raises UsageError if the library is missing, and for fewer than 8 states, 2 chains or values that are not finite.
    """
    library = chain_library()
    _check(values, names)
    array = values.double().cpu().numpy()
    with warnings.catch_warnings():
        # A projection without variance divides 0 by 0; it is set to infinity below.
        warnings.simplefilter("ignore", RuntimeWarning)
        size = np.atleast_1d(library.ess(array, chain_axis=1, draw_axis=0, method="bulk"))
        r_hat = np.atleast_1d(library.rhat(array, chain_axis=1, draw_axis=0, method="rank"))
    return ChainDiagnostics(
        tuple(names),
        torch.as_tensor(size, dtype=torch.float64),
        torch.as_tensor(r_hat, dtype=torch.float64).nan_to_num(nan=torch.inf, posinf=torch.inf),
        autocorrelation(values, 1)[1],
        *values.shape[:2],
    )


def chain_figures(found: ChainDiagnostics, *, calls: int, acceptance: float | None = None) -> dict[str, Metric]:
    """Return the metrics of chains with `calls` evaluations of the log density each; acceptance if defined."""
    seen = f"{found.chains} chains, {found.states} states each after as many were left out, {calls} evaluations each"
    through = f"log density, |u|^2 and {len(found.names) - 2} coordinates"
    each = found.effective_size / (found.chains * calls)
    ess = f"effective sample size per evaluation of the log density; {seen}; rank-normalised, split chains"
    r_hat = f"split R-hat, rank-normalised, the larger of bulk and folded; {seen}"
    figures = {
        "ess_per_call": (float(each.min()), f"{ess}; smallest over {through}"),
        "ess_per_call_log_density": (float(each[0]), f"{ess}; of the log density"),
        "ess": (float(found.effective_size.min()), f"effective sample size; {seen}; smallest over {through}"),
        "r_hat_max": (float(found.r_hat.max()), f"{r_hat}; largest over {through}"),
        "r_hat_median": (float(found.r_hat.median()), f"{r_hat}; median over {through}"),
        "autocorrelation": (
            float(found.autocorrelation.max()),
            f"autocorrelation of successive states; {seen}; largest over {through}",
        ),
    }
    if acceptance is not None:
        figures["acceptance"] = (acceptance, f"mean acceptance probability; {seen}")
    return {name: Metric(value, None, protocol) for name, (value, protocol) in figures.items()}


def autocorrelation(values: Tensor, lags: int) -> Tensor:
    """Return the autocorrelation at lags 0 ... `lags` of values (T, B, P), T > lags, about the mean of all chains: (lags +
    1, P).

    It stays large if chains remain apart. A projection without variance has 1 at every lag.
    """
    centred = (values.double() - values.double().mean((0, 1))).cpu()
    length = len(centred)
    spectrum = torch.fft.rfft(centred, n=2 * length, dim=0)
    products = torch.fft.irfft(spectrum.abs().square(), n=2 * length, dim=0)[: lags + 1].mean(1)
    covariance = products / torch.arange(length, length - lags - 1, -1, dtype=torch.float64)[:, None]
    return torch.where(covariance[0] > 0, covariance / covariance[0], torch.ones_like(covariance))


def chain_library() -> Any:
    """Return arviz-stats's functions on arrays. Raises UsageError with installation instructions if it is missing."""
    try:
        return import_module("arviz_stats.base").array_stats
    except ImportError:
        raise UsageError(
            "chain diagnostics need the library arviz-stats, which is not installed: pip install 'priorkit[diagnostics]'."
        ) from None


def _check(values: Tensor, names: Sequence[str]) -> None:
    if values.ndim != 3 or values.shape[2] != len(names) or not names:
        raise UsageError(f"chain diagnostics: expected values (T, B, {len(names)}), got {tuple(values.shape)}")
    if values.shape[0] < MIN_STATES or values.shape[1] < 2:
        raise UsageError(
            f"chain diagnostics: at least {MIN_STATES} states of 2 chains are needed, got {values.shape[0]} states of "
            f"{values.shape[1]}; run longer chains, or more of them"
        )
    if not bool(values.isfinite().all()):
        raise UsageError("chain diagnostics: some states are not finite; the chains diverged; decrease sampler.step_size")
