"""FID and related metrics of a run, for each prior and for reconstructions, generated batch by batch without files."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from priorkit.config import FidelitySettings
from priorkit.core import Examples, Progress, Streams, no_progress
from priorkit.data import Dataset
from priorkit.data.cache import cache_folder
from priorkit.errors import UsageError
from priorkit.metrics import Features, Metric, extracted
from priorkit.metrics.extractors import open_extractor
from priorkit.metrics.fidelity_library import fidelity_library
from priorkit.metrics.sample_fidelity import SampleFidelity, real_images, to_8_bits
from priorkit.model import CHUNK, Model
from priorkit.workflows.measuring.variants import defined, priors_of
from priorkit.workflows.sampling.batch_norms import BatchNorms
from priorkit.workflows.sampling.draws import Draws

__all__ = ["Decoder", "figures_of_fidelity"]

Encode = Callable[[Examples, Tensor], Tensor]
"""A posterior sample of each chosen datum, (len(indices), D)."""

READJUSTED = 16
"""Batch size for readjusting batch-norm statistics, as in the import of a backbone."""


def figures_of_fidelity(
    model: Model,
    data: Dataset,
    draws: Draws,
    settings: FidelitySettings,
    *,
    samples: int,
    encode: Encode,
    progress: Progress = no_progress,
) -> Iterator[tuple[str, Metric]]:
    """Yield names and metrics of each prior, then of the reconstructions.

    Raises UsageError if the library, the extractor or its weights are missing; nothing for data that are not images.
    """
    if not data.spec.is_image:
        return
    fidelity_library()
    extractor = open_extractor(settings.features, data.spec, weights=settings.weights, device=model.backbone.device)
    split = data.train if settings.split == "train" else data.heldout
    real = real_images(
        extractor, split, split_name="training" if settings.split == "train" else "held-out",
        points=settings.reference_points, cache=cache_folder(), progress=progress,
    )  # fmt: skip
    judge = SampleFidelity(extractor, real, neighbours=settings.neighbours)
    count = settings.samples or samples
    decode = Decoder(model, settings, draws.seed, progress)
    protocol, generator = decode.protocol(), Streams(draws.seed).generator

    def features(u: Tensor) -> Features:
        """Return the features of the images of latents (n, D), in chunks, so that not all images are in memory."""
        chunks = torch.split(u, CHUNK)

        def of_chunk(index: int) -> dict[str, Tensor]:
            found = extracted(extractor, [decode(chunks[index], index)])
            return {"vectors": found.vectors} | ({} if found.logits is None else {"logits": found.logits})

        whole = model.parallel_map(of_chunk, len(chunks), progress=progress, title="features of generated images")
        return Features(whole["vectors"].cpu(), whole["logits"].cpu() if "logits" in whole else None)

    def measured(stages: int | None) -> Mapping[str, Metric]:
        images = features(draws.latents(count, stages))
        return judge.figures(images, generated=f"samples ({protocol})", generator=generator("fidelity"))

    shown = priors_of(model)
    for endings, stages in progress(shown, len(shown), judge.names.distance):
        for name, figure in defined(judge.names.distance + endings[0], partial(measured, stages)).items():
            yield from ((name + ending, figure) for ending in endings)
    chosen = torch.arange(min(count, len(split)))

    def reconstructed() -> Mapping[str, Metric]:
        images = features(encode(split, chosen))
        told = f"reconstructions of {real.split} images, from a posterior sample each ({protocol})"
        return judge.reconstruction(images, generated=told, generator=generator("fidelity"))

    yield from defined(judge.names.reconstruction, reconstructed).items()


class Decoder:
    """Maps latents to 8-bit images, according to the settings."""

    def __init__(self, model: Model, settings: FidelitySettings, seed: int = 0, progress: Progress = no_progress) -> None:
        self.model, self.settings, self.seed, self.progress = model, settings, seed, progress
        self.norms = BatchNorms(model.backbone, settings.batch_norm, settings.temperature)
        if settings.batch_norm == "readjusted" and self.norms.modules:
            self.norms.adjust(self._noise(settings.batch_norm_passes))

    def __call__(self, u: Tensor, chunk: int) -> Tensor:
        """Return images (B, C, H, W), uint8, of a chunk of latents (B, D); sampled pixels are those of `Model.decode`."""
        settings = self.settings
        generator = Streams(self.seed).generator("pixels", chunk, device=u.device)
        with torch.no_grad(), self.norms.generating():
            likelihood = self.model.backbone.generate(u, temperature=settings.temperature).likelihood
            images = likelihood.mean if settings.decoder == "mean" else likelihood.sample(generator)
        if not bool(images.isfinite().all()):
            raise UsageError("some images are not finite; the chains diverged; decrease sampler.step_size")
        return to_8_bits(images, down=settings.rounding == "down")

    def protocol(self) -> str:
        """Return how the images are made."""
        settings = self.settings
        made = "decoder means" if settings.decoder == "mean" else "draws of p(x | z)"
        rounded = "rounded to the nearest of 256 levels" if settings.rounding == "nearest" else "rounded down to 256 levels"
        return f"{made}, temperature {settings.temperature:g}, {self.norms}, {rounded}, seed {self.seed}"

    def _noise(self, passes: int) -> Iterator[Tensor]:
        backbone = self.model.backbone
        for index in self.progress(range(passes), passes, "readjusting batch norms"):
            generator = Streams(self.seed).generator("readjust", index, device=backbone.device)
            yield torch.randn(READJUSTED, backbone.layout.dim, generator=generator, device=backbone.device)
