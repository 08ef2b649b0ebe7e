"""Which operations of a device make the host wait, and which take tensors of the host.

The rules are those of CUDA in torch: an operation waits if it gives a number or a size that only the device knows, or
copies to the host, or from memory of the host that is not pinned. Its other operations are only put into a queue.
"""

from typing import Any

import torch
from torch import Tensor

__all__ = ["COPIES", "INDEXED", "WAITING", "takes_number", "waits_for_mask", "written"]

aten: Any = torch.ops.aten

WAITING: dict[Any, str] = {
    aten._local_scalar_dense: "a value is read",
    aten.equal: "a value is read",
    aten.allclose: "a value is read",
    aten.is_nonzero: "a value is read",
    aten._linalg_check_errors: "a value is read",
    aten._linalg_eigh: "a value is read",
    aten._linalg_svd: "a value is read",
    aten.linalg_eig: "a value is read",
    aten.nonzero: "a size is read",
    aten.masked_select: "a size is read",
    aten._unique2: "a size is read",
    aten.unique_dim: "a size is read",
    aten.unique_consecutive: "a size is read",
    aten.bincount: "a size is read",
    aten.histc: "a value is read",
}
"""Operations that wait, whatever their arguments are."""

COPIES = frozenset({aten._to_copy, aten.copy_, aten._foreach_copy_})
"""Operations between host and device."""
INDEXED = frozenset({aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index})
"""Operations that also take indices of the host, which they copy."""
WHOLE = frozenset({aten.cat, aten.stack, aten.gather, aten.index_select, aten.scatter, aten.scatter_, aten.embedding})
"""Operations that take no number of the host instead of a tensor."""


def takes_number(func: Any, tensor: Tensor) -> bool:
    """Return whether an operation may read a tensor of the host beside tensors of the device: a single number."""
    return tensor.ndim == 0 and func.overloadpacket not in WHOLE


def waits_for_mask(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Return why an operation with these arguments waits for a size or a check, or None."""
    packet = func.overloadpacket
    if packet in INDEXED and any(isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in args[1]):
        return "a size is read"
    if packet is aten.repeat_interleave and isinstance(args[0], Tensor) and kwargs.get("output_size") is None:
        return "a size is read"
    if packet is aten.multinomial and (args[1] == 1 or not (args[2] if len(args) > 2 else kwargs.get("replacement", False))):
        return "probabilities are checked"
    if packet is aten.normal and isinstance(args[-1], Tensor):
        return "a scale is checked"
    return WAITING.get(packet)


def written(func: Any, args: tuple[Any, ...]) -> list[Tensor]:
    """Return the arguments that an operation changes."""
    changed = zip(func._schema.arguments, args, strict=False)
    return [value for own, value in changed if own.alias_info and own.alias_info.is_write and isinstance(value, Tensor)]
