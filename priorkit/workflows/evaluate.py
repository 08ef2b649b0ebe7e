"""The figures of a run: reconstruction, ELBO, the gap in u-space, the Fréchet distance; each with its protocol.

Every figure of the prior is given for the learned prior, for the Gaussian one and after each stage, under the same seeds
and counts; the figure of posterior samples is the floor that a perfect prior would reach.
"""

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

from priorkit.core import Progress, Streams, silent
from priorkit.data import Dataset
from priorkit.errors import UsageError
from priorkit.metrics import FidelityReference, Figure, elbo, features_for, gap_auc, reconstruction_error
from priorkit.runs.model import CHUNK, Model
from priorkit.workflows.toys import toy_figures
from priorkit.workflows.variants import priors_of

__all__ = ["METRICS", "chosen_metrics", "measure"]

METRICS = ("reconstruction", "elbo", "gap", "fd", "nll")
"""Groups of figures, in the order in which they are computed."""


def measure(
    model: Model,
    data: Dataset,
    *,
    metrics: tuple[str, ...] = METRICS,
    samples: int = 2_000,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Figure]:
    """All figures that are defined for this model and data, by name."""
    parts: dict[str, Callable[[], Iterator[tuple[str, Figure]]]] = {
        "reconstruction": lambda: _reconstruction(model, data, seed, progress),
        "elbo": lambda: _elbo(model, data, seed, progress),
        "gap": lambda: _gap(model, data, samples, seed, progress),
        "fd": lambda: _fidelity(model, data, samples, seed, progress),
        "nll": lambda: toy_figures(model, data),
    }
    return {name: figure for key in METRICS if key in metrics for name, figure in parts[key]()}


def chosen_metrics(text: str) -> tuple[str, ...]:
    """Read 'all' or names joined by commas."""
    names = METRICS if text == "all" else tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in METRICS]:
        raise UsageError(f"--metrics: unknown {', '.join(unknown)}; there are {', '.join(METRICS)}, and all.")
    return names


def _draws(model: Model, stages: int | None, n: int, seed: int) -> Tensor:
    """n latents of one of the priors; the Gaussian ones are the chains' own starts."""
    if stages == 0:
        generators = (Streams(seed).generator("sample", i, device=model.backbone.device) for i in range(-(-n // CHUNK)))
        return torch.cat([model.prior.standard_normal(CHUNK, generator) for generator in generators])[:n]
    return model.sample_latents(n, seed=seed, stages=stages)


def _reconstruction(model: Model, data: Dataset, seed: int, progress: Progress) -> Iterator[tuple[str, Figure]]:
    if data.spec.is_image:
        generator = Streams(seed).generator("reconstruction", device=model.backbone.device)
        figure = reconstruction_error(model.backbone, data.heldout, generator=generator, progress=progress)
        yield "reconstruction", figure


def _elbo(model: Model, data: Dataset, seed: int, progress: Progress) -> Iterator[tuple[str, Figure]]:
    generator = Streams(seed).generator("elbo", device=model.backbone.device)
    figures = elbo(model.backbone, data.heldout, generator=generator, progress=progress)
    yield from (figures or {}).items()


def _gap(model: Model, data: Dataset, samples: int, seed: int, progress: Progress) -> Iterator[tuple[str, Figure]]:
    """Classifier AUC between the held-out aggregated posterior and the prior."""
    repeats = max(1, min(5, samples // len(data.heldout)))
    count = min(samples, repeats * len(data.heldout))
    parts = [
        model.infer(data.heldout.batch(indices), seed=seed + repeat).u
        for repeat in range(repeats)
        for indices in torch.split(torch.arange(len(data.heldout)), 500)
    ]
    posterior = torch.cat(parts)[:count]
    groups = torch.arange(len(data.heldout)).repeat(repeats)[:count]
    shown = priors_of(model)
    for endings, stages in progress(shown, len(shown), "gap in u-space"):
        prior = _draws(model, stages, count, seed)
        generator = Streams(seed).generator("gap")
        figures = gap_auc(posterior, prior, model.backbone.layout, groups=groups, generator=generator)
        for ending, (layer, figure) in product(endings, figures.items()):
            yield f"gap_auc{ending}" + ("" if layer == "all" else f"_{layer}"), figure


def _fidelity(model: Model, data: Dataset, samples: int, seed: int, progress: Progress) -> Iterator[tuple[str, Figure]]:
    """Fréchet distance to the training images, of the priors and of posterior samples."""
    if features_for(data.spec) is None:
        return
    reference = FidelityReference(data.spec, data.train, device=model.backbone.device, progress=progress)

    def figure(u: Tensor) -> Figure:
        return reference.fd(model.decode(u, seed=seed), generator=Streams(seed).generator("fd"))

    shown = priors_of(model)
    for endings, stages in progress(shown, len(shown), reference.name):
        measured = figure(_draws(model, stages, samples, seed))
        yield from ((reference.name + ending, measured) for ending in endings)
    index = torch.arange(samples) % len(data.train)
    posterior = [model.infer(data.train.batch(part), seed=seed + i).u for i, part in enumerate(torch.split(index, 500))]
    yield f"{reference.name}_posterior", figure(torch.cat(posterior))
