"""What a run will take: formulas, checked on small presets, then applied to sizes that need a large machine.

    python benchmarks/plan.py --write docs/results/plan.md

The formulas are those of `plan_formulas.py`.  Checked (`plan_checks.py`): the presets `digits` and `small`, built and
trained for a step, with operations and kept tensors counted by torch and bytes taken from the tensors themselves.
Predicted: published presets and the latents of a pretrained autoencoder, whose networks have shapes and no memory
(`plan_units.py`).
"""

import argparse
from collections.abc import Sequence

import torch
from command_line import benchmark_parser, publish
from markdown_table import markdown_table
from plan_checks import OWN_CHAIN, SMALL, checks
from plan_formulas import backbone_kept, backbone_step, bytes_moved, negatives, prior_step, rows_bytes, state_bytes
from plan_units import backbone_units, configured, units

from priorkit.core import DataSpec, Layout

PRIORS = ("multistage", "jointebm", "ncp", "diffusion", "vdrme")
PRIOR_BATCH, BACKBONE_BATCH, STAGES, STEPS, POOLED, HELDOUT, BANK = 256, 128, 3, 9_000, 20_000, 6_000, 0.5
"""The defaults; the last is `trainer.bank` in GiB."""
SAMPLER, PILOT_RUN = 40, 100
"""Steps of the default sampler and of its pilot run."""
CHUNK = 2_000
"""Chains that run at once."""
CHAINS, LARGEST_POOL, LARGEST_CHAINS = 1_000, 4, 1
"""Persistent chains of jointebm; the GiB that a pool may take, and that they may."""
LARGE: dict[str, tuple[int, DataSpec | Layout]] = {
    "small": (50_000, SMALL["small"]),
    "cifar10": (50_000, DataSpec("noise", (3, 32, 32), 256)),
    "celeba-hq-256": (27_000, DataSpec("noise", (3, 256, 256), 256)),
    "ImageNet, autoencoderkl": (1_281_167, Layout(((4, 32, 32),))),
}
"""n, and the data of a preset, or the latents of a backbone that is trained elsewhere (images of 256x256)."""
GIB = 2**30


def predicted(cases: Sequence[str], priors: Sequence[str]) -> list[str]:
    """The three tables of what is too large to be tried: data, priors, backbones."""
    data, trained, backbones = list[list[str]](), list[list[str]](), list[list[str]]()
    for case in cases:
        count, source = LARGE[case]
        walk = 0.0
        if isinstance(source, Layout):
            layout = source
        else:
            one = backbone_units(configured(case, "gaussian"), source)
            layout, walk = one.network.layout, one.walk
            step = backbone_step(one.forward, BACKBONE_BATCH, one.filters, regularised=one.regularised)
            keeps = backbone_kept(one.kept, BACKBONE_BATCH, one.filters)
            cells = [one.parameters / 1e6, state_bytes(one.parameters) / GIB, one.forward / 1e9, step / 1e12, keeps / GIB]
            cells += [one.encoding / 1e9, PRIOR_BATCH * one.encoding / 1e12, walk / 1e9, one.walk_kept / 2**20]
            backbones.append([case, *map(figure, cells)])
        row = GIB / rows_bytes(1, layout.dim)
        sizes = [count / row, BANK * row // count, POOLED / row, LARGEST_POOL * row // 1]
        sizes += [CHAINS / row, LARGEST_CHAINS * row // 1]
        data.append([case, f"{count:,}", f"{len(layout)}", f"{layout.dim:,}", *map(figure, sizes)])
        trained += [[case, name, *map(figure, _prior_row(name, layout, walk))] for name in priors]
    tables = {"Latents": (LATENTS, data), "Priors": (TRAINED, trained), "Backbones": (BACKBONES, backbones)}
    return [f"**{title}**\n\n{markdown_table(head, rows, numbers=True)}" for title, (head, rows) in tables.items()]


def _prior_row(name: str, layout: Layout, walk: float) -> list[float]:
    """The cells of one prior; nan where there is nothing."""
    one = units(name, configured("cifar10", name), layout)
    chain, nothing = OWN_CHAIN.get(name, 0), float("nan")
    on_z, share, drawing = nothing, nothing, nothing
    keeps = nothing if name == "vdrme" else one.kept
    moved = bytes_moved(one.parameters, keeps, 2 * PRIOR_BATCH, layout.dim, one.stages)
    if walk and name in ("multistage", "jointebm", "diffusion"):
        on_z = prior_step(name, one, PRIOR_BATCH, chain, walk)
    if name == "multistage":
        row = rows_bytes(1, layout.dim)
        pool, judged = min(POOLED, int(LARGEST_POOL * GIB / row)), min(HELDOUT, int(BANK * GIB / row))
        drawing = min(CHUNK, pool) * (STAGES - 1) * one.chain / GIB
        share = negatives(one.forward["F"], STAGES, pool, judged, SAMPLER, PILOT_RUN) / STEPS / 1e9
        if walk:
            on_z += negatives(one.forward["F"], STAGES, pool, judged, SAMPLER, PILOT_RUN, walk=walk) / STEPS
    state, step = state_bytes(one.parameters, one.stages), prior_step(name, one, PRIOR_BATCH, chain)
    cells = [one.parameters / 1e6, one.forward["F"] / 1e6, state / GIB, 2 * PRIOR_BATCH * keeps / GIB, moved / GIB]
    return [*cells, step / 1e9, share, drawing, on_z / 1e9]


def figure(value: float) -> str:
    """Three digits; whole numbers from 1,000 on; nothing for nan."""
    return "-" if value != value else f"{value:,.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.3g}"


CHECKED = ("preset", "what", "formula", "measured", "measured / formula")
LATENTS = (
    "case", "images n", "layers L", "latents D", "one sample an image, GiB", "samples in the default bank",
    "pool of 20,000, GiB", "largest pool", "1,000 chains, GiB", "most chains",
)  # fmt: skip
TRAINED = (
    "case", "prior", "P, M", "F, MFLOP", "state, GiB", "kept, GiB", "moved, GiB", "a step, GFLOP", "pool a step, GFLOP",
    "kept drawing it, GiB", "all on z, GFLOP",
)  # fmt: skip
BACKBONES = (
    "preset", "parameters, M", "state, GiB", "A, GFLOP", "a step, TFLOP", "kept, GiB", "E, GFLOP", "encoding 256, TFLOP",
    "T, GFLOP", "kept by T at a point, MiB",
)  # fmt: skip


def run(arguments: argparse.Namespace) -> str:
    """The report."""
    rows = []
    for preset in arguments.presets:
        for what, formula, measured in checks(preset, arguments.priors):
            rows.append([preset, what, f"{formula:,.0f}", f"{measured:,.0f}", f"{measured / formula:.3f}"])
    heading = (
        f"`python benchmarks/plan.py`: float32, torch {torch.__version__}. *Checked* is measured: on the CPU, with made-up "
        "images and posterior samples and weights as they begin. The other tables are formulas; P, F, A, E, T in them and "
        "what one example keeps are counted, on networks without memory. Options are the defaults (ncp: `context=none`): a "
        f"batch of {PRIOR_BATCH} for a prior, of {BACKBONE_BATCH} for a backbone; multistage: {STEPS:,} steps in {STAGES} "
        f"stages, pools of {POOLED:,} points or as many as are allowed."
    )
    checked = markdown_table(CHECKED, rows, numbers=True)
    parts = [heading, "**Checked**", checked, *predicted(arguments.cases, arguments.priors)]
    return "\n\n".join(part for part in parts if part) + "\n"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = benchmark_parser(__doc__)
    made.add_argument("--presets", nargs="*", default=list(SMALL), choices=list(SMALL), help="what is checked")
    made.add_argument("--cases", nargs="*", default=list(LARGE), choices=list(LARGE), help="what is predicted")
    made.add_argument("--priors", nargs="*", default=list(PRIORS), choices=list(PRIORS))
    return made


def main() -> None:
    """The command."""
    arguments = parser().parse_args()
    torch.set_num_threads(1)
    publish(run(arguments), arguments.write)


if __name__ == "__main__":
    main()
