"""Labels and fixed upper layers on digits, judged by a classifier that no prior has seen.

    python benchmarks/labels.py --priors multistage jointebm --out runs/benchmark-labels --write docs/results/labels.md

For each backbone it trains the priors with labels (the backbone comes with the first prior, or from a run given by --from;
finished runs are read).  Then:

- class-conditional samples, as many of each class: the share that the judge gives the asked label;
- k upper layers kept from one sample, the lower ones drawn anew, for every k: the share whose label stays that of the
  sample, that of the most frequent label of its row, and how much the pictures differ.

The judge is a support vector machine on the pixels of the real training digits.
"""

import argparse
import platform
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import sklearn
import torch
from command_line import benchmark_parser, publish, typed_command
from markdown_table import markdown_table
from sklearn.svm import SVC
from torch import Tensor
from training import fit_run

import priorkit
from priorkit.config import RunConfig
from priorkit.core import Condition, Examples
from priorkit.data import load
from priorkit.model import Model
from priorkit.workflows.session import use_threads

CLASSES = 10
BACKBONES: dict[str, list[str]] = {
    "nvae": ["backbone=nvae"],
    "nvae-4": ["backbone=nvae", "backbone.num_groups_per_scale=2"],
    "twolayer": ["backbone=twolayer"],
    "twolayer-3": ["backbone=twolayer", "backbone.latents=[8, 8, 8]"],
}
TOPS, VARIATIONS = 50, 20


@dataclass(frozen=True)
class Judge:
    """A classifier of pictures, trained on real ones alone."""

    machine: Any
    accuracy: float
    """Its share of right answers on held-out real digits."""

    def labels(self, images: Tensor) -> Tensor:
        """(N, 1, 8, 8) -> (N,)."""
        return torch.from_numpy(self.machine.predict(images.flatten(1).numpy()))


def arrays(examples: Examples) -> tuple[Tensor, Tensor]:
    """All pictures (N, 1, 8, 8) and labels (N,) of a split."""
    labels = examples.labels
    if labels is None:
        raise ValueError("digits have labels")
    return examples.batch(torch.arange(len(examples))), labels


@cache
def judge() -> Judge:
    """The judge and its accuracy."""
    data = load("digits")
    images, labels = arrays(data.train)
    machine = SVC(C=10, gamma="scale").fit(images.flatten(1).numpy(), labels.numpy())
    heldout, truth = arrays(data.heldout)
    return Judge(machine, machine.score(heldout.flatten(1).numpy(), truth.numpy()))


def trained(out: Path, options: list[str], source: Path | None) -> Model:
    """The model of a run, which is trained first if it is not there, and gone on with if it was interrupted."""
    if not (out / "weights" / "prior.safetensors").exists():
        fit_run(out, options, source)
    return priorkit.load(out)


@torch.no_grad()
def conditional(model: Model, n: int, seed: int) -> dict[str, str]:
    """Agreement of class-conditional samples, overall and of each class, and what it costs."""
    asked = torch.arange(n) % CLASSES
    begun = time.perf_counter()
    images = model.sample(n, seed=seed, labels={"label": asked})
    seconds = (time.perf_counter() - begun) * 1_000 / n
    right = judge().labels(images) == asked
    by_class = {str(k): share(right[asked == k]) for k in range(CLASSES)}
    return {"all": share(right), **by_class, "s / 1,000": f"{seconds:.1f}"}


@torch.no_grad()
def ceiling(model: Model, seed: int) -> dict[str, str]:
    """The same of decoded posterior samples of the held-out digits: what a perfect prior would reach."""
    images, asked = arrays(load("digits").heldout)
    right = judge().labels(model.decode(model.infer(images, seed=seed).u)) == asked
    by_class = {str(k): share(right[asked == k]) for k in range(CLASSES)}
    return {"all": share(right), **by_class, "s / 1,000": ""}


def kept(model: Model, seed: int) -> list[dict[str, str]]:
    """One row for each k, the number of upper layers kept."""
    first = judge().labels(model.sample(TOPS, seed=seed))
    rows = []
    for k in range(1, len(model.backbone.layout)):
        top = model.tops(k, TOPS, seed=seed).repeat(VARIATIONS, 1)
        images = model.decode(model.sample_latents(len(top), seed=seed, condition=Condition(top=top)), seed=seed)
        labels = judge().labels(images).view(VARIATIONS, TOPS)
        within = images.view(VARIATIONS, TOPS, -1).std(0).mean().item()
        columns = model.backbone.layout.top(k).dim
        rows.append(
            {
                "k of L": f"{k} of {len(model.backbone.layout)}",
                "latents kept": f"{columns} of {model.backbone.layout.dim}",
                "label stays the sample's": share(labels == first),
                "label stays the row's": share(labels == labels.mode(0).values),
                "pixel std in a row": f"{within:.3f}",
                "pixel std of all": f"{images.flatten(1).std(0).mean():.3f}",
            }
        )
    return rows


def share(right: Tensor) -> str:
    """In per cent."""
    return f"{100 * right.float().mean():.1f}"


def table(rows: list[dict[str, str]]) -> str:
    """Markdown; the columns are those of the first row."""
    names = list(rows[0])
    return markdown_table(names, [[row[name] for name in names] for row in rows])


def report(arguments: argparse.Namespace) -> str:
    """Everything that is printed."""
    sources = {RunConfig.read(run / "config.yaml").backbone.name: run for run in arguments.source}
    agreements, stays = [], []
    for backbone in arguments.backbones:
        source = sources.get(backbone)
        for prior in arguments.priors:
            out = arguments.out / f"{backbone}-{prior}-{arguments.seed}"
            options = [f"prior={prior}", f"prior.labels=[{{classes: {CLASSES}}}]", *arguments.set, f"seed={arguments.seed}"]
            model = trained(out, options if source else [*BACKBONES[backbone], *options], source)
            use_threads(arguments.threads)
            if prior == arguments.priors[0]:
                agreements.append({"backbone": backbone, "prior": "(posterior)", **ceiling(model, arguments.seed)})
            source = source or out
            named = {"backbone": backbone, "prior": prior}
            agreements.append({**named, **conditional(model, arguments.samples, arguments.seed)})
            stays += [{**named, **row} for row in kept(model, arguments.seed)]
    return (
        f"`{typed_command()}`: seed {arguments.seed}, {torch.get_num_threads()} thread(s), {platform.machine()} "
        f"CPU, torch {torch.__version__}, scikit-learn {sklearn.__version__}, priorkit {priorkit.__version__}. The judge is "
        f"right on {100 * judge().accuracy:.1f} % of the 360 held-out real digits.\n\n"
        f"Class-conditional samples, {arguments.samples:,} a line: per cent with the asked label, overall and by class; "
        "*(posterior)*: decoded posterior samples of the held-out digits and their labels.\n\n"
        f"{table(agreements)}\n\n"
        f"Upper layers kept: {TOPS} samples, of each the noise of the top k layers with {VARIATIONS} draws of the rest; per "
        "cent whose label stays that of the sample, and that of most of its row; standard deviation of a pixel within a row "
        f"and over all rows (pixels in [0, 1]).\n\n{table(stays)}\n"
    )


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--priors", nargs="+", default=["multistage"])
    parser.add_argument("--backbones", nargs="+", choices=list(BACKBONES), default=["nvae", "twolayer"])
    parser.add_argument("--from", dest="source", nargs="+", type=Path, default=[], help="runs whose backbones are taken")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of every run")
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-labels"))
    arguments = parser.parse_args()
    publish(report(arguments), arguments.write)


if __name__ == "__main__":
    main()
