"""Which prior, which stage and which layers tell out-of-distribution images from the data: AUROC, as one markdown table.

    python benchmarks/ood.py --train zip:fashion-mnist-train.zip --heldout zip:fashion-mnist-test.zip \\
        --ood zip:mnist-test.zip zip:omniglot-test.zip ood:interpolated ood:blurred ood:contrast ood:constant
    python benchmarks/ood.py --runs runs/a long=runs/b --ood zip:mnist-test.zip --scores gaussian,elbo,nearest,log_ratio

`--runs` reads finished runs of one backbone, whoever trained them; NAME=FOLDER names a run's rows.  Without it the script
trains one backbone with the Gaussian prior and, on it, every prior of `--priors`; runs that are finished are read, so that
an interrupted benchmark goes on.  Rows are a prior, a score (`log_ratio`: the inference scheme; `denoised`: the diffusion
scheme; `classifier_stage_m`: one stage's part; `gaussian`, `llr`, `elbo`, `nearest`: baselines that need no learned prior),
and the layers that the score sees; columns are the sets of out-of-distribution images.  All with their intervals, AUPRC,
FPR, Kolmogorov-Smirnov and Cohen's d are in OUT/ood.json.
"""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch
from command_line import benchmark_parser, publish, typed_command
from markdown_table import markdown_table
from rich.console import Console
from training import fit_run

SEPARABLE = ["prior.energy.coupling=separable"]
"""A term per layer, as in the papers: then the score of some layers is the sum of theirs and needs no integral."""
PRIORS: dict[str, list[str]] = {
    "jointebm": SEPARABLE,
    "ncp": [],
    "multistage": SEPARABLE,
    "diffusion": SEPARABLE,
    "vdrme": [],
}
OF_BACKBONE = ("elbo", "llr", "gaussian", "nearest")
"""Scores that are the same for every prior on one backbone, and measured on the first run."""
OMITTED = "log_ratio_stage"
"""Of each stage the table has its own classifier; the sums over the first stages are in the JSON file."""


def trained(out: Path, options: list[str], source: Path | None = None) -> float:
    """Train a run if it is not there, without the figures that `priorkit train` ends with; gives the seconds it took."""
    from priorkit.runtime.atomic_files import write_json

    kept = out / "benchmark.json"
    if not kept.exists():
        state = fit_run(out, options, source)
        write_json(kept, {"seconds": sum(state.seconds.values()) if state else 0.0})
    return float(json.loads(kept.read_text())["seconds"])


def named(text: str) -> tuple[str, Path]:
    """A run's name, '' for that of its prior, and its folder."""
    name, equals, folder = text.partition("=")
    return (name, Path(folder)) if equals and not Path(text).exists() else ("", Path(text))


def runs_of(arguments: argparse.Namespace) -> tuple[list[tuple[str, Path]], float]:
    """Names and folders of the runs to score, of which those that are missing are trained, and the seconds of training."""
    if arguments.runs:
        return [named(text) for text in arguments.runs], 0.0
    common = [f"seed={arguments.seed}", *arguments.set]
    base = arguments.out / f"{arguments.backbone}-gaussian"
    data = [f"data={arguments.train}", *([f"data.heldout={arguments.heldout}"] if arguments.heldout else [])]
    steps = f"trainer.backbone_steps={arguments.backbone_steps}"
    options = [*data, f"backbone={arguments.backbone}", "prior=gaussian", steps, *common, *arguments.set_backbone]
    runs, seconds = [base], trained(base, options)
    for prior in arguments.priors:
        runs.append(arguments.out / f"{arguments.backbone}-{prior}")
        steps = f"trainer.prior_steps={arguments.prior_steps}"
        options = [f"prior={prior}", *PRIORS[prior], steps, *common, *arguments.set_prior]
        seconds += trained(runs[-1], options, source=base)
    return [("", run) for run in runs], seconds


def scored(name: str, run: Path, arguments: argparse.Namespace, *, baselines: bool) -> dict[str, Any]:
    """What `priorkit ood --json` gives of a run, of the scores that its rows show."""
    from priorkit.report.progress import showing
    from priorkit.workflows.measuring.ood import detect
    from priorkit.workflows.measuring.ood_scores import chosen_scores
    from priorkit.workflows.session import open_run

    with showing(Console(stderr=True)) as progress:
        session = open_run(run, progress=progress)
        scores = [score for score in chosen_scores(arguments.scores) if baselines or score not in OF_BACKBONE]
        if not baselines and not session.model.prior.trained_stages:
            scores = []  # it has no other scores
        found = detect(
            session, arguments.ood, scores=scores, images=arguments.images, repeats=arguments.draws,
            neighbours=arguments.neighbours, seed=arguments.seed, progress=progress,
        ) if scores else []  # fmt: skip
    return {"prior": name or session.config.prior.name, "ood": {item.data: item.as_dict() for item in found}}


def rows(found: dict[str, Any], *, baselines: bool) -> dict[tuple[str, str, str], list[str]]:
    """Cells of one run by prior, score and layers."""
    table: dict[tuple[str, str, str], list[str]] = {}
    sets = [item["scores"] for item in found["ood"].values()]
    for score, by_layers in sets[0].items() if sets else ():
        of_backbone = score in OF_BACKBONE
        if (of_backbone and not baselines) or score.startswith(OMITTED):
            continue
        for layers in sorted(by_layers, key=lambda name: (name == "all", len(name), name)):
            cells = [one.get(score, {}).get(layers) for one in sets]
            prior = "(any)" if of_backbone else found["prior"]
            table[prior, score, layers] = ["" if cell is None else shown(cell["auroc"]) for cell in cells]
    return table


def shown(auroc: dict[str, float]) -> str:
    """A value and half of its 95 % interval."""
    return f"{auroc['value']:.3f} ± {(auroc['high'] - auroc['low']) / 2:.3f}"


def without_folder(word: str) -> str:
    """A word of the command; an archive without its folder."""
    return f"zip:{Path(word.removeprefix('zip:')).name}" if word.startswith("zip:") else word


def short(name: str) -> str:
    """A set's name without its folder."""
    return name if name.startswith("ood:") else Path(name.partition(":")[2] or name).name.removesuffix(".zip")


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--runs", nargs="+", metavar="[NAME=]FOLDER", help="finished runs of one backbone")
    parser.add_argument("--train", default="digits", help="data to train on")
    parser.add_argument("--heldout", help="held-out archive or folder, for archives and folders")
    parser.add_argument("--ood", nargs="+", default=["ood:interpolated", "ood:blurred", "ood:contrast", "ood:constant"])
    parser.add_argument("--backbone", default="twolayer")
    parser.add_argument("--priors", nargs="+", choices=list(PRIORS), default=list(PRIORS))
    parser.add_argument("--backbone-steps", type=int, default=2_000)
    parser.add_argument("--prior-steps", type=int, default=3_000, help="of each prior, over all of its stages")
    parser.add_argument("--set", nargs="+", default=[], help="options KEY=VALUE of every run")
    parser.add_argument("--set-backbone", nargs="+", default=[], help="options of the backbone's training")
    parser.add_argument("--set-prior", nargs="+", default=[], help="options of every prior's training")
    parser.add_argument("--scores", default="all", help="as of priorkit ood: all, or names by commas")
    parser.add_argument("--neighbours", type=int, default=1, help="the k of `nearest`")
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-ood"))
    arguments = parser.parse_args()
    runs, seconds = runs_of(arguments)
    found = [scored(*run, arguments, baselines=number == 0) for number, run in enumerate(runs)]
    table: dict[tuple[str, str, str], list[str]] = {}
    for number, one in enumerate(found):
        table |= rows(one, baselines=number == 0)
    heads = ("prior", "score", "layers", *map(short, arguments.ood))
    command = typed_command(without_folder)
    text = (
        f"`{command}`: AUROC with half of its 95 % interval (0.5: chance; below it those images score higher), "
        f"{arguments.images:,} images of each set at most, seed {arguments.seed}, {torch.get_num_threads()} thread(s), "
        f"{platform.machine()} CPU, torch {torch.__version__}"
        + (f"; training took {seconds / 60:.0f} minutes.\n\n" if seconds else ".\n\n")
    )
    text += markdown_table(heads, [[*key, *cells] for key, cells in table.items()]) + "\n"
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "ood.json").write_text(json.dumps(found, indent=1))
    publish(text, arguments.write)


if __name__ == "__main__":
    main()
