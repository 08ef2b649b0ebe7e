"""Options of the mixture prior."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from priorkit.core import Layout, TopLayersSettings

__all__ = ["MixtureSettings"]

MAX_JOINT = 256
"""Latents of which `parts=auto` fits one mixture: beyond them a covariance has more entries than data can tell."""
MAX_FULL = 256
"""Latents of a part up to which `covariance=auto` is full."""


class MixtureSettings(TopLayersSettings):
    """A Gaussian mixture, by expectation-maximisation (scikit-learn)."""

    components: PositiveInt | Literal["auto"] = "auto"
    """Number of components; auto: of 1, 2, 5, 10, 20 and 50, the one with the highest held-out likelihood; if it is 50,
    100 and 200 are tried too, as long as they are better. They are compared on at most 5,000 of the points."""
    covariance: Literal["auto", "full", "diagonal", "tied"] = "auto"
    """Covariance of each component; tied: one full covariance for all. auto: full up to 256 latents per part, else
    diagonal."""
    parts: Literal["auto", "joint", "layers"] = "auto"
    """One mixture of all latents, or an independent one per layer. auto: joint up to 256 latents."""
    points: PositiveInt = 20_000
    """Posterior samples to fit, at most."""
    iterations: PositiveInt = 200
    """Iterations of expectation-maximisation, at most."""
    floor: PositiveFloat = Field(default=1e-4)
    """Added to the variances. The posterior's own noise is above it; it keeps a component on few points from collapsing. A
    larger one blurs the edges of a density in a few dimensions."""

    def joint(self, layout: Layout) -> bool:
        """Return whether one mixture is fitted to all latents."""
        return layout.dim <= MAX_JOINT if self.parts == "auto" else self.parts == "joint"

    def covariance_of(self, size: int) -> Literal["full", "diagonal", "tied"]:
        """Return the kind of covariance of a part with `size` latents."""
        if self.covariance != "auto":
            return self.covariance
        return "full" if size <= MAX_FULL else "diagonal"
