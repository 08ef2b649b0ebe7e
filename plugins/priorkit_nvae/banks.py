"""All filters of a network, grouped by shape and normalised once per training step."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from priorkit_nvae.convolution import WeightNormConv2d, normalised
from priorkit_nvae.folding import folding_allowed

__all__ = ["FilterBanks"]


class FilterBanks:
    """The convolutions of a network by the shape (out, rest) of their filters and by whether these are normalised."""

    def __init__(self, network: nn.Module) -> None:
        shapes: dict[tuple[int, int, bool], list[nn.Conv2d]] = defaultdict(list)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                out, rest = module.weight.flatten(1).shape
                shapes[out, rest, isinstance(module, WeightNormConv2d)].append(module)
        self._banks = list(shapes.values())

    @property
    def count(self) -> int:
        """Return the number of convolutions."""
        return sum(map(len, self._banks))

    @property
    def device(self) -> torch.device:
        """The device of the filters."""
        return self._banks[0][0].weight.device

    def matrices(self) -> list[Tensor]:
        """Return the filters that are applied, one tensor (K, out, rest) per shape."""
        return [_matrices(bank) for bank in self._banks]

    @contextmanager
    def shared(self) -> Iterator[list[Tensor]]:
        """Compute `matrices`, which the normalised convolutions apply inside the block instead of computing theirs."""
        matrices = self.matrices()
        lent = [
            (conv, filters.view_as(conv.weight))
            for bank, stacked in zip(self._banks, matrices, strict=True)
            for conv, filters in zip(bank, stacked.unbind(), strict=True)
            if isinstance(conv, WeightNormConv2d) and folding_allowed()
        ]
        try:
            for conv, filters in lent:
                conv.lent = filters
            yield matrices
        finally:
            for conv, _ in lent:
                conv.lent = None


def _matrices(bank: list[nn.Conv2d]) -> Tensor:
    """Return (K, out, rest)."""
    normed = [conv for conv in bank if isinstance(conv, WeightNormConv2d)]
    if not normed:
        return torch.stack([conv.weight.flatten(1) for conv in bank])
    filters = torch.stack([conv.masked_filters() for conv in normed])
    return normalised(filters, torch.stack([conv.log_weight_norm.flatten() for conv in normed]))
