"""The pictures of the home page and of the methods' pages: each prior on a toy in the plane, trained briefly.

    python benchmarks/method_pictures.py --pictures docs/gallery/methods

The rows of `toys.py` with fewer steps, a minute or two each on one thread.  A picture has the data, the learned density
and samples of the prior; samples where the data have none are red.  Joint training and labels are shown on digits.
Nothing is chosen but the seed.  Finished runs are read.
"""

import argparse
import io
import math
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from toys import COMMON, PRIORS
from training import fit_run, is_fitted

from priorkit.data import Truth
from priorkit.model import Model
from priorkit.runtime.atomic_files import write_bytes
from priorkit.workflows.sampling.conditions import Asked
from priorkit.workflows.sampling.gallery import run_pictures
from priorkit.workflows.sampling.sample import with_sampler, write_samples
from priorkit.workflows.session import Session, open_run

TOY = "checkerboard"
STEPS = {"multistage": 4500, "ncp": 6000, "tre": 2000, "flow": 1500, "flowmatching": 2000, "jointebm": 800}
STEPS |= {"vampprior": 1000, "diffusion": 1000, "vdrme": 1000}
OPTIONS = {
    "gaussian": PRIORS["gaussian"],
    "mixture": PRIORS["mixture"],
    "vampprior": ["prior=vampprior"],
    **{name: PRIORS[name] for name in ("flow", "flowmatching", "tre", "ncp", "jointebm", "diffusion", "vdrme")},
    "multistage": [*PRIORS["multistage, sir"], "prior.bound=1", "prior.adaptive=false"],
}
"""Options of each prior; those of `toys.py` where it has a row.  A bound of 1 shows what each stage of several adds."""
ON_DIGITS = {
    "labels": ["backbone=twolayer", "prior=multistage", "prior.labels=[{classes: 10}]", "trainer.prior_steps=3000"],
    "joint": [
        "backbone=twolayer", "backbone.latents=[8, 16]", "backbone.hidden=128", "backbone.inference=none",
        "backbone.likelihood=fixed-normal", "backbone.sigma=0.2", "prior=multistage",
        "trainer=joint", "trainer.backbone_steps=500", "trainer.joint_steps=1500",
        "trainer.chain.steps=30", "trainer.chain.step_size=0.03",
    ],
}  # fmt: skip
SAMPLERS = ("langevin", "mala", "hmc", "sir")
SHOWN, EDGE, SIDE = 4_000, 4.6, 161
"""Points of a panel; half the side of the square that is shown; points of the density's grid on a side."""
NATS = 6.0
"""Range of the shown log density below its largest value."""
INSIDE, OUTSIDE = "#3949ab", "#e53935"


def options_of(name: str) -> list[str]:
    """The whole options of a picture's run."""
    if name in ON_DIGITS:
        return [*ON_DIGITS[name], "data=digits", "engine.threads=1"]
    steps = [f"trainer.prior_steps={STEPS[name]}"] if name in STEPS else []
    return [*COMMON, *OPTIONS[name], *steps, f"data=toy:{TOY}", "engine.threads=1"]


def trained(name: str, root: Path) -> Session:
    """The run of a picture, which is trained first if it is not there."""
    out = root / name
    if not is_fitted(out):
        fit_run(out, options_of(name))
    return open_run(out)


def draw_points(axis: Axes, x: torch.Tensor, truth: Truth, title: str = "") -> None:
    """Scatter points (N, 2), red where the true density is 0; a title gets their share."""
    outside = truth.log_density(x) == -math.inf
    axis.scatter(*x[~outside].T, s=1.1, linewidths=0, color=INSIDE)
    axis.scatter(*x[outside].T, s=1.1, linewidths=0, color=OUTSIDE)
    frame(axis, f"{title}\n{outside.double().mean():.0%} outside" if title else "")


def frame(axis: Axes, title: str = "") -> None:
    """Give a panel the square that all panels show."""
    axis.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), xticks=[], yticks=[], aspect="equal")
    axis.set_title(title, fontsize=13)


def draw_density(axis: Axes, model: Model) -> None:
    """Show log p(u) of the learned prior on the data's plane, down to `NATS` below its largest value."""
    line = torch.linspace(-EDGE, EDGE, SIDE)
    x = torch.cartesian_prod(line, line)
    with torch.no_grad():  # the graph of an ODE's steps for so many points would fill the memory
        log_p = model.prior.log_prob(model.backbone.infer(x).u).reshape(SIDE, SIDE).T
    top = log_p.max().item()
    axis.imshow(log_p, origin="lower", extent=(-EDGE, EDGE, -EDGE, EDGE), vmin=top - NATS, vmax=top, cmap="Blues")
    frame(axis)


def panels(rows: int, columns: int, height: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure of square panels, `height` inches taller than they need."""
    figure = Figure(figsize=(2.4 * columns, (2.4 + height) * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def write(figure: Figure, path: Path) -> None:
    """Write a PNG of 64 colours, a third of the size of one of all colours."""
    whole, small = io.BytesIO(), io.BytesIO()
    figure.savefig(whole, format="png", dpi=120)
    Image.open(whole).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    write_bytes(path, small.getvalue())


def draw_prior(session: Session, path: Path) -> None:
    """Data, learned log density, samples."""
    figure, axes = panels(1, 3)
    data = session.data
    assert data.truth is not None
    draw_points(axes[0], data.heldout.batch(torch.arange(SHOWN)), data.truth)
    draw_density(axes[1], session.model)
    draw_points(axes[2], session.model.sample(SHOWN), data.truth)
    write(figure, path)


def draw_hole(session: Session, path: Path) -> None:
    """`hole.png` beside the path: samples of the Gaussian prior, after each stage, and the data; `hole-narrow.png`: in two
    rows, for a telephone."""
    model, data = session.model, session.data
    assert data.truth is not None
    parts = {"Gaussian prior": model.decode(model.sample_latents(SHOWN, stages=0))}
    for stage in range(1, model.prior.trained_stages + 1):
        parts[f"after stage {stage}"] = model.decode(model.sample_latents(SHOWN, stages=stage))
    parts["data"] = data.heldout.batch(torch.arange(SHOWN))
    for rows, name in ((1, "hole.png"), (2, "hole-narrow.png")):
        figure, axes = panels(rows, -(-len(parts) // rows), height=0.62)
        for axis, (title, x) in zip(axes, parts.items(), strict=False):
            draw_points(axis, x, data.truth, title)
        for axis in axes[len(parts) :]:
            axis.set_axis_off()
        write(figure, path.with_name(name))


def draw_samplers(session: Session, path: Path) -> None:
    """`samplers.png` beside the path: samples of one learned prior by each sampler with its default options."""
    figure, axes = panels(1, len(SAMPLERS), height=0.62)
    assert session.data.truth is not None
    for axis, name in zip(axes, SAMPLERS, strict=True):
        draw_points(axis, with_sampler(session.model, name, None).sample(SHOWN), session.data.truth, name)
    write(figure, path.with_name("samplers.png"))


def draw_overview(session: Session, path: Path) -> None:
    """Held-out data, reconstructions, samples of the Gaussian and of the learned prior."""
    write(next(figure for name, figure in run_pictures(session) if name == "overview"), path)


def draw_labels(session: Session, path: Path) -> None:
    """Eight samples of each label, a row per label."""
    shown = {"seed": 0, "temperature": 1.0, "progressive": False, "trajectory": False}
    write_samples(session, path, 8, **shown, asked=Asked(("each",)))


DRAWN = {name: [draw_prior] for name in OPTIONS} | {"labels": [draw_labels], "joint": [draw_overview]}
"""What is drawn of each run."""
DRAWN["multistage"] += [draw_hole, draw_samplers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-method-pictures"), help="where the runs are")
    parser.add_argument("--pictures", type=Path, default=Path("docs/gallery/methods"))
    parser.add_argument("--only", nargs="+", default=list(DRAWN), choices=list(DRAWN), metavar="NAME", help=" ".join(DRAWN))
    arguments = parser.parse_args()
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        session, path = trained(name, arguments.out), arguments.pictures / f"{name}.png"
        for draw in DRAWN[name]:
            draw(session, path)
        print(f"{name}: {path.stat().st_size:,d} bytes", flush=True)


if __name__ == "__main__":
    main()
