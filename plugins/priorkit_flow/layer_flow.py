"""The flow of one layer, from u to noise, by zuko; the identity before training."""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from priorkit.energies.context_reader import context_reader
from priorkit.energies.descent import ContextShape
from priorkit.errors import UsageError
from priorkit_flow.settings import FlowSettings

__all__ = ["LayerFlow"]


class LayerFlow(nn.Module):
    """A map of (B, size) to noise of the same shape, given what `given` returns for the context."""

    def __init__(self, size: int, context: ContextShape | None, settings: FlowSettings) -> None:
        super().__init__()
        flows, width = _zuko().flows, settings.width
        self.reader = None if context is None else nn.Sequential(context_reader(context, (width,)), nn.SiLU())
        shared = {
            "features": size,
            "context": 0 if context is None else width,
            "transforms": settings.transforms,
            "hidden_features": (width,) * settings.depth,
            "activation": nn.SiLU,
        }
        if size > 1:
            auto = settings.autoregressive(size)
            # In a fixed order the two halves of a coupling would stay the same.
            shared |= {"passes": size if auto else 2, "randperm": not auto}
        self.flow = flows.NSF(bins=settings.bins, **shared) if settings.splines(size) else flows.MAF(**shared)
        for transform in self.flow.transform.transforms:
            _make_identity(transform)

    def given(self, context: Tensor | None) -> Tensor | None:
        """Return what the flow reads of a context (B, ...), (B, width)."""
        return None if self.reader is None or context is None else self.reader(context)

    def noise(self, u: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the noise of u (B, size), (B, size), and the log determinant of the Jacobian, (B,)."""
        noise, log_volume = self.flow(given).transform.call_and_ladj(u)
        return noise, log_volume

    def inverse(self, noise: Tensor, given: Tensor | None) -> Tensor:
        """Return u of noise (B, size), (B, size)."""
        u: Tensor = self.flow(given).transform.inv(noise)
        return u


def _make_identity(transform: Any) -> None:
    """Set what gives the function of every latent, a network's last layer or its parameters themselves, to 0."""
    hyper = getattr(transform, "hyper", None)
    with torch.no_grad():
        for parameter in transform.phi if hyper is None else hyper[-1].parameters():
            parameter.zero_()


def _zuko() -> ModuleType:
    """Return the library. Raises UsageError if it is missing."""
    try:
        import zuko
    except ImportError as error:
        raise UsageError(f"the prior 'flow' needs the library zuko ({error}): pip install 'priorkit[flow]'.") from error
    found: ModuleType = zuko
    return found
