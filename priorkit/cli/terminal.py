"""The commands' output about a run."""

from collections.abc import Callable

from rich.console import Console

from priorkit.cli.saying import say
from priorkit.report.fitting import Fitting
from priorkit.report.headline import headline
from priorkit.report.progress import PlainProgress, TerminalProgress
from priorkit.report.table import backbone_line, prior_table, protocol_table
from priorkit.report.titles import title
from priorkit.workflows.training.begin import Begun
from priorkit.workflows.training.budget import Plan
from priorkit.workflows.training.train import Trained

__all__ = ["announce", "estimated", "follow", "tell"]

BESIDE = ("loss", "heldout_validation_loss", "heldout_bpd")
"""Metrics shown beside a phase's bar."""


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
        say(console, told)

    return heard


def estimated(console: Console, quiet: bool, hint: str = "") -> Callable[[Plan], None]:
    """Prints what a run will take, and what its training needs; `hint` is added."""

    def heard(plan: Plan) -> None:
        if quiet:
            return
        steps = ", ".join(f"{name} {count:,}" for name, count in plan.cost.planned.items())
        told = f"{plan}; steps: {steps}"
        if plan.cost.memory:
            told += f"; memory: at least {plan.cost.memory / 2**30:.1f} GiB"
        say(console, told + hint)

    return heard


def _shape(shape: tuple[int, ...]) -> str:
    """Return '32×32' for (3, 32, 32)."""
    return "×".join(map(str, shape[1:]))


def follow(
    console: Console, quiet: bool, progress: TerminalProgress | PlainProgress
) -> Callable[[str, int, dict[str, float]], None]:
    """Shows the newest losses beside the phase's bar and prints held-out metrics; all of them are in metrics.jsonl."""

    def heard(phase: str, step: int, figures: dict[str, float]) -> None:
        if quiet:
            return
        progress.note(phase, {title(name): figures[name] for name in BESIDE if name in figures})
        # Those of single layers are in the log; there can be dozens.
        shown = {name: value for name, value in figures.items() if name.startswith("heldout") and "layer" not in name}
        if shown:
            told = ", ".join(f"{title(name)} {value:.4f}" for name, value in shown.items())
            if "weights_of_step" in figures:
                told += f", weights of step {figures['weights_of_step']:.0f}"
            say(console, f"{phase}, step {step}: {told}")

    return heard


def tell(console: Console, trained: Trained, *, protocols: bool = False) -> None:
    """Print the headline, the table, the training times and the paths, with `protocols` how each metric was computed."""
    folder, figures = trained.session.folder, trained.figures
    say(console, headline(figures, prior=trained.session.config.prior.name))
    console.print(Fitting(prior_table(figures, details=False)))
    times = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in trained.seconds.items())
    for told in (
        backbone_line(figures),
        f"trained in {sum(trained.seconds.values()):.0f} s ({times})",
        f"pictures: {folder.samples}/overview.png and others there; all metrics: {folder.summary}",
    ):
        if told:
            say(console, told)
    if protocols:
        console.print(Fitting(protocol_table(figures)))
