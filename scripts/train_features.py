"""Train one of the feature networks that ship with priorkit.

    python scripts/train_features.py --set digits --out priorkit/metrics/weights/digits.safetensors
    python scripts/train_features.py --set cifar --archive cifar10-train.zip --test-archive cifar10-test.zip --out FILE

Accuracy is measured on held-out images, which are never trained on and choose nothing: the last weights are kept.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Generator, Tensor, nn

from priorkit.core import Examples
from priorkit.data import load
from priorkit.metrics.features import FEATURE_SETS, FeatureNetwork
from priorkit.metrics.fidelity import round_to_8_bits
from priorkit.runtime.atomic_files import write_bytes


@dataclass(frozen=True)
class Recipe:
    epochs: int
    batch: int
    lr: float
    shift: int
    """Largest shift in pixels, either way."""
    flip: bool
    noise: float
    """Largest standard deviation of added Gaussian noise."""


RECIPES = {
    "digits": Recipe(epochs=60, batch=64, lr=4e-3, shift=1, flip=False, noise=0.1),
    "fashion": Recipe(epochs=5, batch=128, lr=6e-3, shift=2, flip=True, noise=0.05),
    "cifar": Recipe(epochs=8, batch=128, lr=6e-3, shift=3, flip=True, noise=0.03),
}


@dataclass(frozen=True)
class Labelled:
    images: Tensor
    """(N, C, H, W), uint8."""
    labels: Tensor
    """(N,)."""

    def __len__(self) -> int:
        return len(self.labels)


def labelled(split: Examples) -> Labelled:
    if split.labels is None:
        raise SystemExit("train_features: the data has no labels; a classifier needs them")
    batches = torch.split(torch.arange(len(split)), 1000)
    images = [(round_to_8_bits(split.batch(indices)) * 255).round().byte() for indices in batches]
    return Labelled(torch.cat(images), split.labels)


def read(options: argparse.Namespace) -> tuple[Labelled, Labelled]:
    """Training and held-out images: two archives, one archive's own split, or a set that is known by its name."""
    name = options.set if options.archive is None else f"zip:{options.archive}"
    data = load(name, heldout=None if options.test_archive is None else f"zip:{options.test_archive}")
    return labelled(data.train), labelled(data.heldout)


def augmented(images: Tensor, recipe: Recipe, generator: Generator) -> Tensor:
    """Shift and mirror each image by chance, and add noise."""
    x = images.float() / 255
    if recipe.flip:
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        x[mirrored] = x[mirrored].flip(-1)
    height, width, reach = *x.shape[-2:], recipe.shift
    padded = nn.functional.pad(x, (reach, reach, reach, reach), mode="replicate")
    offsets = torch.randint(2 * reach + 1, (2, len(x)), generator=generator)
    rows = (offsets[0, :, None] + torch.arange(height))[:, None, :, None]
    columns = (offsets[1, :, None] + torch.arange(width))[:, None, None, :]
    chosen = torch.arange(len(x))[:, None, None, None]
    x = padded[chosen, torch.arange(x.shape[1])[None, :, None, None], rows, columns]
    level = recipe.noise * torch.rand(len(x), 1, 1, 1, generator=generator)
    return (x + level * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def train(network: FeatureNetwork, data: Labelled, recipe: Recipe, generator: Generator) -> None:
    steps = recipe.epochs * (len(data) // recipe.batch)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=steps)
    started = time.monotonic()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for epoch in range(recipe.epochs):
        network.train()
        order = torch.randperm(len(data), generator=generator)
        for indices in torch.split(order[: len(data) // recipe.batch * recipe.batch], recipe.batch):
            x = augmented(data.images[indices], recipe, generator).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                scores = network.logits(x)
            loss = nn.functional.cross_entropy(scores.float(), data.labels[indices], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{recipe.epochs}  loss {loss.item():.3f}  {time.monotonic() - started:.0f} s", flush=True)


@torch.no_grad()
def standardise(network: FeatureNetwork, data: Labelled) -> None:
    """Set the feature layer's statistics to the exact ones of the training images as they are."""
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.eval()
    layer = network.standardise
    mean, variance = layer.get_buffer("running_mean"), layer.get_buffer("running_var")
    scaled = torch.cat([network(batch.float() / 255) for batch in torch.split(data.images, 1000)])
    raw = scaled * (variance + layer.eps).sqrt() + mean
    mean.copy_(raw.mean(0))
    variance.copy_(raw.var(0) - layer.eps)


@torch.no_grad()
def accuracy(network: FeatureNetwork, data: Labelled) -> float:
    network.eval()
    guesses = [network.logits(batch.float() / 255).argmax(1) for batch in torch.split(data.images, 1000)]
    return float((torch.cat(guesses) == data.labels).float().mean())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", required=True, choices=sorted(FEATURE_SETS))
    parser.add_argument("--archive", type=Path, help="zip of labelled training images; without it the set's name is loaded")
    parser.add_argument("--test-archive", type=Path, help="zip of held-out images; without it the archive's own split")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = parse()
    recipe = RECIPES[options.set]
    training, heldout = read(options)
    torch.manual_seed(options.seed)
    network = FeatureNetwork(FEATURE_SETS[options.set])
    train(network, training, recipe, torch.Generator().manual_seed(options.seed))
    standardise(network, training)
    scored = accuracy(network, heldout)
    metadata = {
        "set": options.set,
        "heldout_accuracy": f"{scored:.4f}",
        "train_images": str(len(training)),
        "heldout_images": str(len(heldout)),
        "epochs": str(recipe.epochs),
        "seed": str(options.seed),
    }
    write_bytes(options.out, safetensors.torch.save(network.state_dict(), metadata))
    print(f"{options.out}: accuracy {scored:.4f} on {len(heldout)} held-out images, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
