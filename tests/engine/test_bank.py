"""Posterior samples on the disk or in half precision: the same training, bit for bit or within the rounding."""

import os
from types import SimpleNamespace

import pytest
import torch
from priorkit_twophase import TwoPhaseSettings, TwoPhaseTrainer
from priorkit_twophase import bank as module
from priorkit_twophase.bank import Bank, stored
from priorkit_twophase.positives import rows_that_fit
from safetensors.torch import load_file
from stopping import stop_at

from priorkit.config import RunConfig, resolve
from priorkit.core import Streams
from priorkit.errors import InterruptedRunError, UsageError
from priorkit.runs import memory_mapped_rows
from priorkit.runs.memory_mapped_rows import cache_rows
from priorkit.workflows.training import train as workflow

CPU = torch.device("cpu")
ON_Z = ["prior.energy_input=z", "trainer.posterior_samples=2"]
LABELLED = ["prior=vdrme", "prior.scales=2", "prior.classes=10", "prior.energy.width=8", "prior.generator.width=8"]


def fit(options, folder, **more):
    workflow.fit(resolve(None, options), folder, **more)
    return {path.name: path.read_bytes() for path in [*folder.glob("weights/*.safetensors"), folder / "metrics.jsonl"]}


def of(tiny, prior):
    """Options with another prior where one is named."""
    named = any(option.startswith("prior=") for option in prior)
    return [option for option in tiny if not (named and option.startswith("prior."))] + prior


@pytest.mark.parametrize("prior", [ON_Z, LABELLED], ids=["multistage on z", "vdrme with labels"])
def test_the_disk_gives_the_run_that_memory_gives(tmp_path, tiny, prior):
    options = of(tiny, prior)
    assert fit([*options, "trainer.bank_in=disk"], tmp_path / "disk") == fit(options, tmp_path / "memory")
    assert not (tmp_path / "disk" / "resume" / "kept").exists()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_stopped_run_goes_on_from_the_disk(tmp_path, tiny, precision, monkeypatch):
    options = [*tiny, *ON_Z, f"trainer.bank_precision={precision}"]
    whole = fit(options, tmp_path / "whole")

    stopped = tmp_path / "stopped"
    with pytest.raises(InterruptedRunError):
        fit([*options, "trainer.bank_in=disk"], stopped, on_log=stop_at("prior.2", 21))
    kept = stopped / "resume" / "kept" / "positives-train"
    # 1,437 digits twice, 7 latents, and some bytes for the header.
    assert 2 * 1437 * 7 * (2 if precision == "float16" else 4) < (kept / "z.npy").stat().st_size < 2 * 1437 * 7 * 4 + 200
    monkeypatch.setattr(memory_mapped_rows, "_Files", None)  # whole files are read, not made again
    workflow.fit(RunConfig.read(stopped / "config.yaml"), stopped, resume=True)
    assert {name: (stopped / ("weights" if "safe" in name else "") / name).read_bytes() for name in whole} == whole


def test_a_run_that_was_stopped_while_it_wrote_goes_on(tmp_path, tiny, monkeypatch):
    options = [*tiny, "trainer.bank_in=disk"]
    append = memory_mapped_rows._Files.append

    def killed(self, found):
        append(self, found)
        raise KeyboardInterrupt

    def left(self):
        """As SIGKILL leaves it: the files stay, and nobody has them open."""
        for file in self.files.values():
            file.stream.close()

    with monkeypatch.context() as patch:
        patch.setattr(memory_mapped_rows._Files, "append", killed)
        patch.setattr(memory_mapped_rows._Files, "discard", left)
        with pytest.raises(KeyboardInterrupt):
            fit(options, tmp_path / "run")
    assert (tmp_path / "run" / "resume" / "kept" / ".positives-train.part" / "u.npy").exists()
    workflow.fit(resolve(None, options), tmp_path / "run", resume=True)
    fit(tiny, tmp_path / "memory")
    found, expected = (load_file(tmp_path / run / "weights" / "prior.safetensors") for run in ("run", "memory"))
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_half_precision_is_near(tmp_path, tiny):
    """After 80 steps weights differ, by little."""
    fit([*tiny, "prior.stages=1"], tmp_path / "full")
    fit([*tiny, "prior.stages=1", "trainer.bank_precision=float16"], tmp_path / "half")
    found, expected = (load_file(tmp_path / run / "weights" / "prior.safetensors") for run in ("half", "full"))
    assert any(not torch.equal(found[name], value) for name, value in expected.items())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0.02)


def test_half_precision_moves_values_within_its_bound():
    random = torch.Generator().manual_seed(0)
    tiny_to_large = torch.exp2(torch.empty(200_000).uniform_(-30, 15.99, generator=random))
    values = torch.cat([torch.randn(200_000, generator=random), tiny_to_large, -tiny_to_large, torch.zeros(1)])
    moved = (stored(values, torch.float16).float() - values).abs().double()
    bound = (values.abs().double() * 2**-11).clamp_min(2**-25)
    assert (moved <= bound).all()
    assert (moved > 0.9 * bound).any(), "the bound is that of another type"


def test_what_half_precision_cannot_hold_is_refused():
    values = torch.tensor([[1.0, -70_000.0], [2.0, 3.0]])
    with pytest.raises(UsageError, match=r"entry of size 70000, but the largest .* 65504.*bank_precision=float32"):
        stored(values, torch.float16)
    assert torch.equal(stored(values, torch.float32), values)
    lost = torch.tensor([float("inf"), float("nan"), 1.0])  # left to the step, which refuses them
    assert torch.equal(stored(lost, torch.float16).float().isfinite(), lost.isfinite())


@pytest.mark.parametrize(("reads", "rows"), [("u", 1_000), ("z", 500)])
def test_half_precision_fits_twice_as_many(reads, rows):
    bench = SimpleNamespace(
        backbone=SimpleNamespace(layout=SimpleNamespace(dim=256)),
        prior=SimpleNamespace(energy_input=reads, beside=frozenset()),
    )
    assert rows_that_fit(1_000 * 1_024 / 2**30, bench) == rows
    assert rows_that_fit(1_000 * 1_024 / 2**30, bench, torch.float16) == 2 * rows


def banks(tmp_path, dtype=torch.float32):
    """The same samples in memory and on the disk."""
    u = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    kept, labels = {"u": stored(u, dtype), "z": stored(u.square(), dtype)}, torch.arange(40)
    pieces = [{name: rows[k : k + 10] for name, rows in kept.items()} for k in range(0, 40, 10)]
    on_disk = cache_rows(tmp_path, "bank", lambda number: pieces[number], 4, 40)
    return Bank(kept, labels, CPU), Bank(on_disk, labels, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_batches_from_the_disk_are_those_from_memory(tmp_path, dtype):
    memory, disk = banks(tmp_path, dtype)
    indices = torch.tensor([3, 39, 3, 0])
    assert len(memory) == len(disk) == 40
    ours, theirs = disk[indices], memory[indices]
    assert ours.u.dtype == ours.z.dtype == torch.float32
    assert torch.equal(ours.u, theirs.u) and torch.equal(ours.z, theirs.z) and torch.equal(ours.labels, theirs.labels)
    ours.u.zero_()  # a copy, which nothing ties to the file
    assert torch.equal(disk[indices].u, theirs.u)


def test_a_stage_begins_with_some_of_what_is_on_the_disk(tmp_path, monkeypatch):
    memory, disk = banks(tmp_path)
    assert torch.equal(disk.shown(Streams(0)).u, memory.kept["u"])
    assert memory.shown(Streams(0)).u is memory.kept["u"]
    monkeypatch.setattr(module, "SHOWN", 12)
    some, again, other = (disk.shown(Streams(seed)) for seed in (0, 0, 1))
    assert len(some.labels.unique()) == 12
    assert torch.equal(some.u, memory.kept["u"][some.labels])
    assert torch.equal(some.labels, again.labels) and not torch.equal(some.labels, other.labels)
    assert len(memory.shown(Streams(0))) == 40


def test_a_full_disk_ends_the_run_with_what_to_do(tmp_path, tiny, monkeypatch):
    def full(self, part):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(memory_mapped_rows._File, "write", full)
    with pytest.raises(UsageError, match=r"positives-train: could not be written \(No space left"):
        fit([*tiny, "trainer.bank_in=disk"], tmp_path / "run")


@pytest.mark.parametrize(
    ("examples", "asked", "samples"),
    [(1_257, "auto", 16), (12_500, "auto", 16), (60_000, "auto", 3), (300_000, "auto", 1), (60_000, 7, 7), (0, "auto", 16)],
)
def test_of_many_examples_fewer_samples_are_stored(examples, asked, samples):
    trainer = TwoPhaseTrainer(TwoPhaseSettings(posterior_samples=asked))
    assert trainer._samples(SimpleNamespace(train=range(examples))) == samples
