"""Whether a device computes what the CPU computes: trainings, checkpoints that change devices, samples in double precision.

Both draw the same random numbers (`same_numbers.py`), so that they differ by rounding alone.
"""

import json
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from kill import RUNS
from safetensors.torch import load_file
from same_numbers import SameNumbers

from priorkit.config import RunConfig, resolve
from priorkit.core import Sampling
from priorkit.errors import InterruptedRunError, said
from priorkit.runs.restore import restore
from priorkit.workflows.assemble import build_model
from priorkit.workflows.session import open_run
from priorkit.workflows.training.train import fit

__all__ = ["HEADER", "Row", "rows"]

TWOLAYER = ("backbone=twolayer", "backbone.hidden=16", "backbone.latents=[3,4]")
NVAE = ("backbone=nvae", "backbone.num_channels_enc=4", "backbone.num_channels_dec=4", "backbone.num_groups_per_scale=1")
SHORT = (
    *("trainer.backbone_steps=4", "trainer.validate_every=0", "engine.log_every=2", "engine.threads=1", "sampler.steps=2"),
    *("sampler.pilot_steps=1", "engine.patience=1"),
)
TWO_PHASE = ("trainer.prior_steps=8", "trainer.prior_batch=16", "trainer.posterior_samples=1", "trainer.backbone_batch=16")
JOINT = ("trainer.joint_steps=8", "trainer.batch=8", "trainer.stage_samples=20")
CHANGED = (("multistage", "nvae", "prior.2", 4), ("joint-multistage", "twolayer", "joint.2", 2))
"""Runs that change devices: their names, backbones, and the phases and steps after which they do."""
LOSSES, SAMPLES = 1e-3, 1e-8
"""Largest relative differences: of losses in float32, some steps apart, and of samples in float64."""
SKIPPED = ("bank-on-disk",)
"""Of kinds of runs whose devices do nothing else than another kind's."""
HEADER = ("run", "losses", "weights", "samples, float64", "")


@dataclass(frozen=True)
class Row:
    """The largest relative differences of a run from the CPU's; None where nothing was compared."""

    name: str
    losses: float | None = None
    weights: float | None = None
    samples: float | None = None
    problem: str = ""

    @property
    def good(self) -> bool:
        """Whether it ran and the differences are those of rounding."""
        return not self.problem and (self.losses or 0) <= LOSSES and (self.samples or 0) <= SAMPLES

    def cells(self) -> list[str]:
        """A line of the table."""
        told = ["" if value is None else f"{value:.1e}" for value in (self.losses, self.weights, self.samples)]
        return [self.name, *told, self.problem or ("equal" if self.good else "**differs**")]


def rows(device: torch.device, root: Path) -> Iterator[Row]:
    """Every prior on both backbones with both trainers, then the runs that change devices.

    The CPU's runs are trained once, for all rows.
    """
    with _exact():
        for name in RUNS:
            for backbone in ("twolayer", "nvae"):
                if name not in SKIPPED and not (backbone == "nvae" and _is_joint(name)):
                    yield _tried(f"{name}, {backbone}", lambda n=name, b=backbone: _compared(n, b, device, root))
        for name, backbone, phase, step in CHANGED:
            stop = (phase, step)
            for order, places in (("begun", (device, torch.device("cpu"))), ("ended", (torch.device("cpu"), device))):
                folder = root / f"{order}-{name}"
                yield _tried(
                    f"{name}, {backbone}, {order} on {device.type}",
                    lambda n=name, b=backbone, p=places, f=folder, s=stop: _changed(n, b, p, s, f, root),
                )


def _tried(name: str, work: Callable[[], tuple[float | None, ...]]) -> Row:
    """Return the row of a comparison; an error is written into the table, and the next comparison runs."""
    try:
        return Row(name, *work())
    except InterruptedRunError:
        raise
    except Exception as error:
        traceback.print_exc()
        return Row(name, problem=f"**failed**: {said(error)}")


def _is_joint(name: str) -> bool:
    return name.startswith("joint-")


def _options(name: str, backbone: str, device: torch.device) -> list[str]:
    kind = JOINT if _is_joint(name) else TWO_PHASE
    dropout = ["prior.energy.dropout=0"] if any("energy.dropout" in one for one in RUNS[name]) else []
    own = TWOLAYER if backbone == "twolayer" else NVAE
    return [*own, *RUNS[name], *SHORT, *kind, *dropout, f"engine.device={device.type}"]


def _compared(name: str, backbone: str, device: torch.device, root: Path) -> tuple[float, float, float]:
    expected, found = _on_the_cpu(name, backbone, root), root / f"{name}-{backbone}-device"
    with SameNumbers(device):
        fit(resolve(None, _options(name, backbone, device)), found)
    return _losses(found, expected), _weights(found, expected), _samples(expected, device)


def _changed(
    name: str, backbone: str, places: Sequence[torch.device], stop: tuple[str, int], folder: Path, root: Path
) -> tuple[float, float, None]:
    """A run that one device begins and another one ends."""
    first, second = places
    expected = _on_the_cpu(name, backbone, root)
    with _numbers(first):
        try:
            fit(resolve(None, _options(name, backbone, first)), folder, on_log=_stop(*stop))
        except InterruptedRunError:
            pass
        else:
            raise RuntimeError(f"{folder.name} was not stopped")
    config = RunConfig.read(folder / "config.yaml")
    engine = config.engine.model_copy(update={"device": second.type})
    with _numbers(second):
        fit(config.model_copy(update={"engine": engine}), folder, resume=True)
    return _losses(folder, expected), _weights(folder, expected), None


def _on_the_cpu(name: str, backbone: str, root: Path) -> Path:
    folder = root / f"{name}-{backbone}-cpu"
    if not (folder / "data.json").exists():
        fit(resolve(None, _options(name, backbone, torch.device("cpu"))), folder)
    return folder


def _numbers(device: torch.device) -> SameNumbers | nullcontext[None]:
    return nullcontext() if device.type == "cpu" else SameNumbers(device)


def _stop(phase: str, step: int) -> Callable[[str, int, dict[str, float]], None]:
    def on_log(at: str, number: int, figures: dict[str, float]) -> None:
        # The step's validation is logged too; a second signal would end the process at once.
        if (at, number) == (phase, step) and "heldout_validation_loss" not in figures:
            os.kill(os.getpid(), signal.SIGINT)

    return on_log


def _losses(found: Path, expected: Path) -> float:
    """The largest difference of a logged loss, relative to the loss or to 1, if that is larger."""
    ours, theirs = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (found, expected)
    )
    steps = [[(record["phase"], record["step"]) for record in records] for records in (ours, theirs)]
    if steps[0] != steps[1]:
        raise RuntimeError("the runs logged other steps")
    pairs = [
        (one[key], other[key])
        for one, other in zip(ours, theirs, strict=True)
        for key in other
        if key.endswith("loss") and other[key] is not None
    ]
    return max((abs(one - other) / max(1.0, abs(other)) for one, other in pairs), default=0.0)


def _weights(found: Path, expected: Path) -> float:
    """The norm of the difference of all weights over theirs."""
    largest = 0.0
    for file in sorted((expected / "weights").glob("*.safetensors")):
        ours, theirs = load_file(found / "weights" / file.name), load_file(file)
        if ours.keys() != theirs.keys():
            raise RuntimeError(f"{file.name} has other weights")
        moved = [key for key, value in theirs.items() if value.is_floating_point() and value.isfinite().all()]
        apart = sum(float((ours[key] - theirs[key]).double().square().sum()) for key in moved)
        whole = sum(float(theirs[key].double().square().sum()) for key in moved)
        largest = max(largest, (apart / max(whole, 1e-30)) ** 0.5)
    return largest


def _samples(run: Path, device: torch.device) -> float:
    """The largest relative difference of samples, in double precision, from the same weights."""
    before = torch.get_default_dtype()
    session = open_run(run)
    torch.set_default_dtype(torch.float64)
    try:
        found = []
        for place in (torch.device("cpu"), device):
            model = build_model(session.config, session.model.spec, place)
            for name, module in (("prior", model.prior), ("backbone", model.backbone)):
                restore(module, session.folder.load_weights(name), session.folder)
                module.double().eval().requires_grad_(False)
            with _numbers(place), torch.no_grad():
                u = model.prior.draw(16, Sampling(model.sampler, torch.Generator(device=place).manual_seed(0))).u
                found.append(torch.cat([u, model.backbone.generate(u).likelihood.mean.flatten(1)], 1).cpu())
    finally:
        torch.set_default_dtype(before)
    if found[0].dtype != torch.float64:
        raise RuntimeError("samples are not in double precision")
    return float((found[1] - found[0]).abs().max() / found[0].abs().max())


@contextmanager
def _exact() -> Iterator[None]:
    """Convolutions and products in float32, not in TF32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
