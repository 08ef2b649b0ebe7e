r"""The paper's chain: Langevin in u_t with a step of its own at each level and the kernel's gradient in closed form.

.. math:: u \leftarrow u + \tfrac{s_t}{2} \left( \nabla F(u, t) + \nabla \log \text{kernel} \right) + \sqrt{s_t}\,\epsilon

With F = f / s_t, as with `chain=paper`, the network's gradient is taken as it is and only the kernel's is scaled (the
released code; the paper's text has s for our s / 2).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor
from torch.nn.utils.parametrize import cached

from priorkit.core import Chain, value_and_gradient
from priorkit_diffusion.conditional import Conditional

__all__ = ["level_langevin"]

Energy = Callable[[Tensor], Tensor]
"""F of the batch's levels, (B, D) -> (B,)."""


@dataclass
class _Record:
    figures: list[dict[str, Tensor]] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)


@torch.no_grad()
def level_langevin(
    energy: Energy,
    conditional: Conditional,
    start: Tensor,
    *,
    sizes: Tensor,
    steps: int,
    fixed: int = 0,
    generator: Generator | None = None,
    keep_every: int = 0,
) -> Chain:
    """`steps` steps from start (B, D) with step sizes (B, 1); the first `fixed` columns stay where they are.

    Diagnostics of a step, of the state that it leaves: `energy` (log conditional density), `gradient_norm`; and
    `displacement` |u' - u| / sqrt(D), `finite` the share of rows whose density and move are finite.
    """
    u, record = start.detach().clone(), _Record()
    if keep_every:
        record.states.append(u.clone())
    # The networks stand still, so that their spectral norms are taken once a chain.
    with cached():
        for step in range(1, steps + 1):
            value, gradient = value_and_gradient(energy, u)
            gradient = gradient + conditional.gradient(u)
            move = torch.empty_like(u).normal_(generator=generator).mul_(sizes.sqrt()).addcmul_(gradient, sizes / 2)
            move[:, :fixed] = 0
            density, distance = value + conditional.log_kernel(u), move.square().mean(1).sqrt()
            u.add_(move)
            figures = {
                "energy": density,
                "gradient_norm": gradient.norm(dim=1),
                "displacement": distance,
                "finite": (density + distance).isfinite(),
            }
            record.figures.append({name: values.float().mean() for name, values in figures.items()})
            if keep_every and step % keep_every == 0:
                record.states.append(u.clone())
    diagnostics = {name: torch.stack([one[name] for one in record.figures]) for name in record.figures[0]}
    return Chain(u, diagnostics, torch.stack(record.states) if keep_every else None, steps)
