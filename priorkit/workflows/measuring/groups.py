"""The built-in metrics, each a group; pyproject.toml declares them like those of third-party packages."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from priorkit.core import Examples, Metric, Streams
from priorkit.errors import UsageError
from priorkit.metrics import MIN_FOR_GAP, elbo, gap_auc, reconstruction_error
from priorkit.metrics.energy_distance import energy_distance
from priorkit.metrics.sliced_wasserstein import sliced_wasserstein
from priorkit.workflows.measuring.chains import figures_of_chains
from priorkit.workflows.measuring.copying import figures_of_copying
from priorkit.workflows.measuring.coverage import figures_of_coverage
from priorkit.workflows.measuring.density import figures_of_density
from priorkit.workflows.measuring.feature_distance import figures_of_features
from priorkit.workflows.measuring.hole import figures_of_hole
from priorkit.workflows.measuring.hole_nats import figures_of_hole_nats
from priorkit.workflows.measuring.kernel import figures_of_kernel
from priorkit.workflows.measuring.sample_fidelity import figures_of_fidelity
from priorkit.workflows.measuring.shared_work import SharedWork, sharing
from priorkit.workflows.measuring.toys import toy_figures
from priorkit.workflows.measuring.variants import figures_of_priors

__all__ = [
    "measure_chains",
    "measure_copying",
    "measure_coverage",
    "measure_elbo",
    "measure_energy_distance",
    "measure_fd",
    "measure_fidelity",
    "measure_gap",
    "measure_hole",
    "measure_hole_nats",
    "measure_kernel",
    "measure_logz",
    "measure_nll",
    "measure_reconstruction",
    "measure_sliced_wasserstein",
]

Found = Iterator[tuple[str, Metric]]


@sharing(order=1)
def measure_reconstruction(work: SharedWork) -> Found:
    """Mean squared error of the decoder's mean for held-out images, from a posterior sample of each."""
    if work.data.spec.is_image:
        examples, u = work.heldout(), work.heldout_u(1)
        yield "reconstruction", reconstruction_error(work.model.backbone, examples, u=u, progress=work.progress)


@sharing(order=2)
def measure_elbo(work: SharedWork) -> Found:
    """Likelihood bounds of held-out data under the Gaussian prior."""
    if work.model.chain is not None:
        return  # not defined: a chain has no density
    generator = Streams(work.seed).generator("elbo", device=work.model.backbone.device)
    figures = elbo(work.model.backbone, work.heldout(), generator=generator, progress=work.progress)
    yield from (figures or {}).items()


@sharing(order=3)
def measure_logz(work: SharedWork) -> Found:
    """log Z of the learned prior, and the likelihood bounds that follow from it."""
    return figures_of_density(work)


@sharing(order=4)
def measure_gap(work: SharedWork) -> Found:
    """Classifier AUC between the held-out aggregated posterior and the prior."""
    images = len(work.data.heldout)
    if min(images, work.samples) < MIN_FOR_GAP:
        raise UsageError(f"it needs {MIN_FOR_GAP} held-out data and samples, got {images} and {work.samples}")
    repeats = max(1, min(5, work.samples // images))
    count = min(work.samples, repeats * images)
    posterior, groups = work.heldout_u(repeats)[:count], torch.arange(images).repeat(repeats)[:count]
    layout = work.model.backbone.layout

    def measured(stages: int | None) -> dict[str, Metric]:
        generator = Streams(work.seed).generator("gap")
        drawn = work.draws.latents(count, stages)
        figures = gap_auc(posterior, drawn, layout, groups=groups, generator=generator, progress=work.progress)
        return {"" if layer == "all" else f"_{layer}": figure for layer, figure in figures.items()}

    return figures_of_priors(work.model, "gap_auc", measured, progress=work.progress)


@sharing(order=5)
def measure_energy_distance(work: SharedWork) -> Found:
    """Energy distance between posterior samples of held-out data and the prior."""
    return _distance(work, energy_distance)


@sharing(order=6)
def measure_sliced_wasserstein(work: SharedWork) -> Found:
    """Sliced Wasserstein distance between posterior samples of held-out data and the prior."""
    return _distance(work, sliced_wasserstein)


@sharing(order=7)
def measure_fd(work: SharedWork) -> Found:
    """Fréchet distance of the prior's images to training and held-out images, and the share of the gap that is closed."""
    return figures_of_features(work)


@sharing(order=8)
def measure_hole(work: SharedWork) -> Found:
    """Fréchet distance if some layers are from the posterior and the others from the prior."""
    return figures_of_hole(work)


@sharing(order=9)
def measure_copying(work: SharedWork) -> Found:
    """Share of the prior's images that are near copies of training images, and the three-sample test for copies."""
    return figures_of_copying(work)


@sharing(order=13)
def measure_coverage(work: SharedWork) -> Found:
    """Precision, recall, density, coverage and their clipped forms, of the prior's images among held-out ones."""
    return figures_of_coverage(work)


@sharing(order=14)
def measure_kernel(work: SharedWork) -> Found:
    """Kernel distance of the prior's images to held-out ones; with Inception's features the KID."""
    return figures_of_kernel(work)


@sharing(order=10)
def measure_fidelity(work: SharedWork) -> Found:
    """FID, KID, precision and recall, under other names for other features than Inception's."""

    def encode(split: Examples, indices: Tensor) -> Tensor:
        return work.posterior(split, indices, "posterior.fidelity")

    return figures_of_fidelity(
        work.model, work.data, work.draws, work.fidelity, samples=work.samples, encode=encode, progress=work.progress
    )


@sharing(order=11)
def measure_nll(work: SharedWork) -> Found:
    """Exact negative log-likelihood of toys, and the positions of samples compared with the known distribution."""
    return toy_figures(work.model, work.data, work.draws, work.samples)


@sharing(order=12)
def measure_chains(work: SharedWork) -> Found:
    """Mixing of the run's sampler on the learned prior."""
    return figures_of_chains(work.model, seed=work.seed, progress=work.progress)


@sharing(order=13)
def measure_hole_nats(work: SharedWork) -> Found:
    """Bounds on the nats that a prior can gain over N(0, I), and the nats that each prior gains, on held-out data."""
    return figures_of_hole_nats(work)


def _distance(work: SharedWork, metric: Callable[..., dict[str, Metric]]) -> Found:
    """Return a distance between one posterior sample of each held-out datum and the prior."""
    work.heldout()
    posterior, layout = work.heldout_u(1), work.model.backbone.layout

    def measured(stages: int | None) -> dict[str, Metric]:
        generator = Streams(work.seed).generator(metric.__name__)
        figures = metric(
            posterior, work.draws.latents(work.samples, stages), layout, generator=generator, progress=work.progress
        )
        return {part[3:] if part.startswith("all") else f"_{part}": figure for part, figure in figures.items()}

    return figures_of_priors(work.model, metric.__name__, measured, progress=work.progress)
