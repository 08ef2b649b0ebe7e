"""The runs of the ablations: trained or read, drawn from in several ways, measured.

    OUT/backbone-DECODER-STEPS            a backbone and the Gaussian prior
    OUT/STEPS-steps/FIT-SEED              a prior on it
    OUT/STEPS-steps/FIT-SEED/benchmark.json   its figures, by count of samples and way of drawing

What is there is read, and what is begun is gone on with.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from ablations_plan import Drawing, Fit
from priorkit_vdrme import VdrmePrior
from torch import Tensor
from training import fit_run, is_fitted

import priorkit
from priorkit.core import Layout, Streams
from priorkit.data.cache import cache_folder
from priorkit.metrics import FidelityReference, gap_auc
from priorkit.model import CHUNK
from priorkit.runtime.atomic_files import write_json
from priorkit.workflows.sampling.sample import with_sampler
from priorkit.workflows.session import Session, open_run

__all__ = ["Place", "carry_out", "figures_of", "run_of", "train_backbone"]

POOL = 5_000
"""Negatives per stage: with the product's 20,000, most of a short run would be their drawing."""
REPEATS = 5
"""Posterior samples of each held-out image that the gap is measured against."""


class VdrmeWithoutNoise(VdrmePrior):
    """Generators that are told nothing but the point of the scale above."""

    def step(self, above: Tensor, noise: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """G with zeros for the injected noise, (B, D), (B, D), (B,) -> (B, D)."""
        return super().step(above, torch.zeros_like(noise), level, labels)


@dataclass(frozen=True)
class Place:
    """Where the runs lie and how long they are."""

    out: Path
    steps: int
    backbone_steps: int
    samples: int
    given: Path | None = None
    """A finished run whose backbone is taken for the discrete decoder."""

    def backbone(self, decoder: str) -> Path:
        """The run whose backbone is taken."""
        if self.given is not None and decoder == "logistic":
            return self.given
        return self.out / f"backbone-{decoder}-{self.backbone_steps}"


def run_of(place: Place, fit: Fit, seed: int) -> Path:
    """The folder of a run."""
    return place.out / f"{place.steps}-steps" / f"{fit.name}-{seed}"


def train_backbone(place: Place, decoder: str) -> float:
    """Train the backbone if it is not there; gives the processor's seconds."""
    options = ["prior=gaussian", f"trainer.backbone_steps={place.backbone_steps}", f"backbone.decoder={decoder}"]
    return _train(place.backbone(decoder), ["backbone=nvae", "engine.threads=1", *options])


def carry_out(place: Place, fit: Fit, seed: int, drawings: list[Drawing]) -> tuple[float, float]:
    """Train a run and measure what is drawn from it, as far as it is not there; the processor's seconds of both."""
    priorkit.register("prior.vdrme-no-noise", VdrmeWithoutNoise)
    run = run_of(place, fit, seed)
    pool = [f"prior.pool_size={POOL}"] if "prior=multistage" in fit.options else []
    options = [*fit.options, *pool, f"seed={seed}", f"trainer.prior_steps={place.steps}", "engine.threads=1"]
    trained = _train(run, options, place.backbone(fit.decoder))
    begun = time.process_time()
    known = _kept(run)
    missing = [drawing for drawing in drawings if _key(place, drawing) not in known]
    if missing:
        judge = Judge(open_run(run), seed, place.samples)
        for drawing in missing:
            known[_key(place, drawing)] = judge.figures(drawing)
            write_json(run / "benchmark.json", known)
    return trained, time.process_time() - begun


def figures_of(place: Place, fit: Fit, seed: int, drawing: Drawing) -> dict[str, float]:
    """The figures of a drawing that was carried out."""
    return _kept(run_of(place, fit, seed))[_key(place, drawing)]


class Judge:
    """Measures one run, drawn from in several ways with the same seed."""

    def __init__(self, session: Session, seed: int, samples: int) -> None:
        self.run, self.data, self.seed, self.samples = session.folder.path, session.data, seed, samples
        self.reference = FidelityReference(self.data.spec, self.data.train, cache=cache_folder())
        heldout = self.data.heldout
        every = torch.arange(len(heldout))
        x = heldout.batch(every)
        repeats = [session.model.infer(x, seed=seed * REPEATS + repeat).u for repeat in range(REPEATS)]
        self.posterior = torch.cat(repeats)[:samples]
        self.images = every.repeat(REPEATS)[:samples]
        """The image that each of them belongs to."""

    def figures(self, drawing: Drawing) -> dict[str, float]:
        """Fréchet distance, the gap's AUC, and the processor's seconds for 1,000 draws, not decoded."""
        session = open_run(self.run, data=self.data)
        u, seconds = self._draw(session, drawing)
        generator = Streams(self.seed).generator("fd")
        fd = self.reference.fd(session.model.decode(u, seed=self.seed), generator=generator)
        generator = Streams(self.seed).generator("gap")
        gap = gap_auc(self.posterior, u, Layout(((u.shape[1],),)), groups=self.images, generator=generator)
        return {self.reference.name: fd.value, "gap_auc": gap["all"].value, "seconds": 1_000 * seconds / len(u)}

    def _draw(self, session: Session, drawing: Drawing) -> tuple[Tensor, float]:
        """Points (samples, D) and the processor's seconds; the choice of a step size is not in them."""
        model = session.model
        if drawing.posterior:
            x = self.data.train.batch(torch.arange(self.samples) % len(self.data.train))
            return model.infer(x, seed=self.seed).u, 0.0
        if drawing.progressive:
            model.prior.settings = model.prior.settings.model_copy(update={"sampling": "progressive"})
        model = with_sampler(model, None, drawing.steps)
        sampler = model.tuned(drawing.stages)
        begun = time.process_time()
        draws = [
            model.draw(chunk, sampler, seed=self.seed, stages=drawing.stages) for chunk in range(-(-self.samples // CHUNK))
        ]
        seconds = time.process_time() - begun
        # The chains of the levels come from the top level down.
        states = [draw.u if drawing.level is None else draw.chains[-1 - drawing.level].u for draw in draws]
        return torch.cat(states)[: self.samples], seconds


def _train(out: Path, options: list[str], source: Path | None = None) -> float:
    """Train a run, or on, if it is not finished; gives the processor's seconds."""
    if is_fitted(out):
        return 0.0
    begun = time.process_time()
    fit_run(out, options, source, quiet=True)
    return time.process_time() - begun


def _key(place: Place, drawing: Drawing) -> str:
    """The drawing in words, with what is said of it alone."""
    said = {name: value for name, value in asdict(drawing).items() if value is not None and value is not False}
    return " ".join([f"samples={place.samples}", *(f"{name}={value}" for name, value in said.items())])


def _kept(run: Path) -> dict[str, dict[str, float]]:
    """The figures that a run's folder holds."""
    file = run / "benchmark.json"
    found: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.exists() else {}
    return found
