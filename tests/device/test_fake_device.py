"""The fake device computes as the CPU does, refuses what a GPU refuses, and counts when a GPU would wait."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from priorkit.runtime.on_device import OnDevice
from priorkit.runtime.sent import sent
from priorkit.testing.fake_device import DEVICE, fake_device


@pytest.fixture
def device():
    with fake_device() as made:
        yield made


WAITING = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.sum() > 0),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "equal": lambda x: torch.equal(x, x),
    "mask": lambda x: x[x > 0],
    "assignment by mask": lambda x: x.clone().masked_fill_(x > 0, 1)[x > 0],
    "nonzero": lambda x: x.nonzero(),
    "indices of the host": lambda x: x[torch.tensor([0, 1])],
    "indices in a list": lambda x: x[[0, 1]],
    "new_tensor": lambda x: x.new_tensor([1.0]),
    "a constant": lambda x: torch.tensor([1.0], device=DEVICE),
    "to": lambda x: torch.ones(3).to(DEVICE),
    "to, unpinned": lambda x: torch.ones(3).to(DEVICE, non_blocking=True),
    "copy_": lambda x: torch.ones(4, 3).copy_(x),
    "cholesky": lambda x: torch.linalg.cholesky(torch.eye(3, device=DEVICE)),
    "multinomial": lambda x: torch.multinomial(x.abs(), 2),
    "bincount": lambda x: torch.bincount(torch.ones(3, dtype=torch.int64, device=DEVICE), minlength=4),
}
FREE = {
    "arithmetic": lambda x: (x * 2 + x.new_full((), 3.0)).exp().sum(1),
    "a number of the host": lambda x: x * torch.tensor(2.0),
    "sent": lambda x: sent(torch.ones(3, dtype=torch.uint8), DEVICE).float(),
    "indices of the device": lambda x: x[torch.arange(2, device=DEVICE)],
    "random numbers": lambda x: torch.randn(3, generator=torch.Generator(DEVICE).manual_seed(1), device=DEVICE),
    "gradient": lambda x: torch.autograd.grad((x.requires_grad_() ** 2).sum(), x),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "multinomial with replacement": lambda x: torch.multinomial(x.abs(), 2, replacement=True),
}
WRONG = {
    "product": lambda x: x * torch.ones(3),
    "concatenation": lambda x: torch.cat([x, torch.ones(1, 3)]),
    "stack with a number": lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
    "result of the host": lambda x: torch.ones(4, 3).add_(x),
    "sum of the host": lambda x: torch.zeros(()).add_(x.sum()),
    "generator of the host": lambda x: torch.randn(3, generator=torch.Generator(), device=DEVICE),
    "generator of the device": lambda x: torch.randn(3, generator=torch.Generator(DEVICE)),
    "array": lambda x: x.numpy(),
    "indices of gather": lambda x: x.gather(1, torch.zeros(4, 1, dtype=torch.int64)),
}


@pytest.mark.parametrize("name", WAITING)
def test_it_counts_waits(device, name):
    x = torch.randn(4, 3, device=DEVICE)
    device.waits.clear()
    WAITING[name](x)
    assert device.waits.total() >= 1


@pytest.mark.parametrize("name", FREE)
def test_it_counts_no_more(device, name):
    x = torch.randn(4, 3, device=DEVICE)
    device.waits.clear()
    FREE[name](x)
    assert not device.waits


@pytest.mark.parametrize("name", WRONG)
def test_it_refuses_tensors_and_generators_of_the_other_device(device, name):
    x = torch.randn(4, 3, device=DEVICE)
    with pytest.raises((RuntimeError, TypeError)):
        WRONG[name](x)


def test_training_on_it_is_training_on_the_cpu():
    def train(where):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(64, 1))
        before = list(net.parameters())
        net = net.to(where)
        assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
        optimiser = torch.optim.Adam(net.parameters(), foreach=True)
        x = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(1)).to(where)
        for _ in range(3):
            optimiser.zero_grad()
            net(x).square().mean().backward()
            optimiser.step()
        return [value.cpu() for value in deepcopy(net).state_dict().values()]

    on_cpu = train("cpu")
    with fake_device():
        on_device = train(DEVICE)
    torch.testing.assert_close(on_device, on_cpu)  # it may take other convolutions, whose sums round differently


def test_sizes_change_in_place(device):
    x = torch.ones(4, 3, device=DEVICE)
    assert x.unsqueeze_(1).shape == (4, 1, 3) and (x * 2).shape == (4, 1, 3)
    assert x.squeeze_(1).t_().shape == (3, 4) and (x + 1).tolist() == [[2.0] * 4] * 3


def test_constants_are_copied_once(device):
    constant, like = OnDevice(torch.tensor([1.0, 2.0], dtype=torch.float64)), torch.zeros(2, device=DEVICE)
    first = constant(like)
    assert device.waits.total() == 1 and first.dtype == like.dtype and first.device == like.device
    assert constant(like) is first and device.waits.total() == 1
    assert constant(torch.zeros(1)).tolist() == [1.0, 2.0] and constant(torch.zeros(1)).device.type == "cpu"


def test_constants_first_used_in_inference_mode_have_gradients_later():
    constant, u = OnDevice(torch.tensor([2.0])), torch.ones(1)
    with torch.inference_mode():
        constant(u)
    (u.requires_grad_() * constant(u)).sum().backward()
    assert u.grad.tolist() == [2.0]
