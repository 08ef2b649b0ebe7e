"""The CPU's random numbers on every device, so that a run on a GPU can be compared with one on the CPU."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

__all__ = ["SameNumbers"]


class SameNumbers(TorchDispatchMode):
    """While entered, every random operation of the device runs on the CPU, with a generator of the same seed."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.kind = device.type
        self.twins: dict[int, tuple[Generator, Generator]] = {}
        """By identity; the first of a pair keeps its identity from being used again."""

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded not in function.tags or self._place(args, given).type != self.kind:
            return function(*args, **given)
        return self._drawn(function, args, given)

    def _place(self, args: Sequence[Any], given: Mapping[str, Any]) -> torch.device:
        found = next((value.device for value in args if isinstance(value, Tensor)), None)
        return torch.device(given.get("device") or found or "cpu")

    def _drawn(self, function: Callable[..., Any], args: Sequence[Any], given: dict[str, Any]) -> Any:
        device = self._place(args, given)
        generator = given.get("generator")
        if generator is not None:
            if generator.device.type != self.kind:
                return function(*args, **given)  # the error of a generator on another device is not hidden
            given["generator"] = self._twin(generator)
        if "device" in given:
            given["device"] = torch.device("cpu")
        found = function(*tree_map(_to_cpu, args), **tree_map(_to_cpu, given))
        if isinstance(found, Tensor) and function.__name__.partition(".")[0].endswith("_"):
            return args[0].copy_(found)
        return tree_map(lambda value: value.to(device) if isinstance(value, Tensor) else value, found)

    def _twin(self, generator: Generator) -> Generator:
        if id(generator) not in self.twins:
            self.twins[id(generator)] = generator, Generator().manual_seed(generator.initial_seed())
        return self.twins[id(generator)][1]


def _to_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
