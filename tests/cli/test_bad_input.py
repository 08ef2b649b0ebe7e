"""Whatever a user gets wrong: one paragraph, exit code 2, no traceback, nothing lost."""

import errno
import os
import zipfile

import pytest

WRONG = [
    (["--backbone", "nvaee"], "nvae"),
    (["--prior", "multistge"], "multistage"),
    (["--sampler", "langvin"], "langevin"),
    (["--data", "digts"], "digits"),
    (["--data", "toy:checkers"], "checkerboard"),
    (["--data", "zip:missing.zip"], "missing.zip"),
    (["--set", "prior.stages=three"], "prior.stages"),
    (["--set", "prior.stages=0"], "prior.stages"),
    (["--set", "prior.stagse=2"], "stages"),
    (["--set", "backbone.preset=smal"], "small"),
    (["--set", "nonsense"], "nonsense"),
    (["--precision", "16"], "precision"),
    (["--config", "missing.yaml"], "missing.yaml"),
    (["--resume", "missing"], "not a run"),
]


def refused(result, part):
    assert result.exit_code == 2, result.output
    assert part in result.output
    assert "Traceback" not in result.output
    assert len(result.output) < 900


@pytest.mark.parametrize(("options", "part"), WRONG)
def test_a_wrong_option(call, tmp_path, monkeypatch, options, part):
    monkeypatch.chdir(tmp_path)
    refused(call("train", *options, "--out", tmp_path / "run"), part)


@pytest.mark.parametrize("content", [b"not a zip", b""])
def test_a_file_that_is_no_archive(call, tmp_path, content):
    (tmp_path / "data.zip").write_bytes(content)
    refused(call("train", "--data", f"zip:{tmp_path / 'data.zip'}", "--out", tmp_path / "run"), "data.zip")


def test_an_archive_with_one_corrupt_image(call, tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("00000/img00000000.png", b"\x89PNG\r\n\x1a\nrubbish")
    refused(call("train", "--data", f"zip:{tmp_path / 'data.zip'}", "--out", tmp_path / "run"), "img00000000.png")


def test_a_folder_in_use_is_not_overwritten(call, finished):
    before = (finished / "summary.json").read_bytes()
    refused(call("train", "--out", finished), "--resume")
    assert (finished / "summary.json").read_bytes() == before


def test_a_full_disk(call, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    refused(call("train", "--backbone", "twolayer", "--out", tmp_path / "run"), "No space left")


def test_sample_refuses_an_unknown_ending(call, finished, tmp_path):
    refused(call("sample", finished, "--out", tmp_path / "samples.gif"), ".png")


def test_evaluate_refuses_an_unknown_metric(call, finished):
    refused(call("evaluate", finished, "--metrics", "fid"), "gap")


def test_damaged_weights(call, finished, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    weights = copy / "weights" / "prior.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refused(call("sample", copy, "--out", tmp_path / "samples.png"), "checksum")


@pytest.mark.parametrize("features", ["their_module:features", "{run}/program.pt"])
def test_a_run_cannot_name_code_that_evaluating_it_loads(call, finished, tmp_path, monkeypatch, features):
    import shutil

    copy, trace = tmp_path / "copy", tmp_path / "trace"
    shutil.copytree(finished, copy)
    (tmp_path / "their_module.py").write_text(f"open({str(trace)!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = (copy / "config.yaml").read_text()
    assert "features: auto" in config
    (copy / "config.yaml").write_text(config.replace("features: auto", f'features: "{features.format(run=copy)}"'))
    (copy / "MANIFEST.json").unlink()
    refused(call("evaluate", copy, "--metrics", "fidelity", "--samples", "20"), "give --features")
    assert not trace.exists()
