"""The pictures that a training run ends with, written to samples/*.png."""

import torch
from torch import Tensor

from priorkit.core import Progress, silent
from priorkit.report.pictures import losses, panels, write_figure
from priorkit.runs.model import CHUNK
from priorkit.workflows.session import Session

__all__ = ["along_the_chain", "draw_pictures"]

SHOWN = 64
KEPT_STATES = 9


def draw_pictures(session: Session, *, seed: int = 0, progress: Progress = silent) -> None:
    """overview.png, losses.png, stages.png and chain.png, where the run has what they show."""
    samples = session.folder.samples
    for name, parts in progress(_sheets(session, seed).items(), 2, "pictures"):
        write_figure(panels(parts), samples / f"{name}.png")
    if (figure := losses(session.folder.records())) is not None:
        write_figure(figure, samples / "losses.png")
    if (states := along_the_chain(session, seed=seed)) is not None:
        write_figure(panels({f"{SHOWN // 8} chains, from the start (left) to the end": states}, columns=KEPT_STATES),
                     samples / "chain.png")  # fmt: skip


def _sheets(session: Session, seed: int) -> dict[str, dict[str, Tensor]]:
    """Titles and contents of the side-by-side sheets."""
    model, data = session.model, session.data
    shown = SHOWN if data.spec.is_image else 4_000
    x = data.heldout.batch(torch.arange(min(shown, len(data.heldout))))
    generator = torch.Generator(device=model.backbone.device).manual_seed(seed)
    gaussian = model.prior.standard_normal(shown, generator)
    overview = {"held-out data": x}
    if data.spec.is_image:
        overview["reconstructions"] = model.decode(model.infer(x, seed=seed).u, seed=seed)
    overview["Gaussian prior"] = model.decode(gaussian, seed=seed)
    sheets = {"overview": overview}
    if model.prior.stages:
        overview[f"{session.config.prior.name} prior"] = model.sample(shown, seed=seed)
    if model.prior.trained_stages > 1:
        sheets["stages"] = {"Gaussian prior": overview["Gaussian prior"]} | {
            f"after stage {stage}": model.decode(model.sample_latents(shown, seed=seed, stages=stage), seed=seed)
            for stage in range(1, model.prior.trained_stages + 1)
        }
    return sheets


def along_the_chain(session: Session, *, seed: int = 0) -> Tensor | None:
    """Decoded states of a few chains, (chains * states, C, H, W), a row a chain; None without chains or images."""
    model = session.model
    if not session.data.spec.is_image:
        return None
    chains = next(iter(model.draws(1, seed=seed, keep_every=1))).chains
    kept = [chain.trajectory for chain in chains if chain.trajectory is not None]
    if not kept:
        return None
    states = torch.cat(kept)[:, : min(SHOWN // 8, CHUNK)]
    states = states[torch.linspace(0, len(states) - 1, KEPT_STATES).round().long()]
    return model.decode(states.transpose(0, 1).flatten(0, 1), seed=seed)
