"""Small image classifiers whose last hidden layer provides features.

The three networks are part of the package as safetensors. Their features are standardised over the images on which they were
trained (mean 0, variance 1 each), so a distance of one means the same for each set; it cannot be compared with a FID.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

import safetensors.torch
import torch
from torch import Tensor, nn

from priorkit.core import DataSpec
from priorkit.errors import UsageError

__all__ = ["FEATURE_SETS", "FeatureNetwork", "FeatureSet", "feature_network", "features_for", "read_metadata"]


@dataclass(frozen=True)
class FeatureSet:
    """A kind of image and the network for it."""

    name: str
    shape: tuple[int, int, int]
    """(C, H, W)."""
    widths: tuple[int, ...]
    """Channels of the convolutions; each after the first halves the height and width first."""
    features: int
    classes: int = 10


FEATURE_SETS = {
    item.name: item
    for item in (
        FeatureSet("digits", (1, 8, 8), (32, 64, 128), 64),
        FeatureSet("fashion", (1, 28, 28), (32, 64, 96, 128), 64),
        FeatureSet("cifar", (3, 32, 32), (32, 64, 128, 128), 64),
    )
}


class FeatureNetwork(nn.Module):
    """Convolutions, average pooling, a standardised feature layer and a linear classifier on it."""

    def __init__(self, kind: FeatureSet) -> None:
        super().__init__()
        self.kind = kind
        self.fingerprint = "untrained"
        channels = (kind.shape[0], *kind.widths)
        blocks: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(channels)):
            blocks += [nn.MaxPool2d(2)] if i else []
            blocks += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*blocks)
        self.features = nn.Linear(2 * kind.widths[-1], kind.features, bias=False)
        self.standardise = nn.BatchNorm1d(kind.features, affine=False, momentum=0.02)
        self.classifier = nn.Linear(kind.features, kind.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of images x (B, C, H, W) in [0, 1]: (B, F)."""
        if x.shape[1:] != self.kind.shape:
            shape = tuple(x.shape[1:])
            raise UsageError(f"features '{self.kind.name}': expected images of shape {self.kind.shape}, got {shape}")
        maps: Tensor = self.body(4 * x - 2)
        # The mean says how much of a feature an image has, the maximum whether it occurs at all.
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)
        standardised: Tensor = self.standardise(self.features(pooled))
        return standardised

    def logits(self, x: Tensor) -> Tensor:
        """Return class scores of images x (B, C, H, W) in [0, 1]: (B, classes)."""
        scores: Tensor = self.classifier(torch.relu(self(x)))
        return scores


def features_for(spec: DataSpec) -> str | None:
    """Return the feature set for data of this shape, or None."""
    return next((kind.name for kind in FEATURE_SETS.values() if spec.shape == kind.shape), None)


def feature_network(name: str) -> FeatureNetwork:
    """Return a new copy of a built-in network, on the CPU, frozen and in evaluation mode; `fingerprint` identifies its
    weights."""
    content = shipped_weights(name)
    with torch.random.fork_rng(devices=[]):  # an evaluation does not use the caller's random numbers
        network = FeatureNetwork(FEATURE_SETS[name])
    state = safetensors.torch.load(content)
    network.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    network.fingerprint = hashlib.sha256(content).hexdigest()[:8]
    return network.eval().requires_grad_(False)


def read_metadata(name: str) -> dict[str, str]:
    """Return the header of a built-in file, written in training: accuracy, seed, counts, epochs."""
    content = shipped_weights(name)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata: dict[str, str] = header.get("__metadata__", {})
    return metadata


@cache
def shipped_weights(name: str) -> bytes:
    """Return the bytes of a built-in safetensors file."""
    if name not in FEATURE_SETS:
        raise UsageError(f"features: expected one of {', '.join(FEATURE_SETS)}, got {name!r}")
    return (files("priorkit.metrics") / "weights" / f"{name}.safetensors").read_bytes()
