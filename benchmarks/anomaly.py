"""Anomaly detection with one class held out of training: AUPRC of finding that class among the test images.

    python benchmarks/anomaly.py --train mnist-train.zip --test mnist-test.zip --write docs/results/anomaly.md

The protocol of the latent-space energy-based priors (Pang et al. 2020; the JointEBM paper): for each of the digits 1, 4, 5,
7 and 9 a backbone and the priors are trained on the other nine classes; test images are scored, and the held-out class
is what is sought.  The score that the papers use is the unnormalised log posterior, here `log_joint`; `log_ratio` and `elbo`
stand beside it.  Ours differs from theirs in that the archives' own train and test split is used.

The row `chance` is the share of the held-out class among the images that are scored, which --images changes.

For every digit it writes three archives without (or only with) that class under OUT; finished runs are read.
"""

import argparse
import json
import platform
import statistics
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from command_line import benchmark_parser, given_command, publish
from markdown_table import markdown_table
from ood import PRIORS, trained
from rich.console import Console

SCORES = ("elbo", "log_joint", "log_ratio")
LABELS = "dataset.json"


def cut(source: Path, out: Path, keep: Callable[[int], bool], limit: int | None = None) -> Path:
    """An archive of those images of `source` whose class is kept, at most `limit`; members are copied as they are."""
    if out.exists():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(part, "w") as new:
        chosen = [(name, label) for name, label in json.loads(old.read(LABELS))["labels"] if keep(label)][:limit]
        for name, _ in chosen:
            new.writestr(name, old.read(name))
        # Classes must count from 0 without a gap only for labels that are trained on; none are here.
        new.writestr(LABELS, json.dumps({"labels": [[name, 0] for name, _ in chosen]}))
    part.replace(out)
    return out


def auprc(run: Path, outsiders: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Average precision of each score of a run."""
    from priorkit.report.progress import showing
    from priorkit.workflows.measuring.ood import detect
    from priorkit.workflows.session import open_run

    with showing(Console(stderr=True)) as progress:
        session = open_run(run, progress=progress)
        # Any choice but 'all' leaves out the curves over the layers.
        found = detect(
            session,
            [f"zip:{outsiders}"],
            layers="top:1",
            images=arguments.images,
            repeats=arguments.draws,
            progress=progress,
        )
    return {
        item.name: item.estimates["auprc"].value
        for item in found[0].detected
        if item.layers == "all" and item.name in SCORES
    }


def of_digit(digit: int, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """AUPRC by prior and score with one class held out."""
    folder = arguments.out / str(digit)
    train = cut(arguments.train, folder / "train.zip", lambda label: label != digit, arguments.limit)
    normal = cut(arguments.test, folder / "test-others.zip", lambda label: label != digit)
    held = cut(arguments.test, folder / "test-held.zip", lambda label: label == digit)
    data = [f"data=zip:{train}", f"data.heldout=zip:{normal}", f"backbone={arguments.backbone}", "prior=gaussian"]
    steps = f"trainer.backbone_steps={arguments.backbone_steps}"
    base = folder / "gaussian"
    trained(base, [*data, steps, *arguments.set, *arguments.set_backbone])
    found = {"chance": {"": chance(normal, held, arguments.images)}, "any": auprc(base, held, arguments)}
    for prior in arguments.priors:
        run = folder / prior
        steps = f"trainer.prior_steps={arguments.prior_steps}"
        trained(run, [f"prior={prior}", *PRIORS[prior], steps, *arguments.set, *arguments.set_prior], source=base)
        found[prior] = auprc(run, held, arguments)
        del found[prior]["elbo"]  # of the backbone alone, as under any
    return found


def chance(normal: Path, held: Path, images: int) -> float:
    """AUPRC of a score that says nothing: the share of what is sought."""
    inside, outside = (min(images, count(path)) for path in (normal, held))
    return outside / (inside + outside)


def count(path: Path) -> int:
    """How many images of an archive have a label."""
    with zipfile.ZipFile(path) as archive:
        return len(json.loads(archive.read(LABELS))["labels"])


def short(value: Any) -> str:
    """A value of an option; an archive without its folder."""
    return value.name if isinstance(value, Path) else str(value)


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--train", type=Path, required=True, help="archive with labels")
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--digits", type=int, nargs="+", default=[1, 4, 5, 7, 9])
    parser.add_argument("--backbone", default="twolayer")
    parser.add_argument("--priors", nargs="+", default=list(PRIORS))
    parser.add_argument("--backbone-steps", type=int, default=1_500)
    parser.add_argument("--prior-steps", type=int, default=3_000, help="of each prior, over all of its stages")
    parser.add_argument("--set", nargs="+", default=[], help="options KEY=VALUE of every run")
    parser.add_argument("--set-backbone", nargs="+", default=[], help="options of the backbone's training")
    parser.add_argument("--set-prior", nargs="+", default=[], help="options of every prior's training")
    parser.add_argument("--limit", type=int, help="training images at most")
    parser.add_argument("--images", type=int, default=10_000, help="test images of each kind at most")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-anomaly"))
    arguments = parser.parse_args()
    found = {digit: of_digit(digit, arguments) for digit in arguments.digits}
    heads = ("prior", "score", *(f"without {digit}" for digit in found), "mean")
    rows = []
    for prior in ("chance", "any", *arguments.priors):
        for score in ("", *SCORES):
            values = [one[prior][score] for one in found.values() if score in one[prior]]
            if len(values) == len(found):
                rows.append([prior, score, *(f"{value:.3f}" for value in [*values, statistics.mean(values)])])
    command = given_command("benchmarks/anomaly.py", parser, arguments, short)
    text = (
        f"`{command}`: AUPRC with the held-out class as what is sought (higher is better); "
        f"{platform.machine()} CPU, torch {torch.__version__}.\n\n{markdown_table(heads, rows)}\n"
    )
    publish(text, arguments.write)


if __name__ == "__main__":
    main()
