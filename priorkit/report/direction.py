"""Which way a metric is better."""

import re
from typing import Literal

__all__ = ["ARROWS", "Direction", "badness", "direction"]

Direction = Literal["down", "up", "half"]

ARROWS: dict[Direction, str] = {"down": "↓", "up": "↑", "half": "→ 0.5"}

RULES: tuple[tuple[str, Direction], ...] = (
    (r"hole_|r?fd_|r?fid|kid|kd_|energy_distance|sliced_wasserstein|nll|reconstruction|toy_", "down"),
    (r"gap_auc", "half"),
    (r"(elbo|iw).*_bpd", "down"),
    (r"(elbo|iw).*_nats|inception_score|class_score|precision|recall|share_closed", "up"),
    (r"seconds|calls_per_sample|parameters|peak_memory", "down"),
    (r"samples_per_second", "up"),
)


def direction(name: str) -> Direction | None:
    """Of a metric or a cost by its name; None where neither way is better."""
    return next((way for pattern, way in RULES if re.match(pattern, name)), None)


def badness(name: str, value: float) -> float | None:
    """Less is better; None where neither way is."""
    way = direction(name)
    if way is None:
        return None
    return {"down": value, "up": -value, "half": abs(value - 0.5)}[way]
