"""priorkit: interchangeable priors for hierarchical latent-variable generators."""

__version__ = "0.1.0"
