"""One optimiser and its parameters as they stood, copied into tensors that are kept from step to step."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from priorkit.engine.optimiser import local

__all__ = ["Snapshot"]


class Snapshot:
    """`remember` before the optimiser's step; `restore` takes that step back."""

    def __init__(self, optimiser: Optimizer) -> None:
        self.optimiser = optimiser
        parameters = [parameter.detach() for group in optimiser.param_groups for parameter in group["params"]]
        self._live: list[Tensor] = parameters
        self._copies = [parameter.clone() for parameter in parameters]
        self._parameters = parameters
        self._known: set[Tensor] = set()
        self._rates: list[float] = []

    @torch.no_grad()
    def remember(self) -> None:
        """Copy parameters, moments and learning rates."""
        state = local(self.optimiser).state
        self._live = self._parameters + [value for entries in state.values() for value in entries.values()]
        self._known = set(state)
        self._rates = [group["lr"] for group in self.optimiser.param_groups]
        # An optimiser makes its moments at its first step and when it is loaded.
        if [copy.shape for copy in self._copies] != [value.shape for value in self._live]:
            self._copies = [value.clone() for value in self._live]
        else:
            torch._foreach_copy_(self._copies, self._live)

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what was remembered; moments that did not exist then are let go."""
        torch._foreach_copy_(self._live, self._copies)
        state = local(self.optimiser).state
        for parameter in [parameter for parameter in state if parameter not in self._known]:
            del state[parameter]
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate
