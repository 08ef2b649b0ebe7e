"""What a backbone must know of the data before it has seen any."""

from dataclasses import dataclass
from math import prod

__all__ = ["DataSpec"]


@dataclass(frozen=True)
class DataSpec:
    """The shape of one datum and the number of values that each of its entries can take."""

    name: str
    """The data set's name as the user gave it."""
    shape: tuple[int, ...]
    """(C, H, W) for images with values in [0, 1], (d,) for points."""
    levels: int | None
    """Grey levels an entry can take, k / (levels - 1): 256 for 8 bits, 17 for digits, None where x is continuous."""
    classes: int = 0
    """Number of classes; 0 without labels."""

    @property
    def dim(self) -> int:
        """Number of entries of one datum; what bits/dim divides by."""
        return prod(self.shape)

    @property
    def is_image(self) -> bool:
        """True for (C, H, W)."""
        return len(self.shape) == 3
