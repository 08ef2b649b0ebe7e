"""What the scripts on outsiders do without training: archives without a class, and the cells of the table."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from anomaly import cut
from ood import named, rows, short
from PIL import Image

from priorkit.data import load


def archive(path, labels):
    with zipfile.ZipFile(path, "w") as out:
        for i in range(len(labels)):
            stream = io.BytesIO()
            Image.fromarray(np.full((4, 4), i, dtype=np.uint8)).save(stream, "PNG")
            out.writestr(f"00000/img{i:08d}.png", stream.getvalue())
        out.writestr("dataset.json", json.dumps({"labels": [[f"00000/img{i:08d}.png", y] for i, y in enumerate(labels)]}))
    return path


def test_an_archive_without_a_class(tmp_path):
    source = archive(tmp_path / "all.zip", [3, 1, 4, 1, 5, 9, 2, 6])
    without = cut(source, tmp_path / "deep" / "without.zip", lambda label: label != 1, 5)
    data = load(f"zip:{without}", holdout=0, cache=tmp_path / "cache")
    kept = data.train.batch(torch.arange(len(data.train)))[:, 0, 0, 0] * 255
    assert kept.round().int().tolist() == [0, 2, 4, 5, 6]
    before = without.stat().st_mtime_ns
    assert cut(source, without, lambda label: True).stat().st_mtime_ns == before


def test_names_of_runs(tmp_path):
    """NAME=FOLDER unless that is itself a folder."""
    assert named("long=runs/b") == ("long", Path("runs/b")) and named("runs/b") == ("", Path("runs/b"))
    (tmp_path / "lr=1").mkdir()
    assert named(str(tmp_path / "lr=1")) == ("", tmp_path / "lr=1")


def test_cells():
    def scores(value):
        return {"log_ratio": {"all": {"auroc": {"value": value, "low": value - 0.1, "high": value + 0.1}}},
                "elbo": {"all": {"auroc": {"value": 0.25, "low": 0.2, "high": 0.3}}}}  # fmt: skip

    found = {"prior": "multistage", "ood": {"a": {"scores": scores(0.5)}, "b": {"scores": scores(0.75)}}}
    table = rows(found, baselines=True)
    assert table["multistage", "log_ratio", "all"] == ["0.500 ± 0.100", "0.750 ± 0.100"]
    assert rows({"prior": "gaussian", "ood": {}}, baselines=False) == {}
    assert ("(any)", "elbo", "all") in table and len(rows(found, baselines=False)) == 1
    assert short("zip:/data/mnist-test.zip") == "mnist-test" and short("ood:blurred") == "ood:blurred"
