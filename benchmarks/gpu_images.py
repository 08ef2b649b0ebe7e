"""A small NVAE on images and two priors on it, within some minutes: distances to held-out images and sheets of samples."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from priorkit.cli import app

__all__ = ["HEADER", "PRIORS", "images"]

PRIORS = ("multistage", "jointebm")
SHARES = {"gaussian": 0.5, **dict.fromkeys(PRIORS, 0.2)}
"""Of the minutes, for the backbone's run and each prior's; the rest is for pictures and imports."""
HEADER = ("prior", "Gaussian", "learned", "posterior samples", "`share_closed`", "training, s")
TINY = (
    *("backbone.num_channels_enc=4", "backbone.num_channels_dec=4", "trainer.backbone_steps=4", "trainer.prior_steps=8"),
    *("trainer.posterior_samples=1", "trainer.prior_batch=32", "sampler.steps=2", "engine.threads=1"),
)
OF_PRIORS = {"multistage": ("prior.stages=2", "prior.pool_size=100"), "jointebm": ("prior.chain.chains=50",)}


def images(
    device: str, data: Sequence[str], minutes: float, root: Path, sheets: Path | None, *, quick: bool
) -> list[list[str]]:
    """The table's rows; `data` are the options of the data set. Sheets are copied to a folder, if one is given."""
    rows = []
    for prior, share in SHARES.items():
        command = ["train", "--quiet", "--metrics", "quick", "--prior", prior, "--out", str(root / prior)]
        command += _set([f"engine.device={device}"])
        if prior == "gaussian":
            command += ["--backbone", "nvae", *_set([*data, *([] if quick else ["backbone.preset=small"])])]
        else:
            command += ["--from", str(root / "gaussian")]
        tiny = [one for one in TINY if prior == "gaussian" or not one.startswith(("backbone", "trainer.backbone"))]
        command += _set([*tiny, *OF_PRIORS.get(prior, ())]) if quick else ["--minutes", f"{share * minutes:.2f}"]
        if app(command, standalone_mode=False):
            raise RuntimeError(f"the run of {prior} failed; it has said why")
        if sheets is not None:
            sheets.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / prior / "samples" / "overview.png", sheets / f"{prior}.png")
        if prior in PRIORS:
            rows.append(_row(prior, json.loads((root / prior / "summary.json").read_text())))
    return rows


def _set(options: Sequence[str]) -> list[str]:
    return [part for option in options for part in ("--set", option)]


def _row(prior: str, summary: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    figures = summary["metrics"]
    name = next(key for key in figures if key.startswith("fd_") and key.endswith("_heldout"))
    keys = (f"{name}_gaussian", name, f"{name}_posterior", "share_closed")
    cells = [f"{figures[key]['value']:.2f} ± {figures[key]['spread']:.2f}" if key in figures else "" for key in keys]
    return [prior, *cells, f"{sum(summary['cost']['seconds'].values()):.0f}"]
