"""The figures of a run: reconstruction, ELBO, the gap in u-space, the Fréchet distance; each with its protocol.

Every figure of the prior is given for the learned prior, for the Gaussian one and after each stage, under the same seeds
and counts; the figure of posterior samples is the floor that a perfect prior would reach.  A figure that cannot be
computed (too few held-out data, diverged chains) is left out, and the log says why.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from priorkit.config import FidelitySettings
from priorkit.core import Examples, Progress, Streams, no_progress
from priorkit.core.single import single_precision
from priorkit.data import Dataset
from priorkit.errors import UsageError
from priorkit.metrics import MIN_FOR_GAP, Metric, elbo, gap_auc, reconstruction_error
from priorkit.metrics.energy_distance import energy_distance
from priorkit.metrics.sliced_wasserstein import sliced_wasserstein
from priorkit.model import Model
from priorkit.registry import installed
from priorkit.runtime.memory import in_parts
from priorkit.workflows.measuring.chains import figures_of_chains
from priorkit.workflows.measuring.copying import figures_of_copying
from priorkit.workflows.measuring.density import figures_of_density
from priorkit.workflows.measuring.feature_distance import figures_of_features
from priorkit.workflows.measuring.hole import figures_of_hole
from priorkit.workflows.measuring.sample_fidelity import figures_of_fidelity
from priorkit.workflows.measuring.third_party_metrics import figures_of_plugins, third_party_metrics
from priorkit.workflows.measuring.toys import toy_figures
from priorkit.workflows.measuring.variants import defined, figures_of_priors
from priorkit.workflows.sampling.draws import Draws

__all__ = ["AFTER_TRAINING", "METRICS", "chosen_metrics", "measure"]

METRICS = (
    *("reconstruction", "elbo", "logz", "gap", "energy_distance", "sliced_wasserstein"),
    *("fd", "hole", "copying", "fidelity", "nll", "chains"),
)
"""Groups of figures, in the order in which they are computed."""

SECOND_OPINIONS = ("energy_distance", "sliced_wasserstein", "hole", "copying", "fidelity", "chains")
AFTER_TRAINING = tuple(name for name in METRICS if name not in SECOND_OPINIONS)
"""The groups that a run ends with: the others are there for a second opinion, or need another library."""

ENCODED = 500
"""Data encoded at once.  Part of what a seed means: each chunk has its own random stream."""


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
    """All figures that are defined for this model and data, by name; `draws`, of the same seed, saves drawing again.

    `fidelity` says how the group of that name makes and judges images.  Raises UsageError where that many samples cannot be
    in memory.
    """
    model.see_room(samples, "samples")
    bench = _Measurement(model, data, samples, seed, draws or Draws(model, seed=seed), progress)
    seen: dict[str, Tensor] = {}
    parts: dict[str, Callable[[], Iterator[tuple[str, Metric]]]] = {
        "reconstruction": bench.reconstruction,
        "elbo": bench.elbo,
        "logz": lambda: figures_of_density(model, data.heldout, seed=seed, progress=progress),
        "gap": bench.gap,
        "energy_distance": partial(bench.distance, energy_distance),
        "sliced_wasserstein": partial(bench.distance, sliced_wasserstein),
        "fd": lambda: figures_of_features(
            model, data, bench.draws, samples=samples, posterior=bench.train_u, seen=seen, progress=progress
        ),
        "hole": lambda: figures_of_hole(
            model, data, bench.draws, samples=samples, posterior=bench.train_u, progress=progress
        ),
        "copying": lambda: figures_of_copying(
            model, data, bench.draws, samples=samples, posterior=bench.train_u, seen=seen, progress=progress
        ),
        "fidelity": lambda: bench.fidelity(fidelity or FidelitySettings()),
        "nll": lambda: toy_figures(model, data, bench.draws, samples),
        "chains": lambda: figures_of_chains(model, seed=seed, progress=progress),
    }
    found: dict[str, Metric] = {}
    for key in METRICS:
        if key in metrics:
            # Two groups may give the distance on one extractor: the first one's stands.
            new = defined(key, partial(_collected, parts[key]))
            found |= {name: figure for name, figure in new.items() if name not in found}
    foreign = [key for key in metrics if key not in METRICS]
    found |= figures_of_plugins(foreign, model, data, samples=samples, seed=seed, taken=found)
    return {name: replace(figure, protocol=f"{figure.protocol}; data: {data.protocol}") for name, figure in found.items()}


def _collected(part: Callable[[], Iterator[tuple[str, Metric]]]) -> dict[str, Metric]:
    return dict(part())


def chosen_metrics(text: str) -> tuple[str, ...]:
    """Read 'all' (which plugins' metrics are part of) or names joined by commas.  Raises PluginError for a broken one."""
    known = (*METRICS, *third_party_metrics())
    if text == "all":
        return known
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name.rpartition(":")[2] not in known]:
        raise UsageError(f"--metrics: unknown {', '.join(unknown)}; choose from {', '.join(known)}, or all.")
    for name in names:
        if name not in METRICS:
            installed().load("metric", name)
    return names


@dataclass
class _Measurement:
    model: Model
    data: Dataset
    samples: int
    seed: int
    draws: Draws
    progress: Progress
    _heldout: list[Tensor] = field(default_factory=list)
    """Posterior samples of all held-out data, (N, D) each."""
    _train: Tensor | None = None

    def reconstruction(self) -> Iterator[tuple[str, Metric]]:
        if self.data.spec.is_image:
            examples, u = self._examples(), self._heldout_u(1)
            yield "reconstruction", reconstruction_error(self.model.backbone, examples, u=u, progress=self.progress)

    def elbo(self) -> Iterator[tuple[str, Metric]]:
        if self.model.chain is not None:
            return  # not defined: a chain has no density
        generator = Streams(self.seed).generator("elbo", device=self.model.backbone.device)
        figures = elbo(self.model.backbone, self._examples(), generator=generator, progress=self.progress)
        yield from (figures or {}).items()

    def gap(self) -> Iterator[tuple[str, Metric]]:
        """Classifier AUC between the held-out aggregated posterior and the prior."""
        images = len(self.data.heldout)
        if min(images, self.samples) < MIN_FOR_GAP:
            raise UsageError(f"it needs {MIN_FOR_GAP} held-out data and samples, got {images} and {self.samples}")
        repeats = max(1, min(5, self.samples // images))
        count = min(self.samples, repeats * images)
        posterior, groups = self._heldout_u(repeats)[:count], torch.arange(images).repeat(repeats)[:count]
        layout = self.model.backbone.layout

        def measured(stages: int | None) -> dict[str, Metric]:
            generator = Streams(self.seed).generator("gap")
            figures = gap_auc(posterior, self.draws.latents(count, stages), layout, groups=groups, generator=generator)
            return {"" if layer == "all" else f"_{layer}": figure for layer, figure in figures.items()}

        return figures_of_priors(self.model, "gap_auc", measured, progress=self.progress)

    def distance(self, metric: Callable[..., dict[str, Metric]]) -> Iterator[tuple[str, Metric]]:
        """A distance between one posterior sample of each held-out datum and the prior."""
        self._examples()
        posterior, layout = self._heldout_u(1), self.model.backbone.layout

        def measured(stages: int | None) -> dict[str, Metric]:
            generator = Streams(self.seed).generator(metric.__name__)
            figures = metric(posterior, self.draws.latents(self.samples, stages), layout, generator=generator)
            return {part[3:] if part.startswith("all") else f"_{part}": figure for part, figure in figures.items()}

        return figures_of_priors(self.model, metric.__name__, measured, progress=self.progress)

    def fidelity(self, settings: FidelitySettings) -> Iterator[tuple[str, Metric]]:
        """FID, KID, precision and recall, or what they are called on other features than Inception's."""

        def encode(split: Examples, indices: Tensor) -> Tensor:
            return self._posterior(split, indices, "posterior.fidelity")

        return figures_of_fidelity(
            self.model, self.data, self.draws, settings, samples=self.samples, encode=encode, progress=self.progress
        )

    def train_u(self) -> Tensor:
        """As many posterior samples of training data as `samples`, in their order and from the first again, (samples, D)."""
        if self._train is None:
            train = self.data.train
            self._train = self._posterior(train, torch.arange(self.samples) % len(train), "posterior.train")
        return self._train

    def _examples(self) -> Examples:
        """The held-out data, of which there are some."""
        if not len(self.data.heldout):
            raise UsageError("there are no held-out data")
        return self.data.heldout

    def _heldout_u(self, repeats: int) -> Tensor:
        """That many posterior samples of each held-out datum, sample-major, (repeats N, D); each is drawn once."""
        every = torch.arange(len(self.data.heldout))
        for repeat in range(len(self._heldout), repeats):
            self._heldout.append(self._posterior(self.data.heldout, every, "posterior.heldout", repeat))
        return torch.cat(self._heldout[:repeats])

    @torch.no_grad()
    def _posterior(self, examples: Examples, indices: Tensor, name: str, *numbers: int) -> Tensor:
        """A sample of q(u | x) of each chosen datum, (len(indices), D)."""
        backbone, streams = self.model.backbone, Streams(self.seed)
        parts = torch.split(indices, ENCODED)

        def piece(chunk: int) -> dict[str, Tensor]:
            generator = streams.generator(name, *numbers, chunk, device=backbone.device)
            x = examples.batch(parts[chunk]).to(backbone.device)
            return {"u": in_parts(lambda part: self.model.posterior(part, generator=generator).u, x, "examples to encode")}

        return self.model.parallel_map(piece, len(parts))["u"]
