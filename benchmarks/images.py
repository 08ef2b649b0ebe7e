"""Images of 32x32 with the `small` NVAE: the backbone's held-out bits/dim, then the multi-stage prior's gap by stage.

    python benchmarks/images.py --data zip:cifar10-train.zip --out runs/benchmark-images --write docs/results/images.md

Runs that are finished are read, so that an interrupted benchmark goes on.  It prints the held-out bits/dim that the
backbone logged (JPEG or resized images are easier than the originals: not comparable with published figures), the seconds
a step of each phase, the AUC of posterior against prior and the Fréchet distance of samples, of the Gaussian prior and after
each stage.
"""

import argparse
import json
import platform
import shlex
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

BACKBONE = ["backbone=nvae", "backbone.preset=small", "prior=gaussian", "trainer.backbone_batch=64"]
PRIOR = ["prior=multistage", "prior.optimiser.lr=0.002", "prior.pool_size=5000", "sampler.steps=80"]
PRIOR += ["trainer.prior_batch=128", "trainer.posterior_samples=1"]


def trained(out: Path, options: list[str], source: Path | None = None) -> Path:
    """The run in `out`, which is trained first, or on, if it is not finished."""
    from begun import begun

    from priorkit.report.progress import showing
    from priorkit.workflows.train import train

    if not (out / "summary.json").exists():
        config, resume, source = begun(out, options, source)
        with showing(Console(stderr=True)) as progress:
            train(config, out, resume=resume, source=source, progress=progress)
    return out


def logged(run: Path, figure: str) -> list[tuple[int, float]]:
    """Steps and values of a figure in the run's log."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row[figure]) for row in rows if figure in row]


def gaps(summary: dict[str, Any]) -> str:
    """Markdown: a line a figure, a column a prior."""
    metrics, stages = summary["metrics"], sum(name.startswith("prior.") for name in summary["phases"])
    columns = {"Gaussian": "_gaussian", **{f"stage {k}": f"_stage_{k}" for k in range(1, stages + 1)}}
    columns["posterior"] = "_posterior"
    whole = [name.removesuffix("_gaussian") for name in metrics if name.endswith("_gaussian")]
    layers = sorted(name.replace("_gaussian", "") for name in metrics if "gap_auc_gaussian_layer" in name)
    lines = ["| figure | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in sorted(whole) + layers:
        head, mark, layer = name.partition("_layer_")
        cells = [metrics.get(f"{head}{ending}{mark}{layer}") for ending in columns.values()]
        shown = ["" if cell is None else f"{cell['value']:.3f} ± {cell['spread']:.3f}" for cell in cells]
        lines.append(f"| `{name}` | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def report(backbone: Path, prior: Path, command: str) -> str:
    """The page's part."""
    first, second = (json.loads((run / "summary.json").read_text()) for run in (backbone, prior))
    points = ", ".join(f"{value:.3f} at step {step}" for step, value in logged(backbone, "heldout_bpd"))
    ends = [figures for name, figures in second["phases"].items() if name.startswith("prior")]
    losses = ", ".join(f"{figures['heldout_loss']:.3f}" for figures in ends)
    seconds = first["cost"]["seconds"] | second["cost"]["seconds"]
    spent = ", ".join(f"{phase} {value:.0f}" for phase, value in seconds.items())
    return (
        f"`{command}`: seed {second['seed']}, {platform.machine()} CPU, torch {torch.__version__}, threads "
        f"{first['cost']['threads']} (backbone) and {second['cost']['threads']} (prior). "
        "`gap_auc`: 0.5 cannot be told from held-out posterior samples, ± half the 95 % interval; the Fréchet distance is "
        "on this project's own features (not an FID); *posterior* is its floor.\n\n"
        f"Held-out bits/dim of the backbone: {points}.\n\nSeconds of each phase (pools and held-out figures included): "
        f"{spent}. Held-out losses of the stages, all layers together: {losses}.\n\n{gaps(second)}\n"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--backbone-steps", type=int, default=1_500)
    parser.add_argument("--prior-steps", type=int, default=1_200)
    parser.add_argument("--set", nargs="*", default=[], help="more options of both runs")
    parser.add_argument("--set-prior", nargs="*", default=[], help="more options of the prior's run")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-images"))
    parser.add_argument("--write", type=Path, help="also write the text to this file")
    arguments = parser.parse_args()
    steps = [f"trainer.backbone_steps={arguments.backbone_steps}", "trainer.validate_every=250", "trainer.validate_on=500"]
    options = [f"data={arguments.data}", *BACKBONE, *steps, *arguments.set]
    backbone = trained(arguments.out / "backbone", options)
    options = [*PRIOR, f"trainer.prior_steps={arguments.prior_steps}", *arguments.set, *arguments.set_prior]
    prior = trained(arguments.out / "multistage", options, backbone)
    name = Path(arguments.data.partition(":")[2]).name
    command = ["python", "benchmarks/images.py", "--data", f"zip:{name}"]
    for flag in ("backbone_steps", "prior_steps", "set", "set_prior"):
        if (value := getattr(arguments, flag)) != parser.get_default(flag):
            command += [f"--{flag.replace('_', '-')}", *(value if isinstance(value, list) else [str(value)])]
    text = report(backbone, prior, shlex.join(command))
    print(text)
    if arguments.write:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()
