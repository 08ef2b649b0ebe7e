"""Files of other programs that hold a trained backbone: `priorkit import NAME FILE` and `priorkit export NAME RUN`."""

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
    """What a file holds, checked."""

    backbone: str
    """Name of the backbone's plugin."""
    options: dict[str, Any]
    """Its options, all of them."""
    spec: "DataSpec"
    """The data that it was trained on; their name is the one under which `priorkit.data` opens them, where it can."""
    state: "dict[str, Tensor]"
    """The backbone's state dict."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What else `write` wants to know, as JSON holds it."""
    notes: list[str] = field(default_factory=list)
    """What a user should be told, a sentence each."""


class CheckpointFormat(ABC):
    """One file format.  Built without arguments.

    Files are third-party: nothing in one may be executed, no size in one believed before it is checked, and whatever is
    wrong with one is a `UsageError` that names the file.
    """

    @abstractmethod
    def read(self, path: Path, spec: "DataSpec | None" = None) -> Imported:
        """What the file holds.  `spec` describes the data that the user says it was trained on; None asks the file."""

    @abstractmethod
    def write(self, backbone: "Backbone", kept: Mapping[str, Any]) -> bytes:
        """A file with this backbone; `kept` is what `read` kept, empty for a backbone that was trained here.

        Raises UsageError for a backbone that the format cannot express.
        """

    def readjust(self, backbone: "Backbone", draws: "Iterable[Tensor]", *, temperature: float) -> None:
        """Move batch-norm statistics, in place, to where samples of the prior are; each of `draws` is noise u (B, D)."""
        raise UsageError(
            f"{type(self).__name__}: the backbone of this format has no batch norm to readjust; leave out --readjust-bn."
        )
