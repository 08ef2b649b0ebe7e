"""What `speed.py` adds to its first table: chain overhead, data rates, memory by batch, growth with size."""

import multiprocessing
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from clock import Clock
from priorkit_mcmc import Langevin, LangevinSettings
from priorkit_multistage import MultistagePrior, MultistageSettings
from speed_cases import CASES, Case, Scale, build, small_nvae
from torch import Generator, Tensor

from priorkit.core import Latents, LatentSpace, Layout, Sampling, TopDown
from priorkit.data import load
from priorkit.energies import EnergySettings

__all__ = ["compiled", "data_rates", "growth", "memory", "overhead"]

Part = tuple[str, tuple[str, ...], list[list[str]]]
"""A title, a header and rows."""
JOINTEBM = CASES[1]


def overhead(clock: Clock, scale: Scale, rounds: int, quick: bool) -> Part:
    """A Langevin step over the energy's forward and backward alone."""
    rows = []
    for case in (CASES[1], CASES[2]):
        for batch in (scale.batch,) if quick else (16, 64):
            model = small_nvae(scale, case.options, clock.device)
            prior = model.prior.eval().requires_grad_(False)
            generator = torch.Generator(device=clock.device).manual_seed(0)
            start = torch.randn(batch, model.backbone.layout.dim, generator=generator, device=clock.device)
            works: dict[str, Callable[[], object]] = {
                "bare": lambda p=prior, u=start: [gradient(p.net, u) for _ in range(20)]
            }
            for name, fused in (("plain", False), ("fused", True)):
                sampler = Langevin(LangevinSettings(steps=20, step_size=1e-5, fused=fused))
                works[name] = lambda s=sampler, p=prior, u=start, g=generator: s.run(p.density(), u, generator=g)
            seconds = clock.medians(works, rounds)
            cells = [f"{1000 * seconds[part] / 20:.2f}" for part in works]
            ratios = [f"{seconds[part] / seconds['bare']:.3f}" for part in ("plain", "fused")]
            rows.append([f"{case.name}, batch {batch}", *cells, *ratios])
    header = ("energy", "its forward and backward, ms", "step, ms", "fused step, ms", "ratio", "fused ratio")
    return "Langevin overhead", header, rows


def compiled(clock: Clock, scale: Scale, rounds: int, quick: bool) -> Part:
    """What torch.compile makes of the energies of a chain."""
    rows = []
    for case in (CASES[1], CASES[2]):
        net = small_nvae(scale, case.options, clock.device).prior.eval().requires_grad_(False).net
        for parameter in net.parameters():
            parameter.normal_(std=0.05, generator=torch.Generator(device=clock.device).manual_seed(1))  # it begins at zero
        again = torch.compile(net)
        u = torch.randn(scale.batch, net.layout.dim, generator=torch.Generator().manual_seed(0)).to(clock.device)
        torch.testing.assert_close(gradient(again, u), gradient(net, u))  # compiles it, too
        works: dict[str, Callable[[], object]] = {
            "eager": lambda n=net, u=u: [gradient(n, u) for _ in range(20)],
            "compiled": lambda n=again, u=u: [gradient(n, u) for _ in range(20)],
        }
        seconds = clock.medians(works, rounds)
        cells = [f"{1000 * seconds[part] / 20:.2f}" for part in works]
        rows.append([f"{case.name}, batch {scale.batch}", *cells, f"{seconds['eager'] / seconds['compiled']:.2f}"])
    return "torch.compile", ("energy's forward and backward", "eager, ms", "compiled, ms", "faster by"), rows


def gradient(energy: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
    """That of the summed energy, (B, D)."""
    leaf = u.detach().requires_grad_()
    (found,) = torch.autograd.grad(energy(leaf).sum(), leaf)
    return found


def data_rates(clock: Clock, scale: Scale, rounds: int, quick: bool) -> Part:
    """Images of the embedded digits and cached posterior samples, chosen at random, on the device."""
    digits, dim = load("digits").train, 34_560
    bank = Latents(torch.randn(64 if quick else 4_000, dim, device=clock.device))
    works: dict[str, Callable[[], object]] = {
        "digits, (1, 8, 8)": lambda: digits.batch(torch.randint(len(digits), (256,))).to(clock.device),
        "cached positives, D = 34,560": lambda: bank[torch.randint(len(bank), (256,), device=clock.device)],
    }
    seconds = clock.medians(works, max(rounds, 5))
    return "Data", ("what", "rows per second"), [[name, f"{256 / value:,.0f}"] for name, value in seconds.items()]


def memory(clock: Clock, scale: Scale, rounds: int, quick: bool) -> Part:
    """Growth of the peak over what was held before, of a training step of each side in a process of its own."""
    sizes = (2, 4) if quick else (4, 16, 64)
    rows = []
    for case in (CASES[0], CASES[1]):
        for side in ("step", "reference_step"):
            cells = [f"{_peak(case, replace(scale, batch=batch), side, clock.device) / 2**20:.0f}" for batch in sizes]
            rows.append([f"{case.name}: {'product' if side == 'step' else 'reference'}", *cells])
    return "Peak memory of a training step, MiB", ("prior", *(f"batch {batch}" for batch in sizes)), rows


def _peak(case: Case, scale: Scale, side: str, device: torch.device) -> int:
    if device.type == "cuda":
        return peak(case, scale, side, device)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak, (case, scale, side, device))


def peak(case: Case, scale: Scale, side: str, device: torch.device) -> int:
    """Bytes of one step above what stood before it."""
    torch.set_num_threads(1)
    work = getattr(build(case, scale, device), side)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def growth(clock: Clock, scale: Scale, rounds: int, quick: bool) -> Part:
    """Seconds of a chain on energies of u, as one of its sizes grows and the others stay."""
    rows = []
    for name, values in _sweeps(quick):
        works = {str(sizes[name]): _chain(clock.device, scale.batch, **sizes) for sizes in values}
        seconds = clock.medians(works, rounds)
        first = next(iter(seconds.values()))
        told = "; ".join(f"{size}: {1000 * value:.1f} ms ({value / first:.2f})" for size, value in seconds.items())
        rows.append([name, told])
    title = "Growth of a chain (4 layers of (20, 8, 8), 1 stage, 10 steps, but for what grows)"
    return title, ("what grows", "time (ratio to the first)"), rows


def _sweeps(quick: bool) -> Iterator[tuple[str, list[dict[str, int]]]]:
    usual = {"layers": 4, "side": 8, "stages": 1, "steps": 10}
    grown = {"layers": (1, 2, 4, 8, 16), "side": (4, 8, 16), "stages": (1, 2, 3, 4), "steps": (5, 10, 20, 40)}
    for name, sizes in grown.items():
        yield name, [{**usual, name: size} for size in (sizes[:2] if quick else sizes)]


def no_walk(batch: int) -> TopDown:
    """Energies of u never ask for one."""
    raise RuntimeError("speed_growth: a chain on energies of u walked the hierarchy")


def _chain(device: torch.device, batch: int, *, layers: int, side: int, stages: int, steps: int) -> Callable[[], object]:
    """A chain of the multi-stage prior on a hierarchy without a generator."""
    layout = Layout(((20, side, side),) * layers)
    space = LatentSpace(layout, lambda u: u, no_walk)
    energy = EnergySettings(network="conv", coupling="separable")
    prior = MultistagePrior(MultistageSettings(stages=stages, energy=energy), space).to(device).eval().requires_grad_(False)
    prior.active.fill_(stages)
    sampler = Langevin(LangevinSettings(steps=steps, step_size=1e-5))
    random = Generator(device=device).manual_seed(0)
    return lambda: prior.draw(batch, Sampling(sampler, random))
