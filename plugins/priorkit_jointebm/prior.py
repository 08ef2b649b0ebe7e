r"""Maximum likelihood of an energy tilted Gaussian in u-space.

.. math:: p(u) = \frac{1}{Z} e^{F(u)} N(u; 0, I), \qquad
          \nabla_\theta E_q[\log p] = E_q[\nabla_\theta F] - E_p[\nabla_\theta F],

with q the aggregated posterior; the second expectation, the gradient of log Z, is taken over Markov chains on p
(Joint Latent Space EBM Prior Model, Cui et al. 2023; on a single layer: Latent Space EBM, Pang et al. 2020).  F reads u,
or z = T(u); the Jacobian of T cancels, so that the Gaussian is N(u; 0, I) in both cases.  Another base b(u) may take its
place (`prior.base_prior`).
"""

import torch
from torch import Tensor

from priorkit.core import Latents, LatentSpace, Loss, Objective, Sampling, StageContext, Step, frozen
from priorkit.energies import LabelHeads, LabelledPrior, RatioPrior, bounded, build_energy
from priorkit.errors import UsageError
from priorkit_jointebm.chain import Moved
from priorkit_jointebm.negatives import Negatives, chains_of
from priorkit_jointebm.settings import JointEbmSettings

__all__ = ["JointEbmPrior"]


class JointEbmPrior(RatioPrior, LabelledPrior):
    """An energy over u, learnt by maximum likelihood with Langevin negatives."""

    Config = JointEbmSettings
    settings: JointEbmSettings
    takes_negatives = True
    labels: LabelHeads

    def __init__(self, settings: JointEbmSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.energy_input = settings.energy_input
        self.net = build_energy(settings.energy, space.layout, zero=True)
        self.labels = LabelHeads(settings.labels, space.layout, zero=True)
        self._negatives: Negatives | None = None
        self.hold_base_prior()
        if self.base_prior is not None and settings.base_density == "z":
            raise UsageError(
                "prior.base_density: the released code's target has the Gaussian base; remove prior.base_density=z, or "
                "prior.base_prior."
            )

    def energy(self, x: Tensor) -> Tensor:
        """Return the terms of F at the network's input x (B, D), u or z: (B, 1), or one per layer, (B, L), if separable."""
        terms: Tensor = self.net(x)
        if self.settings.labels:
            terms = terms + self.labels.evidence(x)[:, None] / terms.shape[1]
        return bounded(terms, self.settings.bound)

    def ratio_term(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return F(u), with `base_density: z` minus the sum of log sigma_i(u), (B, D) -> (B,)."""
        return u.new_zeros(len(u)) if self.is_base(stages) else self._terms(u).sum(1)

    def layer_ratio_terms(self, u: Tensor, *, stages: int | None = None) -> Tensor | None:
        """Return (B, D) -> (B, L) for separable energies, else None; also None if labels of all layers are part of log r."""
        if not (self.settings.energy.separable(self.layout) and self.labels.within_one_layer):
            return None
        return u.new_zeros(len(u), len(self.layout)) if self.is_base(stages) else self._terms(u)

    def _terms(self, u: Tensor) -> Tensor:
        """Return the terms of log r, (B, D) -> (B, 1) or (B, L)."""
        if self.settings.base_density == "u":
            return self.energy(self.inputs(u))
        z, log_scale = self._walk(u)
        terms = self.energy(z if self.energy_input == "z" else u)
        return terms - (log_scale if terms.shape[1] > 1 else log_scale.sum(1, keepdim=True))

    def _walk(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return z = T(u), (B, D), and the sum of log sigma_i within each layer, (B, L)."""
        walk = self.space.top_down(len(u))
        z, log_scale = [], []
        for i, part in enumerate(self.layout.split(u)):
            context = walk.context()
            z.append(context.mean + context.scale * part)
            log_scale.append(context.scale.log().flatten(1).sum(1))
            if i + 1 < len(self.layout):
                walk.take(z[-1])
        return self.layout.join(z), torch.stack(log_scale, dim=1)

    def begin_ratio(self, stage: int, context: StageContext) -> None:
        """Create the training chains; a resumed run replaces them by their saved states."""
        like = next(self.parameters())
        generator = context.streams.generator("jointebm.chains", device=like.device)
        count = chains_of(self.settings.chain, self.layout.dim)
        start = self.base_draw(count, Sampling(context.sampler, generator))
        self._negatives = Negatives(self.settings.chain, start)

    def ratio_objectives(self) -> list[Objective]:
        """Return the gradient of the log likelihood as an objective."""
        own, parameters, optimiser = self._negatives, self.ratio_parameters(), self.settings.optimiser
        buffers, rows = ([], []) if own is None else ([own.log_size], [own.states])
        return [Objective("likelihood", parameters, optimiser, self._loss, buffers, rows)]

    def end_ratio(self, stage: int, context: StageContext) -> dict[str, float]:
        """Return the mean energy at held-out points and at new samples of the run's sampler, equal for the right prior."""
        self._negatives = None
        heldout = context.heldout
        if not len(heldout):
            return {}
        generator = context.streams.generator("jointebm.heldout", device=heldout.u.device)
        sampler = self.tuned(context.sampler, generator=generator)
        drawn = self.draw(min(1_000, len(heldout)), Sampling(sampler, generator)).u
        with torch.no_grad():
            positive, negative = self.energy(self.inputs(heldout)).sum(1), self.energy(self.inputs(drawn)).sum(1)
        return {"heldout_positive": positive.mean().item(), "heldout_negative": negative.mean().item()}

    def _moved(self, chains: Negatives, n: int, step: Step) -> Moved:
        """Return n negatives: the chains move on the density used for sampling, without dropout."""
        with frozen(self), torch.autocast(chains.states.device.type, enabled=False):
            return chains.draw(n, self.density(), step.generator, step.rows)

    def _loss(self, batch: Latents, step: Step) -> Loss:
        """Return a scalar whose gradient is minus that of the mean log likelihood, plus the penalties on the energies."""
        if self._negatives is None:
            raise RuntimeError("JointEbmPrior: begin_stage was not called before its loss")
        metrics, negatives = {}, batch.negatives
        if negatives is None:
            moved = self._moved(self._negatives, len(batch), step)
            negatives, metrics["acceptance"], metrics["displacement"] = moved.u, moved.acceptance, moved.displacement
            metrics["step_size"] = self._negatives.log_size.exp()
        with torch.no_grad():
            x = torch.cat([self.inputs(batch), self.inputs(negatives)])
        positive, negative = torch.split(self.energy(x).sum(1), [len(batch), len(negatives)])
        metrics |= {"positive": positive.mean().detach(), "negative": negative.mean().detach()}
        value = negative.mean() - positive.mean()
        if self.settings.energy_l2:
            value = value + self.settings.energy_l2 * (positive.square().mean() + negative.square().mean())
        if self.settings.labels:
            metrics["label_loss"] = (label_loss := self.labels.loss(x[: len(batch)], batch.labels)).detach()
            value = value + label_loss
        return Loss(value, metrics)
