"""The sections of a run's configuration."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from priorkit.core.settings import Settings

__all__ = ["DEFAULTS", "Component", "DataSettings", "EngineSettings", "EvaluationSettings", "FidelitySettings"]

DEFAULTS = {"backbone": "nvae", "prior": "multistage", "sampler": "mala", "trainer": "two-phase"}
"""The kinds of component of a run, each with its default."""


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
    """The data set."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    name: str = "digits"
    """Data set: a name, zip:FILE, folder:DIR or stream:PLACE."""
    root: Path | None = None
    """Folder of torchvision's data sets; none: the environment variable PRIORKIT_DATA."""
    holdout: float | None = Field(default=None, ge=0, lt=1)
    """Fraction of the examples held out if the data set has no split of its own; none: the data set's default."""
    heldout: str | None = None
    """Another data set, named in the same way, to use as held-out data."""


class EngineSettings(Settings):
    """How training steps are executed."""

    precision: Literal["32", "bf16"] = "32"
    """Floating-point precision: 32 (float32), or bf16 (autocast to bfloat16)."""
    devices: int = Field(default=1, ge=1, le=1024)
    """Number of processes per machine, one per device."""
    nodes: int = Field(default=1, ge=1, le=65_536)
    """Number of machines."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the tensors; auto: a GPU if torch finds one, else the CPU."""
    accumulate: Annotated[int, Field(ge=1)] | Literal["auto"] = 1
    """Number of micro-batches that a process splits its shard of a batch into, to save memory; auto: double the number
    whenever a GPU runs out of memory (one process only)."""
    shards: int | None = Field(default=None, ge=1)
    """Number of shards of a batch, each with its own random numbers and batch-norm moments. With the same number of
    shards, the results are the same for any number of processes that divides it, up to the rounding of sums; none: one
    shard per process, and batch-norm moments over all processes."""
    share_moments: bool = False
    """Distribute the optimiser's moments over the processes (ZeRO stage 1). The results are the same; the memory of
    about 8 bytes per parameter is divided by the number of processes, and the updated parameters are sent to all of
    them."""
    checkpoint_seconds: float = Field(default=20.0, ge=0)
    """Seconds between checkpoints."""
    log_every: int = Field(default=50, ge=1)
    """Steps between log entries."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Number of torch's CPU threads; none: OMP_NUM_THREADS, else all cores. The last bits of sums depend on it."""
    loggers: list[str] = Field(default_factory=list)
    """Plugins of kind `logger` that receive the logged metrics."""
    patience: int = Field(default=10, ge=1)
    """Number of consecutive non-finite steps after which the run stops."""

    @field_validator("precision", mode="before")
    @classmethod
    def _bare_number(cls, value: Any) -> Any:
        """Accept a bare 32, which YAML reads as a number."""
        return str(value) if type(value) is int else value


class EvaluationSettings(Settings):
    """What `train` computes at the end of a run."""

    metrics: Literal["auto", "none", "quick", "all"] = "auto"
    """Metrics: none; quick: reconstruction, elbo, fd, copying and nll; all; auto: quick with `minutes`, otherwise all."""
    samples: int = Field(default=2_000, ge=10)
    """Number of samples of each prior."""


class FidelitySettings(Settings):
    """How `evaluate` generates and compares images for the group `fidelity`: choices by which FIDs of different papers
    differ. The groups `copying`, `coverage` and `kernel` use its features and weights."""

    features: str = "auto"
    """Feature network: auto (the classifier shipped for images of this shape, else inception), inception, dinov2, clip,
    digits, fashion, cifar, a plugin, a TorchScript file or module:function."""
    weights: str | None = None
    """File with the weights of the feature network, or download; none: the environment variable PRIORKIT_INCEPTION,
    PRIORKIT_DINOV2 or PRIORKIT_CLIP."""
    samples: int | None = Field(default=None, ge=2)
    """Number of images per prior; none: the command's --samples."""
    decoder: Literal["mean", "sample"] = "mean"
    """Generated images: mean: the decoder's mean; sample: a sample of p(x | z)."""
    temperature: float = Field(default=1.0, gt=0)
    """Temperature: factor on the standard deviations of the Gaussian prior."""
    batch_norm: Literal["trained", "readjusted", "batch"] = "trained"
    """Batch-norm statistics: trained: those of training; readjusted: recomputed on samples of the Gaussian prior;
    batch: those of each decoded batch."""
    batch_norm_passes: int = Field(default=500, ge=1)
    """Number of batches of 16 samples for `readjusted`."""
    rounding: Literal["nearest", "down"] = "nearest"
    """Rounding of generated pixels to 8 bits; real images are always rounded to the nearest."""
    split: Literal["train", "heldout"] = "train"
    """Real images that generated images are compared with."""
    reference_points: int = Field(default=10_000, ge=2)
    """Number of real images for the kernel distance, precision and recall; the Fréchet distance uses all."""
    neighbours: int = Field(default=3, ge=1)
    """Number of neighbours, k, of precision and recall."""
