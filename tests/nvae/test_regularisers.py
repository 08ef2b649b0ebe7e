"""The spectral regulariser against one power iteration for each filter, in double precision."""

import torch
from priorkit_nvae import NVAE, banks
from priorkit_nvae.convolution import WeightNormConv2d
from priorkit_nvae.regularisers import STEPS, VECTOR_EPS, SpectralNorms
from priorkit_nvae.settings import NvaeSettings

from priorkit.core import DataSpec, Step

CLOSE = {"rtol": 1e-11, "atol": 1e-13}


def iterated(matrix, left, right):
    """The vectors after a call's steps, one product at a time."""
    for _ in range(STEPS):
        right = matrix.T @ left
        right = right / right.norm().clamp(min=VECTOR_EPS)
        left = matrix @ right
        left = left / left.norm().clamp(min=VECTOR_EPS)
    return left, right


def test_a_call_is_power_iteration_filter_by_filter():
    network = NVAE(NvaeSettings(preset="digits"), DataSpec("digits", (1, 8, 8), 17)).double().train()
    spectral = SpectralNorms(network)
    begun = [tensor.clone() for tensor in spectral.vectors()]
    matrices = spectral.matrices()
    with torch.no_grad():
        # The clamp of the norms must be seen, too: filters of nearly no length.
        matrices[0].mul_(1e-5)
    spectral.matrices = lambda: matrices
    value = spectral()
    gradients = torch.autograd.grad(value, matrices)
    expected = value.new_zeros(())
    for number, (bank, gradient) in enumerate(zip(matrices, gradients, strict=True)):
        for k, matrix in enumerate(bank.detach()):
            left, right = iterated(matrix, begun[2 * number][k], begun[2 * number + 1][k])
            torch.testing.assert_close(spectral.vectors()[2 * number][k], left, **CLOSE)
            torch.testing.assert_close(spectral.vectors()[2 * number + 1][k], right, **CLOSE)
            torch.testing.assert_close(gradient[k], torch.outer(left, right), **CLOSE)
            expected = expected + left @ matrix @ right
    torch.testing.assert_close(value, expected, **CLOSE)


def test_a_training_step_normalises_its_filters_once(monkeypatch):
    network = NVAE(NvaeSettings(preset="digits", weight_decay_norm=0.01), DataSpec("digits", (1, 8, 8), 17)).train()
    (objective,) = network.objectives()
    calls = []
    plain = banks._matrices
    monkeypatch.setattr(banks, "_matrices", lambda bank: (calls.append(len(bank)), plain(bank))[1])
    monkeypatch.setattr(WeightNormConv2d, "_compute_weight", lambda conv: calls.append(conv))
    objective.loss(torch.rand(2, 1, 8, 8).mul(16).round() / 16, Step(1, 10, torch.Generator().manual_seed(0)))
    assert sum(calls) == SpectralNorms(network).count
    assert all(module.lent is None for module in network.modules() if isinstance(module, WeightNormConv2d))
