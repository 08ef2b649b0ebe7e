"""Two processes train on a device whose process group takes no tensor of the CPU, as two GPUs do."""

import os

import pytest
import torch
import torch.multiprocessing as mp
from device_group import device_group
from ports import free_ports
from waiting import PRIORS, options, trained

from priorkit.engine import ProcessContext
from priorkit.engine.metric_accumulator import MetricAccumulator
from priorkit.testing.fake_device import DEVICE, fake_device

CASES = [
    ("nvae", "gaussian", "two-phase"),
    *(("twolayer", prior, "two-phase") for prior in PRIORS if prior != "mixture" and "-" not in prior),
    ("twolayer", "jointebm", "joint"),
]


def _work(rank, port, folder):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    process = ProcessContext(DEVICE, rank, 2)
    with process.joined(), fake_device() as device, device_group():
        window = MetricAccumulator(process)
        window.add({"of a plugin": torch.tensor(float(rank))})  # on the host, which costs no wait in a step
        assert window.means() == {"of a plugin": 0.5}
        for case in CASES:
            given = options(*case, "engine.devices=2")
            ran = trained(device, folder / "-".join(case), given, process)
            for phase, step in ran.usual().items():
                # The check of every objective, and the agreement whether to stop; diffusion reads its step size again, since
                # the processes average it with the other buffers.
                more = "joint" in phase or "vdrme" in case or "diffusion" in case
                assert step.waits.total() <= 2 + more, f"{case}: {phase} waits {step.waits}"
            model = {**ran.model.backbone.state_dict(prefix="b."), **ran.model.prior.state_dict(prefix="p.")}
            torch.save({name: value.cpu() for name, value in model.items()}, folder / f"{'-'.join(case)}.{rank}.pt")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(_work, args=(free_ports(1)[0], folder), nprocs=2)
    return folder


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_processes_send_only_tensors_of_the_device_and_agree(runs, case):
    first, second = (torch.load(runs / f"{'-'.join(case)}.{rank}.pt", weights_only=True) for rank in range(2))
    assert first.keys() == second.keys() and first
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
