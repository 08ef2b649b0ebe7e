"""Samples of a model's prior, shared by several metrics and pictures."""

import torch
from torch import Tensor

from priorkit.core import Chain, Progress, Sampler, no_progress
from priorkit.model import CHUNK, Model

__all__ = ["Draws"]


class Draws:
    """Samples of the prior after any number of stages: each set is drawn once, each step size is chosen once."""

    def __init__(self, model: Model, *, seed: int = 0, progress: Progress = no_progress) -> None:
        self.model = model
        self.seed = seed
        self.progress = progress
        self._kept: dict[int | None, Tensor] = {}
        self._samplers: dict[int | None, Sampler] = {}

    def latents(self, n: int, stages: int | None = None) -> Tensor:
        """Return n samples in u-space, (n, D), those of `Model.sample_latents`."""
        key = self._key(stages)
        kept = self._kept.get(key)
        missing = range(0 if kept is None else len(kept) // CHUNK, -(-n // CHUNK))
        if missing:
            more = self.model.chunks(missing, self.sampler(key), seed=self.seed, stages=key, progress=self.progress)
            kept = more if kept is None else torch.cat([kept, more])
            self._kept[key] = kept
        elif kept is None:
            return self.model.sample_latents(0)
        return kept[:n]

    def chains(self) -> list[Chain]:
        """Return the chains of the learned prior's first samples, with all their states; empty for exact samples."""
        return self.model.draw(0, self.sampler(), seed=self.seed, keep_every=1).chains

    def sampler(self, stages: int | None = None) -> Sampler:
        """Return the model's sampler with its step size chosen for the prior after these stages."""
        key = self._key(stages)
        if key not in self._samplers:
            self._samplers[key] = self.model.tuned(key)
        return self._samplers[key]

    def _key(self, stages: int | None) -> int | None:
        """Return None for the learned prior, also if it is requested as the one after its last stage."""
        return None if stages and stages == self.model.prior.trained_stages else stages
