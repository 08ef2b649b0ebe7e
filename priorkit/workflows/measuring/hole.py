"""The group `hole`: the Fréchet distance to held-out images, with layers of the latents from different sources."""

from collections.abc import Iterator

from torch import Tensor

from priorkit.core import Streams
from priorkit.metrics import Metric
from priorkit.metrics.fidelity import FidelityReference
from priorkit.metrics.hole import hole_figures
from priorkit.workflows.measuring.shared_work import SharedWork

__all__ = ["figures_of_hole"]


def figures_of_hole(work: SharedWork) -> Iterator[tuple[str, Metric]]:
    """Yield the metrics `hole_...` (see `priorkit.metrics.hole`) of `work.samples` latents of each kind, decoded to their
    means.

    Posterior samples are of TRAINING images, so the held-out images are never compared with their own reconstructions.
    Raises UsageError if the images have no feature network, if there are no held-out ones, and if chains diverged.
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
