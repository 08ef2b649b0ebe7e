"""Options of the VampPrior and the exemplar prior."""

from typing import Literal

from pydantic import PositiveInt

from priorkit.core import OptimiserSettings, Settings

__all__ = ["VampPriorSettings"]

PSEUDO, EXEMPLARS = 100, 5_000
"""Components with `number=auto`."""
NUMBERS = 2 * 10**7
"""Components x latents of exemplars with `number=auto`, at most; 160 MB of means and scales."""


class VampPriorSettings(Settings):
    """A mixture of posteriors with equal weights, per layer."""

    components: Literal["pseudo", "exemplar"] = "pseudo"
    """pseudo: the mean and the scale of each component are learnt by maximum likelihood, starting at the posteriors of
    random training images (VampPrior). exemplar: the components are the posteriors of random training images, with one
    factor per layer on their scales."""
    number: PositiveInt | Literal["auto"] = "auto"
    """K, the number of components; auto: 100 pseudo-components or 5,000 exemplars, fewer from 4,000 latents on."""
    layers: str = "all"
    """Layers with a mixture: all, top:k, bottom:k or numbers such as 0,1 (0 is the top). The other layers, and those where
    the mixture gains nothing on held-out points, keep N(0, I)."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-2, schedule="cosine")
    """Optimiser of the pseudo-components."""

    def count(self, dim: int) -> int:
        """Return the number of components in a space of `dim` latents."""
        if self.number != "auto":
            return self.number
        return PSEUDO if self.components == "pseudo" else max(PSEUDO, min(EXEMPLARS, NUMBERS // dim))
