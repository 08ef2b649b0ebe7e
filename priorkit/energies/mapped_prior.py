r"""A prior whose layers are maps of noise, drawn exactly from the top layer down, with a normalised density.

.. math:: p(u) = \prod_i p(u_i \mid u_{<i}), \qquad u_i = f_i(\epsilon_i; u_{<i}), \quad \epsilon_i \sim N(0, I)

With labels, each layer that tells of them is one of several draws, chosen with probability proportional to
:math:`p(y \mid u_{\le i})`.
"""

from abc import abstractmethod
from typing import Literal

import torch
from torch import Generator, Tensor

from priorkit.core import Chain, Latents, LatentSpace, Sampler, Sampling, for_rows
from priorkit.energies.conditional import LayerLogits
from priorkit.energies.conditional_prior import ConditionalPrior
from priorkit.energies.descent import ContextKind, Descent
from priorkit.energies.prefix_labels import PrefixHeads
from priorkit.mcmc import resample

__all__ = ["MappedPrior", "chosen_context"]

SMALL = 256
"""Latents up to which the context is the layers above alone."""
AT_ONCE = 16_384
"""Draws that are weighed by their labels at once."""


class MappedPrior(ConditionalPrior):
    """Override `mapped` and `layer_densities`; samples, labels and log ratios follow. The sampler is not used."""

    labels: PrefixHeads
    normalised = True

    @abstractmethod
    def mapped(self, layer: int, descent: Descent, noise: Tensor, copies: int = 1) -> Tensor:
        """Return samples of the layer from noise (n * copies, size): `copies` adjacent rows for each of the descent's n."""

    @abstractmethod
    def layer_densities(self, layer: int, descent: Descent, u: Tensor, copies: int = 1) -> Tensor:
        """Return log p(u_i | u_<i) - log N(u_i; 0, I) of u (n * copies, size), rows as in `mapped`, (n * copies,)."""

    @property
    @abstractmethod
    def proposals(self) -> int:
        """Draws per layer and sample, of which the requested labels choose one."""

    def layer_logits(self, layer: int, descent: Descent, stages: int | None = None) -> LayerLogits | None:
        """Return log p(u_i | u_<i) - log N(u_i; 0, I) of candidates u_i (B, N, *shape_i), (B, N); None after 0 stages."""
        if self.counted(stages) == 0:
            return None

        def log_ratio(u: Tensor) -> Tensor:
            flat = u.flatten(0, 1).flatten(1)
            return self.layer_densities(layer, descent, flat, u.shape[1]).view(u.shape[:2])

        return log_ratio

    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return log p(u_i | u_<i) - log N(u_i; 0, I), (B, D) -> (B, L)."""
        with torch.autocast(u.device.type, enabled=False):
            return self.conditional_log_ratio(u, stages)

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return log p(u) - log N(u; 0, I), normalised, (B, D) -> (B,)."""
        return u.new_zeros(len(u)) if stages == 0 else self.layer_log_ratio(u, stages=stages).sum(1)

    def tuned(self, sampler: Sampler, *, stages: int | None = None, generator: Generator | None = None) -> Sampler:
        """Return the sampler as it is: draws do not use it."""
        return sampler

    def draw_layer(self, layer: int, descent: Descent, u: Tensor, sampling: Sampling) -> Chain:
        """Return where the noise in the layer's columns of u (n, D) is mapped to; with labels that the layer tells of, one
        of `proposals` such draws."""
        start = self.layout.columns(u)[layer]
        if any(layer in self.labels.layers[name] for name in sampling.labels):
            end = self._labelled(layer, descent, u, sampling)
        else:
            end = start if sampling.stages == 0 else self.mapped(layer, descent, start)
        return Chain(end, trajectory=torch.stack([start, end]) if sampling.keep_every else None)

    def _labelled(self, layer: int, descent: Descent, u: Tensor, sampling: Sampling) -> Tensor:
        def propose(noise: Tensor) -> Tensor:
            flat = noise.flatten(0, 1)
            drawn = flat if sampling.stages == 0 else self.mapped(layer, descent, flat, noise.shape[1])
            return drawn.view(noise.shape)

        def log_weight(drawn: Tensor) -> Tensor:
            flat = drawn.flatten(0, 1)
            asked = {name: for_rows(values, len(flat)) for name, values in sampling.labels.items()}
            x = self._placed(flat, for_rows(u, len(flat)), layer)
            return self.labels.log_conditional_at(layer, x, asked).view(drawn.shape[:2])

        start = self.layout.columns(u)[layer]
        return resample(log_weight, start, self.proposals, chunk=AT_ONCE, generator=sampling.generator, propose=propose).u

    def untold(self, heldout: Latents) -> bool:
        """Return whether a held-out loss cannot be computed: no points, or labels of them that are not known."""
        return not len(heldout) or (bool(self.labels.settings) and heldout.labels is None)


def chosen_context(option: ContextKind | Literal["auto"], space: LatentSpace) -> ContextKind:
    """Return the option, or what `auto` stands for: `both` with more than 256 latents if the backbone offers features, else
    `upper`."""
    if option != "auto":
        return option
    if space.layout.dim <= SMALL:
        return "upper"
    with torch.no_grad():
        offered = space.features(torch.zeros(2, space.layout.dim)) is not None
    return "both" if offered else "upper"
