"""torch's optimisers, and the one of which each process keeps a share (ZeRO stage 1, Rajbhandari et al. 2020)."""

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Adam, Adamax, AdamW, Optimizer

from priorkit.core import OptimiserSettings

__all__ = ["build_optimiser", "collect_moments", "load_moments", "own_moments"]

OPTIMISERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "adamax": Adamax}


def build_optimiser(
    settings: OptimiserSettings, parameters: Sequence[nn.Parameter], *, shared_out: bool = False
) -> Optimizer:
    """The optimiser of that name; shared out, each process updates its share of the parameters, which it sends to all."""
    options: dict[str, Any] = {
        "lr": settings.lr, "betas": settings.betas, "eps": settings.eps, "weight_decay": settings.weight_decay,
        "foreach": True,
    }  # fmt: skip
    kind = OPTIMISERS[settings.name]
    if not shared_out:
        return kind(list(parameters), **options)
    from torch.distributed.optim import ZeroRedundancyOptimizer

    sharing: Optimizer = ZeroRedundancyOptimizer(list(parameters), optimizer_class=kind, **options)  # type: ignore[arg-type]
    return sharing


def own_moments(optimiser: Optimizer) -> MutableMapping[Tensor, dict[str, Any]]:
    """What this process keeps, by parameter."""
    state: MutableMapping[Tensor, dict[str, Any]] = getattr(optimiser, "optim", optimiser).state
    return state


def collect_moments(optimiser: Optimizer) -> None:
    """Bring all processes' shares to the leading one, whose `state_dict` then has them; on every process."""
    if hasattr(optimiser, "consolidate_state_dict"):
        optimiser.consolidate_state_dict(to=0)


def load_moments(optimiser: Optimizer, entries: dict[int, dict[str, Tensor]]) -> None:
    """Take up those of all parameters, by number, or of this process's share."""
    # Not the optimiser's own `state_dict`, which one that is shared out has only once it is collected.
    groups = Optimizer.state_dict(optimiser)["param_groups"]
    optimiser.load_state_dict({"state": entries, "param_groups": groups})
    if own_moments(optimiser) is not optimiser.state:
        optimiser.state.clear()  # copies, which nothing reads
