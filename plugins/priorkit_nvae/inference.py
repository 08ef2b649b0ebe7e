"""The posterior pass: up the encoder, then down the decoder with a posterior sample at each group."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from priorkit.likelihoods import full_precision
from priorkit_nvae.folding import fast_format
from priorkit_nvae.gaussian import Gaussian
from priorkit_nvae.network import NvaeNetwork
from priorkit_nvae.towers import EncoderCombiner
from priorkit_nvae.walk import Walk

__all__ = ["Inference", "Noise", "infer", "random_noise"]

Noise = Callable[[int, Tensor], Tensor]
"""(group, a tensor of the required shape and type) -> standard-normal noise."""


def random_noise(generator: Generator | None) -> Noise:
    """Return independent samples from the generator."""
    return lambda group, like: torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class Inference:
    """One posterior sample per image; lists have one entry per group, top first."""

    z: list[Tensor]
    before_flow: list[Tensor]
    posterior: list[Gaussian]
    prior: list[Gaussian]
    flows: bool
    walk: Walk
    """The walk after the last group, ready to decode."""

    def noise(self) -> list[Tensor]:
        """Return u_i = (z_i - mu_i) / sigma_i."""
        return [(z - prior.mean) / prior.scale for z, prior in zip(self.z, self.prior, strict=True)]

    def moments(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return mean and scale of q(u_i | x, u_<i) of each group, without flows."""
        pairs = list(zip(self.posterior, self.prior, strict=True))
        return [(q.mean - p.mean) / p.scale for q, p in pairs], [q.scale / p.scale for q, p in pairs]

    def log_q(self) -> Tensor:
        """Return log q of each group's sample (the flows preserve volume), (B, G)."""
        return _per_group([q.log_prob(z) for q, z in zip(self.posterior, self.before_flow, strict=True)])

    def log_p(self) -> Tensor:
        """Return log p0 of each group's sample given those above it, (B, G)."""
        return _per_group([p.log_prob(z) for p, z in zip(self.prior, self.z, strict=True)])

    def kl(self) -> Tensor:
        """Return KL(q || p0) of each group, (B, G): analytic without flows, else this sample's value."""
        if self.flows:
            return self.log_q() - self.log_p()
        return _per_group([q.kl(p) for q, p in zip(self.posterior, self.prior, strict=True)])


def _per_group(entries: list[Tensor]) -> Tensor:
    return torch.stack([values.flatten(1).sum(1) for values in entries], dim=1)


def infer(network: NvaeNetwork, image: Tensor, noise: Noise) -> Inference:
    """Sample the posterior of padded images (B, C, R, R) in [0, 1]."""
    top, reads = encode(network, image)
    settings = network.settings
    result = Inference([], [], [], [], settings.num_nf > 0, Walk(network, len(image), 1.0))
    walk = result.walk
    for group in range(len(network.layout)):
        prior = walk.parameters()
        if group == 0:
            posterior = full_precision(network.enc_sampler[0], top).contiguous()
        else:
            combiner, remembered = reads[group - 1]
            posterior = full_precision(network.enc_sampler[group], combiner(remembered, walk.feature())).contiguous()
            if settings.res_dist:
                posterior = posterior + prior
        q = Gaussian.of(posterior)
        before = q.at(noise(group, q.mean))
        z = before
        for flow in network.nf_cells[group * settings.num_nf : (group + 1) * settings.num_nf]:
            z = full_precision(flow, z)
        result.posterior.append(q)
        result.prior.append(Gaussian.of(prior))
        result.before_flow.append(before)
        result.z.append(z)
        walk.take(z)
    return result


def encode(network: NvaeNetwork, image: Tensor) -> tuple[Tensor, list[tuple[EncoderCombiner, Tensor]]]:
    """Return the top group's feature, and the inputs of groups 1, 2, ...: a combiner and the encoder's feature."""
    s = network.stem(fast_format(2 * image - 1, network))
    for cell in network.pre_process:
        s = cell(s)
    reads = []
    for entry in network.enc_tower:
        if isinstance(entry, EncoderCombiner):
            reads.append((entry, s))
        else:
            s = entry(s)
    return network.enc0(s), reads[::-1]
