r"""Variational diffusion recovery with multiscale energies, in u-space.

At each scale i of a diffusion of u = x_0 the conditional energy

.. math:: \mathcal{E}(x_i \mid x_{i+1}) = E(x_i, i) + \frac{|a_{i+1} x_i - x_{i+1}|^2}{2 b_{i+1}^2}

is minus the log density of x_i given x_{i+1} up to a constant (paper, eq. 6), so that E(., i) is minus the log density of
x_i.  Instead of a chain, a generator samples :math:`\hat x_i = G(x_{i+1}, z, i)`, and both are trained by

.. math:: \min_E \max_G \; \mathbb{E}[\mathcal{E}(x_i \mid x_{i+1})] - \mathbb{E}[\mathcal{E}(\hat x_i \mid x_{i+1})]
    + H[\hat x_i \mid x_{i+1}]

(eq. 10). Here :math:`E(x, i) = |x|^2 / 2 - f(x, i)` with a network f that is initialised at 0: the diffusion leaves N(0, I)
unchanged, so training starts at the Gaussian prior, and f(., 0) is the log ratio. With `refine` a short chain on the
conditional energy follows each generator call (`priorkit_vdrme.refinement`).
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Generator, Tensor, nn

from priorkit.core import Chain, Condition, Draw, LatentSpace, Objective, Sampling, StageContext
from priorkit_vdrme.classes import asked_classes, known_classes
from priorkit_vdrme.losses import energy_loss, generator_loss, information_loss
from priorkit_vdrme.scales import ScaleModel
from priorkit_vdrme.settings import VdrmeSettings

__all__ = ["VdrmePrior"]


class VdrmePrior(ScaleModel):
    """Energies and generators at K scales; the generators draw samples, the energy of scale 0 is the density."""

    Config = VdrmeSettings
    draws_follow_log_ratio = False  # generators draw samples, and the energy is another network
    frequencies: Tensor
    """Share of each class in the training data, (classes,)."""

    def __init__(self, settings: VdrmeSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.first_signal = float(self.schedule.signal[1])
        self.register_buffer("frequencies", torch.full((settings.classes,), 1 / max(1, settings.classes)))

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return f(u, 0), (B, D) -> (B,), so that `log_prob` is -E(u, 0), the log density of scale 0 up to a constant."""
        return self.log_ratios(u, _levels(u, 0))

    @property
    def attributes(self) -> Mapping[str, int]:
        """The class, if the generators are conditioned on it."""
        return {"label": self.settings.classes} if self.settings.classes else {}

    def label_log_prob(self, u: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """Return log p(y | u), (B, D) -> (B,), by the classifier of scale 0."""
        asked = asked_classes(labels, self.settings.classes, u.device)
        return u.new_zeros(len(u)) if asked is None else self.label_log_probs(u, _levels(u, 0), asked)

    @torch.no_grad()
    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Return n points from one generator call per scale, with refinement steps; the sampler is not used.

        Fixed columns are diffused along one path, whose points replace them at each scale.
        """
        condition, generator, keep = sampling.condition, sampling.generator, sampling.keep_every
        with torch.autocast(self.frequencies.device.type, enabled=False):
            x = self.standard_normal(n, generator)
            labels = self._labels(n, condition, x, generator)
            path = self._fixed_path(condition, x, generator)
            states, acceptance = [path[-1].fix(x)], []
            for i in reversed(range(self.settings.scales)):
                above, level = states[-1], _levels(x, i)
                x = path[i].fix(self.step(above, self.standard_normal(n, generator), level, labels))
                if steps := self.refining_steps:
                    x, taken = self.refined(x, above, level, labels, steps=steps, fixed=path[i].fixed, generator=generator)
                    acceptance.append(taken)
                states.append(x)
        figures = {"acceptance": torch.stack(acceptance)} if acceptance else {}
        calls = self.settings.scales * (1 + (steps + 1 if steps else 0))
        return Draw(x, [Chain(x, figures, torch.stack(states[::keep]) if keep else None, calls)])

    @property
    def refining_steps(self) -> int:
        """Return the number of steps after each generator call of `draw`."""
        asked = self.settings.refine_draws
        return self.settings.refine if asked is None else asked

    def _fixed_path(self, condition: Condition | None, like: Tensor, generator: Generator | None) -> list[Condition]:
        """Return the fixed columns at levels 0 (as given) ... K."""
        if condition is None or condition.top is None:
            return [Condition()] * (self.settings.scales + 1)
        path = [condition.top.to(like)]
        for i in range(self.settings.scales):
            noise = self.standard_normal(len(like), generator)[:, : condition.fixed]
            path.append(self.schedule.diffuse(path[-1], _levels(like, i), noise))
        return [Condition(top=top) for top in path]

    def _labels(self, n: int, condition: Condition | None, like: Tensor, generator: Generator | None) -> Tensor | None:
        """Return the requested classes, else classes as frequent as in the training data, (n,); None without classes."""
        asked = None if condition is None else asked_classes(condition.labels, self.settings.classes, like.device)
        if asked is not None or not self.settings.classes:
            return asked
        return torch.multinomial(self.frequencies.to(like.device), n, replacement=True, generator=generator)

    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Count the classes of the data."""
        if self.settings.classes:
            found = known_classes(context.positives, self.settings.classes)
            self.frequencies.copy_(torch.bincount(found, minlength=self.settings.classes) / len(found))

    @torch.no_grad()
    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Return the mean energy of scale 0 on held-out points and on samples, equal for a prior that fits."""
        u = context.heldout.u
        if not len(u):
            return {}
        generator = context.streams.generator("vdrme.heldout", device=u.device)
        drawn = self.draw(len(u), Sampling(context.sampler, generator)).u
        means = {"heldout_energy": -self.log_prob(u).mean(), "drawn_energy": -self.log_prob(drawn).mean()}
        return {name: float(value) for name, value in means.items()}

    def objectives(self) -> list[Objective]:
        """Return the objectives of the energies, the generators and, for the mutual information, its network."""
        settings = self.settings
        learners = [self.energy] if self.classifier is None else [self.energy, self.classifier]
        objectives = [
            Objective("energy", _parameters(*learners), settings.energy_optimiser, partial(energy_loss, self)),
            Objective("generator", _parameters(self.generator), settings.generator_optimiser, partial(generator_loss, self)),
        ]
        if self.information is not None:
            parameters = _parameters(self.information)
            loss = partial(information_loss, self)
            objectives.append(Objective("entropy", parameters, settings.entropy_optimiser, loss))
        return objectives


def _parameters(*modules: nn.Module) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]


def _levels(x: Tensor, level: int) -> Tensor:
    """Return that scale for every row, (B,)."""
    return torch.full((len(x),), level, dtype=torch.int64, device=x.device)
