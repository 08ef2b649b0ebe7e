"""Shared work of the metrics of one evaluation: each sample, posterior sample and feature is computed once."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from priorkit.config import FidelitySettings
from priorkit.core import Examples, Metric, Progress, Streams, no_progress
from priorkit.data import Dataset
from priorkit.errors import UsageError
from priorkit.metrics.prior_bounds import Tilt
from priorkit.model import Model
from priorkit.runtime.memory import in_parts
from priorkit.workflows.sampling.draws import Draws

__all__ = ["SharedWork", "SharingMetric", "sharing"]

ENCODED = 500
"""Number of data encoded at once. Part of the meaning of a seed: each chunk has a separate random stream."""


class SharedWork:
    """A model, its data, and the results computed from them so far."""

    def __init__(
        self,
        model: Model,
        data: Dataset,
        *,
        samples: int,
        seed: int,
        draws: Draws | None = None,
        fidelity: FidelitySettings | None = None,
        progress: Progress = no_progress,
    ) -> None:
        """`draws`, with the same seed, avoids sampling again; `fidelity` defines how the group of that name compares
        images."""
        self.model, self.data, self.samples, self.seed = model, data, samples, seed
        self.draws = draws or Draws(model, seed=seed, progress=progress)
        self.fidelity = fidelity or FidelitySettings()
        self.progress = progress
        self.seen: dict[str, Tensor] = {}
        """Features of the images of each prior, by the first suffix of its metrics."""
        self.seen_by: dict[str, dict[str, Tensor]] = {}
        """The same by other extractors, by their names."""
        self.real: dict[tuple[str, str], Tensor] = {}
        """Features of real images, by the features' name and the split's."""
        self.log_z: tuple[dict[str, Metric], dict[str, Tilt]] | None = None
        """log Z of each prior and its density, if a metric has asked for them."""
        self._heldout: list[Tensor] = []
        self._train: Tensor | None = None

    def heldout(self) -> Examples:
        """The held-out data. Raises UsageError if there are none."""
        if not len(self.data.heldout):
            raise UsageError("there are no held-out data")
        return self.data.heldout

    def heldout_u(self, repeats: int) -> Tensor:
        """Return that many posterior samples of each held-out datum, sample-major, (repeats N, D); each is drawn once."""
        every = torch.arange(len(self.data.heldout))
        for repeat in range(len(self._heldout), repeats):
            self._heldout.append(self.posterior(self.data.heldout, every, "posterior.heldout", repeat))
        return torch.cat(self._heldout[:repeats])

    def train_u(self) -> Tensor:
        """Return `samples` posterior samples of training data, in order and repeated from the start if needed, (samples,
        D)."""
        if self._train is None:
            train = self.data.train
            self._train = self.posterior(train, torch.arange(self.samples) % len(train), "posterior.train")
        return self._train

    @torch.no_grad()
    def posterior(self, examples: Examples, indices: Tensor, name: str, *numbers: int) -> Tensor:
        """Return a sample of q(u | x) of each chosen datum, (len(indices), D), from the random stream of that name."""
        backbone, streams = self.model.backbone, Streams(self.seed)
        parts = torch.split(indices, ENCODED)

        def encoded(chunk: int) -> dict[str, Tensor]:
            generator = streams.generator(name, *numbers, chunk, device=backbone.device)
            x = examples.batch(parts[chunk]).to(backbone.device)
            return {"u": in_parts(lambda part: self.model.posterior(part, generator=generator).u, x, "examples to encode")}

        return self.model.parallel_map(encoded, len(parts))["u"]


Figures = Callable[[SharedWork], Iterable[tuple[str, Metric]]]


class SharingMetric:
    """A metric that uses work shared with others of the same evaluation. Called as a plain metric, it does all the work."""

    def __init__(self, figures: Figures, order: int) -> None:
        self.order = order
        """Metrics are computed in this order; those without a number come last."""
        self._figures = figures
        self.__doc__ = figures.__doc__

    def __call__(self, model: Model, data: Dataset, *, samples: int, seed: int) -> dict[str, Metric]:
        """Return the values by name. Raises UsageError if the group is not defined for this model and data."""
        return self.of(SharedWork(model, data, samples=samples, seed=seed))

    def of(self, work: SharedWork) -> dict[str, Metric]:
        """Return the same from partly completed shared work."""
        return dict(self._figures(work))


def sharing(order: int) -> Callable[[Figures], SharingMetric]:
    """Make a metric from a function that yields names and values from shared work."""
    return lambda figures: SharingMetric(figures, order)
