"""Two-phase training: first the backbone by its ELBO; then the prior on the aggregated posterior of the frozen backbone."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import log
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from priorkit.core import Latents, Phase, Planned, Selection, Settings, StageContext, Step, Trainer, Workbench
from priorkit_twophase.bank import SHOWN, Bank
from priorkit_twophase.positives import encode, infer, rows_that_fit

__all__ = ["TwoPhaseSettings", "TwoPhaseTrainer"]


HELDOUT_ROWS = 6_000
"""Largest number of held-out posterior samples to validate a stage with."""
VALIDATED = 2_000
"""Largest number of them to compare the weights of a stage with."""
MANY, ENCODED = 16, 200_000
"""Default number of posterior samples per example, and of all together."""
VALIDATIONS = 10
"""Default number of validations per stage."""


class TwoPhaseSettings(Settings):
    """The length and the data of each phase."""

    earlier: ClassVar[Mapping[str, Any]] = {"prior_validate_every": 0}
    # A pilot's stages are validated once, after their last steps.
    planned: ClassVar[Planned] = Planned(steps=("backbone_steps", "prior_steps"), pilot={"prior_validate_every": 10**9})

    backbone_steps: int = Field(default=2_000, ge=0)
    """Training steps of the backbone (first phase)."""
    backbone_batch: int = Field(default=128, ge=1)
    """Batch size of the first phase."""
    backbone_average: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the exponential moving average of the backbone's weights; 0: no averaging."""
    prior_steps: int = Field(default=9_000, ge=0)
    """Training steps of the prior (second phase), divided evenly among those of its stages that are trained by steps."""
    prior_batch: int = Field(default=256, ge=1)
    """Batch size of the second phase, in posterior samples."""
    prior_average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average of the prior's weights; 0: no averaging."""
    prior_validate_every: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Steps between computations of the held-out loss of a stage, for priors that have one; the stage ends with the
    averaged weights of the lowest loss. auto: a tenth of the stage's steps; 0: no validation, the stage ends with the
    last weights."""
    prior_patience: int = Field(default=0, ge=0)
    """Early stopping: a stage ends after this number of consecutive held-out losses that are not lower than the best;
    0: no early stopping."""
    posterior_samples: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Number of stored samples of q(u | x) per training example, as far as `bank` allows. auto: 16, or with more than
    12,500 examples as many as give 200,000 samples, at least 1: each costs a pass of the encoder."""
    bank: float = Field(default=4.0, gt=0)
    """Largest size of the stored samples and the prior's other inputs, in GiB. If not even one sample per training
    example fits, every step encodes its batch."""
    bank_in: Literal["memory", "disk"] = "memory"
    """Where the samples are stored: memory, or disk: in the run's folder until the run ends; each batch is read from
    there."""
    bank_precision: Literal["float32", "float16"] = "float32"
    """Data type of the stored samples; batches are float32. float16 needs half the memory and changes a value u by at
    most max(2^-11 |u|, 2^-25), which is small compared with the noise of posterior samples, whose scale is about that
    of a standard normal. A value beyond 65,504, the largest of float16, is an error."""
    flip: bool = False
    """Flip images horizontally at random in the first phase (natural images)."""
    validate_every: int = Field(default=500, ge=0)
    """Steps between validations by the held-out ELBO in the first phase; 0: no validation."""
    validate_on: int = Field(default=1_000, ge=1)
    """Number of held-out examples for these validations."""

    def for_examples(self, examples: int) -> Self:
        """Returns the options with a number for `posterior_samples`."""
        if self.posterior_samples != "auto":
            return self
        return self.model_copy(update={"posterior_samples": max(1, min(MANY, ENCODED // max(1, examples)))})


class TwoPhaseTrainer(Trainer):
    """The backbone first, then the prior on samples of its aggregated posterior."""

    Config = TwoPhaseSettings
    settings: TwoPhaseSettings

    def phases(self, bench: Workbench) -> Iterator[Phase]:
        """Yield one phase for the backbone if it has objectives, and one phase per stage of the prior."""
        if bench.backbone.objectives() and self.settings.backbone_steps:
            yield self._backbone_phase(bench)
        bank: list[Bank] = []
        context: list[StageContext] = []
        for stage in range(1, bench.prior.stages + 1):
            if bench.prior.should_train(stage):
                yield self._stage_phase(bench, stage, bank, context)

    def _backbone_phase(self, bench: Workbench) -> Phase:
        settings = self.settings

        def batch(indices: Tensor, step: Step) -> Tensor:
            x = bench.batch(bench.train, indices)
            if settings.flip:
                mirrored = torch.rand(len(x), generator=step.generator, device=x.device) < 0.5
                x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
            return x

        return Phase(
            name="backbone",
            learner=bench.backbone,
            steps=settings.backbone_steps,
            batch_size=min(settings.backbone_batch, len(bench.train)),
            population=lambda: len(bench.train),
            batch=batch,
            objectives=bench.backbone.objectives,
            average=settings.backbone_average,
            validate=lambda: self._heldout_elbo(bench),
            validate_every=settings.validate_every,
        )

    @torch.no_grad()
    def _heldout_elbo(self, bench: Workbench) -> dict[str, float]:
        """Return the mean ELBO of the first held-out data, in nats and, if the likelihood is discrete, in bits per
        dimension."""
        count = min(self.settings.validate_on, len(bench.heldout))
        if count == 0:
            return {}
        generator = bench.streams.generator("validate", device=bench.device)
        total, discrete = 0.0, False
        for indices in torch.split(torch.arange(count), self.settings.backbone_batch):
            elbo = bench.backbone.elbo(bench.batch(bench.heldout, indices), generator=generator)
            if elbo is None:
                return {}
            total, discrete = total + elbo.value.double().sum().item(), elbo.discrete
        nats = total / count
        bits = {"heldout_bpd": -nats / (bench.backbone.spec.dim * log(2))} if discrete else {}
        return {"heldout_elbo": nats} | bits

    def _stage_phase(self, bench: Workbench, stage: int, bank: list[Bank], context: list[StageContext]) -> Phase:
        """Return the phase of a stage. Both lists are filled when the first stage begins: a resumed run must not encode
        the data unnecessarily."""
        settings = self.settings
        kept = self._rows(bench) >= len(bench.train)
        steps = self._steps(bench, stage)

        def begin() -> None:
            if not context:
                bank.append(self._bank(bench))
                context.append(self._stage_context(bench, bank[0]))
            bench.prior.begin_stage(stage, context[0])

        @torch.no_grad()
        def batch(indices: Tensor, step: Step) -> Latents:
            return bank[0][indices] if kept else infer(bench, bench.train, indices, step.generator)

        return Phase(
            name=f"prior.{stage}",
            learner=bench.prior,
            steps=steps,
            batch_size=settings.prior_batch,
            population=lambda: len(bank[0]) if kept else len(bench.train),
            batch=batch,
            objectives=bench.prior.objectives,
            begin=begin,
            end=lambda: bench.prior.end_stage(stage, context[0]),
            average=settings.prior_average,
            selection=self._selection(bench, steps, context),
        )

    def _steps(self, bench: Workbench, stage: int) -> int:
        """Return the steps of a stage; none for one that is fitted at once."""
        prior, total = bench.prior, self.settings.prior_steps
        taking = [number for number in range(1, prior.stages + 1) if prior.takes_steps(number)]
        return total // len(taking) + (taking.index(stage) < total % len(taking)) if stage in taking else 0

    def _selection(self, bench: Workbench, steps: int, context: list[StageContext]) -> Selection | None:
        """Return the selection of a stage's weights by the prior's held-out loss."""
        asked = self.settings.prior_validate_every
        every = asked if isinstance(asked, int) else -(-steps // VALIDATIONS)

        def loss() -> float | None:
            heldout = context[0].heldout
            order = torch.randperm(len(heldout), generator=bench.streams.generator("positives.validated"))
            chosen = order[:VALIDATED].to(heldout.u.device)
            return bench.prior.heldout_loss(replace(context[0], heldout=heldout[chosen]))

        return Selection(loss, every, self.settings.prior_patience) if every else None

    def _samples(self, bench: Workbench) -> int:
        """Return the number of samples per example that is asked for."""
        return int(self.settings.for_examples(len(bench.train)).posterior_samples)

    def _rows(self, bench: Workbench) -> int:
        """Return the number of samples that fit into the bank."""
        return rows_that_fit(self.settings.bank, bench, getattr(torch, self.settings.bank_precision))

    def _bank(self, bench: Workbench) -> Bank:
        """Return samples of all training data; if they do not fit, of the first ones, for the initialisation of the
        stages."""
        settings, rows = self.settings, self._rows(bench)
        many, on_disk = self._samples(bench), settings.bank_in == "disk"
        if rows >= len(bench.train):
            dtype = getattr(torch, settings.bank_precision)
            return encode(bench, bench.train, "train", many, rows, dtype=dtype, on_disk=on_disk)
        rows = rows_that_fit(settings.bank, bench)
        return encode(bench, bench.train, "train", many, min(rows, SHOWN) if on_disk else rows)

    def _stage_context(self, bench: Workbench, bank: Bank) -> StageContext:
        rows = min(rows_that_fit(self.settings.bank, bench), HELDOUT_ROWS)
        heldout = encode(bench, bench.heldout, "heldout", self._samples(bench), rows)
        return StageContext(
            positives=bank.shown(bench.streams),
            heldout=heldout.shown(bench.streams),
            sampler=bench.sampler,
            streams=bench.streams,
            cache=bench.cache,
            progress=bench.progress,
            parallel_map=bench.parallel_map,
        )
