"""The maximum-likelihood energy-based prior."""
