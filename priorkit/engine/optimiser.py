"""torch's optimisers, and one whose moments are distributed over the processes (ZeRO stage 1, Rajbhandari et al. 2020)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Adam, Adamax, AdamW, Optimizer

from priorkit.core import OptimiserSettings
from priorkit.engine.process_context import ProcessContext
from priorkit.errors import UsageError

__all__ = ["build_optimiser", "load_moments", "local", "moments", "move"]

OPTIMISERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "adamax": Adamax}

Moments = dict[int, dict[str, Tensor]]
"""An optimiser's tensors, by the number of the parameter and by name."""


def build_optimiser(
    settings: OptimiserSettings, parameters: Sequence[nn.Parameter], *, shared_out: bool = False
) -> Optimizer:
    """Return the optimiser of that name. With `shared_out`, each process updates a subset of the parameters and sends
    it to all. Raises UsageError if parameters of several data types are to be distributed."""
    options: dict[str, Any] = {
        "lr": settings.lr, "betas": settings.betas, "eps": settings.eps, "weight_decay": settings.weight_decay,
        "foreach": True,
    }  # fmt: skip
    kind = OPTIMISERS[settings.name]
    if not shared_out:
        return kind(list(parameters), **options)
    if len({parameter.dtype for parameter in parameters}) > 1:
        raise UsageError(
            "engine.share_moments: it needs parameters of one data type, but there are several; use "
            "--set engine.share_moments=false."
        )
    from torch.distributed.optim import ZeroRedundancyOptimizer

    sharing: Optimizer = ZeroRedundancyOptimizer(list(parameters), optimizer_class=kind, **options)  # type: ignore[arg-type]
    return sharing


def local(optimiser: Optimizer) -> Optimizer:
    """Return the optimiser of this process's subset of the parameters; of all if they are not distributed."""
    own: Optimizer = getattr(optimiser, "optim", optimiser)
    return own


def move(optimiser: Optimizer) -> None:
    """Take its step."""
    optimiser.step()
    if local(optimiser) is not optimiser:
        # What comes from others is written past the counters by which networks know that their filters have changed.
        torch.autograd.graph.increment_version(_parameters(optimiser))


def moments(optimiser: Optimizer, process: ProcessContext) -> Moments:
    """Those of all parameters; where they are shared out, on the leading process and in its host's memory, one tensor after
    the other, and every process must ask."""
    state = local(optimiser).state
    found = {number: dict(state[parameter]) for number, parameter in enumerate(_parameters(optimiser)) if parameter in state}
    if local(optimiser) is optimiser:
        return found
    told: list[Any] = [None] * process.world
    shapes = {number: {name: (value.shape, value.dtype) for name, value in own.items()} for number, own in found.items()}
    dist.all_gather_object(told, shapes)
    whole: Moments = {}
    for rank, theirs in enumerate(told):
        for number, names in theirs.items():
            for name, (shape, dtype) in names.items():
                empty = torch.empty(shape, dtype=dtype, device=process.device)
                sent = found[number][name].to(process.device).contiguous() if rank == process.rank else empty
                dist.broadcast(sent, src=rank)
                if process.is_main:
                    whole.setdefault(number, {})[name] = sent.cpu()
    return dict(sorted(whole.items()))


def load_moments(optimiser: Optimizer, entries: Mapping[int, dict[str, Tensor]]) -> None:
    """Load the moments of all parameters, or of this process's subset."""
    own = local(optimiser)
    numbers = {parameter: number for number, parameter in enumerate(_parameters(optimiser))}
    mine = {index: entries[numbers[one]] for index, one in enumerate(_parameters(own)) if numbers[one] in entries}
    own.load_state_dict({**own.state_dict(), "state": mine})


def _parameters(optimiser: Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
