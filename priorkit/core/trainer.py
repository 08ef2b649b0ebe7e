"""Training schemes.

A trainer divides a run into phases in a fixed order; the engine executes them, one step at a time, and can stop and
resume at any step. The initialisation in `begin` must depend only on the run's state and streams.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from priorkit.core.backbone import Backbone
from priorkit.core.objective import Objective, Step
from priorkit.core.posterior_chain import PosteriorChain
from priorkit.core.prior import Prior
from priorkit.core.sampler import Sampler
from priorkit.core.settings import Settings
from priorkit.runtime.cache import Cache, ParallelMap, Progress, RowCache, rows_in_memory, serial_map
from priorkit.runtime.sent import sent
from priorkit.runtime.streams import Streams

__all__ = ["Examples", "Phase", "Selection", "Trainer", "Workbench"]


class Examples(Protocol):
    """The interface of a data split for trainers."""

    @property
    def labels(self) -> Tensor | None:
        """(N,), int64, or None."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """Return the examples of the indices (B,): float32 (B, *spec.shape), images in [0, 1]."""


@runtime_checkable
class GreyLevels(Protocol):
    """A data split that stores images as integers 0 ... levels - 1."""

    levels: int

    def integers(self, indices: Tensor) -> Tensor:
        """Return the images of the indices (B,) as stored: uint8 (B, C, H, W)."""


@dataclass(frozen=True)
class Workbench:
    """The components of a run that a trainer uses."""

    backbone: Backbone
    prior: Prior
    sampler: Sampler
    train: Examples
    heldout: Examples
    streams: Streams
    device: torch.device
    cache: Cache
    progress: Progress
    parallel_map: ParallelMap = serial_map
    row_cache: RowCache = rows_in_memory

    def batch(self, data: Examples, indices: Tensor) -> Tensor:
        """Return the examples of the indices (B,) of a split, float32 (B, *spec.shape), on the device, for which the host
        does not wait. Images are sent as they are stored, a quarter of the bytes."""
        if isinstance(data, GreyLevels):
            return sent(data.integers(indices), self.device).float().div_(data.levels - 1)
        return sent(data.batch(indices), self.device)

    def labels(self, data: Examples, indices: Tensor) -> Tensor | None:
        """Return the labels of the indices (B,) of a split, (B,), on the device; None if it has none."""
        return None if data.labels is None else sent(data.labels[indices], self.device)


@dataclass(frozen=True)
class Selection:
    """Selection of the weights with the lowest held-out loss at the end of a phase."""

    loss: Callable[[], float | None]
    """Computes the held-out loss of the current weights; None if there is no such loss, so that the last weights are
    used."""
    every: int
    """Steps between two evaluations, at least 1; the weights of the last step are evaluated too."""
    patience: int = 0
    """Early stopping: the phase ends after this number of consecutive evaluations without a lower loss; 0: never."""


@dataclass(frozen=True)
class Phase:
    """A sequence of training steps with the same learners and the same kind of batch."""

    name: str
    """Unique in the run, such as 'backbone' or 'prior.2'."""
    learner: nn.Module | tuple[nn.Module, ...]
    """The trained module, or several that are trained together: in training mode during the phase; all others are
    frozen and in evaluation mode."""
    steps: int
    batch_size: int
    population: Callable[[], int]
    """Returns the number of examples, after `begin` has run."""
    batch: Callable[[Tensor, Step], Any]
    """Returns a batch from indices (B,) of examples; augmentation uses the step's generator."""
    objectives: Callable[[], list[Objective]]
    """Asked after `begin`; a phase without objectives takes no steps."""
    begin: Callable[[], None] = lambda: None
    end: Callable[[], dict[str, float]] = dict
    average: float = 0.0
    """Decay of the exponential moving average that replaces the learners' weights at the end of the phase; 0: no
    averaging."""
    selection: Selection | None = None
    """Evaluates the averaged weights (without averaging, the current weights); the best replace the learners' weights."""
    validate: Callable[[], dict[str, float]] | None = None
    """Computes held-out metrics every `validate_every` steps."""
    validate_every: int = 0

    @property
    def learners(self) -> nn.ModuleList:
        """The learners, as one module."""
        return nn.ModuleList(self.learner if isinstance(self.learner, tuple) else [self.learner])


class Trainer(ABC):
    """A training scheme. Constructed as `cls(settings)`."""

    Config: ClassVar[type[Settings]] = Settings
    settings: Settings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def phases(self, bench: Workbench) -> Iterator[Phase]:
        """Yield the phases in order.

        The iterator is advanced only after the previous phase has ended. To plan a run, the phases of a trainer of other
        lengths are listed too, after a short run has ended.

        Args:
            bench: The backbone, prior, sampler and data of the run.

        Yields:
            One phase at a time.
        """

    @property
    def posterior(self) -> PosteriorChain | None:
        """The sampler of p(u | x) for runs of this trainer; None if the backbone's `infer` is used."""
        return None
