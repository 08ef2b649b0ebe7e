"""A two-layer generator learnt jointly with its prior, on digits and on Fashion-MNIST.

    python benchmarks/joint.py --data digits zip:fashion-mnist-train.zip --write docs/results/joint.md

For each data set it trains the generator with the Gaussian prior, with an energy learnt by maximum likelihood and with the
multi-stage prior: the same generator, its first weights and its number of steps.  Runs that are finished are read, so that
an interrupted benchmark goes on.  It prints the Fréchet distance of samples and of posterior samples (on this project's
features; not an FID), the reconstruction error of held-out images, the AUC of posterior against prior, the seconds of
training and the number of parameters.  The pictures are in each run's samples/overview.png.
"""

import argparse
import json
import platform
from pathlib import Path

import torch
from command_line import benchmark_parser, publish
from markdown_table import markdown_table
from rich.console import Console
from torch import Tensor, nn
from training import fit_run

from priorkit.runtime.atomic_files import write_json
from priorkit.workflows.session import Session

COMMON = ["backbone=twolayer", "backbone.latents=[8, 16]", "backbone.inference=none", "engine.threads=1"]
COMMON += ["trainer=joint", "trainer.backbone_steps=300", "trainer.joint_steps=2700", "trainer.chain.steps=30"]
KINDS = {
    "digits": ["backbone.hidden=128", "backbone.sigma=0.2", "trainer.chain.step_size=0.03"],
    "fashion": ["backbone.hidden=160", "backbone.decoder=dense", "backbone.sigma=0.5", "trainer.chain.step_size=0.01"],
}
"""The generator for 8x8 and for 28x28 images, and how it learns."""
PRIORS = {
    "gaussian": [],
    "jointebm": [],
    "multistage": ["trainer.final_share=0.2", "prior.pool_size=5000"],
}
REPEATS = 5
"""Posterior samples of each held-out image that the reconstruction error is the mean of."""
HELDOUT = 1_000


def trained(out: Path, options: list[str]) -> tuple[Session, dict[str, float]]:
    """The run in `out`, which is trained first, or on, if it is not finished, and its figures."""
    from priorkit.report.progress import showing
    from priorkit.workflows.measuring.evaluate import measure
    from priorkit.workflows.sampling.draws import Draws
    from priorkit.workflows.sampling.gallery import draw_pictures
    from priorkit.workflows.session import open_run

    kept = out / "benchmark.json"
    if not kept.exists():
        state = fit_run(out, options)
        with showing(Console(stderr=True)) as progress:
            session = open_run(out, progress=progress)
            draws = Draws(session.model)
            figures = measure(session.model, session.data, metrics=("gap", "fd"), draws=draws, progress=progress)
            draw_pictures(session, draws=draws, progress=progress)
        found = {f"{name} ±": figure.spread or 0.0 for name, figure in figures.items()}
        found |= {name: figure.value for name, figure in figures.items()}
        write_json(kept, found | {"seconds": sum(state.seconds.values()) if state else 0.0})
    read: dict[str, float] = json.loads(kept.read_text())
    return open_run(out), read


def inferred(session: Session) -> tuple[Tensor, str]:
    """Squared error per entry of each held-out image, the mean over some posterior samples, (N,); and, layer by layer, the
    share of the variance of u that the image explains: 0 where the posterior does not depend on it."""
    model, examples = session.model, session.data.heldout
    x = examples.batch(torch.arange(min(HELDOUT, len(examples))))
    u = torch.stack([model.infer(x, seed=seed).u for seed in range(REPEATS)])
    error = torch.stack([(model.decode(sample) - x).square().flatten(1).mean(1) for sample in u]).mean(0).double()
    within, whole = u.var(0).mean(0, keepdim=True), u.flatten(0, 1).var(0, keepdim=True)
    shares = 1 - model.backbone.layout.layer_sums(within) / model.backbone.layout.layer_sums(whole)
    return error, ", ".join(f"{share:.2f}" for share in shares[0].tolist())


def size(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def estimate(values: Tensor, scale: float = 1e3) -> str:
    """Mean and standard error of values (N,), in thousandths."""
    return f"{scale * values.mean():.3f} ± {scale * values.std() / len(values) ** 0.5:.3f}"


def column(session: Session, figures: dict[str, float], first: Tensor | None) -> tuple[dict[str, str], Tensor]:
    """The cells of one prior, and its errors, which are compared image by image with those of the first prior."""

    def cell(name: str) -> str:
        return f"{figures[name]:.3f} ± {figures[name + ' ±']:.3f}" if name in figures else ""

    fd = next(name for name in figures if name.startswith("fd_") and name.endswith("_posterior")).removesuffix("_posterior")
    own, explained = inferred(session)
    cells = {
        f"`{fd}`": cell(fd),
        f"`{fd}`, the same generator's Gaussian prior": cell(f"{fd}_gaussian"),
        f"`{fd}` of posterior samples": cell(f"{fd}_posterior"),
        "reconstruction error, thousandths": estimate(own),
        "less the first column's, image by image": "" if first is None else estimate(own - first),
        "`gap_auc`": cell("gap_auc"),
        "share of the variance of u that x explains, top layer first": explained,
        "seconds of training": f"{figures['seconds']:.0f}",
        "parameters of the generator": f"{size(session.model.backbone):,}",
        "parameters of the prior": f"{size(session.model.prior):,}",
    }
    return cells, own


def table(columns: dict[str, dict[str, str]]) -> str:
    """Markdown: a line per figure, a column per prior.  Every column has the same figures, some of them empty."""
    names = next(iter(columns.values()))
    return markdown_table(["figure", *columns], [[name, *(cells[name] for cells in columns.values())] for name in names])


def shown(data: str) -> str:
    """A data set's name, or its file's without the folder."""
    return Path(data.partition(":")[2]).name or data


def section(data: str, arguments: argparse.Namespace) -> str:
    """A data set's heading and table."""
    kind = "digits" if data == "digits" else "fashion"
    root, columns, first = arguments.out / f"{kind}-{arguments.seed}", {}, None
    for prior in arguments.priors:
        options = [f"data={data}", f"seed={arguments.seed}", *COMMON, *KINDS[kind], f"prior={prior}", *PRIORS[prior]]
        session, figures = trained(root / prior, [*options, *arguments.set])
        columns[prior], own = column(session, figures, first)
        first = own if first is None else first
        print(json.dumps({"data": data, "prior": prior, **columns[prior]}), flush=True)
    return f"{shown(data)}:\n\n{table(columns)}\n"


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", nargs="+", default=["digits"])
    parser.add_argument("--priors", nargs="+", choices=list(PRIORS), default=list(PRIORS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="more options of every run")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-joint"))
    arguments = parser.parse_args()
    tables = "\n".join(section(data, arguments) for data in arguments.data)
    names = " ".join(f"zip:{shown(data)}" if ":" in data else data for data in arguments.data)
    text = (
        f"`python benchmarks/joint.py --data {names}`: seed {arguments.seed}, one thread, {platform.machine()} CPU, torch "
        f"{torch.__version__}. 2,000 samples a Fréchet distance (± standard deviation over resamples); reconstruction: the "
        f"squared error per entry, in thousandths, of held-out images (at most {HELDOUT:,}), of each the mean of {REPEATS} "
        "samples of the posterior under the learnt prior (± standard error over images). *less the first column's*: the "
        f"same images under both, so that what is easy or hard about them cancels.\n\n{tables}"
    )
    publish(text, arguments.write)


if __name__ == "__main__":
    main()
