"""log Z of the learned prior, and the likelihood bounds that follow from it."""

import logging
from collections.abc import Iterator
from functools import partial

from priorkit.core import Examples, Progress, Streams
from priorkit.core.base_density import without_chains
from priorkit.metrics import Metric
from priorkit.metrics.annealed import annealed_log_z
from priorkit.metrics.prior_bounds import Tilt, tilted_bounds
from priorkit.metrics.weighted import weighted_log_z
from priorkit.model import Model
from priorkit.workflows.measuring.shared_work import SharedWork
from priorkit.workflows.measuring.variants import defined, priors_of

__all__ = ["figures_of_density", "tilts_of"]

log = logging.getLogger(__name__)

CHAINS = 256
BUDGET = 5e11
"""Largest number of floating-point operations of the pilot run, and of the rest, per log Z: about 20 seconds of a core
each."""
EFFECTIVE = 200
"""Smallest effective number of draws of a base from which log Z is computed; with fewer it is annealed."""
IMAGES, SAMPLES = 500, 10
"""Largest number of held-out data for the bounds, and posterior samples of each."""


def figures_of_density(work: SharedWork) -> Iterator[tuple[str, Metric]]:
    """Yield 'log_z' of the learned prior and after each stage, and their bounds 'elbo_prior_nats', 'iw_prior_nats' etc.,
    with those of the Gaussian prior, by the same code on the same images; nothing for a prior without training whose r is
    not 1."""
    model, heldout = work.model, work.data.heldout
    figures, tilts = _known(work)
    yield from figures.items()
    if tilts and model.chain is None:
        yield from defined("elbo_prior", lambda: _bounds(model, tilts, heldout, work.seed, work.progress)).items()


def tilts_of(work: SharedWork) -> dict[str, Tilt]:
    """Return the priors whose log Z is known, by the suffix of their metrics."""
    return _known(work)[1]


def _known(work: SharedWork) -> tuple[dict[str, Metric], dict[str, Tilt]]:
    """Return 'log_z' of each prior, and the priors by the suffix of their metrics; estimated once per evaluation."""
    if work.log_z is None:
        work.log_z = _estimated(work.model, work.seed, work.progress)
    return work.log_z


def _estimated(model: Model, seed: int, progress: Progress) -> tuple[dict[str, Metric], dict[str, Tilt]]:
    found: dict[str, Metric] = {}
    tilts: dict[str, Tilt] = {}
    for endings, stages in priors_of(model):
        if stages == 0 or not model.prior.stages:
            tilts |= dict.fromkeys(endings, Tilt.gaussian()) if _is_gaussian(model, stages) else {}
            continue
        log_ratio = partial(model.prior.log_ratio, stages=stages)
        figures = defined(f"log_z{endings[0]}", partial(_log_z, model, stages, seed, progress))
        for ending in endings if figures else ():
            found |= {f"log_z{ending}{rest}": figure for rest, figure in figures.items()}
            tilts[ending] = Tilt(log_ratio, figures[""].value, figures[""].spread or 0.0)
    return found, tilts


def _is_gaussian(model: Model, stages: int | None) -> bool:
    """Return whether log r is 0 at some points."""
    generator = Streams(0).generator("log_z.probe", device=model.backbone.device)
    return not bool(model.prior.log_ratio(model.prior.standard_normal(20, generator), stages=stages).any())


def _log_z(model: Model, stages: int | None, seed: int, progress: Progress) -> dict[str, Metric]:
    prior = model.prior
    if prior.is_normalised(stages):
        return {"": Metric(0.0, None, "log Z, nats: 0, as this prior's density is normalised")}
    log_ratio = partial(prior.log_ratio, stages=stages)
    generator = Streams(seed).generator("log_z", device=model.backbone.device)
    if base := prior.base_density(without_chains(stages)):
        weighted = weighted_log_z(log_ratio, base, generator=generator, progress=progress)
        if weighted.effective >= EFFECTIVE:
            return weighted.figures()
        log.warning("log_z: %.0f of %s draws of the base are effective, so that it is annealed from N(0, I)",
                    weighted.effective, f"{weighted.draws:,}")  # fmt: skip
    found = annealed_log_z(
        log_ratio, model.backbone.layout.dim, chains=CHAINS, budget=BUDGET, generator=generator, progress=progress
    )  # fmt: skip
    return found.figures()


def _bounds(model: Model, tilts: dict[str, Tilt], heldout: Examples, seed: int, progress: Progress) -> dict[str, Metric]:
    generator = Streams(seed).generator("elbo_prior", device=model.backbone.device)
    return tilted_bounds(
        model.backbone, tilts, heldout, most=IMAGES, samples=SAMPLES, generator=generator, progress=progress
    ) or {}  # fmt: skip
