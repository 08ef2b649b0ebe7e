"""Conditions of `priorkit sample`: `--label` and `--keep-top`, parsed and arranged as rows of a sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from priorkit.core import Condition, Prior, Progress, no_progress
from priorkit.core.prior import unlabelled
from priorkit.errors import UsageError
from priorkit.model import Model
from priorkit.runs.labels import checked_labels

__all__ = ["EACH", "Asked", "Rows", "read_labels"]

EACH = "each"
"""The value for all values of an attribute, one per row."""
TOPS = 6
"""Default number of different upper layers in a sheet, one per row."""


@dataclass(frozen=True)
class Asked:
    """The options as given."""

    labels: Sequence[str] = ()
    """VALUE or NAME=VALUE; VALUE is a number or 'each'."""
    keep_top: int | None = None
    """Number of top layers whose noise is shared by a row."""
    tops: int | None = None
    """Number of different upper layers, one per row; the default is 6, or 1 if the rows are the values of an attribute."""


@dataclass(frozen=True)
class Rows:
    """The rows of a sheet and the conditions of their samples.

    Sample column * len(titles) + row is in that row and column: the number of columns does not change the images.
    """

    titles: list[str]
    condition: Condition

    @classmethod
    def of(cls, model: Model, asked: Asked, columns: int, *, seed: int, progress: Progress = no_progress) -> "Rows":
        """Return the rows for the options. Raises UsageError for conditions that the model does not support."""
        given = read_labels(asked.labels, model.prior, model.spec.classes)
        each = [name for name, value in given.items() if value is None]
        if len(each) > 1:
            raise UsageError(f"--label: only one attribute can be 'each', got {' and '.join(each)}.")
        if asked.tops is not None and (each or asked.keep_top is None):
            raise UsageError("--tops: use it with --keep-top, and without --label each.")
        fixed: dict[str, int] = {name: value for name, value in given.items() if value is not None}
        tops = asked.tops or TOPS if asked.keep_top is not None and not each else 0
        model.see_room(columns * max(1, tops, *(model.prior.attributes[name] for name in each)), "columns")
        titles = [f"{name}={value}" for name in each for value in range(model.prior.attributes[name])]
        titles += [f"top {top}" for top in range(tops)]
        rows = max(1, len(titles))
        condition = _labelled(model, fixed, each, rows, columns)
        if asked.keep_top is not None:
            # The upper layers are those of samples with the fixed labels; the varying attribute applies to the other layers.
            upper = Condition(checked_labels(model.prior, fixed, rows)) if fixed else None
            count = 1 if each else rows
            top = model.tops(asked.keep_top, count, seed=seed, condition=upper, progress=progress)
            condition = replace(condition, top=top.repeat(rows * columns // count, 1))
        return cls(titles or [""], condition)


def _labelled(model: Model, fixed: Mapping[str, int], each: Sequence[str], rows: int, columns: int) -> Condition:
    """Return the labels of all samples, without fixed layers."""
    values = {name: torch.arange(rows).repeat(columns) for name in each}
    labels: dict[str, int | Tensor] = {**fixed, **values}
    return Condition(checked_labels(model.prior, labels, rows * columns) if labels else {})


def read_labels(texts: Sequence[str], prior: Prior, classes: int) -> dict[str, int | None]:
    """Return the requested value of each named attribute, None for 'each'; the data have `classes` classes.

    Raises UsageError naming the option.
    """
    attributes = prior.attributes
    asked: dict[str, int | None] = {}
    for text in texts:
        if not attributes:
            raise UsageError(f"--label {text}: {unlabelled(prior, _train_with_labels(classes))}")
        name, equals, value = text.rpartition("=")
        if not equals and len(attributes) > 1:
            raise UsageError(f"--label {text}: specify the attribute, such as --label {next(iter(attributes))}={text}.")
        name = name if equals else next(iter(attributes))
        if name not in attributes:
            raise UsageError(f"--label {text}: the prior of this run has only {', '.join(attributes)}, not {name!r}.")
        if name in asked:
            raise UsageError(f"--label {text}: {name} is given twice; give it once.")
        asked[name] = None if value == EACH else _number(text, value, attributes[name])
    return asked


def _train_with_labels(classes: int) -> str:
    """Return the advice for a prior that could have learnt labels."""
    if classes < 2:
        return "the data have none either; leave the label out."
    return f'train it with --set "prior.labels=[{{classes: {classes}}}]".'


def _number(text: str, value: str, count: int) -> int:
    if not (value.isascii() and value.isdigit() and int(value) < count):
        raise UsageError(f"--label {text}: expected a number from 0 to {count - 1}, or '{EACH}' for one row per value.")
    return int(value)
