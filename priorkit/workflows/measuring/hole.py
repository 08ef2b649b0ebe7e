"""The group `hole`: the Fréchet distance to held-out images, with layers of the latents from different places."""

from collections.abc import Callable, Iterator

from torch import Tensor

from priorkit.core import Progress, Streams, no_progress
from priorkit.data import Dataset
from priorkit.metrics import Metric
from priorkit.metrics.fidelity import FidelityReference
from priorkit.metrics.hole import hole_figures
from priorkit.model import Model
from priorkit.workflows.sampling.draws import Draws

__all__ = ["figures_of_hole"]


def figures_of_hole(
    model: Model,
    data: Dataset,
    draws: Draws,
    *,
    samples: int,
    posterior: Callable[[], Tensor],
    progress: Progress = no_progress,
) -> Iterator[tuple[str, Metric]]:
    """Metrics `hole_...` (see `priorkit.metrics.hole`), of `samples` latents of each kind, decoded to their means.

    `posterior` gives as many samples of q(u | x) of TRAINING images, (N, D): the held-out images that they are compared
    with are thus never their own reconstructions.  Raises UsageError where the images have no feature network, where
    there are no held-out ones, and where chains diverged.
    """
    reference = FidelityReference(
        data.spec, data.heldout, split_name="held-out", device=model.backbone.device, progress=progress
    )
    real, learnt = reference.real_features(), bool(model.prior.stages and model.prior.trained_stages)

    def features(u: Tensor) -> Tensor:
        return reference.features(model.decode(u, seed=draws.seed))

    figures = hole_figures(
        posterior(),
        draws.latents(samples, 0),
        draws.latents(samples) if learnt else None,
        model.backbone.layout,
        features=features,
        real=real,
        comparison=f"{reference.comparison(samples)}; decoder means; posterior samples of training images",
        generator=Streams(draws.seed).generator("hole"),
    )
    yield from figures.items()
