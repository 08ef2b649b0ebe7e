r"""Steps of a Markov chain that finish what a generator draws.

A generator is one smooth function of a condition and a noise: it blurs edges that the energy knows to be sharp.  A few steps
on the conditional energy, begun at the generator's draw, lead from there towards the density that the energy states: the two
cooperate (Xie et al., Cooperative Training of Descriptor and Generator Networks, 2018).

Since :math:`a^2 + b^2 = 1`, the conditional energy (paper, eq. 6) with E(x, i) = |x|^2 / 2 - f(x, i) is

.. math:: -\mathcal{E}(x_i \mid x_{i+1}) = f(x_i, i) - \frac{|x_i - a x_{i+1}|^2}{2 b^2} + \text{constant},

a density over N(0, I) in the coordinates :math:`w = (x_i - a x_{i+1}) / b`, whatever the scale.  There the move

.. math:: w' = \sqrt{1 - \beta^2}\, w + \beta\, \epsilon, \qquad \epsilon \sim N(0, I),

keeps N(0, I), so that it is accepted with probability :math:`\min(1, e^{f(w') - f(w)})` and leaves the conditional exactly
as it is (the preconditioned Crank-Nicolson move: Cotter, Roberts, Stuart and White, MCMC Methods for Functions, 2013).  It
takes no gradient and no tuned step: each row's beta is drawn anew for each step, its logarithm uniform from the smaller of
0.3 and D^(-1/2), which many coordinates still accept, up to 1, a draw that forgets where it was.
"""

from collections.abc import Callable
from math import log

import torch
from torch import Generator, Tensor

__all__ = ["refined"]

SHORTEST = 0.3
"""At most this is the smallest beta."""


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
    """The points after so many steps from start (B, D), and the share of accepted moves, a scalar.

    `ratio` is f of the rows, (B, D) -> (B,); `mean` a x_{i+1}, (B, D); `spread` b, (B, 1).  The first `fixed` columns stay:
    the others then follow the density given these.
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
