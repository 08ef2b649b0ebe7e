"""The pictures of the documentation's gallery, from one finished run on images.

    python benchmarks/digits.py --seeds 1 --out runs/benchmark-digits
    python benchmarks/gallery.py --run runs/benchmark-digits/nvae-0 --out docs/gallery

Each picture is what a command draws (`priorkit train`, `sample`), but for the histograms of log r; nothing is chosen but
the seed.  The made-up outsiders come from the run's held-out images.
"""

import argparse
from pathlib import Path

import torch
from rich.console import Console

from priorkit.workflows.session import Session, open_run

FROM_TRAINING = ("overview", "stages", "chain")
VIEWS = {"interpolation": {"interpolate": True}, "layers": {"layers": True}}
OUTSIDERS = ("ood:interpolated", "ood:blurred", "ood:contrast", "ood:constant")
IMAGES = 360


def draw(run: Path, out: Path, seed: int) -> None:
    """Write all pictures; a picture that does not apply to the run is left out."""
    from priorkit.report.pictures import write_figure
    from priorkit.report.progress import showing
    from priorkit.report.score_histograms import score_histograms
    from priorkit.workflows.sampling.conditions import Asked
    from priorkit.workflows.sampling.gallery import run_pictures
    from priorkit.workflows.sampling.sample import write_samples

    out.mkdir(parents=True, exist_ok=True)
    plain = {"seed": seed, "temperature": 1.0, "progressive": False, "trajectory": False}
    with showing(Console(stderr=True)) as progress:
        session = open_run(run, progress=progress)
        for name, figure in run_pictures(session, seed=seed, progress=progress):
            if name in FROM_TRAINING:
                write_figure(figure, out / f"{name}.png")
        for name, view in VIEWS.items():
            write_samples(session, out / f"{name}.png", None, **plain, **view, progress=progress)
        for kept in range(1, len(session.model.backbone.layout)):
            asked = Asked(keep_top=kept)
            write_samples(session, out / f"keep-top-{kept}.png", None, **plain, asked=asked, progress=progress)
        write_figure(score_histograms(scores(session, seed), "log r at a posterior sample"), out / "scores.png")


def scores(session: Session, seed: int) -> dict[str, torch.Tensor]:
    """log r of held-out images and of each set made of them, (360,) at most."""
    from priorkit.workflows.measuring.ood import open_outsiders

    sets = {"held out": session.data.heldout} | {name: open_outsiders(session, name)[0] for name in OUTSIDERS}
    chosen = {name: split.batch(torch.arange(min(IMAGES, len(split)))) for name, split in sets.items()}
    return {name: session.model.score(x, seed=seed) for name, x in chosen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a finished run on images")
    parser.add_argument("--out", type=Path, default=Path("docs/gallery"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw(arguments.run, arguments.out, arguments.seed)
    for file in sorted(arguments.out.glob("*.png")):
        print(f"{file.stat().st_size:8,d}  {file}")


if __name__ == "__main__":
    main()
