r"""Likelihood bounds of a backbone under a learned prior :math:`p(u) = r(u)\, N(u; 0, I) / Z`.

With the weights at K posterior samples

.. math:: \log w_k = \log p(x \mid u_k) + \log N(u_k; 0, I) - \log q(u_k \mid x) + \log r(u_k) - \log Z;

the evidence lower bound is the mean of log w_k and the importance-weighted bound the log of the mean of w_k (Burda et al.
2016, eq. 8).  Both are bounds on log p(x) only if log Z is correct: an error of log Z shifts all images equally.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import hypot, log

import torch
from torch import Generator, Tensor

from priorkit.core import Backbone, Examples, Likelihood, LogProb, Progress, no_progress
from priorkit.core.metric import Metric
from priorkit.errors import UsageError
from priorkit.metrics.joint_distances import RESAMPLES

__all__ = ["Tilt", "tilted_bounds"]


@dataclass(frozen=True)
class Tilt:
    """A prior's log ratio, (B, D) -> (B,), its log Z, and half the 95 % interval of log Z."""

    log_ratio: LogProb
    log_z: float
    error: float
    kind: str = "learned"
    """The name of the prior in the protocol."""

    @classmethod
    def gaussian(cls) -> "Tilt":
        """Return r = 1: N(0, I), evaluated like any other prior."""
        return cls(lambda u: u.new_zeros(len(u)), 0.0, 0.0, "Gaussian")


@dataclass
class _Sums:
    elbo: list[Tensor] = field(default_factory=list)
    weighted: list[Tensor] = field(default_factory=list)

    def add(self, log_w: Tensor) -> None:
        """Add the log weights of images (B, K)."""
        self.elbo.append(log_w.mean(1).cpu())
        self.weighted.append((log_w.logsumexp(1) - log(log_w.shape[1])).cpu())


@torch.no_grad()
def tilted_bounds(
    backbone: Backbone,
    tilts: Mapping[str, Tilt],
    examples: Examples,
    *,
    samples: int = 20,
    most: int | None = None,
    generator: Generator | None = None,
    batch_size: int = 500,
    progress: Progress = no_progress,
) -> dict[str, Metric] | None:
    """Return bounds on the first `most` examples under each prior.

    'elbo_prior_nats' and 'iw_prior_nats', followed by the prior's key, and for discrete x 'elbo_prior_bpd' and so on. The
    Gaussian prior's importance-weighted bound of the same samples is 'iw_nats' and 'iw_bpd'. `batch_size` counts samples,
    not examples. None if q or p(x | z) has no density.
    """
    if samples < 1:
        raise UsageError(f"bounds under a prior: expected at least 1 sample, got {samples}")
    gaussian, sums = _Sums(), {key: _Sums() for key in tilts}
    likelihood: Likelihood | None = None
    for x in _batches(backbone, examples, most, max(1, batch_size // samples), progress):
        # Observed once: a random binarisation must be the same for all samples of an image.
        repeated = backbone.observe(x, generator=generator).repeat_interleave(samples, dim=0)
        posterior = backbone.infer(repeated, generator=generator)
        if posterior.log_ratio is None:
            return None
        likelihood = backbone.generate(posterior.u).likelihood
        if not likelihood.has_density:
            return None
        log_w = likelihood.log_prob(repeated).double() - posterior.log_ratio.double()
        gaussian.add(log_w.view(len(x), samples))
        for key, tilt in tilts.items():
            tilted = log_w + tilt.log_ratio(posterior.u).double() - tilt.log_z
            sums[key].add(tilted.view(len(x), samples))
    if likelihood is None:
        raise UsageError("bounds under a prior: there are no examples to evaluate; use a split that is not empty")
    how = f"{samples} posterior samples each, {likelihood.protocol}"
    figures = _figures("iw", "", gaussian.weighted, f"importance-weighted, Gaussian prior, {how}", likelihood, backbone, 0.0)
    for key, tilt in tilts.items():
        of = f"{tilt.kind} prior with log Z = {tilt.log_z:.3f} ± {tilt.error:.2g}, {how}"
        parts = (("elbo_prior", sums[key].elbo, ""), ("iw_prior", sums[key].weighted, "importance-weighted, "))
        for name, values, kind in parts:
            figures |= _figures(name, key, values, f"{kind}{of}", likelihood, backbone, tilt.error)
    return figures


def _batches(backbone: Backbone, examples: Examples, most: int | None, size: int, progress: Progress) -> Iterator[Tensor]:
    every = torch.arange(len(examples))[:most]
    indices = torch.split(every, size) if len(every) else ()
    for chosen in progress(indices, len(indices), "bounds under the learned prior"):
        yield examples.batch(chosen).to(backbone.device)


def _figures(
    name: str, key: str, parts: list[Tensor], how: str, likelihood: Likelihood, backbone: Backbone, error: float
) -> dict[str, Metric]:
    values = torch.cat(parts)
    standard = float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0
    # `error` is two standard errors wide; all images share it, so it is not divided by their number.
    spread = hypot(standard, error / 2)
    protocol = f"{how}, mean over {len(values)} examples; spread: standard error, with that of log Z"
    drawn = _resamples(values, error)
    told = f"nats per example, {protocol}"
    figures = {f"{name}_nats{key}": Metric(float(values.mean()), spread, told, resamples=tuple(drawn.tolist()))}
    if likelihood.discrete:
        unit = backbone.spec.dim * log(2)
        told = f"bits per dimension, {protocol}"
        bits = Metric(-float(values.mean()) / unit, spread / unit, told, resamples=tuple((-drawn / unit).tolist()))
        figures[f"{name}_bpd{key}"] = bits
    return figures


def _resamples(values: Tensor, error: float) -> Tensor:
    """Return means of bootstrap resamples of the images, (R,), with the error of log Z.

    The images of resample r are the same for all priors, so that what they have in common cancels in a difference; the
    errors of two priors' log Z are independent.
    """
    chosen = torch.randint(len(values), (RESAMPLES, len(values)), generator=torch.Generator().manual_seed(0))
    own = torch.Generator().manual_seed(hash(float(values.sum())) % 2**63)
    return values[chosen].mean(1) + error / 2 * torch.randn(RESAMPLES, generator=own, dtype=values.dtype)
