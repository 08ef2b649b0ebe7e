"""Fabricated finished runs: configuration, summary and data files, without any training."""

import json

import pytest

from priorkit.config import resolve
from priorkit.workflows.comparing.run_record import RunRecord


def figure(value, spread=0.1, protocol="2000 samples"):
    return {"value": value, "spread": spread, "protocol": protocol}


METRICS = {
    "fd_digits_gaussian": figure(6.0),
    "fd_digits_posterior": figure(0.15),
    "fd_digits_heldout_gaussian": figure(6.5),
    "fd_digits_heldout_posterior": figure(0.25),
    "fd_digits_stage_1": figure(2.0),
    "fd_digits_stage_2": figure(1.0),
    "gap_auc": figure(0.55),
    "gap_auc_layer_0": figure(0.5),
    "gap_auc_layer_1": figure(0.56),
    "gap_auc_gaussian": figure(0.7),
    "elbo_bpd": figure(2.0),
}
DISTANCES = ("fd_digits", "fd_digits_heldout")


@pytest.fixture
def fabricate(tmp_path):
    """Write a run's folder; gives its record."""

    def make(name, *options, fd=1.0, protocol="2000 samples", content="abc", backbone="b0", cost=None, more=None):
        folder = tmp_path / name
        (folder / "weights").mkdir(parents=True)
        config = resolve(None, ["backbone=twolayer", *options])
        config.write(folder / "config.yaml")
        described = {"name": "digits", "shape": [1, 8, 8], "levels": 17, "classes": 10, "content": content, "protocol": ""}
        (folder / "data.json").write_text(json.dumps(described))
        (folder / "weights" / "MANIFEST.json").write_text(json.dumps({"backbone": backbone, "prior": "p"}))
        lines = [{"phase": "prior.1", "step": 50, "loss": 1.0}, {"phase": "prior.1", "step": 60, "loss": 0.9}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        spent = {"seconds": {"backbone": 5.0, "prior.1": 7.0}, "threads": 1, "samples_per_second": 100.0 / fd}
        spent |= {"calls_per_sample": int(40 * fd), "parameters": {"backbone": 9, "prior": 3}, "peak_memory_bytes": 2**21}
        summary = {
            "metrics": {**METRICS, **dict.fromkeys(DISTANCES, figure(fd, protocol=protocol)), **(more or {})},
            "sample_seed": config.seed,
            "cost": spent | (cost or {}),
        }
        (folder / "summary.json").write_text(json.dumps(summary))
        return RunRecord.read(folder)

    return make
