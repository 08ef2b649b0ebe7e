"""What the ablations are: the runs, what is drawn from each, and what the papers print for the same change.

Papers: 'multi-stage' is *Learning Adaptive Multi-Stage Energy-based Prior for Hierarchical Generative Model*, 'diffusion' is
*Learning Latent Space Hierarchical EBM Diffusion Models*, 'VDRME' is *Variational Diffusion Recovery with Multiscale Energy
Models for Few-Step Generation*.
"""

from dataclasses import dataclass

__all__ = ["ABLATIONS", "SEPARABLE", "STAGES", "Ablation", "Drawing", "Fit", "Row"]

STAGES = 3
"""M where nothing else is said."""


@dataclass(frozen=True)
class Fit:
    """A prior trained on the backbone of one decoder."""

    name: str
    options: tuple[str, ...]
    decoder: str = "logistic"


@dataclass(frozen=True)
class Drawing:
    """How points are drawn from a finished run; by default as the run is set up."""

    stages: int | None = None
    """So many of its stages, 0 for the Gaussian prior."""
    steps: int | None = None
    """Steps of a chain, in place of the sampler's own."""
    progressive: bool = False
    """A chain per stage, in place of one chain."""
    level: int | None = None
    """The noised state that the chain of this level t ends at, as it stands, in place of level 0's."""
    posterior: bool = False
    """Posterior samples of the training data: what a perfect prior would draw."""


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    label: str
    fit: Fit
    drawing: Drawing = Drawing()
    paper: float | None = None
    """The FID that the paper prints for it."""
    paper_seconds: float | None = None
    base: str = ""
    """The row that it is a share of, where that is not the table's."""


@dataclass(frozen=True)
class Ablation:
    """A table."""

    title: str
    source: str
    """Where the papers' figures stand."""
    base: str
    """The row that the others are shares of."""
    rows: tuple[Row, ...]


def _multistage(name: str, *options: str, stages: int = STAGES, decoder: str = "logistic") -> Fit:
    return Fit(name, ("prior=multistage", f"prior.stages={stages}", *options), decoder)


def _vdrme(name: str, *options: str, prior: str = "vdrme") -> Fit:
    return Fit(name, (f"prior={prior}", *options))


BY_STAGES = {stages: _multistage(f"multistage-{stages}", stages=stages) for stages in (1, 2, 3, 4)}
BY_STEPS = {steps: _multistage(f"multistage-3-chain-{steps}", f"sampler.steps={steps}") for steps in (5, 10, 15)}
SEPARABLE = _multistage("multistage-3-separable", "prior.energy.coupling=separable")
"""One classifier per layer, whose losses are the layers' own."""
NORMAL = _multistage("multistage-3-normal", decoder="normal")
DIFFUSION = {levels: Fit(f"diffusion-{levels}", ("prior=diffusion", f"prior.levels={levels}")) for levels in (3, 6)}
VDRME = {scales: _vdrme(f"vdrme-{scales}", f"prior.scales={scales}") for scales in (4, 6, 8)}
NO_NOISE = _vdrme("vdrme-4-no-noise", "prior.scales=4", prior="vdrme-no-noise")
NO_ENTROPY = _vdrme("vdrme-4-no-entropy", "prior.scales=4", "prior.entropy_weight=0")
THREE = BY_STAGES[STAGES]


def _stagewise(fit: Fit, name: str, papers: tuple[float, ...]) -> list[Row]:
    """The Gaussian prior, the prior after each stage and posterior samples, each a share of the first."""
    base = f"{name}, Gaussian prior"
    drawn = {base: Drawing(stages=0)}
    drawn |= {f"{name}, after stage {stage}": Drawing(stages=stage) for stage in range(1, STAGES)}
    drawn |= {f"{name}, after stage {STAGES}": Drawing(), f"{name}, posterior samples": Drawing(posterior=True)}
    known = dict(zip(drawn, papers, strict=False))
    return [Row(label, fit, drawing, known.get(label), base=base) for label, drawing in drawn.items()]


ABLATIONS = {
    "stages": Ablation(
        "M stages, the same number of steps in all",
        "multi-stage, Table 5 (15,000 iterations in all)",
        "M = 3",
        (
            Row("M = 1", BY_STAGES[1], paper=15.15),
            Row("M = 2", BY_STAGES[2]),
            Row("M = 3, after stage 1", THREE, Drawing(stages=1), 18.68),
            Row("M = 3, after stage 2", THREE, Drawing(stages=2), 12.87),
            Row("M = 3", THREE, paper=9.48),
            Row("M = 4", BY_STAGES[4]),
        ),
    ),
    "chain": Ablation(
        "K chain steps, M = 3",
        "multi-stage, Table 6 (CelebA-HQ-256)",
        "K = 10",
        (
            *(Row(f"K = {k}", BY_STEPS[k], paper=fid) for k, fid in {5: 11.15, 10: 7.84, 15: 7.11}.items()),
            Row("K = 40, the default", THREE),
            *(Row(f"trained with 40, drawn with K = {k}", THREE, Drawing(steps=k)) for k in (5, 10, 15)),
        ),
    ),
    "sampling": Ablation(
        "One chain or a chain per stage, M = 3",
        "multi-stage, Table 8 (CIFAR-10)",
        "joint, all stages",
        (
            *(
                Row(f"progressive, after stage {stage}", THREE, Drawing(stages=stage, progressive=True), fid)
                for stage, fid in enumerate((13.15, 9.72, 7.62), start=1)
            ),
            *(Row(f"joint, after stage {stage}", THREE, Drawing(stages=stage)) for stage in (1, 2)),
            Row("joint, all stages", THREE, paper=7.80),
        ),
    ),
    "levels": Ablation(
        "Diffusion level by level against stages, T = M = 3",
        "multi-stage, Table 9 (CIFAR-10)",
        "Gaussian prior",
        (
            Row("Gaussian prior", THREE, Drawing(stages=0), 37.73),
            *(
                Row(f"diffusion, level t = {level}", DIFFUSION[3], Drawing(level=level), fid)
                for level, fid in zip((2, 1, 0), (18.11, 11.87, 8.93), strict=True)
            ),
            *(
                Row(f"stage s = {stage}, progressive", THREE, Drawing(stages=stage, progressive=True), fid)
                for stage, fid in enumerate((13.15, 9.72, 7.62), start=1)
            ),
        ),
    ),
    "diffusion": Ablation(
        "Diffusion: T levels, K chain steps per level",
        "diffusion, Table 3 (CIFAR-10)",
        "T = 3, K = 50",
        (
            Row("T = 3, K = 30", DIFFUSION[3], Drawing(steps=30), 9.98, 75.17),
            Row("T = 3, K = 50", DIFFUSION[3], Drawing(steps=50), 8.93, 94.23),
            Row("T = 3, K = 100", DIFFUSION[3], Drawing(steps=100), 8.13, 166.34),
            Row("T = 6, K = 30", DIFFUSION[6], Drawing(steps=30)),
            Row("T = 6, K = 50", DIFFUSION[6], Drawing(steps=50), 8.13, 193.45),
            Row("T = 6, K = 100", DIFFUSION[6], Drawing(steps=100)),
        ),
    ),
    "decoder": Ablation(
        "Normal against discrete decoder, each a backbone of its own, M = 3",
        "multi-stage, Tables 7 (normal, two stages) and 9 (discrete), CIFAR-10",
        "",
        (
            *_stagewise(NORMAL, "normal", (52.45, 20.68, 14.04)),
            *_stagewise(THREE, "discrete", (37.73, 13.15, 9.72, 7.62)),
        ),
    ),
    "scales": Ablation(
        "VDRME with 4, 6 and 8 scales",
        "VDRME, Table 1 (CIFAR-10)",
        "K = 4",
        tuple(Row(f"K = {scales}", VDRME[scales], paper=fid) for scales, fid in zip(VDRME, (7.83, 7.62, 6.90), strict=True)),
    ),
    "parts": Ablation(
        "VDRME with 4 scales without one of its parts",
        "VDRME, Table 2 (ImageNet-256)",
        "whole",
        (
            Row("whole", VDRME[4], paper=4.62),
            Row("without noise", NO_NOISE, paper=6.43),
            Row("without entropy", NO_ENTROPY, paper=5.79),
        ),
    ),
}
"""By the names of `--only`; with `layers`, whose table is of losses, they are all."""
