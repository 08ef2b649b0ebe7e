"""How often the host waits for the device in a training step, and how many operations the step starts, for every prior.

    python benchmarks/waits.py --write docs/results/waits.md --before waits-before.json

It trains tiny runs on the fake device (`priorkit.testing.fake_device`), which every machine has. The counts do not depend on
the sizes of the networks, except that operations are in proportion to the number of layers. `--save` keeps the counts for
`--before`.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from command_line import benchmark_parser, publish
from markdown_table import markdown_table
from waiting import BACKBONES, PRIORS, TRAINERS, chain_waits, on_fake_device, options

from priorkit.testing.fake_device import DEVICE

CHAIN = 2
"""Steps that `chain_waits` adds to a chain."""

Counts = dict[str, dict[str, dict[str, int]]]
"""Waits and operations of a step of each phase, and waits of the chains' added steps, by run."""


def counted(backbone: str, prior: str, trainer: str) -> dict[str, dict[str, int]]:
    """Return the counts of a run."""
    with TemporaryDirectory() as folder, on_fake_device(Path(folder), options(backbone, prior, trainer)) as (device, ran):
        found = {phase: {"waits": step.waits.total(), "operations": step.launches} for phase, step in ran.usual().items()}
        x = ran.data.heldout.batch(torch.arange(3)).to(DEVICE)
        chains = {name: {"waits": added.total()} for name, added in chain_waits(device, ran.model, x).items()}
    return {**found, **chains}


def table(counts: Counts, before: Counts) -> str:
    """Markdown: a line per prior, and two for the backbones."""
    pairs = [(trainer, backbone) for trainer in TRAINERS for backbone in BACKBONES]
    head = ["", *(f"{trainer}, {backbone}" for trainer, backbone in pairs), "a draw's step", "a posterior step"]
    rows = [["backbone", *(_cell(counts, before, f"{t}/{b}/gaussian", "backbone") for t, b in pairs), "", ""]]
    for prior in PRIORS:
        if prior == "gaussian":
            continue
        runs = [f"{trainer}/{backbone}/{prior}" for trainer, backbone in pairs]
        last = [max((phase for phase in counts[run] if "." in phase), default="") for run in runs]
        cells = [_cell(counts, before, run, phase) for run, phase in zip(runs, last, strict=True)]
        rows.append([prior, *cells, _chain(counts, before, runs, "draw"), _chain(counts, before, runs, "posterior")])
    return markdown_table(head, rows, numbers=True)


def _cell(counts: Counts, before: Counts, run: str, phase: str) -> str:
    if phase not in counts[run]:
        return "fitted at once"
    now = counts[run][phase]
    then = f"{before[run][phase]['waits']} → " if run in before else ""
    return f"{then}{now['waits']} ({now['operations']:,})"


def _chain(counts: Counts, before: Counts, runs: list[str], name: str) -> str:
    """Return the waits of one step of a chain, the largest of the runs."""
    both = [
        max((made[run][name]["waits"] for run in runs if name in made.get(run, {})), default=0) for made in (before, counts)
    ]
    shown = [f"{waits / CHAIN:g}" for waits in both]
    return " → ".join(shown if before else shown[1:])


def main() -> None:
    """Count, and print the table."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--save", type=Path, help="write the counts to this file")
    parser.add_argument("--before", type=Path, help="show the counts of this file beside the new ones")
    arguments = parser.parse_args()
    every = [(trainer, backbone, prior) for trainer in TRAINERS for backbone in BACKBONES for prior in PRIORS]
    counts = {f"{trainer}/{backbone}/{prior}": counted(backbone, prior, trainer) for trainer, backbone, prior in every}
    if arguments.save:
        arguments.save.write_text(json.dumps(counts, indent=1))
    before = json.loads(arguments.before.read_text()) if arguments.before else {}
    publish(table(counts, before) + "\n", arguments.write)


if __name__ == "__main__":
    main()
