"""The zoo: trains the small models that come with the package, and writes them to priorkit/zoo/models.

    python benchmarks/zoo.py --runs runs/zoo --fashion DIR --mnist DIR --only fashion

DIR has the archives fashion-mnist-train.zip and fashion-mnist-test.zip, or mnist-train.zip and mnist-test.zip.  A finished
run is read and an unfinished one resumed.  Weights are stored in half precision; the table compares metrics of the stored
model with those of the run.
"""

import json
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from command_line import benchmark_parser, given_command, publish
from markdown_table import markdown_table
from rich.console import Console

from priorkit.report.progress import showing
from priorkit.workflows.sharing.share import share_run
from priorkit.zoo import MODELS, PREFIX

OPTIONS: dict[str, list[str]] = {
    # The README's run, with narrower networks.
    "digits": [
        "backbone.name=nvae", "backbone.num_channels_enc=14", "backbone.num_channels_dec=14", "prior.name=multistage",
    ],
    "fashion": [
        "backbone.name=nvae", "backbone.num_channels_enc=8", "backbone.num_channels_dec=8", "prior.name=multistage",
        "prior.stages=2", "prior.energy.width=64", "prior.base.kind=normal",
        "trainer.backbone_steps=2500", "trainer.backbone_batch=64", "trainer.prior_steps=2500",
    ],
    "mnist": [
        "backbone.name=twolayer", "backbone.latents=[16,32]", "backbone.width=12", "backbone.hidden=128",
        "prior.name=multistage", "prior.labels=[{classes: 10}]",
        "trainer.backbone_steps=8000", "trainer.prior_steps=4800",
    ],
}  # fmt: skip
"""Options of each model; all others have their defaults."""
ARCHIVES = {"fashion": "fashion-mnist", "mnist": "mnist"}
SAMPLES = 2_000


def main() -> None:
    """Train, store and print the table."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/zoo"), help="folder of the trained runs")
    for name in ARCHIVES:
        parser.add_argument(f"--{name}", type=Path, help="folder of its archives")
    parser.add_argument("--only", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    parser.add_argument("--set", nargs="+", default=[], help="further options of the training, such as engine.threads=1")
    given = parser.parse_args()
    rows = [_row(name, given) for name in given.only]
    head = ["model", "weights, MB", "all files, MB", "Gaussian", "learned", "stored", "posterior samples", "minutes"]
    publish(f"`{given_command('benchmarks/zoo.py', parser, given, _short)}`\n\n{markdown_table(head, rows)}", given.write)


def _short(value: Any) -> str:
    return value.name if isinstance(value, Path) else str(value)


def _row(name: str, given: Namespace) -> list[str]:
    """Train and store one model; return its line."""
    run, target = given.runs / name, MODELS / name
    if not (run / "summary.json").exists():
        sets = [word for option in (*OPTIONS[name], *_data(name, given), *given.set) for word in ("--set", option)]
        where = ["--resume", run] if (run / "config.yaml").exists() else ["--out", run, *sets]
        subprocess.run([sys.executable, "-m", "priorkit", "train", *where], check=True)
    summary = json.loads((run / "summary.json").read_text())
    figures = summary["metrics"]
    shutil.rmtree(target, ignore_errors=True)
    share_run(run, PREFIX + name, target, half=True)
    sizes = [sum(file.stat().st_size for file in target.rglob(pattern)) / 1e6 for pattern in ("*.safetensors", "*.*")]
    metric = next(key for key in figures if re.fullmatch(r"fd_[a-z]+_heldout", key))
    own = [figures[metric + part] for part in ("_gaussian", "", "_posterior")]
    gaussian, learned, floor = (f"{one['value']:.2f} ± {one['spread']:.2f}" for one in own)
    stored = f"{_distance(target, run, metric):.2f}"
    return [
        f"`zoo:{name}`",
        *(f"{one:.2f}" for one in sizes),
        gaussian,
        learned,
        stored,
        floor,
        f"{sum(summary['cost']['seconds'].values()) / 60:.0f}",
    ]


def _data(name: str, given: Namespace) -> list[str]:
    if name not in ARCHIVES:
        return []
    folder, archive = getattr(given, name), ARCHIVES[name]
    if folder is None:
        raise SystemExit(f"--{name}: give the folder of {archive}-train.zip and {archive}-test.zip.")
    return [f"data.name=zip:{folder / archive}-train.zip", f"data.heldout=zip:{folder / archive}-test.zip"]


def _distance(model: Path, run: Path, metric: str) -> float:
    """The metric of the stored model, on the data of the run."""
    from priorkit.workflows.measuring.evaluate import measure
    from priorkit.workflows.session import open_run

    data = open_run(run).data
    with showing(Console(stderr=True)) as progress:
        session = open_run(model, data, progress=progress)
        found = measure(session.model, data, metrics=("fd",), samples=SAMPLES, progress=progress)
    return found[metric].value


if __name__ == "__main__":
    main()
