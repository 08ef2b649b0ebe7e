r"""Variational diffusion recovery with multiscale energies, in u-space.

At each scale i of a diffusion of u = x_0 the conditional energy

.. math:: \mathcal{E}(x_i \mid x_{i+1}) = E(x_i, i) + \frac{|a_{i+1} x_i - x_{i+1}|^2}{2 b_{i+1}^2}

is minus the log density of x_i given x_{i+1} up to a constant (paper, eq. 6), so that E(., i) is minus the log density of
x_i.  In place of a chain a generator draws :math:`\hat x_i = G(x_{i+1}, z, i)`, and the two play

.. math:: \min_E \max_G \; \mathbb{E}[\mathcal{E}(x_i \mid x_{i+1})] - \mathbb{E}[\mathcal{E}(\hat x_i \mid x_{i+1})]
    + H[\hat x_i \mid x_{i+1}]

(eq. 10).  Here :math:`E(x, i) = |x|^2 / 2 - f(x, i)` with a network f that starts at 0: N(0, I) is what the diffusion leaves
alone, so the start is the Gaussian prior, and f(., 0) is the log ratio.
"""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn

from priorkit.core import Chain, Condition, Draw, Latents, LatentSpace, Loss, Objective, Prior, Sampler, StageContext, Step
from priorkit.errors import UsageError
from priorkit_vdrme.entropy import jsd_information, nearest_neighbour_entropy
from priorkit_vdrme.frozen import frozen
from priorkit_vdrme.networks import GeneratorNet, ScaleNet
from priorkit_vdrme.pairs import Pairs, real_pairs
from priorkit_vdrme.schedule import Schedule
from priorkit_vdrme.settings import VdrmeSettings

__all__ = ["VdrmePrior"]

FEW = 64
"""At most so many coordinates have their entropy estimated from distances by default."""


class VdrmePrior(Prior):
    """Energies and generators at K scales; the generators draw, the energy of scale 0 is the density."""

    Config = VdrmeSettings
    settings: VdrmeSettings
    draws_follow_log_ratio = False  # generators draw, and the energy is another network
    frequencies: Tensor
    """Share of each class in the training data, (classes,)."""

    def __init__(self, settings: VdrmeSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        dim, scales, classes = space.layout.dim, settings.scales, settings.classes
        self.nearest = settings.entropy == "nearest" or (settings.entropy == "auto" and dim <= FEW)
        self.schedule = Schedule(scales, settings.spacing)
        self.energy = ScaleNet(settings.energy, dim, 1, scales)
        self.generator = GeneratorNet(settings.generator, dim, dim, scales, classes=classes)
        self.information = None if self.nearest else ScaleNet(settings.energy, dim, 1, scales, beside=2 * dim)
        self.classifier = ScaleNet(settings.energy, dim, classes, scales) if classes else None
        self.register_buffer("frequencies", torch.full((classes,), 1 / max(1, classes)))

    def log_ratios(self, x: Tensor, level: Tensor) -> Tensor:
        """f(x, i): the log of the density of x_i over N(0, I) up to a constant of the scale, (B, D), (B,) -> (B,)."""
        f = _precise(self.energy(x, level))[:, 0]
        bound = self.settings.bound
        return f if bound is None else bound * torch.tanh(f / bound)

    def energies(self, x: Tensor, level: Tensor) -> Tensor:
        """E(x, i) = |x|^2 / 2 - f(x, i), (B, D), (B,) -> (B,)."""
        return 0.5 * x.square().sum(1) - self.log_ratios(x, level)

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """f(u, 0), (B, D) -> (B,), so that `log_prob` is -E(u, 0), the log density of scale 0 up to a constant."""
        return self.log_ratios(u, _levels(u, 0))

    @property
    def attributes(self) -> Mapping[str, int]:
        """The class, where the generators are conditioned on it."""
        return {"label": self.settings.classes} if self.settings.classes else {}

    def label_log_prob(self, u: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """log p(y | u), (B, D) -> (B,), by the classifier of scale 0."""
        asked = self._asked(labels, u)
        return u.new_zeros(len(u)) if asked is None else self._label_log_probs(u, _levels(u, 0), asked)

    def step(self, above: Tensor, noise: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """G: a draw of x_i given x_{i+1} and the injected noise, (B, D), (B, D), (B,) -> (B, D)."""
        change = _precise(self.generator.generate(above, noise, level, labels))
        velocity = self.settings.predicts == "velocity"
        if velocity:
            change = self.schedule.signal[level + 1, None] * change
        if self.settings.start == "gaussian":
            return self.schedule.diffuse(above, level, noise) + self.schedule.reach(level) * change
        return self.schedule.below(above, change + self.schedule.noise[level + 1, None] * above * velocity, level)

    @torch.no_grad()
    def draw(
        self,
        n: int,
        *,
        sampler: Sampler,
        generator: Generator | None = None,
        keep_every: int = 0,
        stages: int | None = None,
        condition: Condition | None = None,
    ) -> Draw:
        """n points by one generator call a scale; the sampler has nothing to do.

        Fixed columns are diffused along one path, whose points take their place at each scale.
        """
        with torch.autocast(self.frequencies.device.type, enabled=False):
            x = self.standard_normal(n, generator)
            labels = self._labels(n, condition, x, generator)
            path = self._fixed_path(condition, x, generator)
            states = [x if condition is None else path[-1].fix(x)]
            for i in reversed(range(self.settings.scales)):
                x = self.step(states[-1], self.standard_normal(n, generator), _levels(x, i), labels)
                states.append(x if condition is None else path[i].fix(x))
        kept = torch.stack(states[::keep_every]) if keep_every else None
        return Draw(states[-1], [Chain(states[-1], trajectory=kept, calls=self.settings.scales)])

    def _fixed_path(self, condition: Condition | None, like: Tensor, generator: Generator | None) -> list[Condition]:
        """The fixed columns at levels 0 (as they are given) ... K."""
        if condition is None or condition.top is None:
            return [Condition()] * (self.settings.scales + 1)
        path = [condition.top.to(like)]
        for i in range(self.settings.scales):
            noise = self.standard_normal(len(like), generator)[:, : condition.fixed]
            path.append(self.schedule.diffuse(path[-1], _levels(like, i), noise))
        return [Condition(top=top) for top in path]

    def _labels(self, n: int, condition: Condition | None, like: Tensor, generator: Generator | None) -> Tensor | None:
        """The asked classes, else classes as frequent as in the training data, (n,); None without classes."""
        asked = None if condition is None else self._asked(condition.labels, like)
        if asked is not None or not self.settings.classes:
            return asked
        return torch.multinomial(self.frequencies.to(like.device), n, replacement=True, generator=generator)

    def _asked(self, labels: Mapping[str, Tensor], like: Tensor) -> Tensor | None:
        """The classes that are asked for, (n,), or None.  Raises UsageError for what was not learnt."""
        if not labels:
            return None
        if not self.settings.classes:
            raise UsageError("this prior has learnt no labels; train it with prior.classes, or leave the label out.")
        if unknown := [name for name in labels if name != "label"]:
            raise UsageError(f"label {unknown[0]!r}: this prior has learnt label.")
        values = labels["label"].to(like.device)
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < self.settings.classes:
            raise UsageError(f"label: expected a value from 0 to {self.settings.classes - 1}.")
        return values

    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Count the classes."""
        if self.settings.classes:
            found = self._known(context.positives)
            self.frequencies.copy_(torch.bincount(found, minlength=self.settings.classes) / len(found))

    def _known(self, batch: Latents) -> Tensor:
        """The labels of data, (B,).  Raises UsageError where they are missing or do not fit."""
        if batch.labels is None:
            raise UsageError("prior.classes: this data set has no labels; take data with labels, or leave it at 0.")
        if (most := int(batch.labels.max())) >= self.settings.classes:
            raise UsageError(f"prior.classes: the data have a class {most}; set it to {most + 1} or more.")
        return batch.labels

    @torch.no_grad()
    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Mean energy of scale 0 on held-out points and on draws; a prior that fits gives them the same."""
        u = context.heldout.u
        if not len(u):
            return {}
        generator = context.streams.generator("vdrme.heldout", device=u.device)
        drawn = self.draw(len(u), sampler=context.sampler, generator=generator).u
        means = {"heldout_energy": -self.log_prob(u).mean(), "drawn_energy": -self.log_prob(drawn).mean()}
        return {name: float(value) for name, value in means.items()}

    def objectives(self) -> list[Objective]:
        """What the energies, the generators and, for the mutual information, its network minimise."""
        settings = self.settings
        learners = [self.energy] if self.classifier is None else [self.energy, self.classifier]
        objectives = [
            Objective("energy", _parameters(*learners), settings.energy_optimiser, self._energy_loss),
            Objective("generator", _parameters(self.generator), settings.generator_optimiser, self._generator_loss),
        ]
        if self.information is not None:
            parameters = _parameters(self.information)
            objectives.append(Objective("entropy", parameters, settings.entropy_optimiser, self._entropy_loss))
        return objectives

    def pairs(self, batch: Latents, generator: Generator) -> Pairs:
        """A real pair of neighbouring scales for each of the batch."""
        labels = self._known(batch) if self.settings.classes else None
        return real_pairs(self.schedule, batch.u, labels, generator, shared=self.settings.pairs == "shared_noise")

    def _energy_loss(self, batch: Latents, step: Step) -> Loss:
        """E(real) - E(fake) and the gradient penalty (paper, eq. 19); the classifier's cross-entropy at real points."""
        real = self.pairs(batch, step.generator)
        with torch.no_grad(), frozen(self.generator):
            fake = self.step(real.above, _noise(real.above, step), real.level, real.labels)
        x = real.x.requires_grad_()
        ratios, faked = self.log_ratios(x, real.level), self.energies(fake, real.level).mean()
        energy = (0.5 * real.x.detach().square().sum(1) - ratios).mean()
        value = energy - faked
        metrics = {"real": energy.detach(), "fake": faked.detach()}
        if self.settings.gradient_penalty:
            (slope,) = torch.autograd.grad(ratios.sum(), x, create_graph=True)
            metrics["slope"] = (squares := slope.square().sum(1).mean()).detach()
            value = value + self.settings.gradient_penalty * squares
        if real.labels is not None:
            cross_entropy = -self._label_log_probs(real.x.detach(), real.level, real.labels).mean()
            metrics["label_loss"] = cross_entropy.detach()
            value = value + self.settings.classes_weight * cross_entropy
        return Loss(value, metrics)

    def _generator_loss(self, batch: Latents, step: Step) -> Loss:
        """The conditional energy of fakes less their entropy (paper, eq. 18), on as many draws as the batch has rows."""
        settings = self.settings
        count = settings.draws if self.nearest else 1
        real = self.pairs(batch, step.generator).repeated(max(1, len(batch) // count), count)
        noise = _noise(real.above, step)
        fake = self.step(real.above, noise, real.level, real.labels)
        with frozen(self.energy, self.information, self.classifier):
            energy = self.energies(fake, real.level)
            if real.labels is not None:
                energy = energy - self._label_log_probs(fake, real.level, real.labels)
            recovery = self.schedule.recovery(fake, real.above, real.level)
            if self.nearest:
                entropy = nearest_neighbour_entropy(fake.view(-1, count, fake.shape[1])).mean()
            else:
                entropy = self._shared_information(fake, noise, real, step)
        energy, recovery = energy.mean(), recovery.mean()
        value = settings.energy_weight * energy + settings.recovery_weight * recovery - settings.entropy_weight * entropy
        return Loss(value, {"recovery": recovery.detach(), "entropy": entropy.detach()})

    def _entropy_loss(self, batch: Latents, step: Step) -> Loss:
        """Minus the bound on the mutual information of fakes and their noise (paper, eq. 14)."""
        real = self.pairs(batch, step.generator)
        noise = _noise(real.above, step)
        with torch.no_grad():
            fake = self.step(real.above, noise, real.level, real.labels)
        return Loss(-self._shared_information(fake, noise, real, step))

    def _shared_information(self, fake: Tensor, noise: Tensor, real: Pairs, step: Step) -> Tensor:
        """The Jensen-Shannon bound; noise of other rows is independent of a fake given x_{i+1}.

        The network reads x_i as the noise that would lead from it to x_{i+1}, which is of order 1 at every scale.
        """
        if self.information is None:
            raise RuntimeError("VdrmePrior: there is no entropy network")
        kernel = self.schedule
        up = (real.above - kernel.carry[real.level, None] * fake) / kernel.spread[real.level, None]
        others = noise[torch.randperm(len(noise), generator=step.generator, device=noise.device)]
        joint, independent = (
            _precise(self.information(up, real.level, beside=torch.cat([real.above, z], dim=1))) for z in (noise, others)
        )
        return jsd_information(joint, independent)

    def _label_log_probs(self, x: Tensor, level: Tensor, labels: Tensor) -> Tensor:
        """log p(y | x_i), (B,)."""
        if self.classifier is None:
            raise RuntimeError("VdrmePrior: there is no classifier")
        log_probs = _precise(self.classifier(x, level)).log_softmax(1)
        return log_probs.gather(1, labels[:, None])[:, 0]


def _parameters(*modules: nn.Module) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]


def _precise(values: Tensor) -> Tensor:
    """In single precision or better, also where the networks run in half: log densities and distances are made of it."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _levels(x: Tensor, level: int) -> Tensor:
    """That scale for every row, (B,)."""
    return torch.full((len(x),), level, dtype=torch.int64, device=x.device)


def _noise(like: Tensor, step: Step) -> Tensor:
    return torch.randn(like.shape, generator=step.generator, dtype=like.dtype, device=like.device)
