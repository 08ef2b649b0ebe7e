"""The scores of `priorkit ood`, with descriptions; for every score higher means more in-distribution."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from priorkit.core import Posterior
from priorkit.errors import UsageError
from priorkit.metrics.nearest import NearestImages
from priorkit.metrics.scores import chosen_log_ratios, columns_of, denoised, likelihood_above
from priorkit.model import Model
from priorkit.workflows.sampling.draws import Draws

__all__ = ["SCORES", "Key", "Scorer", "chosen_layers", "chosen_scores"]

MAX_CURVE_POINTS = 10

SCORES = {
    "log_ratio": "log r of the learned prior at a posterior sample (inference scheme); of chosen layers: the sum of their "
    "terms, or the log ratio with the others integrated out",
    "log_ratio_stage": "the same after that many stages",
    "classifier_stage": "that stage's own part of log r: its classifier's logit, or its base of conditional Gaussians",
    "denoised": "log r at a sample of p(u_0 | u_1), u_1 the noised posterior sample in the chosen layers and a noised draw "
    "of the prior in the others (diffusion scheme)",
    "log_prob": "log density of the learned prior, log r(u) - |u|^2 / 2",
    "gaussian": "log density of the Gaussian prior, -|u|^2 / 2 in the chosen layers",
    "elbo": "evidence lower bound under the Gaussian prior; of the top k layers: with those below from their Gaussian "
    "conditional prior (L^{>k} of Havtorn et al. 2021)",
    "llr": "minus the likelihood ratio LLR^{>k} = L - L^{>k} of Havtorn et al. 2021",
    "log_joint": "log p(x | u) + log r(u) - |u|^2 / 2, the unnormalised log posterior",
    "nearest": "minus the distance to the k-th nearest training image in the features of the shipped classifier (trained "
    "with labels) for that shape; neither generator nor prior has a part in it",
}
"""Every score with its description."""

Key = tuple[str, str]
"""(name of the score, layers)."""


@dataclass
class Scorer:
    """Computes scores of images with one model."""

    model: Model
    choices: Mapping[str, tuple[int, ...]]
    """Choices of layers by name."""
    wanted: Collection[str]
    """Entries of `SCORES`."""
    draws: Draws
    repeats: int
    """Number of posterior samples over which a score is averaged."""
    others: Tensor
    """(M, D) samples of N(0, I), the same for every image."""
    nearest: NearestImages | None
    """None if `nearest` is not requested or has no features."""

    @torch.no_grad()
    def scores(self, x: Tensor, first: int, stream: Callable[[str], Generator]) -> dict[Key, Tensor]:
        """Return the requested scores of images x, (B,) each, as means over posterior samples; `first` is the number of
        images before.

        Kinds of scores have separate random streams, so a score does not depend on which others are requested.
        """
        nearest = {} if self.nearest is None else {("nearest", "all"): self.nearest.scores(x).double()}
        if not set(self.wanted) - {"nearest"}:
            return nearest
        generator, bounds = stream("ood.scores"), stream("ood.bounds")
        seen = self.model.backbone.observe(x.to(self.model.backbone.device), generator=generator)
        means: dict[Key, Tensor] = {}
        for repeat in range(self.repeats):
            posterior = self.model.posterior(seen, generator=generator)
            found = dict(self._of_prior(posterior.u)) | dict(self._of_bounds(seen, posterior, bounds))
            if repeat == 0:
                found |= dict(self._of_chains(posterior.u, first, stream("ood.chains")))
            for key, values in found.items():
                share = 1 if key[0] == "denoised" else self.repeats
                means[key] = means.get(key, torch.zeros(())) + values.double().cpu() / share
        return {key: values for key, values in means.items() if _kind(key[0]) in self.wanted} | nearest

    def wants(self, *scores: str) -> bool:
        """Return whether any of these is requested."""
        return any(score in self.wanted for score in scores)

    def _of_prior(self, u: Tensor) -> Iterator[tuple[Key, Tensor]]:
        prior, layout = self.model.prior, self.model.backbone.layout
        squares = -0.5 * layout.layer_sums(u.square())
        for name, layers in self.choices.items():
            yield ("gaussian", name), squares[:, list(layers)].sum(1)
        if not prior.trained_stages:
            return
        if self.wants("log_ratio"):
            values = chosen_log_ratios(prior, u, self.choices, self.others)
            yield from ((("log_ratio", name), value) for name, value in values.items())
        if prior.trained_stages > 1 and self.wants("log_ratio_stage", "classifier_stage"):
            yield from self._of_stages(u)
        if self.wants("log_prob"):
            yield ("log_prob", "all"), prior.log_prob(u)

    def _of_stages(self, u: Tensor) -> Iterator[tuple[Key, Tensor]]:
        prior, last = self.model.prior, self.model.prior.trained_stages
        before = dict.fromkeys(self.choices, torch.zeros_like(u[:, 0]))
        for stage in range(1, last + 1):
            values = chosen_log_ratios(prior, u, self.choices, self.others, stages=stage)
            for name in self.choices:
                if stage < last:
                    yield (f"log_ratio_stage_{stage}", name), values[name]
                yield (f"classifier_stage_{stage}", name), values[name] - before[name]
            before = values

    def _of_bounds(self, x: Tensor, posterior: Posterior, generator: Generator) -> Iterator[tuple[Key, Tensor]]:
        model, layers = self.model, len(self.model.backbone.layout)
        if not self.wants("elbo", "llr", "log_joint") or (posterior.kl is None and model.chain is None):
            return  # a point mass does not have p(x | u) either
        likelihood = model.backbone.generate(posterior.u).likelihood
        if not likelihood.has_density:
            return
        log_px = likelihood.log_prob(x)
        if model.prior.trained_stages and self.wants("log_joint"):
            yield ("log_joint", "all"), log_px + model.prior.log_prob(posterior.u)
        if posterior.kl is None or not self.wants("elbo", "llr"):
            return
        whole = log_px - posterior.kl.sum(1)
        yield ("elbo", "all"), whole
        for name, chosen in self.choices.items():
            if len(chosen) < layers and chosen == tuple(range(len(chosen))):
                above = likelihood_above(model.backbone, x, posterior, len(chosen), generator)
                if above is not None:
                    yield ("elbo", name), above
                    yield ("llr", name), above - whole

    def _of_chains(self, u: Tensor, first: int, generator: Generator) -> Iterator[tuple[Key, Tensor]]:
        prior, layout = self.model.prior, self.model.backbone.layout
        if not prior.trained_stages or not self.wants("denoised"):
            return
        drawn = self.draws.latents(first + len(u))[first:]
        for name, layers in self.choices.items():
            clean = denoised(prior, u, columns_of(layout, layers, u.device), drawn, generator)
            yield ("denoised", name), chosen_log_ratios(prior, clean, {name: layers}, self.others)[name]


def _kind(score: str) -> str:
    """Return the entry of `SCORES` of a score: its name without the number of a stage."""
    return score.rstrip("0123456789").rstrip("_")


def chosen_scores(text: str) -> tuple[str, ...]:
    """Return the names in 'all' or comma-separated names of `SCORES`."""
    if text == "all":
        return tuple(SCORES)
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in SCORES]:
        raise UsageError(f"--scores: unknown {', '.join(unknown)}; choose from {', '.join(SCORES)}, or all.")
    return names


def chosen_layers(layers: str, model: Model) -> dict[str, tuple[int, ...]]:
    """Return the choices of layers to score by name: all and, for 'all', top:k for up to ten k; else the requested one."""
    layout = model.backbone.layout
    count = len(layout)
    every = {"all": tuple(range(count))}
    if layers != "all":
        return every | {layers: layout.select(layers)}
    steps = torch.linspace(1, count, min(count, MAX_CURVE_POINTS)).round().int().tolist()
    return every | {f"top:{k}": tuple(range(k)) for k in steps if k < count}
