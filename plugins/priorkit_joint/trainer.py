"""Joint training: first the generator alone, then with each stage of the prior."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Generator, Tensor

from priorkit.core import (
    Latents,
    Loss,
    Objective,
    OptimiserSettings,
    Phase,
    PosteriorChain,
    Prior,
    Sampling,
    Step,
    Trainer,
    Workbench,
    density_of_z,
    frozen,
)
from priorkit.errors import UsageError
from priorkit_joint.losses import Batch, GeneratorLoss
from priorkit_joint.moment import begin_stage, end_stage
from priorkit_joint.settings import JointSettings

__all__ = ["JointTrainer"]


class JointTrainer(Trainer):
    """Trains generator and prior on the same posterior samples, the generator first in each step."""

    Config = JointSettings
    settings: JointSettings

    @property
    def posterior(self) -> PosteriorChain | None:
        """The chain on p(u | x); None if an inference network is trained."""
        own = self.settings
        return PosteriorChain(own.chain, own.chain_space) if own.posterior == "chain" else None

    def phases(self, bench: Workbench) -> Iterator[Phase]:
        """Yield the generator under the Gaussian prior; then, for each stage of the prior, both; then the generator under
        all stages."""
        if not any(True for _ in bench.backbone.parameters()):
            raise UsageError(
                "trainer: 'joint' needs a trainable generator, but this backbone has nothing to train; use "
                "--trainer two-phase."
            )
        if self.settings.share_prior_samples and not (bench.prior.takes_negatives and bench.prior.energy_input == "z"):
            raise UsageError(
                f"trainer.share_prior_samples: the prior {bench.prior.implementation.__name__} with energies on "
                f"{bench.prior.energy_input} takes no samples of the generator's gradient; use --prior jointebm with --set "
                "prior.energy_input=z --set prior.layers=all, or leave the option out."
            )
        alone = self.settings.backbone_steps + (0 if bench.prior.stages else self.settings.joint_steps)
        if alone:
            yield self._phase(bench, "backbone", alone, None, 0)
        for stage in range(1, bench.prior.stages + 1):
            if bench.prior.should_train(stage):
                yield self._stage_phase(bench, stage)
        if final := self._final_steps(bench.prior):
            yield self._phase(bench, "final", final, bench.prior, bench.prior.stages + 1)

    def _final_steps(self, prior: Prior) -> int:
        """Return the steps of the generator under the final prior. The only stage of a prior has been part of the posterior
        already."""
        return round(self.settings.final_share * self.settings.joint_steps) if prior.stages > 1 else 0

    def _stage_phase(self, bench: Workbench, stage: int) -> Phase:
        stages = bench.prior.stages
        steps = self.settings.joint_steps - self._final_steps(bench.prior)
        count, infer = self.settings.stage_samples, partial(self._infer, bench, bench.prior)
        return replace(
            self._phase(bench, f"joint.{stage}", steps // stages + (stage <= steps % stages), bench.prior, stage),
            learner=(bench.backbone, bench.prior),
            objectives=lambda: self._objectives(bench, stage),
            begin=lambda: begin_stage(bench, stage, count, infer),
            end=lambda: end_stage(bench, stage, count, infer),
        )

    def _phase(self, bench: Workbench, name: str, steps: int, prior: Prior | None, index: int) -> Phase:
        own = self.settings
        return Phase(
            name=name,
            learner=bench.backbone,
            steps=steps,
            batch_size=min(own.batch, len(bench.train)),
            population=lambda: len(bench.train),
            batch=partial(self._batch, bench, prior),
            objectives=lambda: [self._generator_objective(bench, prior, index)],
            average=own.average,
            validate=partial(self._validate, bench, prior),
            validate_every=own.validate_every,
        )

    @torch.no_grad()
    def _batch(self, bench: Workbench, prior: Prior | None, indices: Tensor, step: Step) -> Batch:
        """Return data with posterior samples and, if the generator's gradient needs them, as many prior samples."""
        x = bench.train.batch(indices).to(bench.device, non_blocking=True)
        if self.settings.flip:
            mirrored = torch.rand(len(x), generator=step.generator, device=x.device) < 0.5
            x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
        x = bench.backbone.observe(x, generator=step.generator)
        labels = None if bench.train.labels is None else bench.train.labels[indices].to(bench.device)
        chain = self.posterior
        positive = None if chain is None else chain.run(bench.backbone, prior, x, generator=step.generator)
        return Batch(x, labels, positive, self._negatives(bench, prior, len(x), step.generator))

    def _negatives(self, bench: Workbench, prior: Prior | None, n: int, generator: Generator) -> Tensor | None:
        """Return prior samples for the gradient of log Z with respect to the generator, (n, D), or None if there is none."""
        if prior is None or not prior.trained_stages or prior.energy_input == "u":
            return None
        with frozen(bench.backbone, prior):
            if self._space == "u":
                return prior.draw(n, Sampling(bench.sampler, generator)).u
            density = density_of_z(bench.backbone, prior.density())
            return bench.sampler.run(density, prior.standard_normal(n, generator), generator=generator).u

    @property
    def _space(self) -> str:
        """Return the space in which samples are held fixed; the inference network provides u."""
        return "u" if self.settings.posterior == "variational" else self.settings.chain_space

    def _objectives(self, bench: Workbench, stage: int) -> list[Objective]:
        """Return the generator's objective, then those of the prior's stage on the same posterior samples."""
        own = bench.prior.objectives()
        learnt = [replace(objective, loss=partial(self._prior_loss, bench, objective)) for objective in own]
        return [self._generator_objective(bench, bench.prior, stage), *learnt]

    def _generator_objective(self, bench: Workbench, prior: Prior | None, index: int) -> Objective:
        """Return the generator's objective, under a prior or the Gaussian one, in the phase with number `index`."""
        loss = GeneratorLoss(bench.backbone, prior, "z" if self._space == "z" else "u")

        def generator_loss(batch: Batch, step: Step) -> Loss:
            if self.settings.posterior == "chain":
                return loss.of_chain(batch)
            first = index <= (0 if self.settings.backbone_steps else 1)
            weight = min(1.0, (step.index + 1) / max(1.0, self.settings.warmup * step.total)) if first else 1.0
            return loss.of_bound(batch, weight, step.generator)

        parameters = list(bench.backbone.parameters())
        return Objective("generator", parameters, self._optimiser(index), generator_loss)

    def _optimiser(self, index: int) -> OptimiserSettings:
        """Return the generator's optimiser in the phase of stage `index`, 0 before the first."""
        own = self.settings.optimiser
        factor = self.settings.decay**index
        return own.model_copy(update={"lr": own.lr * factor, "lr_min": own.lr_min * factor})

    def _prior_loss(self, bench: Workbench, objective: Objective, batch: Batch, step: Step) -> Loss:
        """Return the loss of one of the prior's objectives, without a gradient to the generator."""
        with frozen(bench.backbone):
            return objective.loss(self._latents(bench, batch, step.generator), step)

    @torch.no_grad()
    def _latents(self, bench: Workbench, batch: Batch, generator: Generator) -> Latents:
        """Return a batch's posterior samples as training data of the prior, under the current generator."""
        backbone = bench.backbone
        if batch.positive is None:
            u, z = backbone.infer(batch.x, generator=generator).u, None
        elif self._space == "z":
            u, z = backbone.noise(batch.positive), batch.positive
        else:
            u, z = batch.positive, None
        if bench.prior.energy_input == "z" and z is None:
            z = backbone.latents(u)
        negatives = batch.negative if self.settings.share_prior_samples else None
        if negatives is not None and self._space == "z":
            negatives = backbone.noise(negatives)
        return Latents(u, z if bench.prior.energy_input == "z" else None, batch.labels, negatives=negatives)

    @torch.no_grad()
    def _infer(self, bench: Workbench, prior: Prior | None, x: Tensor, generator: Generator) -> Tensor:
        """Return posterior samples u (B, D) of observed data."""
        chain = self.posterior
        if chain is None:
            return bench.backbone.infer(x, generator=generator).u
        return chain.infer(bench.backbone, prior, x, generator=generator)

    @torch.no_grad()
    def _validate(self, bench: Workbench, prior: Prior | None) -> dict[str, float]:
        """Return the squared error per entry and log p(x | z) at posterior samples of the first held-out data."""
        count = min(self.settings.batch, len(bench.heldout))
        if not count:
            return {}
        generator = bench.streams.generator("validate", device=bench.device)
        x = bench.backbone.observe(bench.heldout.batch(torch.arange(count)).to(bench.device), generator=generator)
        likelihood = bench.backbone.generate(self._infer(bench, prior, x, generator)).likelihood
        error = (likelihood.mean - x).square().mean().item()
        return {"heldout_reconstruction": error, "heldout_log_px": likelihood.log_prob(x).mean().item()}
