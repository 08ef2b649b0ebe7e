"""A prior whose energies know labels."""

from collections.abc import Mapping

from torch import Tensor

from priorkit.core import Prior
from priorkit.energies.labels import LabelHeads
from priorkit.energies.prefix_labels import PrefixHeads

__all__ = ["LabelledPrior"]


class LabelledPrior(Prior):
    """Holds the heads in `labels`, and answers for them."""

    labels: LabelHeads | PrefixHeads

    @property
    def attributes(self) -> Mapping[str, int]:
        """The attributes of `labels`."""
        return self.labels.attributes

    def label_log_prob(self, u: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """Sum over the asked attributes of log p(y | u), (B, D) -> (B,)."""
        return self.labels.log_conditional(self.inputs(u), labels)
