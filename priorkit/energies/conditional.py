r"""A sum of one conditional log ratio per layer, :math:`\sum_i f_i(u_i; u_{<i})`.

Each layer's network is conditioned on the layers above, so that the sum can express dependence between layers, which in
u-space a sum of networks of single layers cannot. Each layer is a separate density-ratio problem of a few hundred
dimensions; a single logit for all layers would separate posterior and prior too well to say anything about the ratio.
"""

from collections.abc import Callable, Collection
from typing import cast

from torch import Tensor, nn

from priorkit.core import LatentSpace
from priorkit.energies.conditional_net import ConditionalNet, conditional_net
from priorkit.energies.descent import ContextKind, Descent, context_shapes
from priorkit.energies.settings import EnergySettings

__all__ = ["ConditionalEnergy", "LayerLogits"]

LayerLogits = Callable[[Tensor], Tensor]
"""Logits of candidates u_i (B, N, *shape_i) for one layer, under the B contexts of a descent: (B, N)."""


class ConditionalEnergy(nn.Module):
    """One network per chosen layer, top first; every logit is initially 0."""

    def __init__(
        self,
        settings: EnergySettings,
        space: LatentSpace,
        context: ContextKind,
        channels: int,
        layers: Collection[int] | None = None,
    ) -> None:
        """`layers` are the chosen ones; None for all."""
        super().__init__()
        chosen = range(len(space.layout)) if layers is None else layers
        self.context = context
        contexts = context_shapes(space, context)
        self.nets = nn.ModuleList(
            conditional_net(shape, told, settings, channels) if i in chosen else nn.Identity()
            for i, (shape, told) in enumerate(zip(space.layout.shapes, contexts, strict=True))
        )

    def at(self, layer: int, descent: Descent) -> LayerLogits:
        """Return the logits of the descent's next layer; the contribution of the context is computed here, once."""
        net = cast(ConditionalNet, self.nets[layer])
        given = net.given(descent.context(self.context))
        return lambda u: net.logits(descent.read(u), given)
