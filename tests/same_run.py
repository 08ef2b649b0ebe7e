"""Whether two runs are the same up to the order in which several processes add up."""

import json

import pytest
import torch
from safetensors.torch import load_file

__all__ = ["assert_same"]


def assert_same(found, expected):
    """Weights and logged figures of two folders; 1e-4 is the rounding of float32 sums after some steps of Adam."""
    for name in ("backbone", "prior"):
        ours, theirs = (load_file(folder / "weights" / f"{name}.safetensors") for folder in (found, expected))
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
    files = (folder / "metrics.jsonl" for folder in (found, expected))
    ours, theirs = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    assert [record.pop("phase") for record in ours] == [record.pop("phase") for record in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
