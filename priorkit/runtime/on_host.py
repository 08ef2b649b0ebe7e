"""Small tensors as Python numbers, without waiting for their device at every use."""

from typing import Any

from torch import Tensor

__all__ = ["OnHost"]


class OnHost:
    """The values of one tensor on the host, read from its device again only after the tensor was changed or replaced.

    A read waits until the device has done all its work, so that a chain that reads at every step cannot run ahead of it.
    """

    def __init__(self) -> None:
        self._read: tuple[Tensor, int, Any] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnHost":
        return OnHost()  # the version counter of a copied tensor starts again

    def __getstate__(self) -> dict[str, None]:
        return {"_read": None}

    def __call__(self, tensor: Tensor) -> Any:
        """Return `tensor.tolist()`."""
        if tensor.is_inference():  # their changes are not counted
            return tensor.tolist()
        if self._read is not None and self._read[0] is tensor and self._read[1] == tensor._version:
            return self._read[2]
        values = tensor.tolist()
        self._read = (tensor, tensor._version, values)
        return values
