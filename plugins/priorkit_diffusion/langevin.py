r"""The paper's chain: Langevin in u_t with a separate step size at each level.

.. math:: u \leftarrow u + \tfrac{s_t}{2} \left( \nabla F(u, t) + \nabla \log \text{kernel} \right) + \sqrt{s_t}\,\epsilon

With F = f / s_t, as with `chain=paper`, the network's gradient is unchanged and only the kernel's is scaled (the
released code; the paper's text has s for our s / 2).
"""

from torch import Generator, Tensor
from torch.nn.utils.parametrize import cached

from priorkit.core import Chain, LogProb, Sampler, Settings
from priorkit.mcmc import ChainRecorder, langevin_chain

__all__ = ["LevelLangevin"]


class LevelLangevin(Sampler):
    """Unadjusted Langevin with a step size per row."""

    def __init__(self, sizes: Tensor, *, steps: int) -> None:
        """`sizes` (B, 1)."""
        super().__init__(Settings())
        self._sizes, self._steps = sizes, steps

    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Run from start (B, D); diagnostics as in the sampler `langevin`."""
        record = ChainRecorder(start.detach(), keep_every)
        # The networks do not change, so their spectral norms are computed once per chain.
        with cached():
            u = langevin_chain(log_prob, start, steps=self._steps, size=self._sizes, generator=generator, record=record)
        return record.chain(u, self._steps)
