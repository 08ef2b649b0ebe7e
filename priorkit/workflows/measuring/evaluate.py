"""The metrics of a run: reconstruction, ELBO, the gap in u-space, the Fréchet distance; each with its protocol.

Every metric of the prior is computed for the learned prior, for the Gaussian prior and after each stage, with the same seeds
and counts; the metric of posterior samples is the best reachable. A metric that cannot be computed
(too few held-out data, diverged chains) is skipped, and the log gives the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from priorkit.config import FidelitySettings, RunConfig
from priorkit.core import Metric, Progress, no_progress
from priorkit.core.single import single_precision
from priorkit.data import Dataset
from priorkit.errors import UsageError
from priorkit.model import Model
from priorkit.registry import installed
from priorkit.workflows.measuring.metric_entries import measured_figures
from priorkit.workflows.measuring.shared_work import SharedWork
from priorkit.workflows.sampling.draws import Draws

__all__ = ["AFTER_TRAINING", "FIGURES", "Evaluation", "chosen_metrics", "measure"]

FIGURES: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "quick": ("reconstruction", "elbo", "fd", "copying", "nll"),
    "all": ("reconstruction", "elbo", "logz", "gap", "fd", "copying", "coverage", "kernel", "nll"),
}
"""Groups of metrics at the end of a run by `evaluation.metrics`. Of all, the classifiers of `gap` take the most time."""
AFTER_TRAINING = FIGURES["all"]
"""The groups computed at the end of a run; the others are alternatives or need another library."""


@dataclass(frozen=True)
class Evaluation:
    """What is computed at the end of a run."""

    groups: tuple[str, ...] = AFTER_TRAINING
    """Groups of metrics."""
    samples: int = 2_000
    """Number of samples of each prior."""

    @classmethod
    def of(cls, config: RunConfig) -> Self:
        """Return the evaluation that a configuration asks for."""
        asked = config.evaluation.metrics
        if asked == "auto":
            asked = "all" if config.minutes is None else "quick"
        return cls(FIGURES[asked], config.evaluation.samples)


@single_precision()
def measure(
    model: Model,
    data: Dataset,
    *,
    metrics: tuple[str, ...] = AFTER_TRAINING,
    samples: int = 2_000,
    seed: int = 0,
    draws: Draws | None = None,
    fidelity: FidelitySettings | None = None,
    progress: Progress = no_progress,
) -> dict[str, Metric]:
    """Return all metrics that are defined for this model and data, by name; `draws`, with the same seed, avoids sampling
    again.

    `fidelity` defines how the group of that name makes and compares images. Raises UsageError if that many samples do not
    fit into memory.
    """
    model.see_room(samples, "samples")
    work = SharedWork(model, data, samples=samples, seed=seed, draws=draws, fidelity=fidelity, progress=progress)
    found = measured_figures(metrics, work)
    return {name: replace(figure, protocol=f"{figure.protocol}; data: {data.protocol}") for name, figure in found.items()}


def chosen_metrics(text: str) -> tuple[str, ...]:
    """Return the metrics in 'all' or comma-separated names. Raises UsageError for an unknown one, PluginError for a broken
    one."""
    known = installed().names("metric")
    if text == "all":
        return tuple(known)
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name.rpartition(":")[2] not in known]:
        raise UsageError(f"--metrics: unknown {', '.join(unknown)}; choose from {', '.join(known)}, or all.")
    for name in names:
        installed().load("metric", name)
    return names
