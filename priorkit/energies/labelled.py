"""A prior whose energies depend on labels."""

from collections.abc import Mapping

from torch import Tensor

from priorkit.core import Prior
from priorkit.energies.labels import LabelHeads
from priorkit.energies.prefix_labels import PrefixHeads

__all__ = ["LabelledPrior"]


class LabelledPrior(Prior):
    """Holds the heads in `labels` and implements the methods for labels with them."""

    labels: LabelHeads | PrefixHeads

    @property
    def attributes(self) -> Mapping[str, int]:
        """The attributes of `labels`."""
        return self.labels.attributes

    def label_log_prob(self, u: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """Return the sum over the requested attributes of log p(y | u), (B, D) -> (B,)."""
        return self.labels.log_conditional(self.inputs(u), labels)
