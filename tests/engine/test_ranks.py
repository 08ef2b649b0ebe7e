"""Two processes average to what one process computes, also where gradients are missing on one of them."""

import torch
import torch.multiprocessing as mp
from ports import free_ports

from priorkit.engine import ProcessContext
from priorkit.engine.metric_accumulator import MetricAccumulator


def _energy_loss(net, x):
    """A backward through the gradient of an energy: the last bias gets no gradient."""
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    return slope.square().sum(1).mean()


def _network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1)).double()


def _work(rank, port, folder):
    import os

    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    process = ProcessContext.find("cpu")
    net = _network()
    x = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with process.joined():
        _energy_loss(net, x[list(process.shard(8))]).backward()
        process.average_gradients(net.parameters())
        agreed = [process.all_true(True), process.all_true(rank == 0), process.all_reduce_max(rank * 15, -rank) == [15, 0]]
        window = MetricAccumulator(process)
        for value in (rank, 3.0 + rank):
            window.add({"loss": torch.tensor(value), "kl": torch.tensor([value, 1.0])})
        again = MetricAccumulator(process)
        again.load(window.rows(), window.steps)
        agreed += [means == {"loss": 2.0, "kl.0": 2.0, "kl.1": 1.0} for means in (window.means(), again.means())]
    torch.save([[parameter.grad for parameter in net.parameters()], agreed], f"{folder}/{rank}.pt")


def test_two_processes_average_to_one(tmp_path):
    mp.spawn(_work, args=(free_ports(1)[0], str(tmp_path)), nprocs=2)
    net = _network()
    x = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    _energy_loss(net, x).backward()
    for rank in range(2):
        gradients, agreed = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert agreed == [True, False, True, True, True]
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)
