"""NVAE as a backbone: deep hierarchies of latent images."""

from priorkit_nvae.checkpoint import NvaeCheckpoint
from priorkit_nvae.model import NVAE
from priorkit_nvae.readjustment import readjust_batch_norm
from priorkit_nvae.settings import NvaeSettings

__all__ = ["NVAE", "NvaeCheckpoint", "NvaeSettings", "readjust_batch_norm"]
