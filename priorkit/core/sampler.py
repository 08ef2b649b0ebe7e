r"""Markov chains on the flat latent.

A sampler gets a log density (up to a constant) as a function and initial states, both over (B, D); it does not depend
on images, layers or networks.  Step sizes s follow :math:`u \leftarrow u + \frac{s}{2} \nabla \log p(u) +
\sqrt{s}\,\epsilon`; papers that write :math:`s \nabla + \sqrt{2 s}\,\epsilon` use half of our s.
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
    """Transforms a batch of initial states into samples of a density. Constructed as `cls(settings)`."""

    Config: ClassVar[type[Settings]] = Settings
    settings: Settings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Run the sampler.

        Args:
            log_prob: Log density up to a constant, (B, D) -> (B,); each entry depends only on its own row.
            start: Initial states, (B, D).
            generator: Random generator; None uses torch's default generator.
            keep_every: With k > 0, record the state after every k-th step.

        Returns:
            The final states, the recorded states and the diagnostics.
        """

    def tuned(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None) -> "Sampler":
        """Return this sampler with a step size adapted on a pilot run from start (B, D); itself if there is nothing to
        adapt."""
        return self

    def for_layer(self, layer: int) -> "Sampler":
        """Return the sampler for the conditional of one layer (0 is the top), for priors that sample layer by layer;
        itself unless it was tuned per layer. Priors with noise levels ask for those."""
        return self


class PerLayerSampler(Sampler):
    """One sampler per layer, or per noise level, each with its own step size, for a prior that samples these in turn."""

    def __init__(self, layers: Sequence[Sampler]) -> None:
        super().__init__(layers[0].settings)
        self._layers = tuple(layers)

    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Run the sampler of the top layer."""
        return self._layers[0].run(log_prob, start, generator=generator, keep_every=keep_every)

    def for_layer(self, layer: int) -> Sampler:
        """Return the sampler that was tuned on the conditional of this layer."""
        return self._layers[layer]
