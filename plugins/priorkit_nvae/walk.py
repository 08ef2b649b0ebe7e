"""The walk down the decoder tower, one group after the other."""

from torch import Tensor

from priorkit.core import Context, Likelihood, TopDown
from priorkit.likelihoods import full_precision
from priorkit_nvae.folding import fast_format
from priorkit_nvae.gaussian import Gaussian
from priorkit_nvae.network import NvaeNetwork
from priorkit_nvae.towers import DecoderCombiner

__all__ = ["Walk"]


class Walk(TopDown):
    """Lazy: setting a group's latents costs nothing until the next context, or the image, is needed."""

    def __init__(self, network: NvaeNetwork, batch: int, temperature: float) -> None:
        self._network = network
        self._temperature = temperature
        self._batch = batch
        self._group = 0
        self._entry = 0
        self._taken: Tensor | None = None
        self._feature: Tensor = fast_format(network.prior_ftr0.expand(batch, -1, -1, -1), network)
        self._parameters: Tensor | None = None

    @property
    def group(self) -> int:
        """The next group, 0 for the top."""
        return self._group

    def feature(self) -> Tensor:
        """The decoder's feature (B, Cd, h, w) on which the next group is conditioned."""
        if self._taken is not None:
            self._combine(self._taken)
            self._taken = None
        tower = self._network.dec_tower
        while self._entry < len(tower) and not isinstance(tower[self._entry], DecoderCombiner):
            self._feature = tower[self._entry](self._feature)
            self._entry += 1
        return self._feature

    def _combine(self, z: Tensor) -> None:
        network = self._network
        if network.geometry.vanilla:
            self._feature = network.stem_decoder(z)
            return
        self._feature = network.dec_tower[self._entry](self._feature, z)
        self._entry += 1

    def parameters(self) -> Tensor:
        """Return raw parameters of the next group's prior (B, 2 L, h, w), before the soft clamps; 0 for the top."""
        if self._parameters is None:
            if self._group == 0:
                channels, *sides = self._network.layout.shapes[0]
                self._parameters = self._network.prior_ftr0.new_zeros(self._batch, 2 * channels, *sides)
            else:
                raw = full_precision(self._network.dec_sampler[self._group - 1], self.feature())
                self._parameters = raw.contiguous()
        return self._parameters

    def prior(self) -> Gaussian:
        """Return the next group's conditional prior, with the temperature in its scale."""
        return Gaussian.of(self.parameters(), temperature=self._temperature)

    def context(self) -> Context:
        """Return the next group's prior and the decoder's feature (None without a decoder tower)."""
        prior = self.prior()
        return Context(prior.mean, prior.scale, None if self._network.geometry.vanilla else self.feature())

    def take(self, z: Tensor) -> None:
        """Fix the next group at z (B, L, h, w)."""
        expected = self._network.layout.shapes[self._group] if self._group < len(self._network.layout) else None
        if tuple(z.shape[1:]) != expected:
            raise ValueError(f"Walk.take: group {self._group} has shape {expected}, got {tuple(z.shape[1:])}")
        if self._group > 0 or not self._network.geometry.vanilla:
            self.feature()
        self._taken, self._parameters = z, None
        self._group += 1

    def decode(self) -> Likelihood:
        """Return p(x | z)."""
        if self._group < len(self._network.layout):
            raise ValueError(f"Walk.decode: {len(self._network.layout) - self._group} groups are not taken yet")
        return self._network.likelihood(self.logits())

    def logits(self) -> Tensor:
        """Return the pixel decoder's parameters (B, C_out, R, R), with the padding."""
        y = self.feature()
        for cell in self._network.post_process:
            y = cell(y)
        return full_precision(self._network.image_conditional, y).contiguous()
