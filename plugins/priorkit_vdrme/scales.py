"""The scales: the energies, the generators and the auxiliary networks, evaluated at points and pairs."""

from functools import partial

import torch
from torch import Generator, Tensor

from priorkit.core import Latents, LatentSpace, Prior
from priorkit.energies import bounded, precise
from priorkit_vdrme.classes import known_classes
from priorkit_vdrme.modes import evaluation_mode
from priorkit_vdrme.networks import build_generator, build_net
from priorkit_vdrme.pairs import Pairs, real_pairs
from priorkit_vdrme.refinement import refined
from priorkit_vdrme.schedule import Schedule
from priorkit_vdrme.settings import VdrmeSettings

__all__ = ["ScaleModel"]


class ScaleModel(Prior):
    """Energies and generators at K scales, independent of training and sampling."""

    settings: VdrmeSettings

    def __init__(self, settings: VdrmeSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        dim, scales, classes = space.layout.dim, settings.scales, settings.classes
        self.nearest = settings.uses_distances(dim)
        self.schedule = Schedule(scales, settings.spacing)
        layout, times = space.layout, self.schedule.times
        self.energy = build_net(settings.energy, layout, 1, times[:-1])
        self.generator = build_generator(settings.generator, layout, times[1:], classes=classes)
        self.information = None if self.nearest else build_net(settings.energy, layout, 1, times[:-1], beside=2)
        self.classifier = build_net(settings.energy, layout, classes, times[:-1]) if classes else None

    def log_ratios(self, x: Tensor, level: Tensor) -> Tensor:
        """Return f(x, i): the log of the density of x_i over N(0, I) up to a constant of the scale, (B, D), (B,) -> (B,)."""
        return bounded(self.energy(x, level), self.settings.bound)[:, 0]

    def energies(self, x: Tensor, level: Tensor) -> Tensor:
        """Return E(x, i) = |x|^2 / 2 - f(x, i), (B, D), (B,) -> (B,)."""
        return 0.5 * x.square().sum(1) - self.log_ratios(x, level)

    def step(self, above: Tensor, noise: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return G, a sample of x_i given x_{i+1} and the injected noise, (B, D), (B, D), (B,) -> (B, D)."""
        change = precise(self.generator.generate(above, noise, level, labels))
        velocity = self.settings.predicts == "velocity"
        if velocity:
            change = self.schedule.signal[level + 1, None] * change
        if self.settings.start == "gaussian":
            return self.schedule.diffuse(above, level, noise) + self.schedule.reach(level) * change
        return self.schedule.below(above, change + self.schedule.noise[level + 1, None] * above * velocity, level)

    def refined(
        self,
        x: Tensor,
        above: Tensor,
        level: Tensor,
        labels: Tensor | None = None,
        *,
        steps: int,
        fixed: int = 0,
        generator: Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return x_i after so many steps from x (B, D) on the conditional energy given x_{i+1}, and the share of accepted
        moves."""
        mean, spread = self.schedule.carry[level, None] * above, self.schedule.spread[level, None]
        ratio = partial(self._labelled_ratios, level=level, labels=labels)
        with evaluation_mode(self), torch.autocast(x.device.type, enabled=False):
            return refined(ratio, x, mean, spread, steps=steps, fixed=fixed, generator=generator)

    def _labelled_ratios(self, x: Tensor, level: Tensor, labels: Tensor | None) -> Tensor:
        """Return f(x, i), with labels plus log p(y | x_i), (B,)."""
        f = self.log_ratios(x, level)
        return f if labels is None else f + self.label_log_probs(x, level, labels)

    def pairs(self, batch: Latents, generator: Generator) -> Pairs:
        """Return a real pair of neighbouring scales for each row of the batch."""
        labels = known_classes(batch, self.settings.classes) if self.settings.classes else None
        return real_pairs(self.schedule, batch.u, labels, generator, shared=self.settings.pairs == "shared_noise")

    def label_log_probs(self, x: Tensor, level: Tensor, labels: Tensor) -> Tensor:
        """Return log p(y | x_i), (B,)."""
        if self.classifier is None:
            raise RuntimeError("VdrmePrior: there is no classifier")
        log_probs = precise(self.classifier(x, level)).log_softmax(1)
        return log_probs.gather(1, labels[:, None])[:, 0]
