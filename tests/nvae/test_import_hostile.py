"""Files that lie, break or want to run something: one paragraph, exit code 2, nothing executed."""

import argparse
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from priorkit_nvae import NvaeCheckpoint
from published import SPEC, content, network, save
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.errors import UsageError


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def refused(path, tmp_path, part=""):
    result = CliRunner().invoke(app, ["import", "nvae", str(path), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2, (result.output, result.exception)
    assert path.name in result.output
    assert part in result.output
    assert "Traceback" not in result.output
    assert len(result.output) < 700, result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("where", ["args", "state_dict", "optimizer", "whole"])
def test_code_in_a_file_is_never_run(tmp_path, old, where):
    trace = tmp_path / "executed"
    stored = content()
    path = save(Evil(trace) if where == "whole" else {**stored, where: Evil(trace)}, tmp_path / "evil.pt", old=old)
    refused(path, tmp_path, "may execute code")
    assert not trace.exists()


def test_code_in_an_argument_is_never_run(tmp_path):
    stored = content()
    stored["args"].save = Evil(tmp_path / "executed")
    refused(save(stored, tmp_path / "evil.pt"), tmp_path, "may execute code")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("data", [b"", b"\x80", b"PK\x03\x04rest", b"not a checkpoint", b"\x80\x02}q\x00."])
def test_files_that_are_none(tmp_path, data):
    (tmp_path / "file.pt").write_bytes(data)
    refused(tmp_path / "file.pt", tmp_path)


def test_a_pickle_that_is_no_checkpoint_is_not_run(tmp_path):
    (tmp_path / "file.pt").write_bytes(pickle.dumps(Evil(tmp_path / "executed")))
    refused(tmp_path / "file.pt", tmp_path)
    assert not (tmp_path / "executed").exists()


def test_no_file(tmp_path):
    refused(tmp_path / "absent.pt", tmp_path, "No such file")
    (tmp_path / "folder.pt").mkdir()
    refused(tmp_path / "folder.pt", tmp_path, "not a file")


def test_the_first_container_of_torch_is_refused(tmp_path):
    with tarfile.open(tmp_path / "file.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    refused(tmp_path / "file.pt", tmp_path, "tar archive")


def repacked(source, target, compression=zipfile.ZIP_STORED, extra=None):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        if extra:
            new.writestr(extra, b"\0" * 1_000)
    return target


def test_members_that_unfold_are_refused(tmp_path):
    path = repacked(save(content(), tmp_path / "a.pt"), tmp_path / "b.pt", zipfile.ZIP_DEFLATED)
    refused(path, tmp_path, "compressed")


def test_programs_are_refused(tmp_path):
    path = repacked(save(content(), tmp_path / "a.pt"), tmp_path / "b.pt", extra="a/constants.pkl")
    refused(path, tmp_path, "TorchScript")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_come_twice_are_refused(tmp_path):
    path = repacked(save(content(), tmp_path / "a.pt"), tmp_path / "b.pt", extra="a/data/0")
    refused(path, tmp_path, "duplicate")


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path):
    path = save(content(), tmp_path / "file.pt")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = max(archive.infolist(), key=lambda item: item.file_size)
    data[member.header_offset + 200 + member.file_size // 2] ^= 1
    path.write_bytes(data)
    refused(path, tmp_path, "checksum")


def changed(key, value):
    def change(stored):
        stored["state_dict"][key] = value(stored["state_dict"][key])

    return change


def without(key):
    return lambda stored: stored["state_dict"].pop(key)


def argument(name, value):
    return lambda stored: setattr(stored["args"], name, value)


RUNNING = "dec_tower.1._ops.0.conv.0.bn.running_var"
WRONG = {
    "shape": (changed("stem.weight", lambda w: w[:2].clone()), "stem.weight"),
    "type": (changed("stem.weight", lambda w: w.half()), "float16"),
    "nan": (changed("stem.bias", lambda w: w * float("nan")), "stem.bias"),
    "inf": (changed(RUNNING, lambda w: w / 0), "running_var"),
    "negative variance": (changed(RUNNING, lambda w: -w), "negative variances"),
    "alias": (changed("dec_tower.1._ops.0.conv.3.weight_normalized", lambda w: w + 1), "contradicts"),
    "unknown": (lambda stored: stored["state_dict"].update({"extra.weight": torch.zeros(1)}), "extra.weight"),
    "stray": (lambda stored: stored["state_dict"].update({"extra.weight_normalized": torch.zeros(1)}), "extra"),
    "missing": (without("prior_ftr0"), "prior_ftr0"),
    "empty": (lambda stored: stored["state_dict"].clear(), "state_dict"),
    "no tensors": (changed("stem.bias", lambda w: w.tolist()), "not an ordinary tensor"),
    "sparse": (changed("stem.bias", lambda w: w.to_sparse()), "not an ordinary tensor"),
    "without storage": (changed("stem.bias", lambda w: w.to("meta")), "not an ordinary tensor"),
    "no state": (lambda stored: stored.pop("state_dict"), "state_dict"),
    "no args": (lambda stored: stored.update(args={}), "args"),
    "groups": (argument("num_groups_per_scale", 3), "lacks"),
    "endless groups": (argument("num_groups_per_scale", 10**9), "num_groups_per_scale"),
    "many groups": (argument("num_groups_per_scale", 1000), "cells"),
    "endless scales": (argument("num_latent_scales", 10**9), "num_latent_scales"),
    "endless width": (argument("num_channels_enc", 10**12), "num_channels_enc"),
    "text": (argument("num_channels_enc", "wide"), "num_channels_enc"),
    "negative": (argument("num_nf", -1), "num_nf"),
    "bits": (argument("num_x_bits", 99), "num_x_bits"),
    "table": (argument("arch_instance", "res_mbconv9"), "arch_instance"),
    "list": (argument("arch_instance", []), "arch_instance"),
    "side": (argument("dataset", "celeba_99999999"), "dataset"),
    "odd side": (argument("dataset", "celeba_33"), "halved"),
    "no name": (argument("dataset", 3), "dataset"),
    "nan rate": (argument("learning_rate", float("nan")), "learning_rate"),
}


@pytest.mark.parametrize("name", WRONG)
def test_contents_that_are_wrong(tmp_path, name):
    change, part = WRONG[name]
    stored = content()
    change(stored)
    refused(save(stored, tmp_path / "file.pt"), tmp_path, part)


def test_sizes_that_the_file_does_not_have(tmp_path):
    """A stride of 0 lets one number claim to be a tensor of any size."""
    options = {"num_channels_enc": 256, "num_channels_dec": 256}
    stored = content(**options)
    with torch.device("meta"):
        wide = network(SPEC, options)
    stored["state_dict"] = {
        key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in wide.state_dict().items()
    }
    path = save(stored, tmp_path / "file.pt")
    assert path.stat().st_size < 10**6
    refused(path, tmp_path, "more bytes")


@pytest.fixture(scope="module", params=["new", "old"])
def whole(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "file.pt"
    return save(content(), path, old=request.param == "old").read_bytes()


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_of_any_kind_is_a_usage_error_or_harmless(whole, tmp_path, data):
    """Cut anywhere, or with some bytes changed where the structure is; the old container has no checksum of its values."""
    damaged = bytearray(whole[: data.draw(st.integers(1, len(whole)))] if data.draw(st.booleans()) else whole)
    for _ in range(data.draw(st.integers(0, 3))):
        position = data.draw(st.integers(0, min(len(damaged), 20_000) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    path = tmp_path / "file.pt"
    path.write_bytes(damaged)
    try:
        found = NvaeCheckpoint().read(path)
    except UsageError as error:
        assert str(path) in str(error)
    else:
        assert found.backbone == "nvae"


def test_namespaces_are_all_that_is_allowed(tmp_path):
    """A file may name argparse.Namespace, and no other thing of argparse."""
    stored = content()
    stored["args"] = argparse.ArgumentParser
    refused(save(stored, tmp_path / "file.pt"), tmp_path, "argparse.ArgumentParser")
