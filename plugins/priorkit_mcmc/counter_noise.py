r"""Standard normal noise that is a function of a counter, so that one kernel can draw it while it moves the chains.

torch draws a CPU's noise on one thread, one number after the other.  Output t of SplitMix64 with seed k is a mix of
:math:`k + (t + 1) \gamma \bmod 2^{64}` alone (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators",
figure 17), so that all of a step's can be had at once; each gives a pair of normals by the method of Box & Muller (1958).

All chains walk on one cycle of :math:`2^{64}` numbers from a start chosen by chance: R chains of N numbers each share some
with a probability of about :math:`R^2 N / 2^{64}`.
"""

from math import pi

import torch
from torch import Generator, Tensor

__all__ = ["Counter", "normals", "splitmix64"]


def _signed(bits: int) -> int:
    """The int64 of these 64 bits."""
    return bits - 2**64 if bits >= 2**63 else bits


GAMMA = _signed(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


class Counter:
    """Where a chain stands in its sequence; each step takes the next ceil(D / 2) numbers of every row."""

    def __init__(self, u: Tensor, generator: Generator | None) -> None:
        """For chains u (B, D), with a seed drawn from the generator."""
        rows, pairs = len(u), (u.shape[1] + 1) // 2
        self.key = torch.empty((), dtype=torch.int64, device=u.device).random_(-(2**63), None, generator=generator)
        # Their sum is what is added to the key: a row's own offset and a column's, so that no table is read at every step.
        self.rows = torch.arange(rows, device=u.device)[:, None] * _signed(pairs * GAMMA % 2**64)
        self.columns = torch.arange(1, pairs + 1, device=u.device) * GAMMA
        self._stride = _signed(rows * pairs * GAMMA % 2**64)

    def advance(self) -> None:
        """Go on to the numbers of the next step."""
        self.key.add_(self._stride)


def splitmix64(states: Tensor) -> Tensor:
    """The mix of states of any shape, int64 (each the 64 bits of an unsigned number)."""
    z = (states ^ _shifted(states, 30)) * MIX_1
    z = (z ^ _shifted(z, 27)) * MIX_2
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    """To the right, filled up with zeros."""
    shifted: Tensor = (z >> by) & (2 ** (64 - by) - 1)
    return shifted


def normals(bits: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Two draws of N(0, 1) of each int64 of bits, both of its shape and of the floating type of `like`.

    The low half gives the radius, of at most 6.8, the high half the angle; in single precision at least.
    """
    kind = torch.promote_types(like.dtype, torch.float32)
    uniform = ((bits & 0xFFFFFFFF).to(kind) + 0.5) * 2.0**-32
    angle = (bits >> 32).to(kind) * (pi * 2.0**-31)
    radius = (-2 * uniform.log()).sqrt()
    return (radius * angle.cos()).to(like.dtype), (radius * angle.sin()).to(like.dtype)
