"""The loop: phases one after the other, steps within them, logs, checkpoints, stopping and resuming.

Everything random in step k of a phase comes from streams named by (phase, k, shard), so a run that is killed and resumed
does the very same arithmetic as one that is not, and one with other processes the same but for the order of sums.  That
holds for torch's global state too, which dropout draws from: it is seeded for every step and shard and given back when
the run ends.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from priorkit.config import EngineSettings
from priorkit.core import Phase, Progress, Streams, frozen, set_learning
from priorkit.engine.best_weights import BestWeights
from priorkit.engine.checkpoint import Checkpoint, Checkpoints
from priorkit.engine.ema import ExponentialMovingAverage
from priorkit.engine.metric_accumulator import MetricAccumulator
from priorkit.engine.non_finite import not_finite
from priorkit.engine.process_context import ProcessContext
from priorkit.engine.shard import Shards, separate_moments
from priorkit.engine.signals import StopRequest
from priorkit.engine.update import Updater
from priorkit.engine.watch import Watch, Watching
from priorkit.errors import DivergedError, InterruptedRunError
from priorkit.runs.folder import RunFolder
from priorkit.runs.plugin_errors import described
from priorkit.runs.restore import restore
from priorkit.runtime.memory import RUNNING_OUT, ran_out

__all__ = ["Engine", "RunState"]


@dataclass
class RunState:
    """What accumulates over a run."""

    done: dict[str, dict[str, float]] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: int = 0
    refused: int = 0
    """Steps refused in a row, of those skipped."""


@dataclass
class Engine:
    """Executes the phases that a trainer lays out."""

    folder: RunFolder
    process: ProcessContext
    streams: Streams
    learners: dict[str, nn.Module]
    """The modules that phases train, by the name of their weights file."""
    settings: EngineSettings
    progress: Progress
    stop: StopRequest
    on_log: Callable[[str, int, dict[str, float]], None]
    watches: Sequence[Watch] = ()

    def __post_init__(self) -> None:
        self.state = RunState()
        self.checkpoints = Checkpoints(self.folder, self.settings.checkpoint_seconds)
        self.metrics = MetricAccumulator(self.process)
        self.watching = Watching(self.watches, self.process)
        self.shards = Shards(self.process, self.streams, self.settings)
        if self.settings.shards:
            for module in self.learners.values():
                separate_moments(module)

    def run(self, phases: Iterable[Phase]) -> RunState:
        """Execute the phases, from the latest checkpoint where there is one."""
        resumed = self.checkpoints.latest()
        if resumed:
            self.folder.check_log(resumed.metrics_bytes, resumed.metrics_sha256)
            self._restore(resumed)
        self.process.barrier()  # all have read before the leading process writes
        if self.process.is_main:
            self.folder.cut_log(resumed.metrics_bytes if resumed else 0)
        for module in self.learners.values():  # a trainer may evaluate one before its first phase begins
            set_learning(module, False)
        with self.process.preserve_rng_state():
            for phase in phases:
                if phase.name in self.state.done:
                    continue
                started = resumed if resumed and resumed.phase == phase.name else None
                self._phase(phase, started)
        return self.state

    def _phase(self, phase: Phase, resumed: Checkpoint | None) -> None:
        clock = time.monotonic() - self.state.seconds.get(phase.name, 0.0)
        self._begin(phase)
        bf16, share_moments = self.settings.precision == "bf16", self.settings.share_moments
        objectives = phase.objectives()
        phase = phase if objectives else replace(phase, steps=0)
        updater = Updater(phase.learners, objectives, self.process, bf16=bf16, share_moments=share_moments)
        average = self._average(phase)
        done = first = self._take_up(resumed, updater, average) if resumed else 0
        where = {"start": first} if first else {}  # a progress of an earlier version has no such option
        for index in self.progress(range(first, phase.steps), phase.steps - first, phase.name, **where):
            if isinstance(average, BestWeights) and average.spent:
                break
            taken, figures = self._take(phase, index, updater)
            if not taken:
                self._refuse(phase, index, figures)
            else:
                self.state.refused = 0
                self.metrics.add(figures)
                if average:
                    average.update(index)
            done = index + 1
            self._tell(phase, done, updater, average)
            # Rows that several processes hold would have to be joined by all of them before anyone looks.
            clock += self.watching.look(phase, done) if self.process.world == 1 or not updater.rows else 0.0
            self.state.seconds[phase.name] = time.monotonic() - clock
            signal, due = self._agree()
            if done < phase.steps and (due or signal):
                self._save(phase, done, updater, average)
            self._maybe_stop(signal)
        self._finish(phase, done, updater, average, clock)

    def _average(self, phase: Phase) -> ExponentialMovingAverage | None:
        """What the phase ends with, where that is not the last step's weights."""
        if phase.selection:
            return BestWeights(phase.learners, phase.average, phase.selection, self.process)
        return ExponentialMovingAverage(phase.learners, phase.average) if phase.average else None

    def _take(self, phase: Phase, index: int, updater: Updater) -> tuple[bool, dict[str, Tensor]]:
        """Step `index`, in more micro-batches where memory does not suffice and that is wanted."""
        while True:
            try:
                return updater.take(self.shards.of(phase, index))
            except RUNNING_OUT as error:
                if not ran_out(error):
                    raise
            # Not before the error is gone, which holds on to all that the step had made.
            self.shards.refine(phase, self.folder.path)
            self.process.empty_cache()
            self._write(phase.name, index, {"micro_batches": float(self.shards.micro_batches)})

    def _begin(self, phase: Phase) -> None:
        names = self._names(phase)
        for name, module in self.learners.items():
            set_learning(module, name in names)
        self.metrics.clear()
        self.state.refused = 0
        self.shards.begin()
        self.shards.seed(f"{phase.name}.begin")
        phase.begin()
        self.process.broadcast_parameters(phase.learners)
        self.shards.check(phase)

    def _take_up(self, resumed: Checkpoint, updater: Updater, average: ExponentialMovingAverage | None) -> int:
        """Go on in the midst of a phase; gives the steps done.  The checkpoint's tensors are let go."""
        updater.load(resumed.tensors.pop("optimiser", {}))
        self.metrics.load(resumed.tensors.pop("window", {}), resumed.window)
        if average:
            average.load(resumed.tensors.pop("average"))
        self.state.refused = resumed.refused
        if self.shards.automatic:
            self.shards.micro_batches = resumed.micro_batches
        return resumed.step

    def _finish(
        self, phase: Phase, step: int, updater: Updater, average: ExponentialMovingAverage | None, clock: float
    ) -> None:
        """Close a phase after `step` steps."""
        updater.join()
        if average:
            average.apply()
        set_learning(phase.learners, False)
        figures = phase.end()
        if isinstance(average, BestWeights) and 0 < average.step < step:
            figures = {**figures, "weights_of_step": float(average.step)}
        self.process.broadcast_parameters(phase.learners)
        if figures:
            self._write(phase.name, step, figures)
        self.state.done[phase.name] = figures
        self.state.seconds[phase.name] = time.monotonic() - clock
        if self.process.is_main:
            for name in self._names(phase):
                tensors = dict(self.learners[name].state_dict())
                self.state.weights[name] = self.folder.save_weights(name, tensors, self.state.weights)
        self._save(phase, step, None, None)
        self.watching.ended(phase)
        signal, _ = self._agree()
        self._maybe_stop(signal)

    def _tell(self, phase: Phase, step: int, updater: Updater, average: ExponentialMovingAverage | None) -> None:
        """Log after `step` steps: the metrics since the last log entry, and held-out metrics."""
        best = average if isinstance(average, BestWeights) else None
        if best and best.due(step, phase.steps):
            self._judge(phase, step, best)
        if step % self.settings.log_every == 0 or step == phase.steps or (best and best.spent):
            if self.metrics.steps:
                self._write(phase.name, step, self.metrics.means())
            self.metrics.clear()
        if phase.validate and phase.validate_every and step % phase.validate_every == 0:
            updater.join()
            with frozen(phase.learners):
                self._write(phase.name, step, phase.validate())

    def _judge(self, phase: Phase, step: int, best: BestWeights) -> None:
        """Evaluate the weights, every time with the same numbers of torch's global state too."""
        with self.process.preserve_rng_state():
            self.shards.seed(f"{phase.name}.judge")
            loss = best.judge(step)
        if loss is not None:
            self._write(phase.name, step, {"heldout_validation_loss": loss})

    def _write(self, phase: str, step: int, figures: dict[str, float]) -> None:
        if self.process.is_main:
            # Sorted, since a window of figures read back from a checkpoint has lost its order.
            self.folder.log({"phase": phase, "step": step, **dict(sorted(figures.items()))})
            self.on_log(phase, step, figures)

    def _refuse(self, phase: Phase, index: int, figures: dict[str, Tensor]) -> None:
        """Count a step that was not finite; give up after `patience` in a row, or where a short phase had no other."""
        self.state.skipped += 1
        self.state.refused += 1
        if self.state.refused < min(self.settings.patience, phase.steps):
            return
        shown, learners = (
            not_finite(figures, self.process),
            ", ".join(described(type(learner)) for learner in phase.learners),
        )
        raise DivergedError(
            f"{phase.name} ({learners}): {self.state.refused} consecutive steps up to step {index + 1} "
            f"had a non-finite loss or gradient ({shown}). They were rejected; the last good checkpoint "
            f"is in {self.folder.resume}. Decrease the learning rate, set its `clip`, or decrease the "
            "sampler's step size."
        )

    def _save(self, phase: Phase, step: int, updater: Updater | None, average: ExponentialMovingAverage | None) -> None:
        begun, window = time.monotonic(), self.metrics.rows()
        optimiser = updater.state() if updater else {}
        if self.process.is_main:
            self.checkpoints.write(self._checkpoint(phase, step, optimiser, average, window, updater is None), begun)
        self.process.barrier()  # nobody leaves before it is written

    def _checkpoint(
        self,
        phase: Phase,
        step: int,
        optimiser: dict[str, Tensor],
        average: ExponentialMovingAverage | None,
        window: dict[str, Tensor],
        finished: bool,
    ) -> Checkpoint:
        logged, digest = self.folder.logged()
        return Checkpoint(
            phase=phase.name,
            learners=self._names(phase),
            step=step,
            finished=finished,
            done=self.state.done,
            weights=self.state.weights,
            metrics_bytes=logged,
            metrics_sha256=digest,
            skipped=self.state.skipped,
            refused=self.state.refused,
            seconds=self.state.seconds,
            window=self.metrics.steps,
            micro_batches=self.shards.micro_batches,
            tensors={
                **{f"learner/{name}": dict(self.learners[name].state_dict()) for name in self._names(phase)},
                "optimiser": optimiser,
                "average": average.state() if average else {},
                "window": window,
            },
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Take up the run's state and the weights of learners that finished before this phase's."""
        self.state = RunState(checkpoint.done, checkpoint.weights, checkpoint.seconds, checkpoint.skipped)
        for name, digest in checkpoint.weights.items():
            if name not in checkpoint.learners:
                restore(self.learners[name], self.folder.load_weights(name, digest), self.folder)
        for name in checkpoint.learners:
            restore(self.learners[name], checkpoint.tensors.pop(f"learner/{name}", {}), self.folder)

    def _agree(self) -> tuple[int, bool]:
        """The signal that came to any process, or 0, and whether the leading one wants a checkpoint."""
        due = self.process.is_main and self.checkpoints.due()
        signal, wanted = self.process.all_reduce_max(self.stop.number or 0, int(due))
        return signal, bool(wanted)

    def _maybe_stop(self, signal: int) -> None:
        if signal:
            raise InterruptedRunError(
                f"Stopped; a checkpoint is saved. Continue with: priorkit train --resume {self.folder.path}",
                signal,
            )

    def _names(self, phase: Phase) -> list[str]:
        """What the phase trains, by the names of their weights files."""
        return [name for name, module in self.learners.items() if any(module is learner for learner in phase.learners)]
