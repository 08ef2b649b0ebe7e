r"""Labels for priors that are sampled from the top layer down: :math:`p(y \mid u_{\le i})` for every layer i that depends on
y.

One head per layer reads the attribute's layers down to it; the last one reads them all and gives the label's probability
given u.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from priorkit.core import Layout
from priorkit.energies.labels import LabelHeads, LabelSettings

__all__ = ["PrefixHeads"]


class PrefixHeads(nn.Module):
    """`LabelHeads` for every layer, of the attributes that are coupled to it."""

    def __init__(self, settings: tuple[LabelSettings, ...], layout: Layout, *, zero: bool = False) -> None:
        super().__init__()
        LabelHeads(settings, layout)  # validates the attributes
        self.layers = {attribute.name: sorted(layout.select(attribute.layers)) for attribute in settings}
        self.settings = settings
        self.heads = nn.ModuleList(
            LabelHeads(tuple(self._down_to(i, one) for one in settings if i in self.layers[one.name]), layout, zero=zero)
            for i in range(len(layout))
        )

    def _down_to(self, layer: int, attribute: LabelSettings) -> LabelSettings:
        """Return the attribute, read from its layers down to this one."""
        above = [str(i) for i in self.layers[attribute.name] if i <= layer]
        return attribute.model_copy(update={"layers": ",".join(above)})

    def _head(self, layer: int) -> LabelHeads:
        return cast(LabelHeads, self.heads[layer])

    @property
    def attributes(self) -> dict[str, int]:
        """The number of values of each attribute."""
        return {attribute.name: attribute.classes for attribute in self.settings}

    def log_conditional(self, x: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """Return the sum over the requested attributes of log p(y | x), (B, D) -> (B,). Raises UsageError for an unknown
        one."""
        unknown = {name: values for name, values in labels.items() if name not in self.layers}
        value = self._head(0).log_conditional(x, unknown)
        for name in labels.keys() - unknown.keys():
            value = value + self._head(self.layers[name][-1]).log_conditional(x, {name: labels[name]})
        return value

    def log_conditional_at(self, layer: int, x: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of log p(y | x_<=i) over the requested attributes that are coupled to layer i, (B, D) -> (B,)."""
        head = self._head(layer)
        return head.log_conditional(x, {name: labels[name] for name in labels.keys() & head.attributes.keys()})

    def loss(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Return the weighted cross-entropies of all heads at positives x (B, D) of classes (B,), a scalar in nats."""
        return torch.stack([self._head(i).loss(x, labels) for i in range(len(self.heads)) if self._head(i).settings]).sum()
