"""The averaged weights with the least held-out loss of those that a phase has had judged."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

import torch
from torch import Tensor, nn

from priorkit.core import Selection, frozen
from priorkit.engine.ema import ExponentialMovingAverage
from priorkit.engine.process_context import ProcessContext

__all__ = ["BestWeights"]


class BestWeights(ExponentialMovingAverage):
    """`apply` takes the averages that had the least loss, or the present ones where none was judged."""

    def __init__(self, learner: nn.Module, decay: float, selection: Selection, process: ProcessContext) -> None:
        """Without an average, decay 0, the weights of each step are their own."""
        super().__init__(learner, decay)
        self.learner, self.selection, self.process = learner, selection, process
        self.loss, self.step, self.in_vain = inf, 0, 0
        self._best: list[Tensor] = []
        self._has_loss = True

    @property
    def spent(self) -> bool:
        """True once the last `patience` losses were no better, so that the phase ends."""
        return 0 < self.selection.patience <= self.in_vain

    def due(self, step: int, last: int) -> bool:
        """Whether the weights after `step` of `last` steps are to be judged; never again once the learner gave no loss."""
        return self._has_loss and (step % self.selection.every == 0 or step == last)

    @torch.no_grad()
    def judge(self, step: int) -> float | None:
        """The loss of the averages after `step` steps, remembered where it is the least so far; of several processes all
        must call it, and all use the loss of rank 0."""
        with self._in_place(), frozen(self.learner):
            own = self.selection.loss()
        self._has_loss = own is not None
        if own is None:
            return None
        value = torch.tensor(own, dtype=torch.float64, device=self.process.device)
        loss = float(self.process.all_gather(value)[0])
        self.in_vain += 1
        if loss < self.loss:
            self.loss, self.step, self.in_vain = loss, step, 0
            self._best = [tensor.clone() for tensor in self.shadow]
        return loss

    @torch.no_grad()
    def apply(self) -> None:
        """Overwrite parameters and buffers by the best averages, or by the present ones where none is known."""
        super().apply()
        if self._best:
            torch._foreach_copy_(self.tensors, self._best)

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        best = {f"best/{i}": value for i, value in enumerate(self._best)}
        record = torch.tensor([self.loss, self.step, self.in_vain], dtype=torch.float64)
        return super().state() | best | {"record": record}

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        super().load(state)
        if "record" not in state:  # written before the phase had its weights judged
            return
        loss, step, in_vain = state["record"].tolist()
        self.loss, self.step, self.in_vain = loss, int(step), int(in_vain)
        if self.step:
            self._best = [state[f"best/{i}"].to(value.device) for i, value in enumerate(self.shadow)]

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """The learner has the averages while the block runs."""
        own = [tensor.clone() for tensor in self.tensors]
        super().apply()
        try:
            yield
        finally:
            if self.tensors:
                torch._foreach_copy_(self.tensors, own)
