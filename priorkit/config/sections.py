"""The sections of a run's configuration."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from priorkit.core.settings import Settings

__all__ = ["DEFAULTS", "Component", "DataSettings", "EngineSettings", "FidelitySettings"]

DEFAULTS = {"backbone": "nvae", "prior": "multistage", "sampler": "mala", "trainer": "two-phase"}
"""The kinds of component that a run has one of, and which one where nothing is said."""


class Component(Settings):
    """A plugin by its name, and its options beside it; they are checked against the plugin's own `Config`."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    name: str
    """`name`, or `distribution:name` where several distributions declare it."""

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class DataSettings(Settings):
    """What is learnt."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    name: str = "digits"
    """A data set's name, zip:FILE, folder:DIR or stream:PLACE."""
    root: Path | None = None
    """Folder where torchvision's sets lie; none means the environment's PRIORKIT_DATA."""
    holdout: float | None = Field(default=None, ge=0, lt=1)
    """Share of the examples held out where the set has no split of its own; none means the set's default."""
    heldout: str | None = None
    """Another data set, named in the same way, whose examples are held out instead."""


class EngineSettings(Settings):
    """How a step is executed."""

    precision: Literal["32", "bf16"] = "32"
    """float32, or autocast to bfloat16."""
    devices: int = Field(default=1, ge=1, le=1024)
    """Processes on each machine, one per device."""
    nodes: int = Field(default=1, ge=1, le=65_536)
    """Machines."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where tensors live; auto takes a GPU if torch sees one."""
    accumulate: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    """Parts that a process computes its share of a batch in, to save memory; auto takes twice as many whenever a GPU's
    memory does not suffice, for one process."""
    shards: int | None = Field(default=None, ge=1)
    """Parts that a batch is cut into, each with random numbers and batch moments of its own.  With the same number of them
    results are the same for any number of processes that divides it, the rounding of sums apart; none means one per process,
    and batch moments over all processes."""
    share_moments: bool = False
    """Each of several processes keeps the optimiser's moments of its share of the parameters alone (ZeRO stage 1): the same
    numbers, with about 8 bytes a parameter divided by the processes, and updated parameters sent to all."""
    checkpoint_seconds: float = Field(default=20.0, ge=0)
    """Time between two checkpoints."""
    log_every: int = Field(default=50, ge=1)
    """Steps between two logged ones."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Threads of torch on the CPU; none takes all cores.  Sums depend on it in their last bits."""
    loggers: list[str] = Field(default_factory=list)
    """Plugins of kind `logger` that hear the figures too."""
    patience: int = Field(default=10, ge=1)
    """Non-finite steps in a row before the run is given up."""

    @field_validator("precision", mode="before")
    @classmethod
    def _bare_number(cls, value: Any) -> Any:
        """YAML reads a bare 32 as a number."""
        return str(value) if type(value) is int else value


class FidelitySettings(Settings):
    """How `evaluate` makes and judges images for the group `fidelity`: choices that move an FID between papers."""

    features: str = "auto"
    """auto (the shipped classifier for images of this shape, else inception), inception, digits, fashion, cifar, a plugin, a
    TorchScript file or module:function."""
    weights: str | None = None
    """File of the features' weights, or download; none looks where PRIORKIT_INCEPTION says."""
    samples: int | None = Field(default=None, ge=2)
    """Images of each prior; none means the command's --samples."""
    decoder: Literal["mean", "sample"] = "mean"
    """Images are the decoder's means, or draws of p(x | z)."""
    temperature: float = Field(default=1.0, gt=0)
    """Scale of the noise of the decoder's Gaussian prior."""
    batch_norm: Literal["trained", "readjusted", "batch"] = "trained"
    """Statistics of batch norms: of training, of samples of the Gaussian prior, or of each batch that is decoded."""
    batch_norm_passes: int = Field(default=500, ge=1)
    """Batches of 16 samples that `readjusted` draws."""
    rounding: Literal["nearest", "down"] = "nearest"
    """How pixels become 8-bit numbers; real images are always rounded to the nearest."""
    split: Literal["train", "heldout"] = "train"
    """The real images that generated ones are held against."""
    reference_points: int = Field(default=10_000, ge=2)
    """Real images that the kernel distance, precision and recall look at; the Fréchet distance takes all."""
    neighbours: int = Field(default=3, ge=1)
    """The k of precision and recall."""
