"""Batch norms in generation: with the statistics of training, of the prior's samples, or of each batch."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from priorkit.core import Backbone

__all__ = ["BatchNorms"]

MODES = {"trained": "of training", "readjusted": "of samples of N(0, I)", "batch": "of each decoded batch"}


@dataclass
class BatchNorms:
    """The batch norms of a backbone, whose statistics are replaced during generation."""

    backbone: Backbone
    mode: str
    """'trained', 'readjusted' or 'batch'."""
    temperature: float = 1.0

    def __post_init__(self) -> None:
        # There is no public base class of all batch norms.
        self.modules = [module for module in self.backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        self._kept: list[dict[str, Tensor]] = []

    def __str__(self) -> str:
        return f"batch-norm statistics {MODES[self.mode]}" if self.modules else "no batch norm"

    def adjust(self, draws: Iterable[Tensor]) -> None:
        """Compute the statistics for 'readjusted' from batches of noise u (B, D)."""
        before = self._statistics()
        self.backbone.eval()
        self._train(True)
        try:
            with torch.no_grad():
                for u in draws:
                    self.backbone.generate(u, temperature=self.temperature)
            self._kept = self._statistics()
        finally:
            self._train(False)
            self._put(before)

    @contextmanager
    def generating(self) -> Iterator[None]:
        """Let the backbone generate in this mode inside the block; afterwards its statistics are those of training again."""
        before = self._statistics()
        if self._kept:
            self._put(self._kept)
        self._train(self.mode == "batch")
        try:
            yield
        finally:
            self._train(False)
            self._put(before)

    def _statistics(self) -> list[dict[str, Tensor]]:
        return [{name: value.clone() for name, value in module.named_buffers(recurse=False)} for module in self.modules]

    def _put(self, statistics: list[dict[str, Tensor]]) -> None:
        for module, values in zip(self.modules, statistics, strict=True):
            for name, value in module.named_buffers(recurse=False):
                value.copy_(values[name])

    def _train(self, training: bool) -> None:
        for module in self.modules:
            module.training = training
