"""Checkpoints of other programs with a trained backbone: `priorkit import NAME FILE` and `priorkit export NAME RUN`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from priorkit.core import Backbone, DataSpec

__all__ = ["CheckpointFormat", "Imported"]


@dataclass(frozen=True)
class Imported:
    """The checked contents of a checkpoint."""

    backbone: str
    """Name of the backbone's plugin."""
    options: dict[str, Any]
    """All options of the backbone."""
    spec: "DataSpec"
    """The training data; if `priorkit.data` can open them, `spec.name` is the name to use."""
    state: "dict[str, Tensor]"
    """The backbone's state dict."""
    kept: dict[str, Any] = field(default_factory=dict)
    """Additional information for `write`, as JSON values."""
    notes: list[str] = field(default_factory=list)
    """Notes for the user, one sentence each."""


class CheckpointFormat(ABC):
    """A checkpoint format. Constructed without arguments.

    Files come from third parties: never execute their contents, check all sizes before using them, and raise a
    `UsageError` that names the file for every problem.
    """

    @abstractmethod
    def read(self, path: Path, spec: "DataSpec | None" = None) -> Imported:
        """Read and check a file.

        Args:
            path: The file.
            spec: The training data given by the user; None uses the information in the file.

        Returns:
            The backbone's name, options and weights.

        Raises:
            UsageError: If the file is damaged, unsafe or not of this format.
        """

    @abstractmethod
    def write(self, backbone: "Backbone", kept: Mapping[str, Any]) -> bytes:
        """Convert a backbone to the bytes of a file.

        Args:
            backbone: The backbone.
            kept: `Imported.kept` of an imported backbone; empty for a backbone trained with priorkit.

        Returns:
            The contents of the file.

        Raises:
            UsageError: If the format does not support the backbone.
        """

    def readjust(self, backbone: "Backbone", draws: "Iterable[Tensor]", *, temperature: float) -> None:
        """Recompute batch-norm statistics, in place, on samples of the prior; each of `draws` is noise u (B, D)."""
        raise UsageError(
            f"{type(self).__name__}: the backbone of this format has no batch norm to readjust; leave out --readjust-bn."
        )
