"""Does `gap_auc` of all layers tell what each layer tells, and how long do its classifiers take?

    python benchmarks/gap.py --runs runs/fashion/multistage-1 --stages 1 --write docs/results/gap.md

Of each finished run, the Gaussian prior and the learned prior after each stage are compared with the posterior of the
held-out data, as `priorkit evaluate --metrics gap` does.  *Lacking* is by how much the area of the best layer exceeds that
of the whole, which is 0 or less for the best possible classifiers.  The seconds are those of the processor in the
classifiers alone, without encoding and chains.  `--stages` leaves out priors after more stages, whose chains can take long.
"""

import platform
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from command_line import benchmark_parser, given_command, publish
from markdown_table import markdown_table

from priorkit.core import Metric, Streams
from priorkit.metrics import gap_auc
from priorkit.workflows.measuring.shared_work import SharedWork
from priorkit.workflows.measuring.variants import priors_of
from priorkit.workflows.session import open_run

REPEATS = 5
"""Posterior samples of a held-out image, at most."""


def shown(figure: Metric) -> str:
    """A value with half its interval."""
    return f"{figure.value:.3f} ± {figure.spread or 0:.3f}"


def row(name: str, prior: str, figures: dict[str, Metric], seconds: float) -> list[str]:
    """A line of the table."""
    layers = {layer: figure for layer, figure in figures.items() if layer != "all"}
    alone = ", ".join(f"{figure.value:.3f}" for figure in layers.values())
    best = max(layers.values(), key=lambda figure: figure.value, default=figures["all"])
    lacking = best.value - figures["all"].value
    return [name, prior, shown(figures["all"]), alone, shown(best), f"{lacking:+.3f}", f"{seconds:.1f}"]


def rows_of(run: Path, samples: int, stages: int | None, seed: int) -> Iterator[list[str]]:
    """The lines of one run."""
    session = open_run(run)
    torch.set_num_threads(1)  # after the run's own setting, which the trees would follow
    work = SharedWork(session.model, session.data, samples=samples, seed=seed)
    images = len(session.data.heldout)
    repeats = max(1, min(REPEATS, samples // images))
    count = min(samples, repeats * images)
    posterior, groups = work.heldout_u(repeats)[:count], torch.arange(images).repeat(repeats)[:count]
    for endings, trained in priors_of(session.model):
        number = session.model.prior.trained_stages if trained is None else trained
        if stages is not None and number > stages:
            continue
        drawn = work.draws.latents(count, trained)
        begun = time.process_time()
        generator = Streams(seed).generator("gap")
        figures = gap_auc(posterior, drawn, session.model.backbone.layout, groups=groups, generator=generator)
        prior = endings[-1].strip("_").replace("_", " ") or "learned"
        yield row(f"{run.parent.name}/{run.name}", prior, figures, time.process_time() - begun)


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="finished runs")
    parser.add_argument("--samples", type=int, default=2_000)
    parser.add_argument("--stages", type=int, help="only priors of at most that many stages; 0: the Gaussian prior alone")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = [line for run in arguments.runs for line in rows_of(run, arguments.samples, arguments.stages, arguments.seed)]
    command = given_command("benchmarks/gap.py", parser, arguments, lambda word: "/".join(Path(str(word)).parts[-2:]))
    heads = ("run", "prior", "whole", "layers, top first", "best layer", "lacking", "seconds")
    text = (
        f"`{command}`: seed {arguments.seed}; ±: half a 95 % interval; seconds: of the processor, in the classifiers; "
        f"{platform.machine()} CPU, one thread, torch {torch.__version__}.\n\n{markdown_table(heads, rows)}\n"
    )
    publish(text, arguments.write)


if __name__ == "__main__":
    main()
