"""Draw samples from a run: a sheet of images, or arrays."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from priorkit.core import Progress, no_progress
from priorkit.errors import UsageError
from priorkit.model import Model
from priorkit.registry import installed
from priorkit.report.pictures import panels, write_figure
from priorkit.runtime.atomic_files import write_bytes
from priorkit.workflows.sampling.conditions import EACH, Asked, Rows
from priorkit.workflows.sampling.draws import Draws
from priorkit.workflows.sampling.gallery import along_the_chain
from priorkit.workflows.sampling.interpolation import COLUMNS, interpolations
from priorkit.workflows.sampling.layer_pictures import against_posterior
from priorkit.workflows.session import Session

__all__ = ["with_sampler", "write_samples"]

ENDINGS = (".png", ".svg", ".npy")
SAMPLES = 64
SAMPLES_A_ROW = 8
PATHS = 6
VIEWS = ("--progressive", "--trajectory", "--interpolate", "--layers")


def write_samples(
    session: Session,
    out: Path,
    n: int | None,
    *,
    seed: int,
    temperature: float,
    progressive: bool,
    trajectory: bool,
    interpolate: bool = False,
    layers: bool = False,
    asked: Asked | None = None,
    progress: Progress = no_progress,
) -> None:
    """Write n samples as a sheet (PNG, SVG) or an array (NPY, float32, (n, C, H, W)).

    `progressive` shows the samples after each stage side by side, `trajectory` states along some chains, `interpolate` n
    paths between held-out images, `layers` prior against posterior in each layer. Labels and upper layers in `asked` can
    make several rows, of n samples each; the default is 64 samples, 8 per row, or 6 paths.
    """
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(f"--out {out}: the name must end in one of {', '.join(ENDINGS)}.")
    views = [name for name, on in zip(VIEWS, (progressive, trajectory, interpolate, layers), strict=True) if on]
    if len(views) > 1 or (asked is not None and views):
        raise UsageError(
            f"{', '.join(VIEWS)}: give only one of them; --label and --keep-top need plain samples, without these options."
        )
    own_count, own_noise = trajectory or layers, trajectory or layers or interpolate
    unheard = [name for name, on in (("--n", own_count and n), ("--temperature", own_noise and temperature != 1)) if on]
    if unheard:
        raise UsageError(f"{views[0]}: does not use {' and '.join(unheard)}; leave it out.")
    if layers:
        _write_layers(session, out, seed)
        return
    columns = COLUMNS if trajectory or interpolate else None
    if asked is not None:
        columns, parts = _asked(session, n, asked, seed, temperature, progress)
    elif trajectory:
        parts = {"along the chains": _chains(session, seed)}
    elif interpolate:
        parts = {"between held-out images (left, right)": interpolations(session, n or PATHS, seed=seed)}
    elif progressive:
        parts = _stages(session.model, n or SAMPLES, seed, temperature, progress)
    else:
        model = session.model
        u = model.sample_latents(n or SAMPLES, seed=seed, progress=progress)
        parts = {f"{session.config.prior.name} prior": model.decode(u, seed=seed, temperature=temperature)}
    if not session.is_main:
        return
    if out.suffix.lower() == ".npy":
        _write_array(out, torch.cat(list(parts.values())))
    else:
        write_figure(panels(parts, columns=columns), out)


def _asked(
    session: Session, n: int | None, asked: Asked, seed: int, temperature: float, progress: Progress
) -> tuple[int | None, dict[str, Tensor]]:
    """Return samples under conditions and the columns of their sheet, None for a square one; points have a panel per row."""
    model = session.model
    several = asked.keep_top is not None or any(text.endswith(EACH) for text in asked.labels)
    count = n or (SAMPLES_A_ROW if several else SAMPLES)
    rows = Rows.of(model, asked, count, seed=seed, progress=progress)
    u = model.sample_latents(count * len(rows.titles), seed=seed, condition=rows.condition, progress=progress)
    data = model.decode(u, seed=seed, temperature=temperature)
    by_row = data.view(count, len(rows.titles), *data.shape[1:]).transpose(0, 1)
    if len(rows.titles) > 1 and not model.spec.is_image:
        return None, dict(zip(rows.titles, by_row, strict=True))
    title = [f"{session.config.prior.name} prior", *(f"label {text}" for text in asked.labels)]
    title += [] if asked.keep_top is None else [f"top {asked.keep_top} kept"]
    return count if len(rows.titles) > 1 else None, {", ".join(title): by_row.flatten(0, 1)}


def _chains(session: Session, seed: int) -> Tensor:
    states = along_the_chain(session.model, Draws(session.model, seed=seed).chains(), seed=seed)
    if states is None:
        raise UsageError(
            f"--trajectory: the {session.config.prior.name} prior of this run does not sample with a chain of images."
        )
    return states


def _write_layers(session: Session, out: Path, seed: int) -> None:
    if out.suffix.lower() == ".npy":
        raise UsageError(f"--out {out}: --layers draws a picture; the name must end in .png or .svg.")
    figure = against_posterior(session, seed=seed)
    if session.is_main:
        write_figure(figure, out)


def _stages(model: Model, n: int, seed: int, temperature: float, progress: Progress) -> dict[str, Tensor]:
    """Return samples after no stage, one, two, ..., all with the same seeds."""
    stages = range(model.prior.trained_stages + 1)
    return {
        "Gaussian prior" if stage == 0 else f"after stage {stage}": model.decode(
            model.sample_latents(n, seed=seed, stages=stage, progress=progress), seed=seed, temperature=temperature
        )
        for stage in stages
    }


def _write_array(out: Path, data: Tensor) -> None:
    buffer = io.BytesIO()
    np.save(buffer, data.cpu().numpy(), allow_pickle=False)
    write_bytes(out, buffer.getvalue())


def with_sampler(model: Model, name: str | None, steps: int | None) -> Model:
    """Return the model with another sampler (and its default options), or with a longer or shorter chain."""
    sampler = model.sampler
    if name is not None:
        kind = installed().load("sampler", name)
        sampler = kind(kind.Config())
    if steps is None:
        return replace(model, sampler=sampler)
    settings = sampler.settings
    if "steps" not in type(settings).model_fields:
        raise UsageError("--steps: the sampler of this run has no chain; `priorkit plugins show` lists its options.")
    changed = type(settings).model_validate({**settings.model_dump(), "steps": steps})
    return replace(model, sampler=type(sampler)(changed))
