"""A run read back as a model: backbone, prior and sampler, ready to sample, infer and score."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from priorkit.core import Backbone, Condition, DataSpec, Draw, Posterior, Prior, Progress, Sampler, Streams, silent
from priorkit.errors import UsageError

__all__ = ["CHUNK", "Model"]

CHUNK = 100
"""Samples drawn together.  Part of what a seed means: chunk c has the random stream ("sample", c), so that neither the
number of samples nor that of processes changes a picture."""


@dataclass
class Model:
    """A backbone and a prior on it."""

    backbone: Backbone
    prior: Prior
    sampler: Sampler
    spec: DataSpec

    def sample(self, n: int, *, seed: int = 0, temperature: float = 1.0, mean: bool = True) -> Tensor:
        """n data from the prior, (n, *spec.shape), images in [0, 1]: decoder means, or draws of p(x | z)."""
        return self.decode(self.sample_latents(n, seed=seed), seed=seed, temperature=temperature, mean=mean)

    def sample_latents(
        self,
        n: int,
        *,
        seed: int = 0,
        stages: int | None = None,
        condition: Condition | None = None,
        progress: Progress = silent,
    ) -> Tensor:
        """n draws of the prior in u-space, (n, D); `stages` as in `Prior.draw`, 0 for the Gaussian prior.

        `condition` asks for labels and fixed upper layers of each of the n.
        """
        draws = self.draws(n, seed=seed, stages=stages, condition=condition, progress=progress)
        return torch.cat([draw.u for draw in draws])[:n]

    def draws(
        self,
        n: int,
        *,
        seed: int = 0,
        keep_every: int = 0,
        stages: int | None = None,
        sampler: Sampler | None = None,
        first: int = 0,
        condition: Condition | None = None,
        progress: Progress = silent,
    ) -> Iterator[Draw]:
        """The chunks of n draws, whole, from chunk `first` on; `stages` as in `sample_latents`.

        The sampler is the one `tuned` for these stages where none is given.
        """
        sampler = sampler or self.tuned(stages)
        chunks = range(first, -(-n // CHUNK))
        title = "sampling the prior" if stages is None else f"sampling after {stages} stages"
        for index in progress(chunks, len(chunks), title):
            generator = Streams(seed).generator("sample", index, device=self.backbone.device)
            asked = None if condition is None else condition.rows(index * CHUNK, CHUNK)
            if stages == 0:
                u = self.prior.standard_normal(CHUNK, generator)
                yield Draw(u if asked is None else asked.fix(u))
            else:
                yield self.prior.draw(
                    CHUNK, sampler=sampler, generator=generator, keep_every=keep_every, stages=stages, condition=asked
                )

    def tuned(self, stages: int | None = None) -> Sampler:
        """The sampler with its step size chosen on a pilot run on the prior after `stages` stages, the same for every seed
        of samples; the sampler itself where the prior has nothing to learn."""
        if stages == 0 or not self.prior.stages:
            return self.sampler
        generator = Streams(0).generator("pilot", device=self.backbone.device)
        start = torch.randn(CHUNK, self.backbone.layout.dim, generator=generator, device=self.backbone.device)
        return self.sampler.tuned(partial(self.prior.log_prob, stages=stages), start, generator=generator)

    @torch.no_grad()
    def decode(self, u: Tensor, *, seed: int = 0, temperature: float = 1.0, mean: bool = True) -> Tensor:
        """Data of latents u (n, D): decoder means, or draws of p(x | z); (n, *spec.shape)."""
        parts = []
        for index, part in enumerate(torch.split(u, CHUNK)):
            likelihood = self.backbone.generate(part, temperature=temperature).likelihood
            generator = Streams(seed).generator("pixels", index, device=u.device)
            parts.append(likelihood.mean if mean else likelihood.sample(generator))
        return torch.cat(parts)

    @torch.no_grad()
    def infer(self, x: Tensor, *, seed: int = 0) -> Posterior:
        """A sample of q(u | x) for data x (B, *spec.shape)."""
        generator = Streams(seed).generator("infer", device=self.backbone.device)
        return self.backbone.infer(x.to(self.backbone.device), generator=generator)

    @torch.no_grad()
    def log_ratio(self, u: Tensor) -> Tensor:
        """log r(u) up to a constant, (B, D) -> (B,)."""
        return self.prior.log_ratio(u)

    def score(self, x: Tensor, *, layers: str = "all", seed: int = 0) -> Tensor:
        """log r of the chosen layers at a posterior sample, (B,); higher is more in-distribution."""
        u = self.infer(x, seed=seed).u
        chosen = self.backbone.layout.select(layers)
        with torch.no_grad():
            by_layer = self.prior.layer_log_ratio(u) if layers != "all" else None
        if layers == "all":
            return self.log_ratio(u)
        if by_layer is None:
            raise UsageError(
                f"score: this prior's log ratio does not decompose over layers, so layers={layers!r} is not defined; "
                "use layers='all', or train it with a separable energy."
            )
        return by_layer[:, list(chosen)].sum(1)
