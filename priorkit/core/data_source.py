"""Where the data of a name come from."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from priorkit.core.data_spec import DataSpec
from priorkit.core.trainer import Examples
from priorkit.runtime.cache import Progress, no_progress

__all__ = ["DataSource", "DataSplits", "as_source"]


class DataSplits(Protocol):
    """What a source gives; `priorkit.data.Dataset` is one, and the one that commands take."""

    @property
    def spec(self) -> DataSpec:
        """Name, shape, grey levels and number of classes."""

    @property
    def train(self) -> Examples:
        """What a run is trained on."""

    @property
    def heldout(self) -> Examples:
        """What it is measured on; it may be empty."""

    @property
    def content(self) -> str:
        """Hexadecimal hash of the content of both splits."""

    @property
    def protocol(self) -> str:
        """How the splits came about, in a few words."""


class DataSource(ABC):
    """Data by name.  A plugin of kind `data` is a subclass, built without arguments; or, where the folder is all that it
    takes, a function of that."""

    places: tuple[str, ...] = ()
    """What may follow the name and a colon: the names of variants, or one word in capitals for a path, such as FILE.  Where
    empty, the name stands alone."""
    divided: bool = True
    """Whether the data come in two splits.  Where not, all are in `train`, and who loads them holds out a share."""

    @abstractmethod
    def __call__(
        self,
        root: Path | None = None,
        *,
        place: str = "",
        cache: Path | None = None,
        progress: Progress = no_progress,
        download: bool = False,
    ) -> DataSplits:
        """The data set: the same data and the same hash at every call.

        Args:
            root: the folder that files lie in, or None for the default.
            place: what follows the name and a colon, one of `places` or a path.
            cache: the folder in which decoded data may be kept, or None for the default.
            progress: shows how far the work has come.
            download: whether missing files may be fetched.

        Raises:
            UsageError: for missing or damaged files; it says where they should lie.
        """

    @property
    def of_paths(self) -> bool:
        """Whether a path follows the name."""
        return any(place.isupper() for place in self.places)

    def takes(self, place: str) -> bool:
        """Whether the name may be followed by this; an empty text stands for the name alone."""
        return self.of_paths or (place in self.places if self.places else not place)

    def spellings(self, name: str) -> list[str]:
        """How a user may write a source of this name, such as 'zip:FILE'."""
        return [f"{name}:{place}" for place in self.places] or [name]


class _FunctionSource(DataSource):
    """A function of the folder alone."""

    def __init__(self, function: Callable[[Path | None], DataSplits]) -> None:
        self._function = function

    def __call__(self, root: Path | None = None, **_: Any) -> DataSplits:
        return self._function(root)


def as_source(plugin: Any) -> DataSource:
    """The source that a plugin of kind `data` is, whichever of the two ways it is written in."""
    source: DataSource = plugin() if isinstance(plugin, type) else _FunctionSource(plugin)
    return source
