"""The group `hole`: the Fréchet distance to held-out images, with layers of the latents from different places."""

from collections.abc import Iterator

from torch import Tensor

from priorkit.core import Streams
from priorkit.metrics import Metric
from priorkit.metrics.fidelity import FidelityReference
from priorkit.metrics.hole import hole_figures
from priorkit.workflows.measuring.shared_work import SharedWork

__all__ = ["figures_of_hole"]


def figures_of_hole(work: SharedWork) -> Iterator[tuple[str, Metric]]:
    """Metrics `hole_...` (see `priorkit.metrics.hole`), of `work.samples` latents of each kind, decoded to their means.

    Posterior samples are of TRAINING images: the held-out images that they are compared with are thus never their own
    reconstructions.  Raises UsageError where the images have no feature network, where there are no held-out ones, and
    where chains diverged.
    """
    model, data, samples = work.model, work.data, work.samples
    reference = FidelityReference(
        data.spec, data.heldout, split_name="held-out", device=model.backbone.device, progress=work.progress
    )
    real, learnt = reference.real_features(), bool(model.prior.stages and model.prior.trained_stages)

    def features(u: Tensor) -> Tensor:
        return reference.features(model.decode(u, seed=work.seed))

    figures = hole_figures(
        work.train_u(),
        work.draws.latents(samples, 0),
        work.draws.latents(samples) if learnt else None,
        model.backbone.layout,
        features=features,
        real=real,
        comparison=f"{reference.comparison(samples)}; decoder means; posterior samples of training images",
        generator=Streams(work.seed).generator("hole"),
    )
    yield from figures.items()
