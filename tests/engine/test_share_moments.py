"""Moments that are shared out over two processes: half of them each, and the same numbers, also over a change of hands."""

import json
import os
from contextlib import nullcontext

import pytest
import torch
import torch.multiprocessing as mp
from ports import free_ports
from safetensors.torch import load_file
from stopping import stop_at

from priorkit.config import resolve
from priorkit.core import Loss, Objective, OptimiserSettings, Step
from priorkit.engine import ProcessContext
from priorkit.engine.optimiser import local
from priorkit.engine.update import Updater
from priorkit.errors import InterruptedRunError
from priorkit.workflows.training import train as workflow

OPTIONS = [
    "backbone=twolayer", "backbone.hidden=8", "backbone.latents=[3, 4]", "trainer.backbone_batch=30",
    "trainer.backbone_steps=8", "trainer.prior_steps=8", "trainer.prior_batch=32", "trainer.posterior_samples=1",
    "prior=vdrme", "engine.log_every=4", "engine.threads=1", "engine.shards=2",
]  # fmt: skip
HALF_WAY = ("prior.1", 4)


def fit(folder, *options, stop=None, resume=False):
    with pytest.raises(InterruptedRunError) if stop else nullcontext():
        workflow.fit(resolve(None, [*OPTIONS, *options]), folder, resume=resume, on_log=stop_at(*(stop or (None, None))))


def objectives(net):
    """Two, so that the first one's step has to be taken back where the second is refused."""

    def loss(batch, step):
        return Loss(net(batch).square().mean() * (float("nan") if step.index == 2 else 1.0))

    first, last = list(net[0].parameters()), list(net[2].parameters())
    settings = OptimiserSettings(lr=0.1)
    return [
        Objective("first", first, settings, lambda batch, step: Loss(net(batch).square().mean())),
        Objective("last", last, settings, loss),
    ]


def steps(process, *, share):
    """Weights after each of four steps, the third refused, and how many numbers this process keeps as moments."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1))
    updater = Updater(net, objectives(net), process, share_moments=share)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))[list(process.shard(8))]
    seen = []
    for index in range(4):
        taken, _ = updater.step([x], Step(index, 4, torch.Generator().manual_seed(0)))
        assert taken == (index != 2)
        seen.append([parameter.detach().clone() for parameter in net.parameters()])
    kept = sum(
        value.numel()
        for optimiser in updater.optimisers
        for entries in local(optimiser).state.values()
        for name, value in entries.items()
        if name != "step"
    )
    before = [parameter._version for parameter in net.parameters()]
    state = {name: value.clone() for name, value in updater.state().items()}
    updater.step([x], Step(4, 5, torch.Generator().manual_seed(0)))
    assert all(parameter._version > version for parameter, version in zip(net.parameters(), before, strict=True))
    return seen, kept, state


def work(rank, ports, root):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(ports[0]))
    torch.set_num_threads(1)
    process = ProcessContext.find("cpu")
    with process.joined():
        torch.save([steps(process, share=share) for share in (False, True)], root / f"{rank}.pt")
    runs = [
        (root / "whole", [], None, False),
        (root / "shared", ["engine.share_moments=true"], None, False),
        (root / "two-one", ["engine.share_moments=true"], HALF_WAY, False),
        (root / "one-two", ["engine.share_moments=true"], None, True),
    ]
    for port, (folder, options, stop, resume) in zip(ports[1:], runs, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        fit(folder, *options, stop=stop, resume=resume)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    fit(root / "one-two", stop=HALF_WAY)
    mp.spawn(work, args=(free_ports(5), root), nprocs=2)
    fit(root / "two-one", resume=True)
    return root


def test_each_process_keeps_about_half_and_both_move_as_without(root):
    (plain, every, state), (shared, kept, collected) = torch.load(root / "0.pt", weights_only=True)
    (_, _, _), (elsewhere, rest, _) = torch.load(root / "1.pt", weights_only=True)
    assert kept + rest == every
    assert max(kept, rest) <= 0.8 * every
    for expected, found, others in zip(plain, shared, elsewhere, strict=True):
        for one, two, three in zip(expected, found, others, strict=True):
            assert torch.equal(one, two)
            assert torch.equal(one, three)
    assert collected.keys() == state.keys()
    assert all(torch.equal(collected[name], value) for name, value in state.items())


def test_a_run_has_the_same_bits(root):
    for name in ("backbone", "prior"):
        ours, theirs = (load_file(root / run / "weights" / f"{name}.safetensors") for run in ("shared", "whole"))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert (root / "shared/metrics.jsonl").read_text() == (root / "whole/metrics.jsonl").read_text()


@pytest.mark.parametrize("order", ["one-two", "two-one"])
def test_a_checkpoint_is_read_by_another_number_of_processes(root, order):
    for name in ("backbone", "prior"):
        ours, theirs = (load_file(root / run / "weights" / f"{name}.safetensors") for run in (order, "whole"))
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
    steps = [json.loads(line)["step"] for line in (root / order / "metrics.jsonl").read_text().splitlines()]
    assert steps == [json.loads(line)["step"] for line in (root / "whole/metrics.jsonl").read_text().splitlines()]
