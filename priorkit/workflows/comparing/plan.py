"""The runs that a comparison needs, each in a folder named by what determines it.

    DIR/backbones/HASH            a backbone and the Gaussian prior
    DIR/pilots/PRIOR-HASH-STEPS   a short training, for a budget in seconds
    DIR/runs/PRIOR-HASH-SEED      a prior on a backbone

A hash covers data, components and their options, the code of third-party components, and the options of the engine that
change the result; so the same command finds its runs again, and another one trains only what is new.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from priorkit.config import EvaluationSettings, RunConfig, absolute_source, resolve
from priorkit.config.sections import Component
from priorkit.errors import UsageError
from priorkit.runs.folder import RunFolder
from priorkit.runtime.atomic_files import MANIFEST
from priorkit.workflows.comparing.budget import Budget
from priorkit.workflows.comparing.third_party import third_party
from priorkit.workflows.training.train import on_backbone

__all__ = ["Base", "Job", "Request", "bases", "config_hash", "pilot_job", "prior_config", "prior_job"]

OF_PRIORS = ("prior_", "posterior_samples", "bank")
"""Prefixes of the trainer's options that do not affect the backbone."""
KINDS = ("data", "backbone", "prior", "sampler", "trainer")
"""Sections that are part of a hash."""
ARITHMETIC = ("precision", "accumulate")
"""Options of the engine that change the result beyond rounding."""
PILOT_STEPS = (100, 400)
"""Steps of the first two pilots."""


@dataclass(frozen=True)
class Request:
    """What to compare."""

    out: Path
    priors: Sequence[str]
    """Rows of the table: PRIOR, or PRIOR/NAME for a further row of a prior, with options of its own."""
    backbone: str | None = None
    data: str | None = None
    source: Path | None = None
    """A run whose trained backbone is used, instead of training one, and its data unless others are given."""
    sampler: str | None = None
    seeds: int = 1
    backbone_seeds: int = 1
    budget: Budget | None = None
    overrides: Sequence[str] = ()
    """KEY=VALUE for every run, ROW:KEY=VALUE for those of one row."""
    samples: int = 2_000

    def __post_init__(self) -> None:
        if not self.priors:
            raise UsageError("--priors: give at least one, such as --priors gaussian,multistage.")
        if len(set(self.priors)) < len(self.priors):
            raise UsageError(
                f"--priors {','.join(self.priors)}: a row occurs twice. A second row of a prior needs a name and options, "
                "such as multistage/wide with --set multistage/wide:prior.energy.width=256."
            )
        given = {"--backbone": self.backbone, "--backbone-seeds": self.backbone_seeds > 1 or None}
        if self.source is not None and (clash := [name for name, value in given.items() if value is not None]):
            raise UsageError(f"--from uses the backbone of a run; leave out {', '.join(clash)}.")
        if unknown := sorted({owner for owner, _ in map(owned, self.overrides) if owner} - set(self.priors)):
            raise UsageError(f"--set {unknown[0]}:...: {unknown[0]} is not one of the priors {', '.join(self.priors)}.")
        if any(text.partition("=")[0].strip() == "seed" for _, text in map(owned, self.overrides)):
            raise UsageError("--set seed: the seeds of a comparison start at 0; set their number with --seeds.")

    def options(self, prior: str | None) -> list[str]:
        """Return the overrides for one prior's runs, those for all first; with None those for a backbone."""
        pairs = [owned(argument) for argument in self.overrides]
        common = [text for owner, text in pairs if not owner]
        if prior is None:
            return [text for text in common if text.partition(".")[0].partition("=")[0] not in ("prior", "sampler")]
        return [text for text in common if not of_backbone(text)] + [text for owner, text in pairs if owner == prior]


@dataclass(frozen=True)
class Base:
    """A backbone on which priors are trained."""

    folder: Path
    config: RunConfig
    identity: str
    trained: bool
    """True for a given run, which must be finished."""


@dataclass(frozen=True)
class Job:
    """A run that is needed: to be trained, resumed or read."""

    folder: Path
    config: RunConfig
    source: Path | None = None
    samples: int | None = None
    """Number of samples of its metrics; None for training without metrics."""
    sample_seed: int = 0
    row: str = ""
    """The row of the table to which it belongs."""

    def as_dict(self) -> dict[str, Any]:
        """Return the job as data for another process."""
        return {
            "folder": str(self.folder),
            "config": self.config.model_dump(mode="json"),
            "source": None if self.source is None else str(self.source),
            "samples": self.samples,
            "sample_seed": self.sample_seed,
        }

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Job":
        """Return the job from the result of `as_dict`."""
        source = None if told["source"] is None else Path(told["source"])
        config = RunConfig.build(told["config"])
        return cls(Path(told["folder"]), config, source, told["samples"], told["sample_seed"])


def bases(request: Request) -> list[Base]:
    """Return the backbones: the given one, or one per backbone seed."""
    if request.source is not None:
        folder = RunFolder.existing(request.source)
        config = RunConfig.read(folder.config)
        if request.data is not None and absolute_source(request.data) != absolute_source(config.data.name):
            config = config.model_copy(update={"data": resolve(None, [], data=request.data).data})
        if not (folder.weights / MANIFEST).is_file():
            raise UsageError(f"--from {request.source}: this run is unfinished; finish it with `priorkit train --resume`.")
        identity = _digest({"weights": folder.checksums("backbone")["backbone"], "data": _data(config)})
        return [Base(request.source, config, identity, trained=True)]
    named = {"backbone": request.backbone, "data": request.data, "prior": "gaussian"}
    found = []
    for seed in range(request.backbone_seeds):
        config = _single(resolve(None, request.options(None), **named, seed=seed))
        identity = _digest(_backbone_part(config))
        found.append(Base(request.out / "backbones" / identity, config, identity, trained=False))
    return found


def prior_config(request: Request, base: Base, prior: str, seed: int, steps: int | None) -> RunConfig:
    """Return the configuration of one prior on a trained backbone."""
    options = on_backbone(base.config, request.options(prior), data=base.config.data)
    budget = [] if steps is None else [f"trainer.prior_steps={steps}"]
    return _single(resolve(None, [*options, *budget], prior=_kind(prior), sampler=request.sampler, seed=seed))


def prior_job(request: Request, base: Base, prior: str, seed: int, steps: int | None) -> Job:
    """Return the job of one prior on one backbone, whose samples use the same seed."""
    config = prior_config(request, base, prior, seed, steps)
    name = f"{_kind(prior)}-{config_hash(config, base.identity, request.samples)}-{seed}"
    return Job(request.out / "runs" / name, config, base.folder, request.samples, seed, row=prior)


def pilot_job(request: Request, base: Base, prior: str, steps: int) -> Job:
    """Return a short training of a prior, which trains all of its stages: few steps tell nothing about their use."""
    config = prior_config(request, base, prior, 0, steps)
    options = config.prior.options | dict(config.component("prior")[1].planned.pilot)
    config = config.model_copy(update={"prior": Component(name=config.prior.name, **options)})
    name = f"{_kind(prior)}-{config_hash(config, base.identity)}-{steps}"
    return Job(request.out / "pilots" / name, config, base.folder, row=prior)


def config_hash(config: RunConfig, *more: object) -> str:
    """Return ten hexadecimal digits of everything that determines a run except its seed, and of `more`."""
    tree = config.model_dump(mode="json")
    parts = {kind: tree[kind] for kind in KINDS}
    return _digest({**parts, **_arithmetic(config), **third_party(config, KINDS), "more": [str(item) for item in more]})


def owned(argument: str) -> tuple[str, str]:
    """Return 'PRIOR:KEY=VALUE' as (PRIOR, KEY=VALUE); the first is empty if there is no prior."""
    key, equals, value = argument.partition("=")
    owner, colon, rest = key.rpartition(":")
    return (owner.strip(), f"{rest}{equals}{value}") if colon else ("", argument)


def of_backbone(argument: str) -> bool:
    """Return True for options that apply only to the backbone's run."""
    key = argument.partition("=")[0].strip()
    return key.partition(".")[0] in ("backbone", "data") or key.startswith("trainer.backbone_")


def _kind(row: str) -> str:
    """Return the prior of a row, PRIOR or PRIOR/NAME."""
    return row.partition("/")[0]


def _single(config: RunConfig) -> RunConfig:
    if config.minutes is not None or config.evaluation != EvaluationSettings():
        raise UsageError("compare: leave out minutes and evaluation; the runs are as long as --budget says, with --samples.")
    if config.engine.devices != 1 or config.engine.nodes != 1:
        raise UsageError("compare: each run uses one device; leave engine.devices and engine.nodes at 1.")
    if "prior_steps" not in config.component("trainer")[1].model_dump():
        raise UsageError(
            f"compare: the trainer {config.trainer.name} does not train priors on a shared backbone. Use "
            "trainer=two-phase, or train such runs with `priorkit train` and compare them with `priorkit "
            "compare RUN...`."
        )
    return config


def _backbone_part(config: RunConfig) -> dict[str, Any]:
    tree = config.model_dump(mode="json")
    trainer = {name: value for name, value in tree["trainer"].items() if not name.startswith(OF_PRIORS)}
    named = {"data": _data(config), "backbone": tree["backbone"], "trainer": trainer, "seed": config.seed}
    return {**named, **_arithmetic(config), **third_party(config, ("data", "backbone", "trainer"))}


def _arithmetic(config: RunConfig) -> dict[str, Any]:
    return {name: getattr(config.engine, name) for name in ARITHMETIC}


def _data(config: RunConfig) -> dict[str, Any]:
    found: dict[str, Any] = config.data.model_dump(mode="json")
    return found


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
