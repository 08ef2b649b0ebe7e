"""The model card of a shared run: README.md in the format of the Hugging Face Hub, from the run's files."""

import json
from collections.abc import Mapping
from importlib.metadata import metadata
from math import isfinite
from typing import Any

from priorkit.config.document import dump
from priorkit.zoo import PREFIX

__all__ = ["model_card"]

ROUNDED = "The weights are stored in half precision; the metrics are those of the run, in single precision.\n"
ALWAYS = ("python", "torch", "priorkit")
"""Versions that every run records; the others are those of third-party plugins and libraries."""


def model_card(
    repo: str,
    config: Mapping[str, Any],
    spec: Mapping[str, Any],
    summary: Mapping[str, Any],
    picture: str | None = None,
    *,
    half: bool = False,
) -> str:
    """Return the card of the run `repo`; `config`, `spec` and `summary` are the contents of config.yaml, data.json and
    summary.json, `picture` a file in the same folder; with `half` the weights are in half precision."""
    parts = [
        f"---\n{dump(_metadata(repo, spec, summary))}---\n",
        f"# {repo.rpartition('/')[2]}\n",
        _introduction(summary, spec),
        f"![held-out data, reconstructions and samples]({picture})\n" if picture else "",
        _use(repo, config.get("versions", {}), wrapped=summary["backbone"] == "wrapped"),
        _metric_table(summary["metrics"]),
        ROUNDED if half else "",
        _training(config, summary),
    ]
    return "\n".join(part for part in parts if part)


def _metadata(repo: str, spec: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the front matter; metrics that are not finite are left out."""
    image = len(spec["shape"]) == 3
    metrics = [
        {"type": name, "name": name, "value": figure["value"]}
        for name, figure in summary["metrics"].items()
        if isfinite(figure["value"])
    ]
    found: dict[str, Any] = {"library_name": "priorkit"}
    if image:
        found["pipeline_tag"] = "unconditional-image-generation"
    found["tags"] = ["priorkit", f"backbone:{summary['backbone']}", f"prior:{summary['prior']}"]
    if metrics:
        task = "unconditional-image-generation" if image else "other"
        dataset = {"type": spec["name"], "name": spec["name"]}
        result = {"task": {"type": task}, "dataset": dataset, "metrics": metrics}
        found["model-index"] = [{"name": repo.rpartition("/")[2], "results": [result]}]
    return found


def _introduction(summary: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    shape = "×".join(map(str, spec["shape"]))
    kind = "images" if len(spec["shape"]) == 3 else "points"
    return (
        f"The prior `{summary['prior']}` on the backbone `{summary['backbone']}`, a hierarchical latent-variable generator "
        f"of {kind} ({shape}), trained on `{spec['name']}` with priorkit.\n"
    )


def _use(repo: str, versions: Mapping[str, str], *, wrapped: bool) -> str:
    """Return how to load the run, with the packages of its plugins; a run on a `wrapped` VAE needs its code too."""
    others = [name for name in versions if name not in ALWAYS]
    ours = [*([] if repo.startswith(PREFIX) else ["hub"]), *(name for name in others if name in _extras())]
    extras = f"[{','.join(ours)}]" if ours else ""
    packages = " ".join([f"'priorkit{extras}'", *(name for name in others if name not in ours)])
    lines = ["import priorkit", ""]
    if wrapped:
        lines += ["# The code of the VAE is not in this repository: build it, with any weights, and wrap it as before."]
        lines += ["backbone = priorkit.wrap(...)"]
    given = ", backbone=backbone" if wrapped else ""
    lines += [f'model = priorkit.from_pretrained("{repo}"{given})', "model.show(16)"]
    return f"## Use\n\n```bash\npip install {packages}\n```\n\n```python\n" + "\n".join(lines) + "\n```\n"


def _extras() -> list[str]:
    """Return priorkit's extras; each is named after its library."""
    return metadata("priorkit").get_all("Provides-Extra") or []


def _metric_table(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return "## Metrics\n\nNone were computed.\n"
    rows = [
        f"| `{name}` | {figure['value']:.4g} | {_spread(figure['spread'])} | {_cell(figure['protocol'])} |"
        for name, figure in metrics.items()
    ]
    return "\n".join(["## Metrics\n", "| metric | value | spread | protocol |", "|---|---:|---:|---|", *rows, ""])


def _spread(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _training(config: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Return seed, times and versions, then every option."""
    seconds = summary.get("cost", {}).get("seconds", {})
    times = ", ".join(f"`{phase}` {spent:.0f} s" for phase, spent in seconds.items()) or "not trained here"
    versions = ", ".join(f"{name} {version}" for name, version in config.get("versions", {}).items())
    parts = {kind: config[kind] for kind in ("data", "backbone", "prior", "sampler", "trainer")}
    return (
        f"## Training\n\nSeed {config['seed']}; {times}. Versions: "
        f"{versions or 'unknown'}.\n\n```json\n{json.dumps(parts, indent=2)}\n```\n\n`config.yaml` "
        "has the same options, `summary.json` the metrics, `weights/` the safetensors with their "
        "checksums. Nothing is unpickled.\n"
    )
