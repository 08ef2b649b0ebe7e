"""Who learns when.

A trainer lays a run out as phases in a fixed order; the engine executes them, one step at a time, and can stop and
resume anywhere.  What a phase sets up in `begin` must be a function of the run's state and streams alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from priorkit.core.backbone import Backbone
from priorkit.core.objective import Objective, Step
from priorkit.core.posterior_chain import PosteriorChain
from priorkit.core.prior import Prior
from priorkit.core.sampler import Sampler
from priorkit.core.settings import Settings
from priorkit.runtime.cache import Cache, ParallelMap, Progress, RowCache, rows_in_memory, serial_map
from priorkit.runtime.streams import Streams

__all__ = ["Examples", "Phase", "Selection", "Trainer", "Workbench"]


class Examples(Protocol):
    """A data split as a trainer sees it."""

    @property
    def labels(self) -> Tensor | None:
        """(N,), int64, or None."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """The chosen data, float32 (B, *spec.shape), images in [0, 1]."""


@dataclass(frozen=True)
class Workbench:
    """Everything that a trainer works with."""

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


@dataclass(frozen=True)
class Selection:
    """A phase ends with those of its weights that have the least loss on held-out data."""

    loss: Callable[[], float | None]
    """That of the learners' present weights; None where nothing can be told, so that the last weights are taken."""
    every: int
    """Steps between two questions, at least 1; the last step's weights are judged too."""
    patience: int = 0
    """The phase ends after so many questions in a row without a lower loss; 0: never."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training steps with the same learners and the same kind of batch."""

    name: str
    """Unique in the run, such as 'backbone' or 'prior.2'."""
    learner: nn.Module | tuple[nn.Module, ...]
    """In training mode during the phase; everything else is in evaluation mode and frozen.  Several learn together."""
    steps: int
    batch_size: int
    population: Callable[[], int]
    """Number of examples to choose from, once `begin` has run."""
    batch: Callable[[Tensor, Step], Any]
    """Indices (B,) of examples to a batch of them; the step's generator is there for augmentation."""
    objectives: Callable[[], list[Objective]]
    begin: Callable[[], None] = lambda: None
    end: Callable[[], dict[str, float]] = dict
    average: float = 0.0
    """Decay of the averaged weights that replace the learners' when the phase ends; 0 for none."""
    selection: Selection | None = None
    """Judges the averaged weights, or without an average those of the step, and has the best of them replace the
    learners'."""
    validate: Callable[[], dict[str, float]] | None = None
    """Held-out figures, computed now and then."""
    validate_every: int = 0

    @property
    def learners(self) -> nn.ModuleList:
        """What learns, as one module."""
        return nn.ModuleList(self.learner if isinstance(self.learner, tuple) else [self.learner])


class Trainer(ABC):
    """Built as `cls(settings)`."""

    Config: ClassVar[type[Settings]] = Settings
    settings: Settings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def phases(self, bench: Workbench) -> Iterator[Phase]:
        """The phases in order.  The iterator is advanced only after the previous phase has ended."""

    @property
    def posterior(self) -> PosteriorChain | None:
        """What samples p(u | x) of a run of this trainer; None where the backbone's `infer` does."""
        return None
