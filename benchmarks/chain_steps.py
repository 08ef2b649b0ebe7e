"""Longer chains for the samples of trained priors: how far a distance falls short of that of the learned density.

    python benchmarks/priors.py --out runs/benchmark-priors
    python benchmarks/chain_steps.py --comparison runs/benchmark-priors --rows multistage jointebm --steps 40 160

The runs of a comparison are not trained again: their samples are drawn by chains of each length (`sampler.steps`) and judged
as `priorkit evaluate RUN --steps K` does.  It prints the Fréchet distance to held-out images, the same minus that of the
baseline's runs with equal seeds, with its interval, the share of copied images, and the processor seconds of the samples.
"""

import json
import platform
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from time import process_time

import torch
from command_line import benchmark_parser, given_command, publish
from markdown_table import markdown_table

from priorkit.metrics import Metric
from priorkit.workflows.comparing.paired import behind
from priorkit.workflows.comparing.run_record import RunRecord
from priorkit.workflows.measuring.evaluate import measure
from priorkit.workflows.sampling.sample import with_sampler
from priorkit.workflows.session import open_run

GROUPS, COPIED = ("fd", "copying"), "copied"
HEAD = ["prior", "steps", "fd, held-out", "minus `{}`", "copied", "s per 1,000 samples"]


def runs_of(comparison: Path, label: str, first_seed: int) -> list[RunRecord]:
    """The finished runs of a row with this seed or a higher one.

    Raises SystemExit with the rows' names if there is no such row.
    """
    rows = {row["prior"]: row["runs"] for row in json.loads((comparison / "compare.json").read_text())["rows"]}
    if not rows.get(label):
        raise SystemExit(f"{label}: no row of runs in {comparison}; its rows are {', '.join(rows)}.")
    records = [RunRecord.read(comparison / name, name) for name in rows[label]]
    return [record for record in records if record.summary["seed"] >= first_seed]


def drawn(record: RunRecord, steps: int, samples: int) -> tuple[dict[str, Metric], float]:
    """The figures of a run's samples from chains of this length, and the processor seconds of 1,000 samples."""
    session = open_run(record.folder.path)
    model, seed = with_sampler(session.model, None, steps), record.summary["sample_seed"]
    begun = process_time()
    model.sample(1_000, seed=seed)
    spent = process_time() - begun
    return measure(model, session.data, metrics=GROUPS, samples=samples, seed=seed), spent


def cell(values: list[float], digits: int = 2) -> str:
    """Mean ± standard deviation over runs."""
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


def line(label: str, steps: int, samples: int, records: list[RunRecord], baseline: list[RunRecord]) -> list[str]:
    """The cells of a row of the table."""
    found = [drawn(record, steps, samples) for record in records]
    name = next(key for key in found[0][0] if key.startswith("fd_") and key.endswith("_heldout"))
    told = [{key: figure.as_dict() for key, figure in figures.items()} for figures, _ in found]
    again = [replace(one, summary={**one.summary, "metrics": metrics}) for one, metrics in zip(records, told, strict=True)]
    difference = behind(name, again, baseline)
    width = "" if difference.half_width is None else f" ± {difference.half_width:.2f}"
    values = {key: [figures[key].value for figures, _ in found] for key in (name, COPIED)}
    seconds = f"{fmean(spent for _, spent in found):.2f}"
    worse = f"{difference.difference:+.2f}{width}"
    return [label, f"{steps:,}", cell(values[name]), worse, cell(values[COPIED], 3), seconds]


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--comparison", type=Path, default=Path("runs/benchmark-priors"), help="folder of a comparison")
    parser.add_argument("--rows", nargs="+", default=["multistage", "multistage/mixture", "tre", "jointebm"])
    parser.add_argument("--steps", nargs="+", type=int, default=[40, 160])
    parser.add_argument("--baseline", default="mixture", help="row whose distances are subtracted")
    parser.add_argument("--first-seed", type=int, default=0, help="leave out runs with a lower seed")
    parser.add_argument("--samples", type=int, default=2_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    baseline = runs_of(arguments.comparison, arguments.baseline, arguments.first_seed)
    lines = [
        line(label, steps, arguments.samples, records, baseline)
        for label in arguments.rows
        for records in [runs_of(arguments.comparison, label, arguments.first_seed)]
        for steps in arguments.steps
    ]
    head = [title.format(arguments.baseline) for title in HEAD]
    command = given_command("benchmarks/chain_steps.py", parser, arguments)
    publish(
        f"`{command}`: the same trained priors, mean ± standard deviation over {len(baseline)} seeds; differences in pairs "
        f"of equal seeds, ± half a 95 % interval, below 0 is better; {platform.machine()} CPU, one thread, torch "
        f"{torch.__version__}.\n\n{markdown_table(head, lines)}\n",
        arguments.write,
    )


if __name__ == "__main__":
    main()
