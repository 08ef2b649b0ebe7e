"""Whether higher or lower values of a metric are better."""

import re
from typing import Literal

__all__ = ["ARROWS", "Direction", "badness", "direction", "ranked"]

Direction = Literal["down", "up", "half"]

ARROWS: dict[Direction, str] = {"down": "↓", "up": "↑", "half": "→ 0.5"}

RULES: tuple[tuple[str, Direction], ...] = (
    (r"hole_(?!nats)|r?fd_|r?fid|kid|kd_|cmmd|energy_distance|sliced_wasserstein|nll|reconstruction|toy_", "down"),
    (r"gap_auc", "half"),
    (r"(elbo|iw).*_bpd", "down"),
    (r"(elbo|iw).*_nats|inception_score|class_score|precision|recall|share_closed|gain_nats", "up"),
    (r"coverage_|clipped_(density|coverage)_", "up"),
    (r"seconds|calls_per_sample|parameters|peak_memory", "down"),
    (r"samples_per_second", "up"),
)


TO_TRAINING = re.compile(r"((fd|kd|precision|recall)_(?!.*_heldout))|(fid|kid|cmmd)(_|$)")
"""Metrics that compare with training images, which copies of them would win."""


def ranked(name: str) -> bool:
    """Return whether rows are ranked by a metric: those with a direction, unless they compare with training images."""
    return direction(name) is not None and TO_TRAINING.match(name) is None


def direction(name: str) -> Direction | None:
    """Return the direction of a metric or a cost by its name; None if neither direction is better."""
    return next((way for pattern, way in RULES if re.match(pattern, name)), None)


def badness(name: str, value: float) -> float | None:
    """Return a number that is lower the better the value is; None if the metric has no direction."""
    way = direction(name)
    if way is None:
        return None
    return {"down": value, "up": -value, "half": abs(value - 0.5)}[way]
