"""The loop: phases one after the other, steps within them, logs, checkpoints, stopping and resuming.

Everything random in step k of a phase comes from streams named by (phase, k, rank), so a run that is killed and resumed
does the very same arithmetic as one that is not.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from priorkit.config import EngineSettings
from priorkit.core import Phase, Progress, Step, Streams
from priorkit.engine.average import AveragedWeights
from priorkit.engine.checkpoint import Checkpoint, Checkpoints
from priorkit.engine.place import Place
from priorkit.engine.signals import StopRequest
from priorkit.engine.update import Updater
from priorkit.errors import DivergedError, InterruptedRunError
from priorkit.runs.folder import RunFolder

__all__ = ["Engine", "RunState"]


@dataclass
class RunState:
    """What accumulates over a run."""

    done: dict[str, dict[str, float]] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: int = 0


@dataclass
class Engine:
    """Executes the phases that a trainer lays out."""

    folder: RunFolder
    place: Place
    streams: Streams
    learners: dict[str, nn.Module]
    """The modules that phases train, by the name of their weights file."""
    settings: EngineSettings
    progress: Progress
    stop: StopRequest
    on_log: Callable[[str, int, dict[str, float]], None]

    def __post_init__(self) -> None:
        self.state = RunState()
        self.checkpoints = Checkpoints(self.folder)
        self.window: dict[str, Tensor] = {}
        self.window_steps = 0

    def run(self, phases: Iterable[Phase]) -> RunState:
        """Execute the phases, from the latest checkpoint where there is one."""
        resumed = self.checkpoints.latest()
        self.folder.cut_log(resumed.metrics_bytes if resumed else 0)
        if resumed:
            self._restore(resumed)
        for phase in phases:
            if phase.name in self.state.done:
                continue
            started = resumed if resumed and resumed.phase == phase.name else None
            self._phase(phase, started)
        return self.state

    def _phase(self, phase: Phase, resumed: Checkpoint | None) -> None:
        clock = time.monotonic() - self.state.seconds.get(phase.name, 0.0)
        for module in self.learners.values():
            self._set_learning(module, module is phase.learner)
        phase.begin()
        objectives = phase.objectives()
        updater = Updater(phase.learner, objectives, self.place, bf16=self.settings.precision == "bf16")
        average = AveragedWeights(phase.learner, phase.average) if phase.average else None
        first = 0
        self.window, self.window_steps = {}, 0
        if resumed:
            first, self.window_steps = resumed.step, resumed.window
            updater.load(resumed.tensors.get("optimiser", {}))
            self.window = resumed.tensors.get("window", {})
            if average:
                average.load(resumed.tensors["average"])
        saved = time.monotonic()
        refused = 0
        for index in self.progress(range(first, phase.steps), phase.steps - first, phase.name):
            taken, figures = updater.step(self._batches(phase, index), self._step(phase, index))
            refused = 0 if taken else refused + 1
            if not taken:
                self._refuse(phase, index, refused, figures)
            else:
                self._gather(figures)
                if average:
                    average.update(index)
            if (index + 1) % self.settings.log_every == 0 or index + 1 == phase.steps:
                self._log(phase, index + 1)
            self.state.seconds[phase.name] = time.monotonic() - clock
            self._hear()
            due = self.place.largest(int(time.monotonic() - saved > self.settings.checkpoint_seconds)) > 0
            if index + 1 < phase.steps and (due or self.stop.number):
                self._save(phase, index + 1, updater, average)
                saved = time.monotonic()
            self._maybe_stop()
        self._finish(phase, average, clock)

    def _finish(self, phase: Phase, average: AveragedWeights | None, clock: float) -> None:
        if average:
            average.apply()
        self.place.average_buffers(phase.learner)
        self._set_learning(phase.learner, False)
        figures = phase.end()
        if figures:
            self._write(phase.name, phase.steps, figures)
        self.state.done[phase.name] = figures
        self.state.seconds[phase.name] = time.monotonic() - clock
        if self.place.leads:
            name = self._name(phase.learner)
            self.state.weights[name] = self.folder.save_weights(name, dict(phase.learner.state_dict()))
        self._save(phase, phase.steps, None, None)
        self._hear()
        self._maybe_stop()

    def _step(self, phase: Phase, index: int) -> Step:
        generator = self.streams.generator(phase.name, index, self.place.rank, device=self.place.device)
        return Step(index, phase.steps, generator)

    def _batches(self, phase: Phase, index: int) -> list[Any]:
        """The micro-batches of a step.  The order is a permutation an epoch, a function of the epoch's number alone."""
        count = phase.population()
        per_epoch = max(1, count // phase.batch_size)
        epoch, position = divmod(index, per_epoch)
        order = self._order(phase.name, epoch, count)
        indices = self.place.share(order[position * phase.batch_size : (position + 1) * phase.batch_size])
        step = self._step(phase, index)
        return [phase.batch(part, step) for part in indices.chunk(self.settings.accumulate)]

    def _order(self, name: str, epoch: int, count: int) -> Tensor:
        key = (name, epoch, count)
        if getattr(self, "_order_key", None) != key:
            generator = self.streams.generator(f"{name}.order", epoch)
            self._order_key, self._order_value = key, torch.randperm(count, generator=generator)
        return self._order_value

    def _gather(self, figures: dict[str, Tensor]) -> None:
        self.window_steps += 1
        for key, value in figures.items():
            self.window[key] = self.window[key] + value if key in self.window else value

    def _log(self, phase: Phase, step: int) -> None:
        if self.window_steps:
            figures = _named({key: value / self.window_steps for key, value in self.window.items()})
            self._write(phase.name, step, figures)
        self.window, self.window_steps = {}, 0
        if phase.validate and phase.validate_every and step % phase.validate_every == 0:
            self._set_learning(phase.learner, False)
            self._write(phase.name, step, phase.validate())
            self._set_learning(phase.learner, True)

    def _write(self, phase: str, step: int, figures: dict[str, float]) -> None:
        if self.place.leads:
            # Sorted, since a window of figures read back from a checkpoint has lost its order.
            self.folder.log({"phase": phase, "step": step, **dict(sorted(figures.items()))})
            self.on_log(phase, step, figures)

    def _refuse(self, phase: Phase, index: int, refused: int, figures: dict[str, Tensor]) -> None:
        """Count a step that was not finite; give up after `patience` in a row."""
        self.state.skipped += 1
        if refused < self.settings.patience:
            return
        shown = ", ".join(f"{key} {value:.3g}" for key, value in _named(figures).items())
        raise DivergedError(
            f"{phase.name}: {refused} steps in a row up to step {index + 1} had a loss or gradient that is not finite "
            f"({shown}). Nothing of them was kept; the last good checkpoint is in {self.folder.resume}. Lower the learning "
            "rate or set its `clip`, or shorten the sampler's step size."
        )

    def _save(self, phase: Phase, step: int, updater: Updater | None, average: AveragedWeights | None) -> None:
        if not self.place.leads:
            return
        checkpoint = Checkpoint(
            phase=phase.name,
            learner=self._name(phase.learner),
            step=step,
            finished=updater is None,
            done=self.state.done,
            weights=self.state.weights,
            metrics_bytes=self.folder.logged_bytes(),
            skipped=self.state.skipped,
            seconds=self.state.seconds,
            window=self.window_steps,
            tensors={
                "learner": dict(phase.learner.state_dict()),
                "optimiser": updater.state() if updater else {},
                "average": average.state() if average else {},
                "window": self.window,
            },
        )
        self.checkpoints.write(checkpoint)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Take up the run's state and the weights of learners that finished before this phase's."""
        self.state = RunState(checkpoint.done, checkpoint.weights, checkpoint.seconds, checkpoint.skipped)
        for name, digest in checkpoint.weights.items():
            if name != checkpoint.learner:
                self.learners[name].load_state_dict(self.folder.load_weights(name, digest))
        self.learners[checkpoint.learner].load_state_dict(checkpoint.tensors["learner"])

    def _hear(self) -> None:
        """A signal that came to any rank has come to all."""
        self.stop.number = self.place.largest(self.stop.number or 0) or None

    def _maybe_stop(self) -> None:
        if self.stop.number is not None:
            raise InterruptedRunError(
                f"Stopped; everything up to now is saved. Go on with: priorkit train --resume {self.folder.path}",
                self.stop.number,
            )

    @staticmethod
    def _set_learning(module: nn.Module, learning: bool) -> None:
        module.train(learning).requires_grad_(learning)

    def _name(self, module: nn.Module) -> str:
        return next(name for name, learner in self.learners.items() if learner is module)


def _named(figures: dict[str, Tensor]) -> dict[str, float]:
    """Scalars as they are, vectors one entry a layer."""
    named: dict[str, float] = {}
    for key, value in figures.items():
        if value.ndim == 0:
            named[key] = value.item()
        else:
            named.update({f"{key}.{i}": entry for i, entry in enumerate(value.tolist())})
    return named


def interruptible(progress: Progress, stop: StopRequest) -> Progress:
    """A progress that ends long work outside the step loop when a signal came."""

    def go(items: Iterable[Any], total: int, title: str) -> Iterator[Any]:
        for item in progress(items, total, title):
            if stop.number is not None:
                raise InterruptedRunError("Stopped between two checkpoints; resume to do this part again.", stop.number)
            yield item

    return go
