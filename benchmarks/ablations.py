"""The papers' ablations at our scale: digits, one small NVAE, several seeds, a table each beside the papers' figures.

    python benchmarks/ablations.py --seeds 3 --jobs 2 --write docs/results/ablations.md
    python benchmarks/ablations.py --only chain sampling

Every prior has the same number of training steps on the same backbone.  Ablations share runs, and several rows are drawn
from one run (`benchmarks/ablations_plan.py`).  Runs and figures that are there are read, so that an interrupted benchmark
goes on.  It prints `fd_digits` (Fréchet distance on the features of a digit classifier; not an FID), the share that it is
of one row's, the paper's FID with the same share, the gap's AUC and the processor's seconds for 1,000 draws.
"""

import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from ablations_plan import ABLATIONS, SEPARABLE, STAGES, Ablation, Drawing, Fit, Row
from ablations_runs import Place, carry_out, figures_of, run_of, train_backbone
from command_line import benchmark_parser, publish
from markdown_table import markdown_table

from priorkit.runs.folder import RunFolder

LAYERS = "layers"
NAMES = (*ABLATIONS, LAYERS)
FLOOR = Drawing(posterior=True)
LAST = 0.25
"""Share of a stage's logged steps that its loss is the mean of."""


def work(names: Iterable[str]) -> dict[Fit, list[Drawing]]:
    """The runs that the ablations need, and what is drawn from each; the floor is drawn from the first on the discrete
    decoder."""
    found: dict[Fit, list[Drawing]] = {}
    for name in names:
        for row in ABLATIONS[name].rows if name in ABLATIONS else (Row("", SEPARABLE),):
            drawings = found.setdefault(row.fit, [])
            if row.drawing not in drawings:
                drawings.append(row.drawing)
    if FLOOR not in found[first := discrete(found)]:
        found[first].append(FLOOR)
    return found


def discrete(fits: Iterable[Fit]) -> Fit:
    """The first run on the backbone with the discrete decoder, which every ablation has one of."""
    return next(fit for fit in fits if fit.decoder == "logistic")


def table(ablation: Ablation, place: Place, seeds: range) -> str:
    """Markdown: a line per row; shares are of the means."""
    found = {row.label: [figures_of(place, row.fit, seed, row.drawing) for seed in seeds] for row in ablation.rows}
    papers = {row.label: row.paper for row in ablation.rows}
    timed = any(row.paper_seconds for row in ablation.rows)
    heads = ["", "`fd_digits`", "share", "paper's FID", "share", "`gap_auc`", "1,000 draws, s", *["paper's s"] * timed]
    lines = []
    for row in ablation.rows:
        fd = {label: statistics.mean(run["fd_digits"] for run in found[label]) for label in found}
        base = row.base or ablation.base
        known, of = row.paper, papers[base]
        cells = [row.label, spread(run["fd_digits"] for run in found[row.label]), f"{fd[row.label] / fd[base]:.2f}"]
        cells += ["" if known is None else f"{known:.2f}", "" if known is None or of is None else f"{known / of:.2f}"]
        cells.append(spread(run["gap_auc"] for run in found[row.label]))
        cells.append("" if row.drawing.posterior else spread(run["seconds"] for run in found[row.label]))
        if timed:
            cells.append("" if row.paper_seconds is None else f"{row.paper_seconds:.2f}")
        lines.append(cells)
    return markdown_table(heads, lines)


def losses(place: Place, seeds: range) -> str:
    """Markdown: the loss of each layer's classifier at the end of each stage; held out, of all layers together."""
    columns = [[stage_losses(run_of(place, SEPARABLE, seed), stage) for seed in seeds] for stage in range(1, STAGES + 1)]
    lines = [[name, *(spread(run[name] for run in runs) for runs in columns)] for name in columns[0][0]]
    return markdown_table(["", *(f"stage {stage}" for stage in range(1, STAGES + 1))], lines)


def stage_losses(run: Path, stage: int) -> dict[str, float]:
    """The layers' losses and their mean at the end of a stage, and the held-out figures, by the name of a line."""
    records = [record for record in RunFolder(run).records() if record["phase"] == f"prior.{stage}"]
    logged = [record for record in records if "loss" in record]
    logged = logged[-max(1, round(LAST * len(logged))) :]
    layers = sorted((name for name in logged[0] if name.startswith("layer.")), key=lambda name: int(name.partition(".")[2]))
    figures = {name: statistics.mean(record[name] for record in logged) for name in layers}
    heldout = next(record for record in records if "heldout_loss" in record)
    named = {f"{name.replace('.', ' ')}{' (top)' * (name == layers[0])}": value for name, value in figures.items()}
    named["mean of the layers"] = statistics.mean(figures.values())
    named["mean of the layers, held out"] = heldout["heldout_loss"] / len(layers)
    return named | {"AUC of all layers, held out": heldout["heldout_auc"]}


def spread(values: Iterable[float]) -> str:
    """Mean ± standard deviation over the seeds."""
    known = list(values)
    return f"{statistics.mean(known):.3f}" + (f" ± {statistics.stdev(known):.3f}" if len(known) > 1 else "")


def outcomes(function: Callable[..., Any], tasks: list[tuple[Any, ...]], jobs: int) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Each task and what came of it, as they end; several at once are processes of their own."""
    if jobs == 1:
        yield from ((task, function(*task)) for task in tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        started = {pool.submit(function, *task): task for task in tasks}
        try:
            yield from ((started[one], one.result()) for one in as_completed(started))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def do(place: Place, fits: dict[Fit, list[Drawing]], seeds: range, jobs: int) -> None:
    """Train and measure what is missing; a line per run on the error stream."""
    begun = time.perf_counter()

    def tell(what: str) -> None:
        print(f"{time.perf_counter() - begun:6.0f} s  {what}", file=sys.stderr, flush=True)

    decoders = sorted({fit.decoder for fit in fits})
    for (_, decoder), seconds in outcomes(train_backbone, [(place, decoder) for decoder in decoders], jobs):
        tell(f"backbone, {decoder} decoder: trained in {seconds:.0f} s of the processor")
    tasks = [(place, fit, seed, drawings) for seed in seeds for fit, drawings in fits.items()]
    for (_, fit, seed, _), (trained, measured) in outcomes(carry_out, tasks, jobs):
        tell(f"{fit.name}, seed {seed}: trained in {trained:.0f} s, measured in {measured:.0f} s of the processor")


def page(place: Place, names: list[str], seeds: range) -> str:
    """The tables, each a section that a page can include by its name."""
    floor = [figures_of(place, discrete(work(names)), seed, FLOOR) for seed in seeds]
    command = f"python benchmarks/ablations.py --seeds {len(seeds)} --steps {place.steps}"
    command += f" --backbone-steps {place.backbone_steps}" if place.given is None else f" --backbone {place.given.name}"
    command += f" --samples {place.samples}"
    command += f" --only {' '.join(names)}" if names != list(NAMES) else ""
    trained = f", trained for {place.backbone_steps:,} steps" if place.given is None else ""
    about = (
        f"`{command}`: one NVAE on digits for each decoder{trained}; each prior "
        f"{place.steps:,} steps on it, over all of its stages; mean ± standard deviation over seeds 0 to {len(seeds) - 1} "
        f"of prior and draws; {place.samples:,} draws per figure; seconds of one processor, not decoded; "
        f"{platform.machine()} CPU, torch {torch.__version__}. *share*: of the row that has 1.00. "
        "Posterior samples: `fd_digits` "
        f"{spread(run['fd_digits'] for run in floor)}."
    )
    parts = {"about": about}
    for name in NAMES:
        if name not in names:
            parts[name] = "Not part of this run."
        elif name in ABLATIONS:
            found = ABLATIONS[name]
            parts[name] = f"*{found.title}. The paper's: {found.source}.*\n\n{table(found, place, seeds)}"
        else:
            told = f"*Binary cross-entropy of a classifier per layer, over the last {LAST:.0%} of a stage; chance is 1.386.*"
            parts[name] = f"{told}\n\n{losses(place, seeds)}"
    marked = (f"<!-- --8<-- [start:{name}] -->\n{text}\n<!-- --8<-- [end:{name}] -->\n" for name, text in parts.items())
    return "\n".join(marked)


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--only", nargs="+", default=list(NAMES), choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2_000, help="training steps of each prior, over all of its stages")
    parser.add_argument("--backbone-steps", type=int, default=2_000)
    parser.add_argument("--backbone", type=Path, help="a finished run whose backbone is taken; another --out for each")
    parser.add_argument("--samples", type=int, default=2_000, help="draws that a figure is of")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-ablations"))
    arguments = parser.parse_args()
    names = [name for name in NAMES if name in arguments.only]
    place = Place(arguments.out, arguments.steps, arguments.backbone_steps, arguments.samples, arguments.backbone)
    seeds = range(arguments.seeds)
    do(place, work(names), seeds, arguments.jobs)
    text = page(place, names, seeds)
    publish(text, arguments.write)


if __name__ == "__main__":
    main()
