r"""The prior hole in nats, from both sides (after "ELBO surgery", Hoffman and Johnson 2016).

With the aggregated posterior :math:`q(u) = E_x\, q(u \mid x)` over the distribution of the data,

.. math:: E_x\, KL(q(u \mid x) \,\|\, N(0, I)) = I(x; u) + KL(q(u) \,\|\, N(0, I)),

and the second term is the hole: the largest gain of a prior over N(0, I), :math:`E_q[\log p(u) - \log N(u; 0, I)] \le
KL(q \| N)`, with equality for p = q.  At samples u of q(u | x) of held-out images x, which are samples of q(u):

- the mixture over N training images is a density that has not seen x, so that its gain is a lower bound on the hole;
- the mixture over M held-out images, x among them, has :math:`E\, KL(\frac1M \sum_m q(u \mid x_m) \| N) \ge KL(q \| N)`,
  since KL is convex, so that its gain is an upper bound on the hole.

Both hold in expectation over the held-out images, without assumptions on the encoder.
"""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from priorkit.core import PosteriorDensity
from priorkit.core.metric import Metric
from priorkit.metrics.annealed import QUANTILE

__all__ = ["Hole", "gain", "log_sums", "mixture"]

AT_ONCE = 100
"""Points that are walked at once."""


@torch.no_grad()
def log_sums(density: PosteriorDensity, u: Tensor, own: Tensor | None = None) -> Tensor:
    """Return log of the sum over the images of q(u_b | x_n) / N(u_b; 0, I), (B, D) -> (B,), float64.

    `own` (B,), int64, is the image that is left out for each point, by its number; a number that no image has leaves out
    none.
    """
    found, first = [], 0
    for part in torch.split(u, AT_ONCE):
        pairs = density.log_ratio(part).double()
        if own is not None:
            left_out = torch.arange(pairs.shape[1]) == own[first : first + len(part), None].cpu()
            pairs = pairs.masked_fill(left_out.to(pairs.device), float("-inf"))
        found.append(pairs.logsumexp(1))
        first += len(part)
    return torch.cat(found)


@dataclass(frozen=True)
class Hole:
    """Log ratios to N(0, I), at one posterior sample u of each of M held-out images, (M,) each, float64."""

    own: Tensor
    """That of q(u | x) itself."""
    train: Tensor
    """That of the mixture over the training images."""
    heldout: Tensor
    """That of the mixture over the M held-out images, x among them."""
    seen: Tensor
    """At a posterior sample of each of some of these training images, that of the mixture over the others, (M',)."""
    images: int
    """N, the number of training images."""

    def figures(self) -> dict[str, Metric]:
        """Return both bounds on the hole and on the mutual information of x and u, in nats."""
        train, held = f"the posteriors of {self.images} training images", f"the posteriors of the {len(self.own)} images"
        lower, upper = "a lower bound in expectation", "an upper bound in expectation"
        hole, information = "nats that the best prior gains over N(0, I)", "mutual information of image and latents, nats"
        told = {
            "hole_nats_lower": (self.train, f"{hole}: {lower}, from the mixture of {train}"),
            "hole_nats_upper": (self.heldout, f"{hole}: {upper}, from the mixture of {held}, the point's own included"),
            "information_nats_lower": (self.own - self.heldout, f"{information}: {lower}, from {held}"),
            "information_nats_upper": (self.own - self.train, f"{information}: {upper}, from {train}"),
        }
        figures = {name: _mean(values, text, "held-out images") for name, (values, text) in told.items()}
        seen = f"hole_nats_lower at training images: from {train}, the point's own left out"
        return figures | {"hole_nats_train": _mean(self.seen, seen, "training images")}


def gain(log_ratio: Tensor, log_z: float, error: float) -> Metric:
    """Return a prior's gain over N(0, I), from its log r at a posterior sample of each of M held-out images, (M,), and log Z
    with half its 95 % interval."""
    told = f"nats gained over N(0, I) with log Z = {log_z:.3f} ± {error:.2g}; at most the hole in expectation"
    return _mean(log_ratio - log_z, told, "held-out images", error)


def _mean(values: Tensor, told: str, images: str, error: float = 0.0) -> Metric:
    spread = (QUANTILE**2 * float(values.var()) / len(values) + error**2) ** 0.5 if len(values) > 1 else None
    where = f"mean over one posterior sample of each of {len(values)} {images}; spread: half a 95 % interval over them"
    return Metric(float(values.mean()), spread, f"{told}; {where}")


def mixture(sums: Tensor, images: int) -> Tensor:
    """Return the log ratio of the mixture of that many images, from `log_sums` of blocks of them, (blocks, B) -> (B,)."""
    return sums.logsumexp(0) - log(images)
