"""The model of a run for notebooks: printing, pictures, data and metrics."""

import io
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import Any, Self

import torch
from matplotlib.figure import Figure
from PIL import Image

from priorkit.core.single import single_precision
from priorkit.data import Dataset
from priorkit.model import Model
from priorkit.report.pictures import panels
from priorkit.runs.input_checks import checked_whole
from priorkit.runs.labels import Labels
from priorkit.runs.records import read_summary
from priorkit.workflows.session import Session, open_run
from priorkit.wrapping import WrappedBackbone

__all__ = ["RunModel"]

DPI = 80


@dataclass(repr=False, kw_only=True)
class RunModel(Model):
    """A model and its run."""

    session: Session
    origin: str
    """The folder, or the repository on the Hub, from which it was loaded."""

    @classmethod
    def read(cls, folder: Path, origin: str | None = None, *, wrapped: WrappedBackbone | None = None) -> Self:
        """Return the model of a finished run. Raises as `open_run`."""
        return cls.of(open_run(folder, wrapped=wrapped), origin)

    @classmethod
    def of(cls, session: Session, origin: str | None = None) -> Self:
        """Return the model of an open run, whose session then uses it."""
        parts = {field.name: getattr(session.model, field.name) for field in fields(Model)}
        model = cls(**parts, session=session, origin=origin or str(session.folder.path))
        session.model = model
        return model

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.session.folder.path

    @property
    def data(self) -> Dataset:
        """The run's data, opened on first access."""
        return self.session.data

    @property
    def figures(self) -> dict[str, Any]:
        """The metrics of the run by name, as in summary.json: {'value', 'spread', 'protocol'}. Raises UsageError if the
        file is missing or damaged."""
        found: dict[str, Any] = read_summary(self.folder)["metrics"]
        return found

    def show(
        self,
        n: int = 64,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        labels: Labels | None = None,
        keep_top: int | None = None,
        columns: int | None = None,
    ) -> Image.Image:
        """Return a picture of n samples, which a notebook displays; the other arguments are those of `sample`."""
        n, columns = checked_whole("n", n, 1), None if columns is None else checked_whole("columns", columns, 1)
        data = self.sample(n, seed=seed, temperature=temperature, labels=labels, keep_top=keep_top)
        return rendered(panels({f"{self.session.config.prior.name} prior": data}, columns=columns))

    @single_precision()
    def overview(self, n: int = 36, *, seed: int = 0) -> Image.Image:
        """Return a picture of n data (held-out if available), n samples of the Gaussian prior and n of the learned
        prior, side by side."""
        n = checked_whole("n", n, 1)
        split = self.data.heldout if len(self.data.heldout) else self.data.train
        parts = {"data": split.batch(torch.arange(min(n, len(split))))}
        for title, stages in {"Gaussian prior": 0, f"{self.session.config.prior.name} prior": None}.items():
            parts[title] = self.decode(self.sample_latents(n, seed=seed, stages=stages), seed=seed)
        return rendered(panels(parts))

    def described(self) -> dict[str, str]:
        """Return a short description of each component of the run."""
        config, layout, spec = self.session.config, self.backbone.layout, self.spec
        weights = sum(parameter.numel() for parameter in self.prior.parameters())
        stages = self.prior.trained_stages
        learnt = f"{stages} stage{'s' * (stages > 1)}, {weights:,} parameters" if stages else "nothing to learn"
        shapes = ", ".join("×".join(map(str, shape)) for shape in layout.shapes[:6])
        more = f", … {'×'.join(map(str, layout.shapes[-1]))}" if len(layout) > 6 else ""
        classes = f", {spec.classes} classes" if spec.classes else ""
        return {
            "prior": f"{config.prior.name} ({learnt})",
            "backbone": f"{config.backbone.name}, {len(layout)} layers from the top: {shapes}{more}; D = {layout.dim}",
            "sampler": config.sampler.name,
            "trainer": config.trainer.name,
            "data": f"{spec.name}, {'×'.join(map(str, spec.shape))}{classes}",
            "from": self.origin,
        }

    def __repr__(self) -> str:
        rows = self.described()
        width = max(map(len, rows))
        return "\n".join(["priorkit model", *(f"  {name:<{width}}  {told}" for name, told in rows.items())])

    def _repr_html_(self) -> str:
        """Return the description as an HTML table."""
        rows = "".join(
            f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(told)}</td></tr>'
            for name, told in self.described().items()
        )
        return f"<table>{rows}</table>"


def rendered(figure: Figure) -> Image.Image:
    """Return a matplotlib figure as a picture, which a notebook displays with any matplotlib backend."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return Image.open(buffer)
