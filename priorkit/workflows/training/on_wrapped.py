"""Options of a run on a VAE of the user's own code."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from priorkit.config import resolve
from priorkit.core import Backbone, Phase
from priorkit.errors import UsageError
from priorkit.runs.folder import INITIAL, RunFolder
from priorkit.runs.manifest import listed
from priorkit.runtime.atomic_files import read_tensors
from priorkit.wrapping import WrappedBackbone, see_wrapped

__all__ = ["NAME", "named", "on_wrapped", "only_priors", "started_from"]

NAME = "wrapped"
"""The name of the backbone in the registry and in configurations."""


def named(backbone: Any) -> tuple[str | None, WrappedBackbone | None]:
    """Return the name of a backbone, and the VAE if it is a wrapped one. Raises UsageError for anything else."""
    if backbone is None or isinstance(backbone, str):
        return backbone, None
    see_wrapped(backbone)
    return NAME, backbone


def on_wrapped(
    backbone: WrappedBackbone, overrides: list[str], file: Path | None, flags: Mapping[str, Any], source: Path | None
) -> list[str]:
    """Return overrides of a run that trains only a prior on this backbone. Raises UsageError for another run's backbone."""
    if source is not None:
        raise UsageError("source: the backbone is already given, with its weights; leave source= out.")
    options = {"name": NAME, **backbone.settings.model_dump(mode="json")}
    given = [f"backbone={json.dumps(options)}", *overrides]
    _, settings = resolve(file, given, **flags).component("trainer")
    untrained = ["trainer.backbone_steps=0"] if "backbone_steps" in type(settings).model_fields else []
    return [*untrained, *given]


def only_priors(phases: Iterator[Phase], backbone: Backbone) -> Iterator[Phase]:
    """Yield the phases. Raises UsageError before one that trains a wrapped VAE."""
    for phase in phases:
        if isinstance(backbone, WrappedBackbone) and any(module is backbone for module in phase.learners):
            raise UsageError(
                f"trainer: its phase {phase.name} trains the backbone, but a wrapped VAE is trained already and stays as it "
                "is; leave trainer= out (its default is two-phase)."
            )
        yield phase


def started_from(folder: RunFolder, backbone: WrappedBackbone) -> bool:
    """Return whether a run started from these weights."""
    known = listed(folder.path).get(INITIAL)
    return folder.initial_backbone.is_file() and backbone.has_weights(read_tensors(folder.initial_backbone, known))
