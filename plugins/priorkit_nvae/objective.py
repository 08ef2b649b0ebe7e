"""The objective of a training step of an NVAE."""

from contextlib import AbstractContextManager, nullcontext
from math import exp, log
from typing import Any

import torch
from torch import Tensor

from priorkit.core import Loss, OptimiserSettings, Step
from priorkit.runtime.on_device import OnDevice
from priorkit_nvae.banks import FilterBanks
from priorkit_nvae.inference import infer, random_noise
from priorkit_nvae.kl_schedule import balance_coefficients, kl_weight, scale_sizes
from priorkit_nvae.network import NvaeNetwork
from priorkit_nvae.regularisers import BatchNormGains, SpectralNorms

__all__ = ["ElboObjective"]


class ElboObjective:
    """mean over the batch of (reconstruction + balanced KL), plus lambda times the two norm regularisers."""

    def __init__(self, network: NvaeNetwork) -> None:
        self._network = network
        self._alpha = OnDevice(scale_sizes(network.geometry))
        self._banks = FilterBanks(network)
        self._spectral = SpectralNorms(network, self._banks)
        self._gains = BatchNormGains(network)

    def buffers(self) -> list[Tensor]:
        """Return the tensors that the loss updates in place, besides the network's buffers."""
        return self._spectral.vectors() if self._network.settings.weight_decay_norm else []

    def optimiser(self) -> OptimiserSettings:
        """Adamax as published."""
        settings = self._network.settings
        return OptimiserSettings(
            name="adamax",
            lr=settings.learning_rate,
            eps=1e-3,
            weight_decay=settings.weight_decay,
            warmup=settings.warmup,
            schedule="cosine",
            lr_min=settings.learning_rate_min,
        )

    def __call__(self, x: Any, step: Step) -> Loss:
        """Return the loss of images x (B, C, H, H) at a step."""
        network = self._network
        beta = kl_weight(network.settings, step.index, step.total)
        seen = network.observe(x, generator=step.generator)
        with self._filters() as matrices:
            result = infer(network, network.padded(seen), random_noise(step.generator))
            log_px, kl = result.walk.decode().log_prob(seen), result.kl()
        weighted = kl
        if beta < 1:
            weighted = beta * kl * balance_coefficients(kl, self._alpha(kl))
        weighted = network.settings.kl_final * weighted
        penalty, metrics = self._regularisers(beta, matrices)
        elbo = (log_px - kl.sum(1)).detach().mean()
        metrics |= {
            "elbo": elbo,
            "log_px": log_px.detach().mean(),
            "kl": kl.detach().mean(0),
            "beta": elbo.new_full((), beta),
        }
        return Loss((weighted.sum(1) - log_px).mean() + penalty, metrics)

    def _filters(self) -> AbstractContextManager[list[Tensor] | None]:
        # Cells that are recomputed in the backward pass need their filters again, too.
        return nullcontext() if self._network.settings.recompute_cells else self._banks.shared()

    def _regularisers(self, beta: float, matrices: list[Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        settings = self._network.settings
        if settings.weight_decay_norm == 0:
            return torch.zeros((), device=self._network.device), {}
        weight = settings.weight_decay_norm
        if settings.weight_decay_norm_anneal:
            weight = exp((1 - beta) * log(settings.weight_decay_norm_init) + beta * log(weight))
        with torch.autocast(self._network.device.type, enabled=False):
            spectral, gains = self._spectral(matrices), self._gains()
        return weight * (spectral + gains), {"spectral_norms": spectral.detach(), "batch_norm_gains": gains.detach()}
