r"""Markov chains on the flat latent.

A sampler sees a callable log density (up to a constant) and a start, both over (B, D); it knows nothing of images,
layers or networks.  Step sizes s follow :math:`u \leftarrow u + \frac{s}{2} \nabla \log p(u) + \sqrt{s}\,\epsilon`;
papers that write :math:`s \nabla + \sqrt{2 s}\,\epsilon` mean half of ours.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Generator, Tensor

from priorkit.core.settings import Settings
from priorkit.mcmc.chain import Chain
from priorkit.mcmc.density import LogProb

__all__ = ["PerLayerSampler", "Sampler"]


class Sampler(ABC):
    """Moves a batch of states towards a density.  Built as `cls(settings)`."""

    Config: ClassVar[type[Settings]] = Settings
    settings: Settings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Run from start (B, D); with keep_every = k > 0 the state after every k-th step is kept."""

    def tuned(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None) -> "Sampler":
        """This sampler with its step size chosen on a pilot run from start (B, D); itself where nothing is to choose."""
        return self

    def for_layer(self, layer: int) -> "Sampler":
        """The sampler of one layer's conditional (0 is the top), for priors that are drawn layer by layer; itself unless it
        was tuned for each."""
        return self


class PerLayerSampler(Sampler):
    """One sampler for each layer of a prior that is drawn from the top layer down, each with a step size of its own."""

    def __init__(self, layers: Sequence[Sampler]) -> None:
        super().__init__(layers[0].settings)
        self._layers = tuple(layers)

    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """That of the top layer."""
        return self._layers[0].run(log_prob, start, generator=generator, keep_every=keep_every)

    def for_layer(self, layer: int) -> Sampler:
        """The sampler that was tuned on this layer's conditional."""
        return self._layers[layer]
