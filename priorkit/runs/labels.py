"""Labels from a user, validated for a prior."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from priorkit.core import Prior
from priorkit.core.prior import unlabelled
from priorkit.errors import UsageError

__all__ = ["Labels", "checked_labels"]

Labels = int | Mapping[str, int | Sequence[int] | Tensor]
"""The value of a prior's only attribute, or the values of attributes by name: one for all samples or one per sample."""


def checked_labels(prior: Prior, labels: Labels, n: int) -> dict[str, Tensor]:
    """Return the values of each requested attribute, (n,) int64.

    Raises UsageError for an attribute that the prior has not learnt, a value out of range, or a wrong number of values.
    """
    known = prior.attributes
    if not known:
        raise UsageError(f"label: {unlabelled(prior, 'train it with prior.labels, or leave out the label.')}")
    if not isinstance(labels, Mapping):
        if len(known) > 1:
            raise UsageError(f"label: this prior has several attributes; specify one, such as {next(iter(known))}={labels}.")
        labels = {next(iter(known)): labels}
    return {name: _values(name, given, known, n) for name, given in labels.items()}


def _values(name: str, given: int | Sequence[int] | Tensor, known: Mapping[str, int], n: int) -> Tensor:
    if name not in known:
        raise UsageError(f"label {name!r}: this prior has only {', '.join(known)}.")
    values = torch.as_tensor(given)
    if values.is_floating_point() or values.is_complex() or values.dtype is torch.bool:
        raise UsageError(f"label {name!r}: expected integers, got {values.dtype}.")
    if values.shape not in {(), (n,)}:
        raise UsageError(f"label {name!r}: expected one value or {n}, one per sample, got {tuple(values.shape)}.")
    values = values.to(torch.int64).expand(n)
    if n and not 0 <= int(values.min()) <= int(values.max()) < known[name]:
        outside = int(values[(values < 0) | (values >= known[name])][0])
        raise UsageError(f"label {name!r}: expected a value from 0 to {known[name] - 1}, got {outside}.")
    return values
