"""Whatever a user gets wrong: one paragraph, exit code 2, no traceback, nothing lost."""

import errno
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import priorkit
from priorkit.config import DataSettings, RunConfig, resolve
from priorkit.data.cache import cache_folder
from priorkit.errors import UsageError
from priorkit.workflows.training.train import from_run

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

    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    weights = copy / "weights" / "prior.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refused(call("sample", copy, "--out", tmp_path / "samples.png"), "checksum")


@pytest.mark.parametrize("features", ["their_module:features", "{run}/program.pt"])
def test_a_run_cannot_name_code_that_evaluating_it_loads(call, finished, tmp_path, monkeypatch, features):

    copy, trace = tmp_path / "copy", tmp_path / "trace"
    shutil.copytree(finished, copy)
    (tmp_path / "their_module.py").write_text(f"open({str(trace)!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = (copy / "config.yaml").read_text()
    assert "features: auto" in config
    (copy / "config.yaml").write_text(config.replace("features: auto", f'features: "{features.format(run=copy)}"'))
    (copy / "MANIFEST.json").unlink()
    refused(call("evaluate", copy, "--metrics", "fidelity", "--samples", "20"), "give it with --features")
    assert not trace.exists()


LONG = "a" * 300
"""A name that no file system takes."""


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", LONG, "--out", "x.png"],
        ["train", "--data", LONG, "--out", "run"],
        ["train", "--data", f"folder:{LONG}", "--out", "run"],
        ["train", "--from", LONG],
        ["compare", LONG, "--out", "compared"],
        ["push", LONG, "someone/model"],
    ],
)
def test_a_place_that_the_system_refuses_is_told_in_a_line(call, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == 2 and "Traceback" not in done.output, done.output
    assert LONG in done.output and "File name too long" in done.output, done.output
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_looked_into_is_told_in_a_line(call, monkeypatch, tmp_path):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    done = call("evaluate", tmp_path)
    assert done.exit_code == 2, done.output
    assert f"{tmp_path / 'config.yaml'}: access failed (Permission denied)" in done.output


@pytest.mark.parametrize("arguments", [["train", "--data", "toy:moons"], ["plugins", "new", "mine", "--kind", "prior"]])
def test_a_current_folder_that_is_gone_is_told_in_a_line(tmp_path, arguments):
    command = f"cd {tmp_path} && rmdir {tmp_path} && exec {sys.executable} -m priorkit {' '.join(arguments)}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "the current folder does not exist any more" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "zip:~no-such-user/x.zip"],
        ["--data", "folder:~no-such-user/x"],
        ["--data", "stream:~no-such-user/x"],
        ["--data", "~no-such-user/x"],
        ["--data", "mnist", "--set", "data.root=~no-such-user/x"],
        ["--set", "fidelity.features=~no-such-user/x.pt"],
        ["--set", "fidelity.weights=~no-such-user/x.pt"],
    ],
)
def test_a_home_folder_that_is_not_known(call, tmp_path, arguments):
    done = call("train", "--backbone", "twolayer", *arguments, "--out", tmp_path / "run")
    assert done.exit_code == 2 and "home folder of ~no-such-user is unknown" in done.output, done.output
    assert not list(tmp_path.iterdir())


def test_a_cache_without_a_home_names_the_variable(monkeypatch):
    monkeypatch.setenv("PRIORKIT_CACHE", "~no-such-user/x")
    with pytest.raises(UsageError, match=r"home folder of ~no-such-user is unknown.*PRIORKIT_CACHE"):
        cache_folder()


def test_a_link_that_leads_nowhere_is_no_folder_for_a_run(call, tmp_path):
    link = tmp_path / "link"
    for target in (tmp_path / "gone", link):
        link.symlink_to(target)
        done = call("train", "--backbone", "twolayer", "--out", link)
        assert done.exit_code == 2 and f"{link}: is a broken link" in done.output, done.output
        link.unlink()


@pytest.mark.parametrize("ending", ["npy", "png"])
def test_a_temperature_that_gives_no_numbers_writes_nothing(call, finished, tmp_path, ending):
    done = call("sample", finished, "--n", 2, "--temperature", 1e308, "--out", tmp_path / f"x.{ending}")
    assert done.exit_code == 2 and "temperature: at 1e+308 the samples are not finite" in done.output, done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.PNG", "x.Svg", "x.NPY", "layers.PNG", "curves.SVG", "page.HTML"])
def test_an_ending_in_capitals_is_the_same_ending(call, finished, tmp_path, name):
    out = tmp_path / name
    of_ood = ["ood", finished, "--ood", "ood:constant", "--images", 10, "--layers", "0", "--scores", "gaussian"]
    commands = {"layers.PNG": ["sample", finished, "--layers"], "curves.SVG": of_ood, "page.HTML": ["report", finished]}
    done = call(*commands.get(name, ["sample", finished, "--n", 2]), "--out", out)
    assert done.exit_code == 0, done.output
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".npy": b"\x93NUMPY", ".html": b"<!doctype html"}
    assert out.read_bytes()[:20].lower().startswith(starts[out.suffix.lower()].lower())


def test_a_run_s_backbone_goes_without_the_one_of_a_file(call, finished, tmp_path, caplog):
    """It was passed over without a word."""
    file = tmp_path / "recipe.yaml"
    file.write_text("backbone: {name: nvae, preset: digits}\nprior: gaussian\n")
    done = call("train", "--from", finished, "--config", file, "--out", tmp_path / "run")
    told = f"--from {finished}: uses the backbone of that run, twolayer, but {file} has the backbone nvae"
    assert done.exit_code == 2 and told in " ".join(done.output.split()), done.output
    with pytest.raises(UsageError, match="has the backbone nvae"):
        priorkit.train(source=finished, config=file, out=tmp_path / "run")
    file.write_text("backbone: {preset: digits}\n")
    with pytest.raises(UsageError, match="has the backbone nvae"):
        from_run(finished, [], file=file)
    file.write_text("backbone: {name: twolayer, hiden: 32}\n")
    with pytest.raises(UsageError, match=rf"{file}, line 1: backbone\.hiden: unknown key"):
        from_run(finished, [], file=file)
    assert not caplog.messages


def test_a_recipe_is_put_on_a_backbone_with_other_options_with_a_word(finished, tmp_path, caplog):
    file, plain = tmp_path / "recipe.yaml", from_run(finished, [])
    for told in ("prior: gaussian", "backbone: {name: twolayer, hidden: 32, latents: [4, 6]}\ndata: digits"):
        file.write_text(told)
        assert from_run(finished, [], file=file) == plain and not caplog.messages
    file.write_text("backbone: {name: twolayer, hidden: 64, latents: [4, 6]}\ndata: toy:moons")
    assert from_run(finished, [], file=file) == plain
    (told,) = caplog.messages
    assert told.endswith(f"these options of {file} have no effect: backbone.hidden is 32, data.name is 'digits'")
    caplog.clear()
    from_run(finished, ["backbone.hidden=32", "data.name=toy:moons"], file=file)
    assert not caplog.messages, "--set has the last word"


def test_a_run_s_backbone_goes_without_another_one(call, finished, tmp_path):
    """It was passed over without a word."""
    told = "uses the backbone of that run, .*, so --backbone nvae"
    done = call("train", "--from", finished, "--backbone", "nvae", "--out", tmp_path / "run")
    assert done.exit_code == 2 and re.search(told, done.output), done.output
    with pytest.raises(UsageError, match=told):
        priorkit.train(source=finished, out=tmp_path / "run", backbone="nvae")
    assert not list(tmp_path.iterdir())


def test_a_run_s_backbone_on_other_data_has_the_options_of_these(finished):
    own = RunConfig.read(finished / "config.yaml")
    same = resolve(None, from_run(finished, [], data="digits"), data="digits")
    other = resolve(None, from_run(finished, [], data="toy:moons"), data="toy:moons")
    assert (same.data, same.backbone) == (own.data, own.backbone)
    assert (other.data, other.backbone) == (DataSettings(name="toy:moons"), own.backbone)


def test_the_names_that_the_run_has_may_be_said(finished):
    assert from_run(finished, [], backbone="twolayer", data="digits") == from_run(finished, [])


def test_the_data_may_be_said_by_a_relative_path(finished, tmp_path, monkeypatch):
    config = RunConfig.read(finished / "config.yaml")
    data = config.data.model_copy(update={"name": f"zip:{tmp_path}/set.zip"})
    monkeypatch.setattr(RunConfig, "read", lambda path: config.model_copy(update={"data": data}))
    monkeypatch.chdir(tmp_path)
    assert from_run(finished, [], data="zip:set.zip") == from_run(finished, [])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate", "{run}", "--metrics", "gap", "--features", "digits"], "--features: only for the metrics `fidelity`"),
        (["evaluate", "{run}", "--metrics", "gap", "--set", "fidelity.seed=1"], "--set: only for the metrics `fidelity`"),
        (["compare", "{run}", "{run}", "--out", "{out}", "--samples", "50"], "leave out --samples"),
        (["compare", "{run}", "{run}", "--out", "{out}", "--jobs", "2"], "leave out --jobs"),
    ],
)
def test_an_option_that_would_not_be_heard_is_refused(call, tmp_path, arguments, told):
    given = [text.format(run=tmp_path / "no-run", out=tmp_path / "out") for text in arguments]
    done = call(*given)
    assert done.exit_code == 2 and told in done.output, done.output


def test_a_link_in_a_circle_is_no_folder_to_push_to(call, finished, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    done = call("push", finished, "someone/model", "--to-folder", tmp_path / "loop")
    assert done.exit_code == 2 and f"{tmp_path / 'loop'}" in done.output, done.output
