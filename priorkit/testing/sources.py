"""Checks of data sets by name."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch

from priorkit.core.data_source import as_source
from priorkit.data import Dataset
from priorkit.errors import UsageError
from priorkit.testing.body import Body, NotApplicable
from priorkit.testing.surroundings import untouched

__all__ = ["CHECKS"]


@lru_cache(maxsize=4)
def _loaded(plugin: Any) -> Dataset:
    try:
        data = as_source(plugin)(None)
    except UsageError as error:
        raise NotApplicable(f"it cannot be loaded here: {error}") from error
    assert isinstance(data, Dataset), f"it gives {type(data).__name__}, not a priorkit.data.Dataset"
    return data


def splits_fit_their_spec(plugin: Any, given: Mapping[str, Any]) -> None:
    """Both splits return float32 batches of the spec's shape, finite, and images in [0, 1] on the spec's grey levels."""
    data = _loaded(plugin)
    assert len(data.train) > 0, "there are no training data"
    assert data.protocol, "its protocol does not say how the splits came about"
    for name, split in (("train", data.train), ("heldout", data.heldout)):
        if not len(split):
            continue
        batch = split.batch(torch.arange(min(64, len(split))))
        assert batch.dtype == torch.float32, f"{name}: batches are {batch.dtype}, not float32"
        assert batch.shape[1:] == data.spec.shape, f"{name}: data have the shape {tuple(batch.shape[1:])}"
        assert bool(torch.isfinite(batch).all()), f"{name}: some data are not finite"
        if data.spec.is_image:
            assert 0 <= float(batch.min()) <= float(batch.max()) <= 1, f"{name}: pixels leave [0, 1]"
        if data.spec.levels:
            grid = batch * (data.spec.levels - 1)
            assert float((grid - grid.round()).abs().max()) < 1e-3, f"{name}: pixels are not among {data.spec.levels} levels"


def labels_are_classes(plugin: Any, given: Mapping[str, Any]) -> None:
    """Labels are integers from 0 to classes - 1, one per datum, in both splits or in neither."""
    data = _loaded(plugin)
    for name, split in (("train", data.train), ("heldout", data.heldout)):
        labels = split.labels
        if labels is None:
            assert data.spec.classes == 0, f"{name}: the spec says {data.spec.classes} classes and there are no labels"
        elif len(labels):
            assert labels.shape == (len(split),), f"{name}: {tuple(labels.shape)} labels for {len(split)} data"
            found = int(labels.min()), int(labels.max())
            assert found[0] >= 0 and found[1] < data.spec.classes, f"{name}: labels from {found[0]} to {found[1]}"


def loading_is_repeatable(plugin: Any, given: Mapping[str, Any]) -> None:
    """A second call returns the same data and hash, and changes no global random state."""
    first = _loaded(plugin)
    with untouched("loading"):
        again = as_source(plugin)(None)
    assert first.content and first.content == again.content, "its content hash changes from call to call, or is empty"
    rows = torch.arange(min(32, len(first.train)))
    assert torch.equal(first.train.batch(rows), again.train.batch(rows)), "its data change from call to call"


CHECKS: list[Body] = [splits_fit_their_spec, labels_are_classes, loading_is_repeatable]
