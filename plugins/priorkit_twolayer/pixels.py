"""Maps a decoder's raw output to p(x | z)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from priorkit.core import DataSpec, Likelihood
from priorkit.errors import UsageError
from priorkit.likelihoods import Bernoulli, FixedNormal, LogisticMixture, mixture_channels
from priorkit_twolayer.settings import TwoLayerSettings

__all__ = ["Pixels"]


@dataclass(frozen=True)
class Pixels:
    """The likelihood of the settings' kind for data of the given shape."""

    settings: TwoLayerSettings
    spec: DataSpec

    @property
    def channels(self) -> int:
        """The number of channels of the decoder's output; for points, of entries."""
        kind = self.settings.likelihood
        if not self.spec.is_image and kind != "fixed-normal":
            raise UsageError(
                f"likelihood: {kind} is for images, but {self.spec.name} has points of shape "
                f"{self.spec.shape}; use --set backbone.likelihood=fixed-normal and choose backbone.sigma."
            )
        if kind == "logistic-mixture":
            if self.spec.levels is None:
                raise UsageError(
                    "likelihood: logistic-mixture needs data with a finite number of grey levels, but "
                    f"{self.spec.name} is continuous; use --set backbone.likelihood=fixed-normal."
                )
            return mixture_channels(self.spec.shape[0], self.settings.components)
        return self.spec.shape[0]

    def likelihood(self, raw: Tensor, crop: int) -> Likelihood:
        """Return p(x | z) for raw (B, channels, H + 2 crop, W + 2 crop), or (B, d) for points."""
        if self.settings.likelihood == "bernoulli":
            return Bernoulli(raw, crop=crop)
        if self.settings.likelihood == "fixed-normal":
            if self.spec.is_image:
                return FixedNormal(torch.tanh(raw), self.settings.sigma, crop=crop)
            return FixedNormal(raw, self.settings.sigma, units="data")
        levels = self.spec.levels or 0
        edges = self.settings.mixture_edges
        return LogisticMixture(raw, channels=self.spec.shape[0], levels=levels, crop=crop, edges=edges)
