"""The group `copying`: the share of each prior's images that are near copies of training images."""

from collections.abc import Callable, Iterator

from torch import Tensor

from priorkit.core import Examples
from priorkit.data.cache import cache_folder
from priorkit.metrics import FidelityReference, Metric, features_for
from priorkit.metrics.copying import copied, further_end, nearest_others
from priorkit.workflows.measuring.feature_distance import FLOOR
from priorkit.workflows.measuring.shared_work import SharedWork
from priorkit.workflows.measuring.variants import defined, figures_of_priors, priors_of

__all__ = ["figures_of_copying"]


def figures_of_copying(work: SharedWork) -> Iterator[tuple[str, Metric]]:
    """Yield `copied_heldout`, the level to compare with, `copied` with its suffixes, and `copied_posterior`.

    `work.seen` contains the features of the images that the group `fd` has decoded; the others are added. Nothing for data
    without a feature network.
    """
    model, data, samples, seen = work.model, work.data, work.samples, work.seen
    if features_for(data.spec) is None:
        return

    def reference_of(split: Examples, name: str) -> FidelityReference:
        device, cache = model.backbone.device, cache_folder()
        return FidelityReference(data.spec, split, split_name=name, device=device, cache=cache, progress=work.progress)

    reference = reference_of(data.train, "training")
    training, others = _training(reference)

    def figure(features: Tensor, told: str, independent: int) -> Metric:
        share = copied(features, training, others)
        return Metric(share, further_end(share, independent), _protocol(reference, len(features), told))

    def generated(ending: str, u: Callable[[], Tensor], told: str, independent: int) -> Metric:
        if ending not in seen:
            seen[ending] = reference.features(model.decode(u(), seed=work.seed))
        return figure(seen[ending], told, independent)

    def real() -> dict[str, Metric]:
        features = reference_of(data.heldout, "held-out").real_features()
        return {"copied_heldout": figure(features, "held-out images", len(features))}

    endings = {stages: names[0] for names, stages in priors_of(model)}

    def measured(stages: int | None) -> dict[str, Metric]:
        told = "images of the prior, decoder means"
        return {"": generated(endings[stages], lambda: work.draws.latents(samples, stages), told, samples)}

    def floor() -> dict[str, Metric]:
        told = "decoder means of posterior samples of training images"
        # Further samples of the same training image are not counted as independent.
        return {f"copied{FLOOR}": generated(FLOOR, work.train_u, told, min(samples, len(data.train)))}

    yield from defined("copied_heldout", real).items()
    yield from figures_of_priors(model, "copied", measured, progress=work.progress)
    yield from defined(f"copied{FLOOR}", floor).items()


def _training(reference: FidelityReference) -> tuple[Tensor, Tensor]:
    """Return features of the training images (M, F) and the distance of each to its nearest other (M,), from the cache if
    possible."""

    def made() -> dict[str, Tensor]:
        features = reference.real_features()
        return {"points": features, "nearest": nearest_others(features)}

    found = reference.kept("nearest", made, ("points", "nearest"))
    return found["points"], found["nearest"]


def _protocol(reference: FidelityReference, count: int, told: str) -> str:
    kind = reference.network.kind
    return (
        f"share of {count} {told}, that are nearer to a training image than that is to its own nearest other one "
        f"({len(reference.split)} training images, copies among them counted once); Euclidean distance of {kind.features} "
        f"standardised features of the '{kind.name}' classifier (weights {reference.network.fingerprint}), all rounded to "
        "8 bits; compare with the share of held-out images, copied_heldout; spread: distance to the further end of the "
        "95 % Wilson interval of a binomial share"
    )
