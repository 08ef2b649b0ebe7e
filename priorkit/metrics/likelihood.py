r"""Likelihood bounds of a backbone under its Gaussian prior, and how well it reconstructs.

Bounds are on log p of what the backbone observes of x, in nats per datum; where the likelihood is a probability of
discrete values they are also given in bits per dimension, :math:`-\mathrm{ELBO} / (\dim x \ln 2)`.  A backbone whose q
or p(x | z) has no density has no bound: None.
"""

from collections.abc import Iterator
from math import log

import torch
from torch import Generator, Tensor

from priorkit.core import Backbone, Elbo, Examples, Likelihood, Progress, no_progress
from priorkit.core.metric import Metric
from priorkit.errors import UsageError
from priorkit.runtime.memory import in_parts

__all__ = ["elbo", "importance_bound", "reconstruction_error"]


@torch.no_grad()
def elbo(
    backbone: Backbone,
    examples: Examples,
    *,
    generator: Generator | None = None,
    batch_size: int = 250,
    progress: Progress = no_progress,
) -> dict[str, Metric] | None:
    """Return the one-sample evidence lower bound: 'elbo_nats', 'elbo_bpd' (discrete x only) and 'kl_layer_0' (the top) ...

    Each spread is the standard error of the mean over the examples.
    """
    rows: list[Tensor] = []
    terms: Elbo | None = None

    def both(part: Tensor) -> Tensor:
        """Return log p(x | z) and the divergences of the layers, (B, 1 + L)."""
        nonlocal terms
        terms = backbone.elbo(part, generator=generator)
        return part[:, :0] if terms is None else torch.cat([terms.log_px[:, None], terms.kl], 1).double().cpu()

    for x in _batches(backbone, examples, batch_size, progress, "evidence lower bound"):
        rows.append(in_parts(both, x, "examples"))
        if terms is None:
            return None
    if terms is None:
        raise _no_examples("elbo")
    log_px, kl = torch.cat(rows).tensor_split([1], dim=1)
    figures = _bound("elbo", log_px[:, 0] - kl.sum(1), terms, backbone.spec.dim, "one posterior sample each")
    protocol = f"KL(q || p0) of the layer, nats, mean over {len(kl)} examples; spread: standard error"
    return figures | {f"kl_layer_{i}": _mean(kl[:, i], protocol) for i in range(kl.shape[1])}


@torch.no_grad()
def importance_bound(
    backbone: Backbone,
    examples: Examples,
    *,
    samples: int = 50,
    generator: Generator | None = None,
    batch_size: int = 250,
    progress: Progress = no_progress,
) -> dict[str, Metric] | None:
    r"""Return the bound :math:`\log \frac1K \sum_k p(x | z_k) p_0(u_k) / q(u_k | x)` with K samples (Burda et al. 2016, eq.
    8).

    As 'iw_nats' and 'iw_bpd'; it rises to log p(x) with K. `batch_size` counts samples, not examples.
    """
    if samples < 1:
        raise UsageError(f"importance bound: expected at least 1 sample, got {samples}")
    bounds: list[Tensor] = []
    likelihood: Likelihood | None = None

    def bound(part: Tensor) -> Tensor:
        """Return the bound of each example, (B,)."""
        nonlocal likelihood
        # Observed once: a random binarisation must be the same for all samples of an image.
        repeated = backbone.observe(part, generator=generator).repeat_interleave(samples, dim=0)
        posterior = backbone.infer(repeated, generator=generator)
        if posterior.log_ratio is None:
            return part[:, :0]
        found = backbone.generate(posterior.u).likelihood
        if not found.has_density:
            return part[:, :0]
        likelihood = found
        weights = likelihood.log_prob(repeated).double() - posterior.log_ratio.double()
        return (weights.view(len(part), samples).logsumexp(1) - log(samples)).cpu()

    for x in _batches(backbone, examples, max(1, batch_size // samples), progress, "importance-weighted bound"):
        bounds.append(in_parts(bound, x, "examples"))
        if likelihood is None:
            return None
    if likelihood is None:
        raise _no_examples("importance bound")
    return _bound("iw", torch.cat(bounds), likelihood, backbone.spec.dim, f"{samples} importance samples each")


@torch.no_grad()
def reconstruction_error(
    backbone: Backbone,
    examples: Examples,
    *,
    u: Tensor | None = None,
    generator: Generator | None = None,
    batch_size: int = 250,
    progress: Progress = no_progress,
) -> Metric:
    """Return the mean squared error per entry of the decoder's mean at one posterior sample of each example, which may
    be given as u (len(examples), D)."""
    errors: list[Tensor] = []
    for x in _batches(backbone, examples, batch_size, progress, "reconstructions"):
        start = sum(map(len, errors))
        if u is None:
            sample = in_parts(lambda part: backbone.infer(part, generator=generator).u, x, "examples to encode")
        else:
            sample = u[start : start + len(x)]
        mean = in_parts(lambda part: backbone.generate(part).likelihood.mean, sample, "examples to decode")
        errors.append((mean - x).double().square().flatten(1).mean(1).cpu())
    if not errors:
        raise _no_examples("reconstruction error")
    protocol = (
        f"squared error per entry of the decoder's mean, one posterior sample each, mean over {len(examples)} examples; "
        "spread: standard error"
    )
    return _mean(torch.cat(errors), protocol)


def _batches(backbone: Backbone, examples: Examples, size: int, progress: Progress, title: str) -> Iterator[Tensor]:
    indices = torch.split(torch.arange(len(examples)), size) if len(examples) else ()
    for chosen in progress(indices, len(indices), title):
        yield examples.batch(chosen).to(backbone.device)


def _bound(name: str, values: Tensor, of: Elbo | Likelihood, dim: int, how: str) -> dict[str, Metric]:
    where = f"{of.protocol}; Gaussian prior, {how}, mean over {len(values)} examples; spread: standard error"
    figures = {f"{name}_nats": _mean(values, f"nats per example, {where}")}
    if of.discrete:
        figures[f"{name}_bpd"] = _mean(-values / (dim * log(2)), f"bits per dimension, {where}")
    return figures


def _mean(values: Tensor, protocol: str) -> Metric:
    spread = float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
    return Metric(float(values.mean()), spread, protocol)


def _no_examples(what: str) -> UsageError:
    return UsageError(f"{what}: there are no examples to evaluate; use a split that is not empty")
