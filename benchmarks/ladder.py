"""Twelve kinds of corruption of three strengths each: do distances on image features put them in the right order?

    python benchmarks/ladder.py --data zip:cifar10-train.zip --heldout zip:cifar10-test.zip \\
        --extractors cifar efficientnet-lite0 efficientnet-lite0-96 inception=FILE --write docs/results/ladder.md

**The right order** was written down before anything was measured, and is partial.  Of each kind in `corruptions.py`:

    held-out images < weak < middle < strong,

in distance to the training images, which is 6 pairs for each of 12 kinds: 72.  Kinds are not compared with each other:
whether a blur is worse than noise is a matter of taste.  Sets have 1,000 images, and the level is the images before they
are corrupted, which are not among the training images.  `repeats` are copies of few *training* images: a set that is less
diverse than held-out images and not new, though each of its images is perfect.

A pair is right if the distance of the second set is the larger.  The interval is that of 100 random halves: the distances of
half of the images of each set (the same half in both sets of a pair; of repeats, half of the distinct images), without
replacement, so that their variance is that of the whole sets.  A bootstrap would repeat images, which is one of the
corruptions.  The training images are the same in all halves.  A wrong pair is wrong *surely* if it is wrong in 97.5 % of the
halves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import torch
from command_line import benchmark_parser, publish, typed_command
from corruptions import KINDS, Corrupted, Pool, all_sets
from markdown_table import markdown_table
from ood import without_folder
from torch import Generator, Tensor

from priorkit.core import DataSpec, Examples, FeatureExtractor
from priorkit.data import Dataset, load
from priorkit.metrics import Statistics, extracted, statistics
from priorkit.metrics.extractors import open_extractor
from priorkit.metrics.kernel_distance import KernelDistance
from priorkit.metrics.sample_fidelity import figure_names, to_8_bits

HALVES = 100
BATCH = 100
Key = tuple[str, int]
"""A kind and the place of a strength in it, from 1; ('', 0) is the level."""


@dataclass(frozen=True)
class Measured:
    """A distance of every set."""

    name: str
    whole: dict[Key, float]
    halves: dict[Key, Tensor]
    """Of each half, (HALVES,)."""


@dataclass(frozen=True)
class Verdict:
    """How a distance ordered pairs."""

    right: int
    interval: tuple[int, int]
    wrong: dict[tuple[Key, Key], bool]
    """The wrong pairs, and whether each is so surely."""


def pairs() -> list[tuple[Key, Key]]:
    """The right order: in each pair the first set is nearer."""
    chains = [[("", 0), *((kind, 1 + i) for i in range(len(strengths)))] for kind, (_, _, strengths) in KINDS.items()]
    return [pair for chain in chains for pair in combinations(chain, 2)]


def judged(measured: Measured) -> Verdict:
    """Count the pairs that are in the right order."""
    right = torch.stack([measured.halves[near] < measured.halves[far] for near, far in pairs()])
    wrong = {
        pair: bool(share <= 0.025)
        for pair, share in zip(pairs(), right.double().mean(1), strict=True)
        if measured.whole[pair[0]] >= measured.whole[pair[1]]
    }
    low, high = right.sum(0).double().quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).round().int().tolist()
    return Verdict(len(pairs()) - len(wrong), (low, high), wrong)


def keyed(sets: list[Corrupted]) -> dict[Key, Corrupted]:
    """Sets by kind and place."""
    found, counts = dict[Key, Corrupted](), dict[str, int]()
    for one in sets:
        counts[one.kind] = counts.get(one.kind, 0) + bool(one.kind)
        found[one.kind, counts[one.kind]] = one
    return found


def halves_of(units: Tensor) -> Iterator[Tensor]:
    """Rows of random halves of the independent images; the same halves for sets of the same images."""
    generator, count = Generator().manual_seed(0), int(units.max()) + 1
    for _ in range(HALVES):
        kept = torch.zeros(count, dtype=torch.bool)
        kept[torch.randperm(count, generator=generator)[: max(1, count // 2)]] = True
        yield kept[units].nonzero()[:, 0]


def frechet_of_parts(x: Tensor, real: Statistics, rows: list[Tensor]) -> Tensor:
    """The Fréchet distances of parts of features x (N, F), each by a matrix of the smaller of n and F rows.

    With A the centred part over the root of n - 1 and L L^T = C_b, C_a C_b has the eigenvalues of both A L (A L)^T, (n, n),
    and (A L)^T A L.
    """
    x, turned, found = x.double(), x.double() @ real.factor, []
    for part in rows:
        mean, size = x[part].mean(0), len(part) - 1
        inner = turned[part] - turned[part].mean(0)
        gram = inner @ inner.T if inner.shape[0] < inner.shape[1] else inner.T @ inner
        overlap = torch.linalg.eigvalsh(gram / size).clamp(min=0).sqrt().sum()
        trace = (x[part] - mean).square().sum() / size + real.covariance.trace()
        found.append((mean - real.mean).square().sum() + trace - 2 * overlap)
    return torch.stack(found)


def kernel_of_parts(x: Tensor, kernel: KernelDistance, rows: list[Tensor]) -> Tensor:
    """The kernel distances of parts of features x (N, F), from the kernel of each pair."""
    x, y, size = x.double(), kernel.real, x.shape[1]
    within, across = ((x @ other.T / size + 1) ** 3 for other in (x, y))
    constant = kernel.within.sum() / (len(y) * (len(y) - 1))
    means, found = across.mean(1), []
    for part in rows:
        inner = within[part][:, part]
        mean = (inner.sum() - inner.diagonal().sum()) / (len(part) * (len(part) - 1))
        found.append(mean + constant - 2 * means[part].mean())
    return torch.stack(found)


def measure(extractor: FeatureExtractor, sets: dict[Key, Corrupted], training: Tensor) -> list[Measured]:
    """The Fréchet and the kernel distance of every set, on the features of one extractor."""
    real = features(extractor, training)
    fitted, kernel, names = statistics(real), KernelDistance(real), figure_names(extractor)
    frechet, squared = Measured(names.distance, {}, {}), Measured(names.kernel, {}, {})
    for key, one in sets.items():
        x, rows = features(extractor, one.images), [torch.arange(len(one.images)), *halves_of(one.units)]
        for measured, values in ((frechet, frechet_of_parts(x, fitted, rows)), (squared, kernel_of_parts(x, kernel, rows))):
            measured.whole[key], measured.halves[key] = float(values[0]), values[1:]
    return [frechet, squared]


def features(extractor: FeatureExtractor, images: Tensor) -> Tensor:
    """Features of uint8 images, (N, F)."""
    return extracted(extractor, torch.split(images, BATCH)).vectors


def pool_of(data: Dataset, count: int, reference: int) -> Pool:
    """What sets are made of: the first images of both splits, whose order is random in archives of this kind."""
    if len(data.heldout) < count or len(data.train) < reference:
        raise SystemExit(f"ladder: {len(data.train)} training and {len(data.heldout)} held-out images are too few.")
    if data.heldout.labels is None:
        raise SystemExit("ladder: the data have no labels, which sets of fewer classes need.")
    heldout = pixels(data.heldout, len(data.heldout))
    return Pool(heldout[:count], heldout, data.heldout.labels, pixels(data.train, reference))


def pixels(split: Examples, count: int) -> Tensor:
    """The first images, (count, C, H, W), uint8."""
    return torch.cat([to_8_bits(split.batch(indices)) for indices in torch.split(torch.arange(count), 1_000)])


def opened(name: str, spec: DataSpec) -> FeatureExtractor:
    """The extractor of NAME or NAME=FILE."""
    name, _, weights = name.partition("=")
    return open_extractor(name, spec, weights=weights or None)


def report(command: str, pool: Pool, found: list[Measured]) -> str:
    """The text of the report."""
    verdicts = [judged(measured) for measured in found]
    told = (
        f"`{command}`: sets of {len(pool.base):,} images against {len(pool.training):,} training images, {len(pairs())} "
        f"pairs whose order is known; intervals (95 %) of {HALVES} halves of the images.\n\n"
    )
    rows = [
        [f"`{one.name}`", str(verdict.right), "{} to {}".format(*verdict.interval), str(sum(verdict.wrong.values()))]
        for one, verdict in zip(found, verdicts, strict=True)
    ]
    summary = markdown_table(["distance", f"right of {len(pairs())}", "interval", "surely wrong"], rows)
    return f"{told}{summary}\n\n{by_kind(found, verdicts)}\n"


def by_kind(found: list[Measured], verdicts: list[Verdict]) -> str:
    """The table of distances: a row for each kind, weak to strong."""
    heads = ["corruption", "strengths", *(f"`{one.name}`" for one in found)]
    rows = [["held-out images", "", *(f"{one.whole['', 0]:.3g}" for one in found)]]
    for kind, (_, what, strengths) in KINDS.items():
        cells = []
        for one, verdict in zip(found, verdicts, strict=True):
            values = ", ".join(f"{one.whole[kind, 1 + i]:.3g}" for i in range(len(strengths)))
            wrong = sum(pair[1][0] == kind for pair in verdict.wrong)
            cells.append(f"{values}" + (f" (**{wrong} wrong**)" if wrong else ""))
        rows.append([kind, f"{what}: {', '.join(f'{strength:.3g}' for strength in strengths)}", *cells])
    return markdown_table(heads, rows)


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", required=True, help="the training images, such as zip:FILE")
    parser.add_argument("--heldout", help="the held-out images, if the data have none of their own")
    parser.add_argument("--extractors", nargs="+", default=["auto"], metavar="NAME[=FILE]")
    parser.add_argument("--images", type=int, default=1_000, help="images of a set")
    parser.add_argument("--reference", type=int, default=5_000, help="training images")
    given = parser.parse_args()
    data = load(given.data, heldout=given.heldout)
    pool = pool_of(data, given.images, given.reference)
    sets = keyed(all_sets(pool))
    found = [figure for name in given.extractors for figure in measure(opened(name, data.spec), sets, pool.training)]
    publish(report(typed_command(without_folder), pool, found), given.write)


if __name__ == "__main__":
    main()
