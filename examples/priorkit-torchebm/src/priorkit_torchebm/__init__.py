"""torchebm's Hamiltonian Monte Carlo as a sampler for priorkit."""

from priorkit_torchebm.sampler import TorchEbmHmc, TorchEbmHmcSettings

__all__ = ["TorchEbmHmc", "TorchEbmHmcSettings"]
