"""A device that every machine has: it computes on the CPU, but refuses what a GPU refuses and records when a GPU waits.

Its tensors say that they lie on `DEVICE`. The name is that of a backend of torch which is never started; torch treats it as
any device that is not the CPU. An operation on tensors of both devices, a generator of the other device and NumPy arrays
of device tensors are errors, as on a GPU.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from priorkit.testing.device_rules import COPIES, INDEXED, aten, takes_number, waits_for_mask, written

__all__ = ["DEVICE", "DeviceTensor", "FakeDevice", "fake_device"]

DEVICE = torch.device("lazy", 0)
MARK = 1 << 63
"""The bit of a seed that says that its generator is the device's; torch's numbers depend on the lowest 32."""


class DeviceTensor(Tensor):
    """A tensor of the device."""

    on_cpu: Tensor
    """Where it computes: a tensor of the CPU with the same strides."""
    __torch_function__: ClassVar[Any] = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: type["DeviceTensor"], on_cpu: Tensor) -> "DeviceTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            on_cpu.size(),
            strides=on_cpu.stride(),
            storage_offset=on_cpu.storage_offset(),
            dtype=on_cpu.dtype,
            device=DEVICE,
        )
        made.on_cpu = on_cpu
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise RuntimeError(f"{func}: a tensor of the fake device outlived it")

    def tolist(self) -> Any:
        """Return the values, for which the host waits."""
        return self.cpu().tolist()

    def data_ptr(self) -> int:
        """Return where the values begin."""
        return self.on_cpu.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        """Return where the values are."""
        return self.on_cpu.untyped_storage()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copy = self.detach().clone().requires_grad_(self.requires_grad)
            copy.__dict__.update(deepcopy({key: value for key, value in vars(self).items() if key != "on_cpu"}, memo))
            memo[id(self)] = copy
        copied: Tensor = memo[id(self)]
        return copied


class _DeviceGenerator(torch.Generator):
    """A generator of the CPU with a mark in its seed: an operation is not given this object."""

    device = DEVICE

    def manual_seed(self, seed: int) -> torch.Generator:
        super().manual_seed(seed | MARK)
        return self

    def initial_seed(self) -> int:
        return super().initial_seed() & ~MARK


class FakeDevice(TorchDispatchMode):
    """The device while it is there, and what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        """How often the host has waited, by the reason and the line of priorkit."""
        self.launches = 0
        """Number of operations that are not mere views."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch's compiler need not be imported: nothing is compiled here

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        owners: dict[int, DeviceTensor] = {}
        hosts: list[Tensor] = []
        inner_args, inner = _inner(args, owners, hosts), {key: _inner(value, owners, hosts) for key, value in kwargs.items()}
        packet, asked = func.overloadpacket, kwargs.get("device")
        if packet is aten.is_pinned:
            return not owners and getattr(args[0], "is_fake_pinned", False)
        if packet is aten._pin_memory:
            return _pinned(args[0])
        on_device = bool(owners)
        if asked is not None:
            on_device, inner["device"] = torch.device(asked).type == DEVICE.type, "cpu"
            if packet is aten._to_copy and not on_device and not owners:
                inner["device"] = asked
        elif packet is aten.copy_:
            on_device = isinstance(args[0], DeviceTensor)
        self._check(func, args, kwargs, bool(owners), hosts, on_device)
        if packet in COPIES:
            self._copied(packet, args, kwargs, on_device)
        elif owners:
            reason = waits_for_mask(func, args, kwargs)
            if reason or (packet in INDEXED and any(value.ndim for value in hosts)):
                self._wait(reason or "indices are copied")
        if on_device and not func.is_view:
            self.launches += 1
        made = _outer(func(*inner_args, **inner), owners, on_device)
        if on_device and torch.Tag.inplace_view in func.tags:
            _resized(args[0])
        return made

    def _check(self, func: Any, args: Any, kwargs: Any, reads: bool, hosts: list[Tensor], on_device: bool) -> None:
        """Raise RuntimeError for tensors or generators of both devices."""
        generator = kwargs.get("generator")
        if generator is not None and bool(torch.Generator.initial_seed(generator) & MARK) != on_device:
            raise RuntimeError(
                f"{func}: a generator of the {'host' if on_device else 'device'} for a tensor that is not there"
            )
        packet = func.overloadpacket
        if not reads or not hosts or packet in COPIES:
            return
        changed = written(func, args)
        if packet in INDEXED and not any(one is value for one in changed for value in hosts):
            return
        wrong = [value for value in hosts if not takes_number(func, value) or any(value is one for one in changed)]
        if wrong:
            shapes = ", ".join(str(tuple(value.shape)) for value in wrong)
            raise RuntimeError(f"{func}: tensors of the host (shapes {shapes}) beside tensors of {DEVICE}")

    def _copied(self, packet: Any, args: Any, kwargs: Any, on_device: bool) -> None:
        """Record the copies between host and device."""
        if packet is aten._to_copy:
            pairs = [(on_device, args[0], kwargs.get("non_blocking", False))]
        elif packet is aten.copy_:
            pairs = [(on_device, args[1], args[2] if len(args) > 2 else kwargs.get("non_blocking", False))]
        else:
            pairs = [(isinstance(to, DeviceTensor), of, False) for to, of in zip(args[0], args[1], strict=True)]
        for to_device, source, unblocked in pairs:
            own = isinstance(source, DeviceTensor)
            if own and not to_device:
                self._wait("a tensor is copied to the host")
            if to_device and not own and not (unblocked and getattr(source, "is_fake_pinned", False)):
                self._wait("a tensor is copied from the host")

    def _wait(self, reason: str) -> None:
        self.waits[f"{reason} at {_place()}"] += 1


@contextmanager
def fake_device() -> Iterator[FakeDevice]:
    """Be a machine with the device inside the block. Its tensors cannot be used after it."""
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    with ExitStack() as stack:
        stack.enter_context(patch.object(torch, "Generator", _generators(torch.Generator)))
        stack.enter_context(patch.object(torch, "autocast", _autocast(torch.autocast)))
        enabled = torch.is_autocast_enabled
        stack.enter_context(patch.object(torch, "is_autocast_enabled", lambda name="cpu": enabled(_known(name))))
        # Parameters stay the same objects when their module moves, as they do on the way to a GPU.
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swapped)
        # Constants are made on the CPU and then copied, so that the copy is seen.
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        yield stack.enter_context(FakeDevice())


def _inner(value: Any, owners: dict[int, DeviceTensor], hosts: list[Tensor]) -> Any:
    """Return arguments with the tensors that compute; note whose they are, and the tensors of the host."""
    if isinstance(value, DeviceTensor):
        owners[id(value.on_cpu)] = value
        return value.on_cpu
    if isinstance(value, Tensor):
        hosts.append(value)
        return value
    if isinstance(value, (list, tuple)):
        return type(value)([_inner(one, owners, hosts) for one in value])
    return value


def _outer(value: Any, owners: dict[int, DeviceTensor], on_device: bool) -> Any:
    """Return results as tensors of the device; the very argument for one that was changed in place."""
    if isinstance(value, Tensor):
        own = owners.get(id(value))
        return value if not on_device else DeviceTensor(value) if own is None else own
    if isinstance(value, (list, tuple)):
        return type(value)([_outer(one, owners, on_device) for one in value])
    return value


def _resized(tensor: DeviceTensor) -> None:
    """Give a tensor the sizes that an operation in place has given to its values."""
    own = tensor.on_cpu
    anywhere = torch._C.DispatchKeySet(torch._C.DispatchKey.Meta)  # the device's name has no such operation of its own
    aten.as_strided_.default.redispatch(anywhere, tensor, own.size(), own.stride(), own.storage_offset())


def _pinned(value: Tensor) -> Tensor:
    copy = value.clone()
    copy.is_fake_pinned = True  # type: ignore[attr-defined]
    return copy


def _place() -> str:
    """Return the innermost line of priorkit, or of a plugin, that is being executed."""
    frame, own = sys._getframe(1), {"fake_device.py", "on_host.py", "sent.py"}
    while frame.f_back is not None:
        folder, _, name = frame.f_code.co_filename.rpartition("/")
        if "priorkit" in folder and "site-packages" not in folder and name not in own:
            return f"{folder.rpartition('/')[2]}/{name}:{frame.f_lineno}"
        frame = frame.f_back
    return "other code"


def _known(name: str) -> str:
    return "cpu" if name == DEVICE.type else name


def _generators(kind: type[torch.Generator]) -> type[torch.Generator]:
    class Generator(torch.Generator):
        """torch's own knows no generator of the device; the CPU's numbers serve."""

        def __new__(cls, device: torch.device | str = "cpu") -> torch.Generator:  # type: ignore[misc]
            return _DeviceGenerator().manual_seed(0) if torch.device(device).type == DEVICE.type else kind(device=device)

    return Generator


def _autocast(kind: Any) -> Callable[..., Any]:
    """torch has no autocast for the device's name; it is left out, so that bf16 cannot be tried."""

    def made(device_type: str, *given: Any, **named: Any) -> Any:
        return kind(_known(device_type), *given, **named)

    return made
