"""What samples of a run's model cost, and how many parameters it has."""

import os
import platform

import torch

from priorkit.core import Draw, Sampler
from priorkit.metrics.cost import parameter_count, sampling_cost
from priorkit.model import Model

__all__ = ["cost_of_sampling"]


def cost_of_sampling(model: Model, sampler: Sampler) -> dict[str, object]:
    """Speed and calls of the learned prior's draws in batches of 100, parameters, and what they ran on.

    `sampler` is the model's with its step size chosen; that choice is not in the cost of a sample.
    """

    def draw() -> Draw:
        return model.draw(0, sampler)

    found = sampling_cost(draw, model.decode)
    parameters = {"backbone": parameter_count(model.backbone), "prior": parameter_count(model.prior)}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    device = _described(model.backbone.device)
    return {**found.as_dict(), "parameters": parameters, "device": device, "machine": machine}


def _described(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
