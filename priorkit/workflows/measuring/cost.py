"""The cost of samples of a run's model, and its number of parameters."""

import os
import platform

import torch

from priorkit.core import Draw, Sampler
from priorkit.metrics.cost import parameter_count, sampling_cost
from priorkit.model import Model

__all__ = ["cost_of_sampling"]


def cost_of_sampling(model: Model, sampler: Sampler) -> dict[str, object]:
    """Return speed and calls of the learned prior's sampling in batches of 100, the number of parameters, and the hardware.

    `sampler` is the model's with its chosen step size; choosing it is not part of the cost of a sample.
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
