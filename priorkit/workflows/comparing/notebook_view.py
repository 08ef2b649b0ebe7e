"""The Python interface of comparisons, with output for notebooks."""

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self, cast

from rich.console import Console

from priorkit.engine.world import World
from priorkit.errors import UsageError
from priorkit.report.comparison import Comparison
from priorkit.report.comparison_headline import comparison_headline
from priorkit.report.comparison_table import comparison_tables
from priorkit.report.console import plain_console
from priorkit.report.fitting import Fitting
from priorkit.report.progress import showing
from priorkit.runtime.user_path import given_path
from priorkit.workflows.comparing import Request, compare_priors, compare_runs
from priorkit.workflows.comparing.budget import Budget
from priorkit.workflows.run_model import RunModel
from priorkit.workflows.training.options import Options, as_overrides
from priorkit.wrapping import WrappedBackbone
from priorkit.zoo import given_run

__all__ = ["Compared", "compare"]

WIDTH = 120

Run = str | os.PathLike[str] | RunModel


@dataclass(frozen=True, repr=False)
class Compared(Comparison):
    """A comparison that displays its tables."""

    page: Path = Path()
    """compare.html; compare.json and compare.csv are in the same folder."""

    @classmethod
    def of(cls, comparison: Comparison, out: Path) -> Self:
        """Return the comparison that was written to the folder `out`."""
        parts = {field.name: getattr(comparison, field.name) for field in fields(Comparison)}
        return cls(**parts, page=out / "compare.html")

    def __repr__(self) -> str:
        return self._told().export_text(styles=False)

    def _repr_html_(self) -> str:
        """Return the tables with the best values in bold, as HTML."""
        return self._told().export_html(inline_styles=True, code_format="<pre>{code}</pre>")

    def _told(self) -> Console:
        console = plain_console(file=io.StringIO(), record=True, width=WIDTH)
        console.print(comparison_headline(self), highlight=False)
        for table in comparison_tables(self):
            console.print(Fitting(table))
        for told in (
            *self.warnings,
            f"± is the {self.setting['spread']}.",
            f"The rank is {self.setting['rank']}.",
            f"all of it: {self.page}",
        ):
            console.print(told, highlight=False)
        return console


def compare(
    runs: Run | Sequence[Run] = (),
    *,
    out: str | os.PathLike[str],
    priors: str | Sequence[str] = (),
    backbone: str | None = None,
    data: str | None = None,
    source: str | os.PathLike[str] | None = None,
    sampler: str | None = None,
    seeds: int = 1,
    backbone_seeds: int = 1,
    budget: str | None = None,
    options: Options | None = None,
    samples: int = 2_000,
    jobs: int = 0,
    quiet: bool = False,
) -> Compared:
    """Compare finished runs, or train priors on one backbone and compare them, as `priorkit compare` does.

    The same call continues an interrupted comparison.

    Args:
        runs: Finished runs: folders or models.
        out: Folder of the comparison.
        priors: Priors to train, in place of `runs`.
        backbone: The backbone's name.
        data: The data set.
        source: A run whose trained backbone is used.
        sampler: The sampler's name.
        seeds: Seeds per backbone.
        backbone_seeds: Number of backbones.
        budget: Training budget per prior, steps:N or seconds:S.
        options: Options as of `--set`, for one prior with 'PRIOR:KEY'.
        samples: Samples per metric.
        jobs: Number of parallel processes; 0 trains in this process, which knows the registered plugins.
        quiet: Show no progress.

    Returns:
        The comparison.

    Raises:
        UsageError: Unless either runs or priors are given, and in one of several processes of a launcher.
    """
    runs = [runs] if isinstance(runs, str | os.PathLike | RunModel) or not isinstance(runs, Iterable) else list(runs)
    priors = [priors] if isinstance(priors, str) else priors
    if bool(runs) == bool(priors):
        raise UsageError("priorkit.compare: give either finished runs, or priors=[...] to train.")
    if runs and (backbone, data, source, sampler, budget, options) != (None,) * 6:
        raise UsageError("priorkit.compare: finished runs are read with their own options; leave out other options.")
    if isinstance(backbone, WrappedBackbone):
        raise UsageError(
            "priorkit.compare: it trains only on backbones that have a name. Train each prior with "
            "priorkit.train(backbone=..., prior=..., out=...), then give the models: "
            "priorkit.compare([first, second], out=...)."
        )
    if World.read().size > 1:
        raise UsageError(
            "priorkit.compare: it uses only this process; with torchrun, start the command `priorkit compare` instead."
        )
    place = given_path("out", out)
    base = None if source is None else given_run("source", source)
    with showing(plain_console(stderr=True), quiet=quiet) as progress:
        if runs:
            folders = [run.folder if isinstance(run, RunModel) else given_run("runs", run) for run in runs]
            models = [run for run in runs if isinstance(run, RunModel)]
            wrapped = {one.folder: one.backbone for one in models if isinstance(one.backbone, WrappedBackbone)}
            found = compare_runs(folders, place, wrapped=wrapped, progress=progress)
        else:
            request = Request(
                place, list(priors), backbone, data, base, sampler, seeds, backbone_seeds,
                None if budget is None else Budget.read(budget), as_overrides(options), samples,
            )  # fmt: skip
            found = cast(Comparison, compare_priors(request, workers=jobs, progress=progress))
    return Compared.of(found, place)
