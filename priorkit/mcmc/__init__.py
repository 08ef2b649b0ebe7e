"""Densities on u-space and the Markov kernels that move on them.  Names for plugins are in `priorkit.core`."""
