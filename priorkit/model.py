"""A run loaded as a model: backbone, prior and sampler, ready to sample, infer and score."""

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Generator, Tensor

from priorkit.core import (
    Backbone,
    Condition,
    DataSpec,
    Draw,
    Likelihood,
    ParallelMap,
    Posterior,
    PosteriorChain,
    Prior,
    Progress,
    Sampler,
    Sampling,
    Streams,
    no_progress,
    serial_map,
)
from priorkit.core.single import single_precision
from priorkit.errors import UsageError
from priorkit.runs.input_checks import checked_data, checked_latents, checked_scale, checked_whole
from priorkit.runs.labels import Labels, checked_labels
from priorkit.runs.memory_check import see_room
from priorkit.runs.plugin_errors import blamed, checked_draw, checked_log_ratio
from priorkit.runtime.memory import in_parts

__all__ = ["CHUNK", "Model"]

CHUNK = 100
"""Number of samples drawn together. It is part of the meaning of a seed: chunk c has the random stream ("sample", c),
so that neither the number of samples nor that of processes changes a picture; below fixed layers the stream is
("sample.lower", c)."""


@dataclass
class Model:
    """A backbone and a prior on it."""

    backbone: Backbone
    prior: Prior
    sampler: Sampler
    spec: DataSpec
    chain: PosteriorChain | None = None
    """The sampler of p(u | x) if the run was trained without an inference network."""
    parallel_map: ParallelMap = serial_map
    """Computes chunks of samples, images and latents in this process or in several; then all processes must make the
    same calls."""

    @single_precision()
    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        mean: bool = True,
        labels: Labels | None = None,
        keep_top: int | None = None,
    ) -> Tensor:
        """Sample data from the prior.

        Args:
            n: Number of samples.
            seed: Random seed; sample i of a seed does not depend on n.
            temperature: Factor on the noise of every latent layer.
            mean: Return decoder means; False samples p(x | z).
            labels: Labels of the samples, for priors trained with labels.
            keep_top: With k, all samples share the noise of the top k layers of the seed's first sample.

        Returns:
            The samples, (n, *spec.shape); images are in [0, 1].
        """
        n, seed, temperature = checked_whole("n", n), checked_whole("seed", seed), checked_scale("temperature", temperature)
        self.see_room(n)
        condition = None if labels is None else Condition(checked_labels(self.prior, labels, n))
        if keep_top is not None:
            top = self.tops(keep_top, 1, seed=seed, condition=condition)
            condition = replace(condition or Condition(), top=top.expand(n, -1))
        u = self.sample_latents(n, seed=seed, condition=condition)
        return self.decode(u, seed=seed, temperature=temperature, mean=mean)

    @single_precision()
    def tops(
        self, k: int, count: int, *, seed: int = 0, condition: Condition | None = None, progress: Progress = no_progress
    ) -> Tensor:
        """Return the noise of the top k layers of a seed's first `count` samples, (count, D_k). k must be smaller than
        the number of layers: otherwise nothing would be left to sample."""
        layers = len(self.backbone.layout)
        if not 1 <= checked_whole("keep_top", k) < layers:
            told = f"a number from 1 to {layers - 1}" if layers > 1 else "a backbone with more than one layer"
            raise UsageError(f"keep_top: expected {told} (this one has {layers}), got {k}.")
        u = self.sample_latents(count, seed=seed, condition=condition, progress=progress)
        return u[:, : self.backbone.layout.top(k).dim]

    @single_precision()
    def sample_latents(
        self,
        n: int,
        *,
        seed: int = 0,
        stages: int | None = None,
        condition: Condition | None = None,
        progress: Progress = no_progress,
    ) -> Tensor:
        """Return n samples of the prior in u-space, (n, D). `stages` selects the prior after that number of stages, 0
        for the Gaussian prior; None is all. `condition` has the labels and fixed upper layers of the samples."""
        n, seed = checked_whole("n", n), checked_whole("seed", seed)
        if stages is not None and checked_whole("stages", stages) > self.prior.trained_stages:
            raise UsageError(f"stages: this prior has {self.prior.trained_stages} trained stages, got {stages}.")
        self.see_room(n)
        if n < 1:
            return self.prior.standard_normal(0, None).to(self.backbone.device)
        sampler, chunks = self.tuned(stages), range(-(-n // CHUNK))
        return self.chunks(chunks, sampler, seed=seed, stages=stages, condition=condition, progress=progress)[:n]

    @single_precision()
    def chunks(
        self,
        chunks: range,
        sampler: Sampler,
        *,
        seed: int = 0,
        stages: int | None = None,
        condition: Condition | None = None,
        progress: Progress = no_progress,
    ) -> Tensor:
        """The draws of these chunks, whole, (CHUNK len(chunks), D); `stages` and `condition` as in `sample_latents`.

        Raises UsageError where they and their data cannot be in memory.
        """
        self.see_room(len(chunks) * CHUNK)

        def drawn(number: int) -> dict[str, Tensor]:
            return {"u": self.draw(chunks[number], sampler, seed=seed, stages=stages, condition=condition).u}

        title = "sampling the prior" if stages is None else f"sampling after {stages} stages"
        return self.parallel_map(drawn, len(chunks), progress=progress, title=title)["u"]

    def see_room(self, n: int, name: str = "n") -> None:
        """Raise UsageError, about the argument `name`, if n samples, with latents and data, do not fit into memory."""
        see_room(n, self.backbone.layout.dim + prod(self.spec.shape), name)

    @single_precision()
    def draw(
        self,
        chunk: int,
        sampler: Sampler,
        *,
        seed: int = 0,
        keep_every: int = 0,
        stages: int | None = None,
        condition: Condition | None = None,
    ) -> Draw:
        """The draws of one chunk with a sampler that is `tuned` for these stages; the options as in `Prior.draw`."""
        # Fixed layers may come from samples of the same seed, whose randomness must not be used again.
        name = "sample" if condition is None or condition.top is None else "sample.lower"
        generator = Streams(seed).generator(name, chunk, device=self.backbone.device)
        asked = None if condition is None else condition.rows(chunk * CHUNK, CHUNK)
        if stages == 0 and not (asked and asked.labels):
            u = self.prior.standard_normal(CHUNK, generator)
            return Draw(u if asked is None else asked.fix(u))
        with blamed(self.prior.implementation, "draw"):
            draw = self.prior.draw(CHUNK, Sampling(sampler, generator, keep_every, stages, asked))
        return checked_draw(self.prior, draw, CHUNK)

    @single_precision()
    def tuned(self, stages: int | None = None) -> Sampler:
        """The sampler with its step size chosen on a pilot run on the prior after `stages` stages, the same for every seed
        of samples; the sampler itself where the prior has nothing to learn."""
        if stages == 0 or not self.prior.stages:
            return self.sampler
        generator = Streams(0).generator("pilot", device=self.backbone.device)
        return self.prior.tuned(self.sampler, stages=stages, generator=generator)

    @property
    def _dtype(self) -> torch.dtype:
        """The data type of data and latents: single precision, or double if the backbone is in double precision."""
        first = next(self.backbone.parameters(), None)
        return torch.float64 if first is not None and first.dtype == torch.float64 else torch.float32

    @single_precision()
    @torch.no_grad()
    def decode(self, u: Tensor, *, seed: int = 0, temperature: float = 1.0, mean: bool = True) -> Tensor:
        """Decode latents u (n, D) to data (n, *spec.shape): decoder means, or samples of p(x | z). Raises UsageError if
        the temperature gives non-finite values."""
        u = checked_latents(u, self.backbone.layout.dim, self._dtype).to(self.backbone.device)
        seed, temperature = checked_whole("seed", seed), checked_scale("temperature", temperature)
        if not len(u):
            return u.new_empty(0, *self.spec.shape)
        parts = torch.split(u, CHUNK)

        def likelihood(part: Tensor) -> Likelihood:
            return self.backbone.generate(part, temperature=temperature).likelihood

        def decoded(index: int) -> dict[str, Tensor]:
            if mean:
                return {"x": in_parts(lambda part: likelihood(part).mean, parts[index], "images")}
            # Never in halves: the noise of an image would depend on how many are drawn with it.
            return {"x": likelihood(parts[index]).sample(Streams(seed).generator("pixels", index, device=u.device))}

        x = self.parallel_map(decoded, len(parts))["x"]
        if temperature > 1 and not bool(x.isfinite().all()):
            raise UsageError(f"temperature: at {temperature:g} the samples are not finite; use a smaller temperature.")
        return x

    @single_precision()
    @torch.no_grad()
    def infer(self, x: Tensor, *, seed: int = 0) -> Posterior:
        """Sample the posterior.

        Args:
            x: Data, (B, *spec.shape), a tensor or an array: images in [0, 1] or integers 0 ... levels - 1.
            seed: Random seed.

        Returns:
            One sample of q(u | x) per x, or of the posterior's chain under the learned prior.

        Raises:
            UsageError: For data of another shape or type.
        """
        x = checked_data(x, self.spec, self._dtype)
        generator = Streams(checked_whole("seed", seed)).generator("infer", device=self.backbone.device)
        return self.posterior(x.to(self.backbone.device), generator=generator)

    @single_precision()
    @torch.no_grad()
    def posterior(self, x: Tensor, *, generator: Generator | None = None) -> Posterior:
        """`infer` with a given generator, for x on the backbone's device; a chain has neither KL nor log ratio."""
        if self.chain is None:
            return self.backbone.infer(x, generator=generator)
        return Posterior(self.chain.infer(self.backbone, self.prior, x, generator=generator), None, None)

    @single_precision()
    @torch.no_grad()
    def log_ratio(self, u: Tensor) -> Tensor:
        """Return log r(u) up to a constant, (B, D) -> (B,)."""
        u = checked_latents(u, self.backbone.layout.dim, self._dtype).to(self.backbone.device)
        with blamed(self.prior.implementation, "log_ratio"):
            value = self.prior.log_ratio(u)
        return checked_log_ratio(self.prior, value, u)

    @single_precision()
    def score(self, x: Tensor, *, layers: str = "all", seed: int = 0) -> Tensor:
        """Return log r of the selected layers at a posterior sample of data x (see `infer`), (B,); higher is more
        in-distribution."""
        chosen = self.backbone.layout.select(layers)
        u = self.infer(x, seed=seed).u
        with torch.no_grad():
            by_layer = self.prior.layer_log_ratio(u) if layers != "all" else None
        if layers == "all":
            return self.log_ratio(u)
        if by_layer is None:
            raise UsageError(
                f"score: this prior's log ratio does not decompose over layers, so layers={layers!r} is not "
                "defined; use layers='all', or train the prior with a separable energy, and without labels "
                "if they are part of the energy."
            )
        return by_layer[:, list(chosen)].sum(1)
