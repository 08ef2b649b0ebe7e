"""The fused Langevin step against slow definitions: SplitMix64 in whole numbers, noise in numpy, the step in a loop."""

import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from priorkit_mcmc import Langevin, LangevinSettings, fused
from priorkit_mcmc.counter_noise import Counter, normals, splitmix64
from scipy import stats
from torch._dynamo.utils import counters

from priorkit.core import TiltedNormal

MASK = 2**64 - 1
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler: torch.compile cannot make the kernel"
)


def slow_splitmix64(seed: int, count: int) -> list[int]:
    """As the paper writes it, one number after the other."""
    found = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        found.append(z ^ (z >> 31))
    return found


def slow_noise(numbers: list[int], rows: int, columns: int) -> np.ndarray:
    """Pairs by Box & Muller, in double precision."""
    bits = np.array(numbers, dtype=np.uint64).reshape(rows, -1)
    radius = np.sqrt(-2 * np.log(((bits & np.uint64(0xFFFFFFFF)).astype(np.float64) + 0.5) / 2**32))
    angle = math.pi * (bits.astype(np.int64) >> 32).astype(np.float64) / 2**31
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :columns]


def unsigned(states: torch.Tensor) -> list[int]:
    return [int(value) & MASK for value in states.flatten().tolist()]


def counted(rows: int, columns: int, seed: int, steps: int = 1) -> tuple[list[int], int]:
    """The numbers of a chain's steps, and the seed that they follow from."""
    counter = Counter(torch.zeros(rows, columns), torch.Generator().manual_seed(seed))
    key, numbers = int(counter.key) & MASK, []
    for _ in range(steps):
        numbers += unsigned(splitmix64(counter.key + counter.rows + counter.columns))
        counter.advance()
    return numbers, key


def test_the_published_numbers():
    """The five that follow from seed 1234567 in the test data of other implementations."""
    states = torch.tensor(1234567) + torch.arange(1, 6) * (0x9E3779B97F4A7C15 - 2**64)
    expected = [
        *(6457827717110365317, 3203168211198807973, 9817491932198370423),
        *(4593380528125082431, 16408922859458223821),
    ]
    assert unsigned(splitmix64(states)) == expected


@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 1000), st.integers(1, 4))
def test_the_steps_of_a_chain_use_one_sequence_without_gaps(rows, columns, seed, steps):
    numbers, key = counted(rows, columns, seed, steps)
    assert numbers == slow_splitmix64(key, steps * rows * ((columns + 1) // 2))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_noise_is_standard_normal(kind):
    numbers, _ = counted(500, 2000, seed=0)
    counter = Counter(torch.zeros(500, 2000), torch.Generator().manual_seed(0))
    first, second = normals(splitmix64(counter.key + counter.rows + counter.columns), torch.zeros((), dtype=kind))
    both = torch.cat([first, second], 1).double().numpy()
    np.testing.assert_allclose(both, slow_noise(numbers, 500, 2000), rtol=0, atol=1e-4 if kind is torch.float32 else 1e-12)
    flat = both.ravel()
    # A million draws: Kolmogorov-Smirnov at one in a thousand, and moments within four of their errors.
    assert stats.kstest(flat, "norm").pvalue > 1e-3
    assert abs(flat.mean()) < 4e-3
    assert abs(flat.var() - 1) < 4 * math.sqrt(2e-6)
    assert abs((flat**4).mean() - 3) < 4 * math.sqrt(96e-6)
    for lag in (1, 2, 1000):
        assert abs((flat[:-lag] * flat[lag:]).mean()) < 4e-3
    # The two of a pair share their radius; their squares must not be correlated for it.
    squares = [part.double().square().flatten() - 1 for part in (first, second)]
    assert abs((squares[0] * squares[1]).mean().item()) < 4 * 2 / math.sqrt(flat.size / 2)


def test_extreme_bits_give_finite_noise():
    bits = torch.tensor([0, -1, 2**63 - 1, -(2**63), 0xFFFFFFFF], dtype=torch.int64)
    first, second = normals(bits, torch.zeros(()))
    assert torch.isfinite(first).all() and torch.isfinite(second).all()
    assert max(first.abs().max(), second.abs().max()) <= 6.8


def ratio(u):
    return (u.sin() * torch.arange(1, u.shape[1] + 1, dtype=u.dtype)).sum(1)


def ratio_gradient(u):
    return u.cos() * torch.arange(1, u.shape[1] + 1, dtype=u.dtype)


@needs_compiler
@pytest.mark.parametrize("tilted", [True, False])
@pytest.mark.parametrize("columns", [1, 5, 64])
def test_it_is_the_step_that_the_definition_gives(tilted, columns):
    rows, steps, size = 3, 4, 0.2
    start = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    density = TiltedNormal(ratio) if tilted else ratio
    sampler = Langevin(LangevinSettings(steps=steps, step_size=size, fused=True))
    chain = sampler.run(density, start, generator=torch.Generator().manual_seed(7), keep_every=1)

    numbers, _ = counted(rows, columns, seed=7, steps=steps)
    u, each = start.clone(), len(numbers) // steps
    for t in range(steps):
        value = ratio(u) - (u.square().sum(1) / 2 if tilted else 0)
        gradient = ratio_gradient(u) - (u if tilted else 0)
        noise = torch.from_numpy(slow_noise(numbers[t * each : (t + 1) * each], rows, columns))
        move = size / 2 * gradient + math.sqrt(size) * noise
        u = u + move
        torch.testing.assert_close(chain.trajectory[t + 1], u, rtol=1e-12, atol=1e-12)
        told = {name: values[t] for name, values in chain.diagnostics.items()}
        expected = {
            "energy": value.mean(),
            "gradient_norm": gradient.norm(dim=1).mean(),
            "displacement": (move.norm(dim=1) / math.sqrt(columns)).mean(),
            "finite": torch.tensor(1.0),
        }
        assert told.keys() == expected.keys()
        for name, want in expected.items():
            torch.testing.assert_close(told[name], want.float(), rtol=1e-6, atol=1e-6)
    assert torch.equal(chain.u, chain.trajectory[-1])
    assert chain.calls == steps


@needs_compiler
def test_seeds_decide_and_differ_and_the_start_is_left_alone():
    start = torch.zeros(4, 6)
    sampler = Langevin(LangevinSettings(steps=3, fused=True))
    runs = [sampler.run(TiltedNormal(ratio), start, generator=torch.Generator().manual_seed(seed)).u for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(start, torch.zeros(4, 6))


@needs_compiler
def test_its_chains_have_the_variance_of_the_autoregression():
    """As the plain sampler: on N(0, I) the variance is 1 / (1 - s/4)."""
    size = 0.5
    expected = 1 / (1 - size / 4)
    start = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0)) * expected**0.5
    sampler = Langevin(LangevinSettings(steps=30, step_size=size, fused=True))
    u = sampler.run(TiltedNormal(lambda u: u.new_zeros(len(u))), start, generator=torch.Generator().manual_seed(1)).u
    assert u.var().item() == pytest.approx(expected, rel=0.02)
    assert (u.T.cov() - expected * torch.eye(4)).abs().max() < 0.03


@needs_compiler
def test_one_compiled_function_serves_chains_of_all_sizes(monkeypatch):
    """Torch would compile for each size, and after the eighth run the step as it is written."""
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(fused, "_only", fused.FusedStep())
    for rows, columns in [(4, 6), (5, 6), (16, 7), (3, 30), (9, 31), (2, 100), (40, 101), (41, 3), (7, 8), (8, 9), (11, 12)]:
        sampler = Langevin(LangevinSettings(steps=2, fused=True))
        for density in (TiltedNormal(ratio), ratio):
            chain = sampler.run(density, torch.zeros(rows, columns), generator=torch.Generator().manual_seed(0))
            assert chain.u.isfinite().all()
    # Tilted or not, and an even or an odd number of columns.
    assert 1 <= counters["stats"]["unique_graphs"] <= 4


@needs_compiler
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_mode_that_gradients_are_in_makes_no_difference(mode):
    start, sampler = torch.ones(3, 5), Langevin(LangevinSettings(steps=3, fused=True))
    expected = sampler.run(TiltedNormal(ratio), start, generator=torch.Generator().manual_seed(0)).u
    with mode():
        found = sampler.run(TiltedNormal(ratio), start.clone(), generator=torch.Generator().manual_seed(0)).u
    assert torch.equal(found, expected)
    assert not found.requires_grad


class Itself(torch.autograd.Function):
    """|u|^2 / 2 whose gradient is u, the very tensor."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return u.square().sum(1) / 2

    @staticmethod
    def backward(ctx, slope):
        return ctx.saved_tensors[0]


@needs_compiler
@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("tilted", [False, True])
def test_a_density_that_gives_views_of_the_state_is_told_of_the_state_left(fuse, tilted):
    start = torch.arange(1.0, 9.0)[:, None]
    sampler = Langevin(LangevinSettings(steps=1, step_size=0.5, fused=fuse))

    def view(u):
        return u[:, 0]

    energy = sampler.run(TiltedNormal(view) if tilted else view, start).diagnostics["energy"]
    expected = (start[:, 0] - (start[:, 0] ** 2 / 2 if tilted else 0)).mean()
    torch.testing.assert_close(energy[0], expected)
    still = sampler.run(TiltedNormal(Itself.apply), start, generator=torch.Generator().manual_seed(0))
    assert still.diagnostics["gradient_norm"] == 0


def test_noise_in_half_precision_is_that_of_single_precision_rounded():
    bits = splitmix64(torch.arange(10_000))
    for kind in (torch.float16, torch.bfloat16):
        found, exact = normals(bits, torch.zeros((), dtype=kind)), normals(bits, torch.zeros(()))
        assert all(torch.equal(a, b.to(kind)) for a, b in zip(found, exact, strict=True))


def test_without_a_compiler_the_chains_are_the_same_and_the_log_says_why(monkeypatch, caplog):
    exceptions = pytest.importorskip("torch._inductor.exc")

    def compiler(*_, **__):
        def made(*_):
            raise exceptions.InvalidCxxCompiler

        return made

    def run():
        monkeypatch.setattr(fused, "_only", fused.FusedStep())
        sampler = Langevin(LangevinSettings(steps=3, fused=True))
        return sampler.run(TiltedNormal(ratio), torch.ones(4, 5), generator=torch.Generator().manual_seed(0)).u

    expected = run()
    caplog.clear()
    monkeypatch.setattr(torch, "compile", compiler)
    torch.testing.assert_close(run(), expected)
    (told,) = [record.getMessage() for record in caplog.records if record.name == fused.__name__]
    assert "it needs a C++ compiler" in told
    assert "InvalidCxxCompiler" in told


def test_other_errors_are_not_blamed_on_the_compiler(monkeypatch):
    def broken(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    monkeypatch.setattr(fused, "_only", fused.FusedStep())
    with pytest.raises(RuntimeError, match="out of memory"):
        Langevin(LangevinSettings(steps=1, fused=True)).run(ratio, torch.zeros(2, 3))
    assert fused.fused_step().made is broken  # and the next chain is not the slower for it


def test_a_python_that_torch_cannot_compile_for_is_no_error(monkeypatch, caplog):
    def refused(*_, **__):
        raise RuntimeError("torch.compile is not supported on Python 3.99")

    monkeypatch.setattr(torch, "compile", refused)
    monkeypatch.setattr(fused, "_only", fused.FusedStep())
    Langevin(LangevinSettings(steps=2, fused=True)).run(ratio, torch.zeros(2, 3))
    assert "not supported on Python 3.99" in caplog.text
