"""Out-of-distribution detection: scores of a run's held-out images and of others, and how well each tells them apart.

Scores are named by what they are and by the layers they see: 'all', 'top:k' (a paper's L > L - k), 'layer:i', or the
choice that was asked for.  Of every score higher means more in-distribution.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Generator, Tensor

from priorkit.core import Posterior, Progress, Streams, silent
from priorkit.core.single import single_precision
from priorkit.data import Points, Split, load_foreign
from priorkit.data.made_up import MADE_UP, is_made_up, made_up
from priorkit.errors import UsageError
from priorkit.metrics.detection import Estimate, detection
from priorkit.metrics.scores import chosen_log_ratio, columns_of, denoised, likelihood_above, part_log_ratio
from priorkit.runs.model import Model
from priorkit.workflows.draws import Draws
from priorkit.workflows.session import Session

__all__ = ["SCORES", "Detected", "Found", "Key", "chosen_layers", "detect", "open_outsiders"]

BATCH = 250
"""Images scored at once.  Part of what a seed means: each batch has its own random stream."""
MOST_CURVE_POINTS = 10

SCORES = {
    "log_ratio": "log r of the learned prior at a posterior sample (inference scheme); of chosen layers: the sum of their "
    "terms, or the log ratio with the others integrated out",
    "log_ratio_stage": "the same after that many stages, the other layers integrated out",
    "classifier_stage": "logit of that stage's classifier: the stage's own part of log r",
    "denoised": "log r at a sample of p(u_0 | u_1), u_1 the noised posterior sample in the chosen layers and a noised draw "
    "of the prior in the others (diffusion scheme)",
    "log_prob": "log density of the learned prior, log r(u) - |u|^2 / 2",
    "gaussian": "log density of the Gaussian prior, -|u|^2 / 2 in the chosen layers",
    "elbo": "evidence lower bound under the Gaussian prior; of the top k layers: with those below from their Gaussian "
    "conditional prior (L^{>k} of Havtorn et al. 2021)",
    "llr": "minus the likelihood ratio LLR^{>k} = L - L^{>k} of Havtorn et al. 2021",
    "log_joint": "log p(x | u) + log r(u) - |u|^2 / 2, the unnormalised log posterior",
}
"""Every score, in words."""

Key = tuple[str, str]
"""A score's name and its layers."""


@dataclass(frozen=True)
class Detected:
    """How well one score tells one set from the held-out images."""

    name: str
    layers: str
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class Found:
    """All scores against one set."""

    data: str
    protocol: str
    detected: list[Detected]

    def as_dict(self) -> dict[str, object]:
        """{'protocol', 'scores': {name: {layers: {measure: {'value', 'low', 'high'}}}}}."""
        scores: dict[str, dict[str, object]] = {}
        for item in self.detected:
            figures = {name: estimate.as_dict() for name, estimate in item.estimates.items()}
            scores.setdefault(item.name, {})[item.layers] = figures
        return {"protocol": self.protocol, "scores": scores}


@dataclass
class _Scorer:
    model: Model
    choices: Mapping[str, tuple[int, ...]]
    draws: Draws
    repeats: int
    others: Tensor
    """(M, D) draws of N(0, I), the same for every image."""

    @torch.no_grad()
    def scores(self, x: Tensor, first: int, generator: Generator) -> dict[Key, Tensor]:
        """All scores of images x, (B,) each, as means over posterior samples; `first` counts the images before."""
        seen = self.model.backbone.observe(x.to(self.model.backbone.device), generator=generator)
        means: dict[Key, Tensor] = {}
        for repeat in range(self.repeats):
            posterior = self.model.posterior(seen, generator=generator)
            found = dict(self._of_prior(posterior.u)) | dict(self._of_bounds(seen, posterior, generator))
            if repeat == 0:
                found |= dict(self._of_chains(posterior.u, first, generator))
            for key, values in found.items():
                share = 1 if key[0] == "denoised" else self.repeats
                means[key] = means.get(key, torch.zeros(())) + values.double().cpu() / share
        return means

    def _of_prior(self, u: Tensor) -> Iterator[tuple[Key, Tensor]]:
        prior, layout = self.model.prior, self.model.backbone.layout
        squares = -0.5 * layout.layer_sums(u.square())
        for name, layers in self.choices.items():
            yield ("gaussian", name), squares[:, list(layers)].sum(1)
        if not prior.trained_stages:
            return
        for name, layers in self.choices.items():
            yield ("log_ratio", name), chosen_log_ratio(prior, u, layers, self.others)
            if prior.trained_stages > 1:
                yield from self._of_stages(u, name, layers)
        yield ("log_prob", "all"), prior.log_prob(u)
        if (terms := prior.layer_log_ratio(u)) is not None:
            for i in range(len(layout)):
                yield ("log_ratio", f"layer:{i}"), terms[:, i]

    def _of_stages(self, u: Tensor, name: str, layers: tuple[int, ...]) -> Iterator[tuple[Key, Tensor]]:
        prior, columns = self.model.prior, columns_of(self.model.backbone.layout, layers, u.device)
        before = torch.zeros_like(u[:, 0])
        for stage in range(1, prior.trained_stages + 1):
            value = part_log_ratio(partial(prior.log_ratio, stages=stage), u, columns, self.others)
            if stage < prior.trained_stages:
                yield (f"log_ratio_stage_{stage}", name), value
            yield (f"classifier_stage_{stage}", name), value - before
            before = value

    def _of_bounds(self, x: Tensor, posterior: Posterior, generator: Generator) -> Iterator[tuple[Key, Tensor]]:
        model, layers = self.model, len(self.model.backbone.layout)
        if posterior.kl is None and model.chain is None:
            return  # a point mass has no p(x | u) either
        log_px = model.backbone.generate(posterior.u).likelihood.log_prob(x)
        if model.prior.trained_stages:
            yield ("log_joint", "all"), log_px + model.prior.log_prob(posterior.u)
        if posterior.kl is None:
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
        if not prior.trained_stages:
            return
        drawn = self.draws.latents(first + len(u))[first:]
        for name, layers in self.choices.items():
            clean = denoised(prior, u, columns_of(layout, layers, u.device), drawn, generator)
            yield ("denoised", name), chosen_log_ratio(prior, clean, layers, self.others)


def chosen_layers(layers: str, model: Model) -> dict[str, tuple[int, ...]]:
    """The choices of layers to score by their names: all and, for 'all', top:k for up to ten k; else the one asked for."""
    layout = model.backbone.layout
    count = len(layout)
    every = {"all": tuple(range(count))}
    if layers != "all":
        return every | {layers: layout.select(layers)}
    steps = torch.linspace(1, count, min(count, MOST_CURVE_POINTS)).round().int().tolist()
    return every | {f"top:{k}": tuple(range(k)) for k in steps if k < count}


def open_outsiders(session: Session, name: str) -> tuple[Split, str]:
    """A set of outsiders by its name, with the shape of the run's data, and where it comes from in words."""
    data = session.data
    if is_made_up(name):
        return made_up(name, data.heldout), MADE_UP[name][1] if name in MADE_UP else ""
    root = None if session.config.data.root is None else Path(session.config.data.root)
    spec, split = load_foreign(name, root=root, progress=session.progress)
    if spec.shape != data.spec.shape:
        raise UsageError(
            f"--ood {name}: its data are of shape {spec.shape}, those of the run of shape {data.spec.shape}; "
            "both must be the same, so convert one."
        )
    told = f"{name}, as it stands"
    if not isinstance(split, Points) and split.levels != data.spec.levels:
        told += f" but for its {split.levels} grey levels, which are rounded to the run's {data.spec.levels}"
    return split, told


@single_precision()
def detect(
    session: Session,
    outsiders: Sequence[str],
    *,
    layers: str = "all",
    images: int = 1_000,
    repeats: int = 1,
    integrate: int = 32,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Found]:
    """Score up to `images` held-out images and as many of each set, and measure each score.

    Scores are means over `repeats` posterior samples; layers are integrated out with `integrate` draws.
    """
    model, heldout = session.model, session.data.heldout
    if len(heldout) < 2:
        raise UsageError("ood: the run's data have no held-out images to compare with; train on data with a held-out split.")
    opened = [(name, *open_outsiders(session, name)) for name in outsiders]
    device = model.backbone.device
    others = model.prior.standard_normal(integrate, Streams(seed).generator("ood.others", device=device))
    scorer = _Scorer(model, chosen_layers(layers, model), Draws(model, seed=seed), repeats, others)
    inside = _scored(scorer, _some(heldout, images, seed, "heldout", session), "heldout", seed, progress)
    found = []
    for name, split, told in opened:
        x = _some(split, images, seed, name, session)
        outside = _scored(scorer, x, name, seed, progress)
        count = len(next(iter(inside.values())))
        held = f"{count} held-out images ({session.data.protocol})"
        protocol = f"{held} against {len(x)} of {told}; posterior samples averaged: {repeats}; 95 % intervals by bootstrap"
        found.append(Found(name, protocol, _measured(inside, outside, seed, progress)))
    return found


def _measured(inside: Mapping[Key, Tensor], outside: Mapping[Key, Tensor], seed: int, progress: Progress) -> list[Detected]:
    """Scores that are the same for all images, such as the Gaussian prior's log ratio, are left out."""
    kept = [key for key in inside if bool((inside[key] != inside[key][0]).any() | (outside[key] != inside[key][0]).any())]
    return [
        Detected(*key, detection(inside[key], outside[key], generator=Streams(seed).generator("bootstrap", number)))
        for number, key in enumerate(progress(kept, len(kept), "bootstrap"))
    ]


def _some(split: Split, images: int, seed: int, name: str, session: Session) -> Tensor:
    """Up to `images` of a split, on the run's grid of grey levels, (N, *shape)."""
    order = torch.randperm(len(split), generator=Streams(seed).generator("ood.choose", *name.encode()))
    x = split.batch(order[:images])
    levels = session.data.spec.levels
    if not isinstance(split, Points) and levels is not None and split.levels != levels:
        x = (x * (levels - 1)).round() / (levels - 1)
    return x


def _scored(scorer: _Scorer, x: Tensor, name: str, seed: int, progress: Progress) -> dict[Key, Tensor]:
    """All scores of all images."""
    starts = range(0, len(x), BATCH)
    if scorer.model.prior.trained_stages:
        scorer.draws.latents(len(x))  # together, before each process scores images of its own

    def piece(number: int) -> dict[str, Tensor]:
        start = starts[number]
        generator = Streams(seed).generator("ood.scores", *name.encode(), start, device=scorer.model.backbone.device)
        scores = scorer.scores(x[start : start + BATCH], start, generator)
        return {"/".join(key): values for key, values in scores.items()}

    found = scorer.model.spread(piece, len(starts), progress=progress, title=f"scores of {name}")
    keys = (name.partition("/") for name in found)
    return {(score, layers): values.cpu() for (score, _, layers), values in zip(keys, found.values(), strict=True)}
