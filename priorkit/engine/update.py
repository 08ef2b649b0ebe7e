"""One training step as a transaction: either every objective's update is finite on every rank, or nothing changes.

Buffers that a forward pass updates (batch-norm statistics) are restored too when a step is rejected; with several
objectives, also the parameters and optimisers that an earlier objective has updated.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from priorkit.core import Loss, Objective, Step
from priorkit.engine.buffer_sync import BufferSync
from priorkit.engine.optimiser import build_optimiser, load_moments, moments, move
from priorkit.engine.process_context import ProcessContext
from priorkit.engine.shard import Shard
from priorkit.engine.snapshot import Snapshot
from priorkit.errors import UsageError
from priorkit.runs.plugin_errors import checked_loss
from priorkit.runtime.memory import RUNNING_OUT, ran_out

__all__ = ["Updater"]


class Updater:
    """Runs the objectives of one phase."""

    def __init__(
        self,
        learner: nn.Module,
        objectives: Sequence[Objective],
        process: ProcessContext,
        *,
        bf16: bool = False,
        share_moments: bool = False,
    ) -> None:
        self.learner = learner
        self.objectives = objectives
        self.process = process
        self.bf16 = bf16
        shared_out = share_moments and process.world > 1
        self.optimisers = [build_optimiser(o.optimiser, o.parameters, shared_out=shared_out) for o in objectives]
        self.extra = [buffer for objective in objectives for buffer in objective.buffers]
        self.rows = [tensor for objective in objectives for tensor in objective.rows]
        self.buffer_sync = BufferSync(process, [*learner.buffers(), *self.extra])
        self.undone = self.buffer_sync.moving + self.buffer_sync.counting + self.rows
        self.saved = [tensor.clone() for tensor in self.undone]
        # After the update of the last objective, the step cannot be rejected any more.
        self.snapshots = [Snapshot(optimiser) for optimiser in self.optimisers[:-1]]

    def step(self, batches: Sequence[Any], step: Step) -> tuple[bool, dict[str, Tensor]]:
        """Call `take` with the micro-batches of one shard."""
        return self.take([Shard(batches, step)])

    def take(self, shards: Sequence[Shard]) -> tuple[bool, dict[str, Tensor]]:
        """Process the objectives on this process's shards; return whether the step was accepted, and the metrics.

        Raises UsageError if there are fewer rows than shards, or if an optimiser's step does not fit into memory. If a
        gradient does not fit, everything is restored before torch's error propagates.
        """
        if any(0 < len(tensor) < shards[0].step.shards for tensor in self.rows):
            raise UsageError(
                f"engine.shards: {shards[0].step.shards} shards cannot divide {min(map(len, self.rows))} "
                "chains. Use more chains (prior.chain.chains), fewer shards or fewer processes."
            )
        if self.undone:
            torch._foreach_copy_(self.saved, self.undone)
        figures: dict[str, Tensor] = {}
        for number, (objective, optimiser) in enumerate(zip(self.objectives, self.optimisers, strict=True)):
            optimiser.zero_grad(set_to_none=True)
            try:
                self._gradient(objective, shards, figures)
                for snapshot in self.snapshots[number : number + 1]:
                    snapshot.remember()
            except RUNNING_OUT as error:
                if ran_out(error):
                    optimiser.zero_grad(set_to_none=True)
                    self._undo(number)
                raise
            if not self._update(objective, optimiser, figures, shards[0].step):
                self._undo(number)
                return False, figures
        return True, figures

    def _gradient(self, objective: Objective, shards: Sequence[Shard], figures: dict[str, Tensor]) -> None:
        """Compute the gradient of all shards of this process, and their metrics."""
        self.buffer_sync.begin(len(shards))
        for shard in shards:
            self.buffer_sync.shard()
            self._differentiate(objective, shard, figures, len(shards))
            self.buffer_sync.moved()
        self.buffer_sync.end()

    def _differentiate(self, objective: Objective, shard: Shard, figures: dict[str, Tensor], shards: int) -> None:
        """Add the gradient and metrics of one shard to those of the other shards of this process."""
        if shards > 1:
            self.process.set_random_state(shard.random)
        micro_batches = shards * len(shard.batches)
        for batch in shard.batches:
            loss = self._loss(objective, batch, shard.step)
            (loss.value / micro_batches).backward()  # type: ignore[no-untyped-call]
            self._collect(figures, objective.name, loss, micro_batches)
        if shards > 1:
            shard.random = self.process.random_state()

    def _loss(self, objective: Objective, batch: Any, step: Step) -> Loss:
        with torch.autocast(self.process.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return checked_loss(partial(self._learner_of, objective), objective.name, objective.loss(batch, step))

    def _learner_of(self, objective: Objective) -> type:
        """Return the class of the learner that an objective updates; the first if there are several."""
        learners = list(self.learner) if isinstance(self.learner, nn.ModuleList) else [self.learner]
        moved = {id(parameter) for parameter in objective.parameters}
        owners = [one for one in learners if any(id(parameter) in moved for parameter in one.parameters())]
        return type((owners or learners)[0])

    def _collect(self, figures: dict[str, Tensor], name: str, loss: Loss, micro_batches: int) -> None:
        for key, value in {"loss": loss.value, **loss.metrics}.items():
            label = key if len(self.objectives) == 1 else f"{name}.{key}"
            mean = value.detach().float() / micro_batches
            figures[label] = figures[label] + mean if label in figures else mean

    def _update(self, objective: Objective, optimiser: Optimizer, figures: dict[str, Tensor], step: Step) -> bool:
        """Average, check, clip and apply the gradient of one objective."""
        label = "loss" if len(self.objectives) == 1 else f"{objective.name}.loss"
        # NaN where the loss is not finite: averaged along, it tells all processes without a message of its own.
        finite = (figures[label] * 0).to(self.process.device)
        self.process.average_gradients(objective.parameters, finite)
        norm = _clip(objective.parameters, objective.optimiser.clip)
        if not torch.isfinite(norm + finite):
            return False
        for group in optimiser.param_groups:
            group["lr"] = objective.optimiser.rate(step.index, step.total)
        try:
            move(optimiser)
        except RUNNING_OUT as error:
            if not ran_out(error):
                raise
            raise UsageError(
                f"{objective.name}: the parameters, their gradient and the optimiser's moments do not fit "
                f"into the memory of {self.process.device}. Use smaller networks; shards and micro-batches do "
                "not help here."
            ) from error
        return True

    def _undo(self, moved: int) -> None:
        """Take back what the losses did to buffers, and the first `moved` objectives to parameters."""
        if self.undone:
            torch._foreach_copy_(self.undone, self.saved)
        # The other way round, since objectives may share parameters.
        for snapshot in reversed(self.snapshots[:moved]):
            snapshot.restore()

    def join(self) -> None:
        """Make tensors whole of which each process moves rows; on every process."""
        for tensor in self.rows:
            self.process.all_reduce_rows(tensor)

    def state(self) -> dict[str, Tensor]:
        """The optimisers' tensors, by objective, parameter and name, and the objectives' buffers and rows.

        Every process must ask; what is shared out is then whole on the leading one.
        """
        self.join()
        extra = {f"buffer/{i}": buffer for i, buffer in enumerate(self.extra + self.rows)}
        return extra | {
            f"{o}/{p}/{name}": torch.as_tensor(value)
            for o, optimiser in enumerate(self.optimisers)
            for p, entries in moments(optimiser, self.process).items()
            for name, value in entries.items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        for i, buffer in enumerate(self.extra + self.rows):
            buffer.copy_(state.pop(f"buffer/{i}"))
        for o, optimiser in enumerate(self.optimisers):
            entries: dict[int, dict[str, Tensor]] = {}
            for key, value in state.items():
                owner, parameter, name = key.split("/")
                if int(owner) == o:
                    entries.setdefault(int(parameter), {})[name] = value
            load_moments(optimiser, entries)


@torch.no_grad()
def _clip(parameters: Sequence[nn.Parameter], largest: float | None) -> Tensor:
    """Bound the 2-norm of the gradient, where a bound is given; gives the norm from before."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if largest is not None:
        torch._foreach_mul_(gradients, (largest / (norm + 1e-6)).clamp(max=1.0))
    return norm
