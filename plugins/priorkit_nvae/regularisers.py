r"""The two regularisers that keep an NVAE stable: spectral norms of the convolutions and gains of the batch norms.

The largest singular value of each filter bank, reshaped to (out, rest), is estimated by power iteration on all banks of
one shape together: :math:`\sigma = u^\top W v` with u, v constants.
"""

from collections import defaultdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorkit_nvae.batch_norm import BatchNorm
from priorkit_nvae.convolution import WeightNormConv2d, normalised

__all__ = ["BatchNormGains", "SpectralNorms"]

STEPS, FIRST_STEPS = 4, 40
VECTOR_EPS = 1e-3


class SpectralNorms:
    """The sum of the largest singular values over all convolutions of a network.

    The singular vectors are kept from call to call and never saved: after a restart they are found anew.
    """

    def __init__(self, network: nn.Module) -> None:
        shapes: dict[tuple[int, int, bool], list[nn.Conv2d]] = defaultdict(list)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                out, rest = module.weight.flatten(1).shape
                shapes[out, rest, isinstance(module, WeightNormConv2d)].append(module)
        self._banks = list(shapes.values())
        self._vectors: list[tuple[Tensor, Tensor]] = []

    @property
    def count(self) -> int:
        """Number of convolutions."""
        return sum(map(len, self._banks))

    def matrices(self) -> list[Tensor]:
        """The filters that are applied, one tensor (K, out, rest) for each shape."""
        return [_matrices(bank) for bank in self._banks]

    def __call__(self) -> Tensor:
        """The sum, a scalar with a gradient."""
        banks = self.matrices()
        first = not self._vectors or self._vectors[0][0].device != banks[0].device
        if first:
            self._vectors = [_random_vectors(matrices, seed) for seed, matrices in enumerate(banks)]
        total = banks[0].new_zeros(())
        for i, matrices in enumerate(banks):
            self._vectors[i] = _iterate(matrices.detach(), *self._vectors[i], FIRST_STEPS if first else STEPS)
            left, right = self._vectors[i]
            total = total + torch.einsum("ko,kor,kr->", left, matrices, right)
        return total


def _matrices(bank: list[nn.Conv2d]) -> Tensor:
    """(K, out, rest)."""
    normed = [conv for conv in bank if isinstance(conv, WeightNormConv2d)]
    if not normed:
        return torch.stack([conv.weight.flatten(1) for conv in bank])
    filters = torch.stack([conv.masked_filters() for conv in normed])
    return normalised(filters, torch.stack([conv.log_weight_norm.flatten() for conv in normed]))


def _random_vectors(matrices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    count, out, rest = matrices.shape
    left, right = (torch.randn(count, size, generator=generator).to(matrices) for size in (out, rest))
    return F.normalize(left, dim=1, eps=VECTOR_EPS), F.normalize(right, dim=1, eps=VECTOR_EPS)


@torch.no_grad()
def _iterate(matrices: Tensor, left: Tensor, right: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    for _ in range(steps):
        right = F.normalize(torch.einsum("kor,ko->kr", matrices, left), dim=1, eps=VECTOR_EPS)
        left = F.normalize(torch.einsum("kor,kr->ko", matrices, right), dim=1, eps=VECTOR_EPS)
    return left, right


class BatchNormGains:
    """The sum over batch norms of the largest absolute gain."""

    def __init__(self, network: nn.Module) -> None:
        widths: dict[int, list[BatchNorm]] = defaultdict(list)
        for module in network.modules():
            if isinstance(module, BatchNorm):
                widths[module.num_features].append(module)
        self._layers = list(widths.values())

    @property
    def count(self) -> int:
        """Number of batch norms."""
        return sum(map(len, self._layers))

    def __call__(self) -> Tensor:
        """The sum, a scalar with a gradient."""
        sums = [torch.stack([layer.weight for layer in layers]).abs().amax(1).sum() for layers in self._layers]
        return torch.stack(sums).sum() if sums else torch.zeros(())
