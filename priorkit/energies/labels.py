r"""Labels coupled to chosen layers of an energy.

For an attribute with K values a network g reads the chosen layers and gives K logits. The energy gains the term lse = log
sum_k e^g_k / K and training the cross-entropy of g at positives; for a requested label y that term is replaced by g_y, which
is the same as adding log p(y | u) (diffusion paper, its section on label coupling). For a classifier of positives against
negatives the two losses together are the cross-entropy of K + 1 classes, the last of which is the negative with logit 0:
with h = g - log K, -h_y + log(1 + sum_k e^h_k) = softplus(-lse) + (lse - h_y) (multi-stage paper, K+1-class extension).
Since log K is subtracted, an untrained head adds nothing. That holds for one classifier of all of u. If each layer has a
separate classifier, the term would be counted in every one of them: then it has to be left out, and the head is a classifier
of the labels alone, whose log p(y | u) is added if a label is requested.
"""

from collections.abc import Mapping
from math import log

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from priorkit.core import Layout, Settings
from priorkit.energies.build import build_energy
from priorkit.energies.settings import EnergySettings
from priorkit.errors import UsageError

__all__ = ["LabelHeads", "LabelSettings"]


class LabelSettings(Settings):
    """An attribute for conditional sampling."""

    name: str = "label"
    """Name of the attribute in `--label NAME=VALUE`."""
    classes: int = Field(default=10, ge=2)
    """K, the number of values of the attribute."""
    of: tuple[int, ...] = ()
    """Value of the attribute for each class of the data, such as [0, 1, 0, 1] for parity; empty: the class itself."""
    layers: str = "all"
    """Layers that the attribute is coupled to: all, top:k, bottom:k or numbers from 0 (top)."""
    weight: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy (not given in the papers)."""
    energy: EnergySettings = EnergySettings(width=128, dropout=0.1)
    """The network of the logits."""

    @model_validator(mode="after")
    def _values_are_classes(self) -> "LabelSettings":
        if any(not 0 <= value < self.classes for value in self.of):
            raise ValueError(f"of: expected values from 0 to {self.classes - 1}, got {self.of}")
        return self


class LabelHeads(nn.Module):
    """One network per attribute; every network reads the columns of its layers, of u or of z as the energies do."""

    def __init__(self, settings: tuple[LabelSettings, ...], layout: Layout, *, zero: bool = False) -> None:
        super().__init__()
        names = [attribute.name for attribute in settings]
        if len(set(names)) < len(names):
            raise UsageError(f"prior.labels: two attributes have the same name in {', '.join(names)}; rename one.")
        self.settings = settings
        self.layout = layout
        self.chosen = [layout.select(attribute.layers) for attribute in settings]
        parts = [Layout(tuple(layout.shapes[i] for i in chosen)) for chosen in self.chosen]
        self.nets = nn.ModuleList(
            build_energy(attribute.energy, part, zero=zero, outputs=attribute.classes)
            for attribute, part in zip(settings, parts, strict=True)
        )

    @property
    def attributes(self) -> dict[str, int]:
        """The number of values of each attribute."""
        return {attribute.name: attribute.classes for attribute in self.settings}

    @property
    def within_one_layer(self) -> bool:
        """True if `evidence` is a function of one layer: there are no heads, or there is one layer. Otherwise an energy with
        this term is not a sum over layers."""
        return not self.settings or len(self.layout) == 1

    def logits(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits of each attribute, (B, D) -> (B, K)."""
        columns = self.layout.columns(x)
        return {
            attribute.name: net(torch.cat([columns[i] for i in chosen], dim=1))
            for attribute, chosen, net in zip(self.settings, self.chosen, self.nets, strict=True)
        }

    def evidence(self, x: Tensor) -> Tensor:
        """Return the sum over attributes of log mean_k e^g_k, (B, D) -> (B,): their term of the energy."""
        terms = (logits.logsumexp(1) - log(logits.shape[1]) for logits in self.logits(x).values())
        return sum(terms, x.new_zeros(len(x)))

    def log_conditional(self, x: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """Return the sum over the requested attributes of log p(y | x), (B, D) -> (B,). Raises UsageError for an unknown
        one."""
        known = self.attributes
        for name, values in labels.items():
            if name not in known:
                raise UsageError(f"label {name!r}: this prior has {', '.join(known) or 'no labels'}.")
            if len(values) and not 0 <= int(values.min()) <= int(values.max()) < known[name]:
                raise UsageError(f"label {name!r}: expected a value from 0 to {known[name] - 1}.")
        logits = self.logits(x)
        terms = (
            logits[name].log_softmax(1).gather(1, values.to(x.device)[:, None])[:, 0] for name, values in labels.items()
        )
        return sum(terms, x.new_zeros(len(x)))

    def loss(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Return the weighted cross-entropies at positives x (B, D) of classes (B,), a scalar in nats."""
        if not self.settings:
            return x.new_zeros(())
        if labels is None:
            raise UsageError("prior.labels: this data set has no labels; use data with labels, or leave out prior.labels.")
        logits = self.logits(x)
        terms = (
            attribute.weight * cross_entropy(logits[attribute.name], self._values(attribute, labels))
            for attribute in self.settings
        )
        return sum(terms, x.new_zeros(()))

    def _values(self, attribute: LabelSettings, classes: Tensor) -> Tensor:
        """Return the attribute's values (B,) of data of the given classes."""
        seen = int(classes.max()) if len(classes) else -1
        if seen >= (len(attribute.of) or attribute.classes):
            raise UsageError(
                f"prior.labels: class {seen} of the data has no value of {attribute.name!r}; set its `classes` or `of`."
            )
        return torch.tensor(attribute.of, device=classes.device)[classes] if attribute.of else classes
