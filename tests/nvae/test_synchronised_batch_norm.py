"""Two processes with half a batch each against one process with the whole batch."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from priorkit_nvae.batch_norm import BatchNormSwish


def layer_and_data():
    torch.manual_seed(0)
    layer = BatchNormSwish(3).double()
    torch.nn.init.uniform_(layer.weight)
    torch.nn.init.uniform_(layer.bias)
    return layer, torch.randn(6, 3, 4, 4, dtype=torch.float64), torch.randn(6, 3, 4, 4, dtype=torch.float64)


def measure(layer, x, weights):
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * weights).sum().backward()
    return [y.detach(), x.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var]


def worker(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    layer, x, weights = layer_and_data()
    half = slice(0, 2) if rank == 0 else slice(2, 6)
    torch.save(measure(layer, x[half], weights[half]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_are_one(tmp_path):
    mp.start_processes(worker, args=(str(tmp_path),), nprocs=2, start_method="fork")
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    y, gradient, weight, bias, mean, variance = measure(*layer_and_data())
    torch.testing.assert_close(torch.cat([parts[0][0], parts[1][0]]), y)
    torch.testing.assert_close(torch.cat([parts[0][1], parts[1][1]]), gradient)
    torch.testing.assert_close(parts[0][2] + parts[1][2], weight)
    torch.testing.assert_close(parts[0][3] + parts[1][3], bias)
    for part in parts:
        torch.testing.assert_close(part[4], mean)
        torch.testing.assert_close(part[5], variance)
