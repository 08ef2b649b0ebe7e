"""The pictures of a training run, written to samples/*.png."""

from collections.abc import Iterator

import torch
from matplotlib.figure import Figure
from torch import Tensor

from priorkit.core import Chain, Progress, no_progress
from priorkit.data import Dataset
from priorkit.model import Model
from priorkit.report.pictures import diagnostics, losses, panels, write_figure
from priorkit.workflows.sampling.draws import Draws
from priorkit.workflows.session import Session

__all__ = ["along_the_chain", "draw_pictures", "first_data", "run_pictures"]

SHOWN = 64
SHOWN_CHAINS = 8
KEPT_STATES = 9


def draw_pictures(session: Session, *, seed: int = 0, draws: Draws | None = None, progress: Progress = no_progress) -> None:
    """Write `run_pictures` to the run's samples/NAME.png."""
    for name, figure in run_pictures(session, seed=seed, draws=draws, progress=progress):
        write_figure(figure, session.folder.samples / f"{name}.png")


def run_pictures(
    session: Session, *, seed: int = 0, draws: Draws | None = None, progress: Progress = no_progress
) -> Iterator[tuple[str, Figure]]:
    """Yield overview, losses, stages, chain and diagnostics, if the run has the data for them.

    `draws`, with the same seed, avoids sampling again.
    """
    draws = draws or Draws(session.model, seed=seed)
    for name, parts in progress(_sheets(session, draws).items(), 2, "pictures"):
        yield name, panels(parts)
    if (figure := losses(session.folder.records())) is not None:
        yield "losses", figure
    chains = draws.chains()
    if (figure := diagnostics(chains)) is not None:
        yield "diagnostics", figure
    if (states := along_the_chain(session.model, chains, seed=seed)) is not None:
        title = f"{SHOWN_CHAINS} chains, from the start (left) to the end"
        yield "chain", panels({title: states}, columns=KEPT_STATES)


def _sheets(session: Session, draws: Draws) -> dict[str, dict[str, Tensor]]:
    """Return titles and contents of the side-by-side sheets; training data are used if none are held out."""
    model, data, seed = session.model, session.data, draws.seed
    shown = SHOWN if data.spec.is_image else 4_000
    title, x = first_data(data, shown)

    def after(stages: int | None) -> Tensor:
        return model.decode(draws.latents(shown, stages), seed=seed)

    overview = {title: x}
    if data.spec.is_image:
        overview["reconstructions"] = model.decode(model.infer(x, seed=seed).u, seed=seed)
    overview["Gaussian prior"] = after(0)
    sheets = {"overview": overview}
    if model.prior.stages:
        overview[f"{session.config.prior.name} prior"] = after(None)
    if model.prior.trained_stages > 1:
        stages = range(1, model.prior.trained_stages + 1)
        sheets["stages"] = {"Gaussian prior": overview["Gaussian prior"]} | {f"after stage {m}": after(m) for m in stages}
    return sheets


def first_data(data: Dataset, count: int) -> tuple[str, Tensor]:
    """Return the title and at most `count` of the held-out data, or of the training data if none are held out."""
    source, title = (data.heldout, "held-out data") if len(data.heldout) else (data.train, "training data")
    return title, source.batch(torch.arange(min(count, len(source))))


def along_the_chain(model: Model, chains: list[Chain], *, seed: int = 0) -> Tensor | None:
    """Return decoded states of a few chains, (chains * states, C, H, W), a row per chain; None without states or images."""
    kept = [chain.trajectory[:, :SHOWN_CHAINS] for chain in chains if chain.trajectory is not None]
    if not model.spec.is_image or not kept:
        return None
    states = torch.cat(kept)
    states = states[torch.linspace(0, len(states) - 1, KEPT_STATES).round().long()]
    return model.decode(states.transpose(0, 1).flatten(0, 1), seed=seed)
