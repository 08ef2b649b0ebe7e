"""What a run takes, by formula: bytes and operations from the quantities that a user knows.

D latents, n training images, B the batch, K chain steps, M stages, S steps of the run, P parameters; F operations of one
pass of the prior's network at one point, T those of T(u), A those of the backbone at one image.  A multiplication and an
addition are two operations; only matrix products and convolutions are counted.  Tensors are float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "Local", "Units", "backbone_kept", "backbone_step", "bytes_moved", "negatives", "prior_step", "rows_bytes", "state_bytes"
]  # fmt: skip


FLOAT = 4
PILOT_CHAINS = 200
"""Chains of the pilot run that chooses a stage's step size."""
PROPOSALS = 32
"""Draws of N(0, I), of which a renewed persistent chain of jointebm begins at one."""
REFRESHED = 0.1
"""Share of the chains of a step that jointebm renews."""
STARTS = 8
"""Draws, of which a chain of the diffusion prior begins at one."""


@dataclass(frozen=True)
class Units:
    """One network of a prior at one point (vdrme has three, by name)."""

    forward: Mapping[str, float]
    """Operations of a pass, by network; the only or the density's is `F`."""
    kept: float
    """Bytes that a training pass of F keeps for its gradient."""
    chain: float
    """Bytes that a frozen F keeps for the gradient with respect to a point."""
    parameters: int
    """Of what one stage trains."""
    fixed: float = 0.0
    """Operations of a pass of F that do not grow with the points."""
    stages: int = 1


@dataclass(frozen=True)
class Local:
    """A separable energy of networks `local` over layers (c, h, w)."""

    shapes: tuple[tuple[int, ...], ...]
    channels: int
    depth: int

    @property
    def forward(self) -> float:
        """F: a 3x3 convolution from c and `depth` of the network's channels, and the linear layer on top."""
        kernels = [9 * self.channels * (c + self.depth * self.channels) for c, _, _ in self.shapes]
        top = sum(self.channels + 2 * c * h * w for c, h, w in self.shapes)
        return 2 * (sum(k * h * w for k, (_, h, w) in zip(kernels, self.shapes, strict=True)) + top)

    @property
    def parameters(self) -> int:
        """P: filters and their biases, a map of positions, the linear layer."""
        own, depth = self.channels, self.depth
        filters = sum(9 * own * (c + depth * own) + own * (1 + depth) for c, _, _ in self.shapes)
        return filters + sum(own * h * w + own + 2 * c * h * w + 1 for c, h, w in self.shapes)

    @property
    def kept(self) -> float:
        """Bytes for a gradient: maps before and after each silu, the layer, and the linear layer's input."""
        own, depth = self.channels, self.depth
        return FLOAT * sum((2 * depth + 1) * own * h * w + c * h * w + own + 2 * c * h * w for c, h, w in self.shapes)


def rows_bytes(rows: float, latents: int, *, with_z: bool = False) -> float:
    """Of posterior samples, a pool or persistent chains; those of a prior that reads z have z beside u."""
    return FLOAT * rows * latents * (2 if with_z else 1)


def state_bytes(parameters: int, stages: int = 1) -> float:
    """Weights and their average of all stages; gradient and both moments of Adam (or Adamax) of the one that learns."""
    return FLOAT * parameters * (2 * stages + 3)


def prior_step(prior: str, units: Units, batch: int, steps: int, walk: float = 0.0) -> float:
    """Operations of a training step; `walk` is T for energies on z, and `steps` are those of the step's own chains.

    A gradient takes two passes with respect to parameters and input, one with respect to the input alone.
    """
    f = units.forward["F"]
    learning = 2 * batch * 3 * f
    evaluation, look = 2 * (f + walk), f + walk
    if prior == "jointebm":
        fresh = round(REFRESHED * batch) * PROPOSALS * look
        return learning + fresh + batch * ((steps + 1) * evaluation + walk)
    if prior == "diffusion":
        return learning + batch * ((steps + 1) * evaluation + STARTS * look + 2 * walk) + (3 + steps + 2) * units.fixed
    if prior == "vdrme":
        # Fakes; two passes of F, the slope at real points and its gradient: 9 F.  A fake's energy and its gradient: 2 F.
        drawn, information = units.forward["G"], units.forward.get("I", 0.0)
        return batch * ((5 if information else 4) * drawn + 11 * f + 10 * information)
    return learning


def negatives(forward: float, stages: int, pool: int, judged: int, steps: int, pilot: int, *, walk: float = 0.0) -> float:
    """Operations of drawing all pools of a multi-stage run: stage m evaluates m - 1 networks along N + H chains, with a
    pilot run before them."""
    chains = (pool + judged) * (steps + 1) + PILOT_CHAINS * (pilot + 1)
    return sum(chains * 2 * ((stage - 1) * forward + walk) for stage in range(2, stages + 1))


def backbone_step(forward: float, batch: int, filters: int, *, regularised: bool) -> float:
    """3 A B; the spectral norms of P filter weights are four iterations of two products, a value and its gradient."""
    return 3 * forward * batch + 20 * filters * regularised


def backbone_kept(image: float, batch: int, filters: int) -> float:
    """Bytes for a gradient: those of each image, a stack of the filters and one of the normalised ones, which the spectral
    norms share."""
    return batch * image + FLOAT * filters * 2


def bytes_moved(parameters: int, kept: float, points: int, latents: int, stages: int = 1) -> float:
    """At least: weights are read twice, the gradient is written, Adam reads four tensors and writes three; the
    average of all stages reads two and writes one; what is kept for the gradient is written and read; points are read."""
    return FLOAT * parameters * (10 + 3 * stages) + 2 * points * kept + rows_bytes(points, latents)
