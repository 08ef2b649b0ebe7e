"""The group `kernel`: the kernel distance (KID, if the features are Inception's) of each prior's images to held-out ones."""

from collections.abc import Iterator

from torch import Tensor

from priorkit.metrics import Metric
from priorkit.metrics.kernel_distance import KernelDistance
from priorkit.workflows.measuring.coverage import chosen
from priorkit.workflows.measuring.image_features import image_features
from priorkit.workflows.measuring.shared_work import SharedWork

__all__ = ["figures_of_kernel"]


def figures_of_kernel(work: SharedWork) -> Iterator[tuple[str, Metric]]:
    """Yield `kd_FEATURES_heldout` with its suffixes.

    Raises UsageError if there are too few held-out images; nothing for data without features.
    """
    found = image_features(work)
    if found is None:
        return
    real = KernelDistance(chosen(found.heldout()))

    def measured(features: Tensor, told: str, independent: int) -> dict[str, Metric]:
        against = found.against(len(features), told, len(real.real), "held-out")
        return {f"kd_{found.name}_heldout": real.of(features, against)}

    yield from found.figures("kernel", measured)
