"""A run's metrics in two sentences: how much of the prior hole the learned prior closes, and the values that say so."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot

from priorkit.core.metric import Metric
from priorkit.report.digits import places, to_spread
from priorkit.report.direction import badness

__all__ = ["BEST_REACHABLE", "headline"]

DISTANCE = re.compile(r"fd_\w+_heldout")
TRAINING = re.compile(r"fd_(?!\w*_heldout)\w+")
BEST_REACHABLE = "posterior samples (best reachable)"
"""What no prior on this backbone can be expected to exceed: samples of the posterior of training images."""


@dataclass(frozen=True)
class _Ends:
    """One metric of the Gaussian prior, the learned prior and posterior samples."""

    name: str
    told: str
    """How a sentence calls the metric's values."""
    learned: Metric
    gaussian: Metric
    floor: Metric | None
    floor_told: str = BEST_REACHABLE

    @property
    def same(self) -> bool:
        """Whether the prior is the Gaussian one, or makes the same samples."""
        return self.learned.value == self.gaussian.value

    @property
    def gain(self) -> float:
        """How much nearer the learned prior is, in the metric's units."""
        return (badness(self.name, self.gaussian.value) or 0.0) - (badness(self.name, self.learned.value) or 0.0)

    @property
    def certain(self) -> bool:
        """Whether the gain is outside the spreads of both; they are half a 95 % interval, or taken for a standard error."""
        return abs(self.gain) > hypot(_half_width(self.learned), _half_width(self.gaussian))

    def __str__(self) -> str:
        learned = [] if self.same else [("learned prior", self.learned)]
        floor = [] if self.floor is None else [(self.floor_told, self.floor)]
        told = [("Gaussian prior", self.gaussian), *learned, *floor]
        return f"{self.told}: {', '.join(f'{name} {self._rounded(figure)}' for name, figure in told)}"

    def _rounded(self, figure: Metric) -> str:
        """Return a value to its spread; without one, to that of the learned prior."""
        return to_spread(figure.value, figure.spread if places(figure.spread) is not None else self.learned.spread)


def headline(figures: Mapping[str, Metric], *, prior: str = "") -> str:
    """Return a sentence about the learned prior and one with the values, by the first of these that the run has: the Fréchet
    distance to held-out images, the negative log-likelihood of toy data, the distance to training images, the AUC of a
    classifier or the energy distance between prior and posterior, a bound on the log-likelihood. `prior` is the prior's
    name, if known."""
    found = _ends(figures, learned=prior != "gaussian")
    if found is None:
        return "No metric of this run compares the learned prior with the Gaussian one."
    if found.same:
        return _gaussian(found, named=prior == "gaussian")
    if DISTANCE.fullmatch(found.name):
        return _of_images(found, figures.get("share_closed"))
    note = (
        " There is no distance to held-out images, so this does not show copies." if TRAINING.fullmatch(found.name) else ""
    )
    return _by(found) + note


def _ends(figures: Mapping[str, Metric], *, learned: bool) -> _Ends | None:
    """Return the metric to tell, with those of the two ends; without a `learned` prior, both are the Gaussian one."""
    chosen = [name for name in figures if DISTANCE.fullmatch(name) and not re.search("_stage_", name)]
    kinds = dict.fromkeys(chosen, ("Fréchet distance to held-out images", "_posterior", BEST_REACHABLE))
    kinds |= {"nll": ("Negative log-likelihood in nats", "_truth", "true density")}
    of_training = ("Fréchet distance to training images", "_posterior", BEST_REACHABLE)
    kinds |= {name: of_training for name in figures if TRAINING.fullmatch(name)}
    kinds |= {
        "gap_auc": ("AUC of a classifier against the posterior", "", "without a gap"),
        "energy_distance": ("Energy distance to the posterior", "", ""),
        "elbo_prior_nats": ("Bound on the log-likelihood in nats", "", ""),
    }
    for name, (told, floor, floor_told) in kinds.items():
        own = figures.get(name)
        gaussian = figures.get(f"{name}_gaussian") if learned else own
        if own is not None and gaussian is not None:
            end = figures.get(name + floor) if floor else Metric(0.5, None, "") if name == "gap_auc" else None
            return _Ends(name, told, own, gaussian, end, floor_told)
    return None


def _of_images(found: _Ends, share: Metric | None) -> str:
    """Return the sentences by the distance to held-out images."""
    if share is None:
        return _without_share(found)
    half = share.spread or 0.0
    low, high = share.value - half, share.value + half
    interval = f"{_percent(share.value)} % (95 % interval {_percent(low)} to {_percent(high)} %)"
    if high < 0:
        return f"The learned prior is worse than the Gaussian prior. {found}."
    if low <= 0:
        return f"It cannot be told whether the learned prior closes any of the prior hole: {interval}. {found}."
    return f"The learned prior closes {interval} of the prior hole. {found}."


def _without_share(found: _Ends) -> str:
    """Return the sentences of a run whose share is not defined, or was not computed."""
    if found.floor is None:
        return f"How much of the prior hole is closed is unknown, since posterior samples were not measured. {found}."
    noise = hypot(_half_width(found.gaussian), _half_width(found.floor))
    if found.gaussian.value - found.floor.value <= noise:
        return (
            f"There is no prior hole to close: Gaussian prior and posterior samples differ by no more than noise. {found}."
        )
    return _by(found)


def _by(found: _Ends) -> str:
    """Return the sentences by a metric without a share."""
    if not found.certain:
        return f"The learned prior cannot be told from the Gaussian prior. {found}."
    if found.name == "nll" and found.floor is not None and found.gain > 0 and found.gaussian.value > found.floor.value:
        share = found.gain / (found.gaussian.value - found.floor.value)
        return f"The learned prior closes {_percent(share)} % of the prior hole. {found}."
    return f"The learned prior is {'better' if found.gain > 0 else 'worse'} than the Gaussian prior. {found}."


def _gaussian(found: _Ends, *, named: bool) -> str:
    """Return the sentences of a run whose prior is Gaussian: by its name, or because no stage changed it."""
    if named:
        return f"The prior is Gaussian and leaves the prior hole open. {found}."
    return f"The prior equals the Gaussian one and closes nothing of the prior hole. {found}."


def _half_width(figure: Metric) -> float:
    """Return half a 95 % interval, from a protocol that has one or from a standard error."""
    spread = figure.spread or 0.0
    return spread if "95 %" in figure.protocol else 1.96 * spread


def _percent(share: float) -> str:
    return f"{100 * share:.0f}".replace("-", "−")
