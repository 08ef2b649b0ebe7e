r"""Steps of a Markov chain that refine a generator's output.

A generator is one smooth function of a condition and a noise: it blurs edges that are sharp in the energy. A few steps on
the conditional energy, started at the generator's output, lead from there towards the density of the energy: the two
cooperate (Xie et al., Cooperative Training of Descriptor and Generator Networks, 2018).

Since :math:`a^2 + b^2 = 1`, the conditional energy (paper, eq. 6) with E(x, i) = |x|^2 / 2 - f(x, i) is

.. math:: -\mathcal{E}(x_i \mid x_{i+1}) = f(x_i, i) - \frac{|x_i - a x_{i+1}|^2}{2 b^2} + \text{constant},

a density over N(0, I) in the coordinates :math:`w = (x_i - a x_{i+1}) / b` at every scale. There the move

.. math:: w' = \sqrt{1 - \beta^2}\, w + \beta\, \epsilon, \qquad \epsilon \sim N(0, I),

keeps N(0, I), so that it is accepted with probability :math:`\min(1, e^{f(w') - f(w)})` and leaves the conditional exactly
invariant (the preconditioned Crank-Nicolson move: Cotter, Roberts, Stuart and White, MCMC Methods for Functions, 2013). It
needs no gradient and no tuned step size: a new beta is drawn for each row and step, its logarithm uniform between that of
the smaller of 0.3 and D^(-1/2), which is still accepted in many dimensions, and that of 1, an independent proposal.
"""

from collections.abc import Callable
from math import log

import torch
from torch import Generator, Tensor

__all__ = ["refined"]

SHORTEST = 0.3
"""Upper limit of the smallest beta."""


@torch.no_grad()
def refined(
    ratio: Callable[[Tensor], Tensor],
    start: Tensor,
    mean: Tensor,
    spread: Tensor,
    *,
    steps: int,
    fixed: int = 0,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the points after so many steps from start (B, D), and the share of accepted moves, a scalar.

    `ratio` is f of the rows, (B, D) -> (B,); `mean` a x_{i+1}, (B, D); `spread` b, (B, 1). The first `fixed` columns are
    unchanged: the others then follow the density given these.
    """
    w = (start - mean) / spread
    value, taken, shortest = ratio(start), [], min(SHORTEST, w.shape[1] ** -0.5)
    for _ in range(steps):
        uniform = torch.rand(2, len(w), 1, generator=generator, dtype=w.dtype, device=w.device)
        beta = (uniform[0] * log(shortest)).exp()
        noise = torch.randn(w.shape, generator=generator, dtype=w.dtype, device=w.device)
        move = torch.addcmul((1 - beta.square()).sqrt() * w, beta, noise)
        move[:, :fixed] = w[:, :fixed]
        reached = ratio(torch.addcmul(mean, spread, move))
        accept = uniform[1, :, 0].log() < reached - value
        w, value = torch.where(accept[:, None], move, w), torch.where(accept, reached, value)
        taken.append(accept.to(w.dtype).mean())
    x = torch.addcmul(mean, spread, w)
    x[:, :fixed] = start[:, :fixed]
    return x, torch.stack(taken).mean() if taken else w.new_zeros(())
