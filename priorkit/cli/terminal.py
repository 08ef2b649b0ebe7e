"""The commands' output about a run."""

from collections.abc import Callable

from rich.console import Console

from priorkit.report.table import backbone_table, prior_table
from priorkit.workflows.training.begin import Begun
from priorkit.workflows.training.budget import Plan
from priorkit.workflows.training.train import Trained

__all__ = ["announce", "estimated", "follow", "tell"]


def announce(console: Console, quiet: bool) -> Callable[[Begun], None]:
    """Prints what is trained, on what, and where, before the first step."""

    def heard(run: Begun) -> None:
        if quiet:
            return
        config, spec = run.config, run.data.spec
        kind = f"{_shape(spec.shape)}{' grey' if spec.shape[0] == 1 else ' RGB'} images" if spec.is_image else "points"
        preset = config.backbone.options.get("preset")
        backbone = config.backbone.name + (f" (preset {preset})" if preset else "")
        told = f"{spec.name}: {len(run.data.train):,} {kind} to train on, {len(run.data.heldout):,} held out; "
        told += f"backbone {backbone}, prior {config.prior.name}; pictures will be in {run.folder.samples}"
        console.print(told, markup=False, emoji=False, soft_wrap=True)

    return heard


def estimated(console: Console, quiet: bool) -> Callable[[Plan], None]:
    """Prints what a run will take, and what its training needs."""

    def heard(plan: Plan) -> None:
        if quiet:
            return
        steps = ", ".join(f"{name} {count:,}" for name, count in plan.cost.planned.items())
        told = f"{plan}; steps: {steps}"
        if plan.cost.memory:
            told += f"; memory: at least {plan.cost.memory / 2**30:.1f} GiB"
        console.print(told, markup=False, emoji=False, soft_wrap=True)

    return heard


def _shape(shape: tuple[int, ...]) -> str:
    """Return '32×32' for (3, 32, 32)."""
    return "×".join(map(str, shape[1:]))


def follow(console: Console, quiet: bool) -> Callable[[str, int, dict[str, float]], None]:
    """Prints held-out metrics when they are computed; the training losses are in metrics.jsonl."""

    def heard(phase: str, step: int, figures: dict[str, float]) -> None:
        shown = {name: value for name, value in figures.items() if name.startswith("heldout")}
        if shown and not quiet:
            told = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
            if "weights_of_step" in figures:
                told += f"  weights of step {figures['weights_of_step']:.0f}"
            console.print(f"{phase:<10} step {step:>6}  {told}", markup=False, emoji=False)

    return heard


def tell(console: Console, trained: Trained) -> None:
    """Print the tables, the training times and the paths of the pictures."""
    folder = trained.session.folder
    console.print(prior_table(trained.figures))
    console.print(backbone_table(trained.figures))
    times = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in trained.seconds.items())
    # A path is printed as it is, on one line, to be copied.
    for told in (
        f"trained in {sum(trained.seconds.values()):.0f} s ({times})",
        f"pictures: {folder.samples}/overview.png and others there; metrics with protocols: {folder.summary}",
    ):
        console.print(told, markup=False, emoji=False, soft_wrap=True)
