r"""The two regularisers that stabilise an NVAE: spectral norms of the convolutions and gains of the batch norms.

The largest singular value of each filter bank, reshaped to (out, rest), is estimated by power iteration on all banks of one
shape together: :math:`\sigma = u^\top W v` with u, v constants.
"""

from collections import defaultdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorkit_nvae.banks import FilterBanks
from priorkit_nvae.batch_norm import BatchNorm

__all__ = ["BatchNormGains", "SpectralNorms"]

STEPS, FIRST_STEPS = 4, 40
VECTOR_EPS = 1e-3


class SpectralNorms:
    """The sum of the largest singular values over all convolutions of a network.

    The singular vectors persist between calls. They are not buffers of the network, whose names are the published ones; the
    objective passes them to the engine, which saves them with its checkpoints.
    """

    def __init__(self, network: nn.Module, banks: FilterBanks | None = None) -> None:
        self._banks = FilterBanks(network) if banks is None else banks
        self._vectors: list[tuple[Tensor, Tensor]] = []

    def vectors(self) -> list[Tensor]:
        """Return left and right singular vectors of each shape, (K, out) and (K, rest), updated in place by every call."""
        if not self._vectors or self._vectors[0][0].device != self._banks.device:
            banks = self.matrices()
            self._vectors = [_random_vectors(matrices, seed) for seed, matrices in enumerate(banks)]
            for matrices, pair in zip(banks, self._vectors, strict=True):
                _iterate(matrices.detach(), *pair, FIRST_STEPS)
        return [vector for pair in self._vectors for vector in pair]

    @property
    def count(self) -> int:
        """Return the number of convolutions."""
        return self._banks.count

    def matrices(self) -> list[Tensor]:
        """Return the filters that are applied, one tensor (K, out, rest) per shape."""
        return self._banks.matrices()

    def __call__(self, matrices: list[Tensor] | None = None) -> Tensor:
        """Return the sum, a scalar with a gradient; from `matrices` if they are given."""
        self.vectors()
        banks = self.matrices() if matrices is None else matrices
        total = banks[0].new_zeros(())
        for bank, (left, right) in zip(banks, self._vectors, strict=True):
            _iterate(bank.detach(), left, right, STEPS)
            # Their product is a copy: the vectors change in place before this step's backward pass could be repeated.
            total = total + (left.unsqueeze(2) * right.unsqueeze(1) * bank).sum()
        return total


def _random_vectors(matrices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    count, out, rest = matrices.shape
    left, right = (torch.randn(count, size, generator=generator).to(matrices) for size in (out, rest))
    return F.normalize(left, dim=1, eps=VECTOR_EPS), F.normalize(right, dim=1, eps=VECTOR_EPS)


@torch.no_grad()
def _iterate(matrices: Tensor, left: Tensor, right: Tensor, steps: int) -> None:
    """Move the vectors, in place, towards the leading singular ones."""
    # Products with a row on the left are ten times faster than those with a column on the right.
    rows, columns, turned = left.unsqueeze(1), right.unsqueeze(1), matrices.mT
    for _ in range(steps):
        _normalise(torch.bmm(rows, matrices, out=columns))
        _normalise(torch.bmm(columns, turned, out=rows))


def _normalise(vectors: Tensor) -> None:
    vectors.div_(torch.linalg.vector_norm(vectors, dim=2, keepdim=True).clamp_(min=VECTOR_EPS))


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
        """Return the number of batch norms."""
        return sum(map(len, self._layers))

    def __call__(self) -> Tensor:
        """Return the sum, a scalar with a gradient."""
        sums = [torch.stack([layer.weight for layer in layers]).abs().amax(1).sum() for layers in self._layers]
        return torch.stack(sums).sum() if sums else torch.zeros(())
