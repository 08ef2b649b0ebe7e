"""Images: the share of the hole that priors close on held-out images, on one NVAE, over several seeds of the prior.

    python benchmarks/share.py --data zip:fashion-mnist-train.zip --heldout zip:fashion-mnist-test.zip --backbone-steps 5000
    python benchmarks/share.py --run zoo:digits --priors multistage ncp mixture

It trains the NVAE `small` once, then each prior on it with all options at their defaults but for the steps, and prints the
Fréchet distance to held-out images (features of a small classifier, not an FID) of the Gaussian prior, after each stage and
of posterior samples, `share_closed` with its interval, how many images are copies, and what each phase took.  Runs that are
finished are read, so that an interrupted benchmark goes on.
"""

import json
import platform
from pathlib import Path
from typing import Any

import torch
from command_line import benchmark_parser, given_command, publish
from markdown_table import markdown_table
from rich.console import Console
from training import train_run

from priorkit.report.progress import showing
from priorkit.zoo import given_run


def trained(out: Path, options: list[str], source: Path | None = None) -> Path:
    """The run in `out`, which is trained first, or on, if it is not finished."""
    train_run(out, options, source)
    return out


def second_look(run: Path, groups: tuple[str, ...], samples: int) -> dict[str, Any]:
    """Figures of groups that a run does not end with, measured once and kept beside its summary."""
    from priorkit.workflows.measuring.evaluate import measure
    from priorkit.workflows.session import open_run

    if not groups:
        return {}
    kept = run / "second-look.json"
    if not kept.exists():
        with showing(Console(stderr=True)) as progress:
            session = open_run(run, progress=progress)
            found = measure(session.model, session.data, metrics=groups, samples=samples, progress=progress)
        figures = {name: {"value": one.value, "spread": one.spread} for name, one in found.items()}
        kept.write_text(json.dumps(figures, indent=1))
    figures = json.loads(kept.read_text())
    return dict(figures)


def cell(metrics: dict[str, Any], name: str, digits: int = 2) -> str:
    """A figure with its spread, or nothing."""
    if name not in metrics:
        return ""
    value, spread = metrics[name]["value"], metrics[name]["spread"]
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")


def table(runs: dict[str, dict[int, Path]], looks: dict[Path, dict[str, Any]]) -> str:
    """Markdown: a line per prior and seed."""
    stages = max(_stages(run) for seeds in runs.values() for run in seeds.values())
    head = [
        "prior",
        "seed",
        "Gaussian",
        *(f"stage {k}" for k in range(1, stages)),
        "learned",
        "posterior samples",
        "`share_closed`",
    ]
    head += ["copied", "held-out copied", "prior's seconds"]
    lines = []
    for prior, seeds in runs.items():
        for seed, run in seeds.items():
            summary = json.loads((run / "summary.json").read_text())
            metrics = summary["metrics"] | looks[run]
            name = next(key for key in metrics if key.startswith("fd_") and key.endswith("_heldout_gaussian"))[
                : -len("_gaussian")
            ]
            middle = [cell(metrics, f"{name}_stage_{k}") if k < _stages(run) else "" for k in range(1, stages)]
            seconds = sum(value for phase, value in summary["cost"]["seconds"].items() if phase.startswith("prior"))
            cells = [prior, str(seed), cell(metrics, f"{name}_gaussian"), *middle, cell(metrics, name)]
            cells += [cell(metrics, f"{name}_posterior"), cell(metrics, "share_closed")]
            cells += [cell(metrics, "copied", 3), cell(metrics, "copied_heldout", 3), f"{seconds:.0f}"]
            lines.append(cells)
    # A column without a figure, as where no second look was asked for, says nothing.
    kept = [i for i in range(len(head)) if any(cells[i] for cells in lines)]
    rows = [[cells[i] for i in kept] for cells in [head, *lines]]
    return markdown_table(rows[0], rows[1:])


def _stages(run: Path) -> int:
    phases = json.loads((run / "summary.json").read_text())["phases"]
    return sum(name.startswith("prior") for name in phases)


def hole(runs: dict[str, dict[int, Path]], looks: dict[Path, dict[str, Any]]) -> str:
    """Markdown: the hole by layer, from the first seed of each prior."""
    first = {prior: looks[next(iter(seeds.values()))] for prior, seeds in runs.items()}
    if not all("hole_top_0" in look for look in first.values()):
        return ""
    some = next(iter(first.values()))
    tops = sorted(int(name.removeprefix("hole_top_")) for name in some if name.startswith("hole_top_"))
    head = [
        "top layers",
        "posterior above N(0, I)",
        *(f"`{prior}` above N(0, I)" for prior in first),
        "this layer alone N(0, I)",
    ]
    lines = []
    for k in tops:
        learned = [cell(look, f"hole_prior_top_{k}") for look in first.values()]
        lines.append([str(k), cell(some, f"hole_top_{k}"), *learned, cell(some, f"hole_only_{k}")])
    shuffled = f"Every layer's exact marginal, shuffled between images: {cell(some, 'hole_shuffled')}."
    return f"{markdown_table(head, lines)}\n\n{shuffled}"


def text(command: str, backbone: Path, runs: dict[str, dict[int, Path]], looks: dict[Path, dict[str, Any]]) -> str:
    """The page's part."""
    summary = json.loads((next(iter(next(iter(runs.values())).values())) / "summary.json").read_text())
    machine = f"{platform.machine()} CPU, torch {torch.__version__}, {summary['cost']['threads']} thread(s)"
    told = (
        f"`{command}`: {machine}, wall-clock seconds. {learning(backbone)}Fréchet distances are on our own features (not an "
        "FID), to held-out images; ± of `share_closed` and of *copied* is half a 95 % interval; that of a distance is as "
        "the protocol of its figure says."
    )
    return "\n\n".join(part for part in (told, table(runs, looks), hole(runs, looks)) if part) + "\n"


def learning(backbone: Path) -> str:
    """How long the backbone took and its held-out bits per dimension on the way, of a run that keeps its log."""
    log = backbone / "metrics.jsonl"
    if not log.exists():
        return ""
    seconds = json.loads((backbone / "summary.json").read_text())["cost"]["seconds"]["backbone"]
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    bits = ", ".join(f"{row['heldout_bpd']:.3f} at step {row['step']}" for row in rows if "heldout_bpd" in row)
    return f"The backbone took {seconds:.0f} s. Held-out bits/dim of the backbone: {bits}. "


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", help="needed without --run")
    parser.add_argument("--heldout", help="held-out images; none takes the data's own split")
    parser.add_argument("--run", help="a finished run whose backbone is taken, such as zoo:digits; none trains one")
    parser.add_argument("--backbone-steps", type=int, default=5_000)
    parser.add_argument("--prior-steps", type=int, default=3_000)
    parser.add_argument("--priors", nargs="+", default=["multistage"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="of the prior; the backbone's is 0")
    parser.add_argument("--looks", nargs="*", default=["hole", "copying"], help="groups of figures of the second look")
    parser.add_argument("--samples", type=int, default=2_000, help="images of the second look")
    parser.add_argument("--set", nargs="*", default=[], help="more options of all runs")
    parser.add_argument("--set-prior", nargs="*", default=[], help="more options of the priors' runs")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-share"))
    arguments = parser.parse_args()
    if not (arguments.data or arguments.run):
        parser.error("give --data, or --run with a finished run")
    data = [f"data={arguments.data}", *([f"data.heldout={arguments.heldout}"] if arguments.heldout else [])]
    steps = [f"trainer.backbone_steps={arguments.backbone_steps}", "trainer.backbone_batch=32"]
    options = [*data, "backbone=nvae", "backbone.preset=small", "prior=gaussian", *steps, *arguments.set]
    backbone = given_run("--run", arguments.run) if arguments.run else trained(arguments.out / "backbone", options)
    runs: dict[str, dict[int, Path]] = {}
    for prior in arguments.priors:
        for seed in arguments.seeds:
            options = [f"prior={prior}", f"seed={seed}", f"trainer.prior_steps={arguments.prior_steps}"]
            options += [*arguments.set, *arguments.set_prior]
            runs.setdefault(prior, {})[seed] = trained(arguments.out / f"{prior}-{seed}", options, backbone)
    looks = {
        run: second_look(run, tuple(arguments.looks), arguments.samples) for seeds in runs.values() for run in seeds.values()
    }
    # The command as a reader would give it, with data in the working folder.
    command = given_command("benchmarks/share.py", parser, arguments, _local)
    publish(text(command, backbone, runs, looks), arguments.write)


def _local(value: Any) -> str:
    kind, colon, place = str(value).partition(":")
    return f"{kind}:{Path(place).name}" if colon and "/" in place else str(value)


if __name__ == "__main__":
    main()
