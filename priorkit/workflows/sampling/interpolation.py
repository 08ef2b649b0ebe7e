"""Paths in u-space between posterior samples of two images."""

import torch
from torch import Tensor

from priorkit.errors import UsageError
from priorkit.workflows.session import Session

__all__ = ["COLUMNS", "interpolations", "spherical_path"]

COLUMNS = 9
"""Number of points of a path, including both ends."""


def spherical_path(start: Tensor, end: Tensor, count: int) -> Tensor:
    """Return `count` points of the path from start to end, both (N, D): (N, count, D), with exact ends.

    The direction turns at a constant rate on the great circle (Shoemake 1985, *Animating Rotation with Quaternion Curves*),
    the length changes linearly: samples of N(0, I) have lengths close to √D, unlike the points of a straight line between
    two of them. For equal or opposite directions, where no great circle is unique, the path is the straight line.
    """
    t = torch.linspace(0, 1, count, dtype=torch.float64, device=start.device)[None, :, None]
    a, b = start.double()[:, None], end.double()[:, None]
    lengths = a.norm(dim=2, keepdim=True), b.norm(dim=2, keepdim=True)
    unit = [point / length.clamp_min(1e-12) for point, length in zip((a, b), lengths, strict=True)]
    angle = (unit[0] * unit[1]).sum(2, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    turned = (((1 - t) * angle).sin() * unit[0] + (t * angle).sin() * unit[1]) / sine.clamp_min(1e-12)
    path = torch.where(sine > 1e-6, turned * ((1 - t) * lengths[0] + t * lengths[1]), (1 - t) * a + t * b)
    return torch.cat([start[:, None], path[:, 1:-1].to(start.dtype), end[:, None]], dim=1)


def interpolations(session: Session, pairs: int = 6, *, seed: int = 0) -> Tensor:
    """Return decoder means along the paths between posterior samples of held-out images, (pairs * 9, C, H, W), a row per
    path.

    Pairs are the first held-out images in order, or training images if none are held out. Raises UsageError for points and
    for fewer images than `pairs` need.
    """
    if not session.model.spec.is_image:
        raise UsageError("--interpolate: it needs images, but the data of this run are points.")
    data = session.data.heldout if len(session.data.heldout) else session.data.train
    if len(data) < 2 * pairs:
        told = "lower --n" if len(data) > 1 else "train on data with more held out"
        raise UsageError(f"--interpolate: {pairs} pairs need {2 * pairs} images, but there are {len(data)}; {told}.")
    u = session.model.infer(data.batch(torch.arange(2 * pairs)), seed=seed).u
    return session.model.decode(spherical_path(u[0::2], u[1::2], COLUMNS).flatten(0, 1), seed=seed)
