"""Write the reference pages of the documentation from the code itself.

    python scripts/make_reference.py

Writes commands.md, configuration.md, priors.md, presets.md and features.md in docs/reference; a test fails where they are
stale.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
import typer
from priorkit_nvae.geometry import Geometry
from priorkit_nvae.model import NVAE
from priorkit_nvae.presets import PRESETS
from priorkit_nvae.settings import NvaeSettings
from typer.models import ArgumentInfo, ParameterInfo

from priorkit.cli import app
from priorkit.config import RunConfig
from priorkit.config.sections import DEFAULTS
from priorkit.core import DataSpec
from priorkit.core.data_source import as_source
from priorkit.metrics.features import FEATURE_SETS, feature_network, read_metadata
from priorkit.registry import Registry
from priorkit.registry.entry import Entry, discover
from priorkit.registry.options import Option, options

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
NOTICE = "<!-- Written by scripts/make_reference.py; change the code, then run it again. -->\n"

NAMED = {
    "data": "Data sets that `--data` and `data.name` take:",
    "metric": "Groups of metrics that `evaluate --metrics` takes:",
    "extractor": "Features that `--features` and `fidelity.features` take:",
}
"""Kinds of plugins that have no options but a name, and where the name is given."""

VALUES = {int: "N", float: "X", Path: "PATH", str: "TEXT"}

PRESET_DATA = {
    "digits": DataSpec("digits", (1, 8, 8), 17),
    "small": DataSpec("small", (3, 32, 32), 256),
    "small-64": DataSpec("images", (3, 64, 64), 256),
    "mnist": DataSpec("mnist", (1, 28, 28), 256),
    "cifar10": DataSpec("cifar10", (3, 32, 32), 256),
    "celeba-64": DataSpec("celeba-64", (3, 64, 64), 256),
    "imagenet-32": DataSpec("imagenet-32", (3, 32, 32), 256),
    "celeba-hq-256": DataSpec("celeba-hq-256", (3, 256, 256), 256),
    "ffhq-256": DataSpec("ffhq-256", (3, 256, 256), 256),
    "lsun-church-64": DataSpec("lsun-church-64", (3, 64, 64), 256),
    "vaebm-cifar10": DataSpec("vaebm-cifar10", (3, 32, 32), 256),
    "vaebm-celeba-64": DataSpec("vaebm-celeba-64", (3, 64, 64), 256),
    "vaebm-celeba-hq-256": DataSpec("vaebm-celeba-hq-256", (3, 256, 256), 256),
}
"""The data that each NVAE preset is meant for."""


def escaped(text: str) -> str:
    """Text as Markdown shows it literally, code spans left alone."""
    parts = text.split("`")
    parts[::2] = [part.replace("&", "&amp;").replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def commands_page() -> str:
    """Every command with its arguments and options."""
    lines = [NOTICE, "# Commands\n", "`python -m priorkit` is the same as `priorkit`.\n"]
    if app.registered_callback and app.registered_callback.callback:
        lines += described("priorkit", app.registered_callback.callback)
    for prefix, commands in command_groups():
        for name, function in commands:
            lines += described(f"{prefix} {name}", function)
    return "\n".join(lines)


def command_groups() -> Iterator[tuple[str, list[tuple[str, Callable[..., Any]]]]]:
    """Prefix and (name, function) pairs of the top commands and of each group."""
    groups: list[tuple[str, typer.Typer]] = [("priorkit", app)]
    groups += [(f"priorkit {group.name}", group.typer_instance) for group in app.registered_groups if group.typer_instance]
    for prefix, group in groups:
        yield prefix, [(c.name or "", c.callback) for c in group.registered_commands if c.callback]


def described(command: str, function: Callable[..., Any]) -> list[str]:
    """One command's section."""
    hints = get_type_hints(function, include_extras=True)
    rows = [(p, *get_args(hints[p.name])) for p in inspect.signature(function).parameters.values()]
    arguments = [argument_name(p.name, info) for p, _, info in rows if isinstance(info, ArgumentInfo)]
    usage = " ".join([command, *arguments, "[OPTIONS]"])
    summary = " ".join((function.__doc__ or "").split())
    return [f"## {command}\n", f"{escaped(summary)}\n", f"```text\n{usage}\n```\n", *map(parameter, rows), ""]


def argument_name(name: str, info: ParameterInfo) -> str:
    """How the usage line calls an argument."""
    return info.metavar or name.upper()


def parameter(row: tuple[inspect.Parameter, Any, ParameterInfo]) -> str:
    """One argument or option as an item of a list."""
    parameter, annotation, info = row
    help_text = escaped(info.help or "")
    if isinstance(info, ArgumentInfo):
        return f"- `{argument_name(parameter.name, info)}`: {help_text}"
    declared = [info.default] if isinstance(info.default, str) else []
    names = [*declared, *(info.param_decls or ())] or [f"--{parameter.name.replace('_', '-')}"]
    kinds = [kind for kind in get_args(annotation) if kind in VALUES] or [annotation]
    value = "" if annotation is bool else f" {info.metavar or VALUES.get(kinds[0], 'TEXT')}"
    notes = ["required"] if parameter.default is inspect.Parameter.empty else []
    if isinstance(parameter.default, int | float | str) and annotation is not bool:
        notes.append(f"default `{parameter.default}`")
    if annotation == list[str]:
        notes.append("may be given several times")
    note = f" ({', '.join(notes)})" if notes else ""
    return f"- `{', '.join(names)}{value}`{note}: {help_text}"


def configuration_page() -> str:
    """The run's own sections and the options of every plugin that ships with priorkit."""
    lines = [
        NOTICE,
        "# Configuration\n",
        "A configuration file is YAML with the sections below; `--set KEY=VALUE` sets one key, such as",
        "`--set prior.stages=4`. The section of a component contains its name and its options:\n",
        "```yaml\nprior:\n  name: multistage\n  stages: 4\n```\n",
        "`--set` overrides the command's other options, these override the file, and the file overrides the defaults. An",
        "unknown key is an error that names the file, the line and the nearest known key.\n",
        "## The run\n",
    ]
    own = [option for option in options(RunConfig) if option.path.partition(".")[0] not in DEFAULTS]
    lines += [*map(item, own)]
    lines += [f"- `{kind}.name` · text · default `{name}`: name of the {kind}, a plugin." for kind, name in DEFAULTS.items()]
    for kind, entries in groupby((entry for entry in discover() if entry.own), key=lambda entry: entry.kind):
        listed = list(entries)
        lines += named_section(kind, listed) if kind in NAMED else chain(*(plugin_section(kind, entry) for entry in listed))
    return "\n".join(lines) + "\n"


def plugin_section(kind: str, entry: Entry) -> list[str]:
    """One plugin's options."""
    component = Registry([entry]).load_entry(entry)
    lines = [f"\n## {kind}.{entry.name}\n", f"{summary(component)}\n"]
    choices = list(options(component.Config)) if hasattr(component, "Config") else []
    if kind == "logger":
        return [*lines, f"Enabled by `--set engine.loggers=[{entry.name}]`. It has no options."]
    return lines + ([item(option, f"{kind}.") for option in choices] or ["It has no options."])


def priors_page() -> str:
    """The class of every prior that ships with priorkit, and the model of its options."""
    lines = [
        "---\nsearch:\n  boost: 0.5  # the pages of the methods come first\n---\n",
        NOTICE,
        "# Priors\n",
        "The classes of the priors. `priorkit.load(RUN).prior` is an object of one of them; all have the methods of",
        "[`Prior`](core.md#prior). A configuration sets their options by [name](configuration.md).",
    ]
    for entry in (entry for entry in discover() if entry.own and entry.kind == "prior"):
        component, package = Registry([entry]).load_entry(entry), entry.target.partition(":")[0]
        options = f"configuration.md#prior{entry.name}"
        lines += [f"\n## prior.{entry.name}\n", f"[Method](../methods/{entry.name}.md), [options]({options})."]
        classes = (component, component.Config) if component.Config.model_fields else (component,)
        lines += [f"\n::: {package}.{one.__name__}" for one in classes]
    return "\n".join(lines) + "\n"


def named_section(kind: str, entries: Iterable[Entry]) -> list[str]:
    """The plugins of a kind that have no options but a name."""
    lines = [f"\n## {kind}\n", f"{NAMED[kind]}\n"]
    for entry in entries:
        component = Registry([entry]).load_entry(entry)
        names = as_source(component).spellings(entry.name) if kind == "data" else [entry.name]
        lines.append(f"- {', '.join(f'`{name}`' for name in names)}: {summary(component)}")
    return lines


def summary(component: Any) -> str:
    """The first paragraph of a component's docstring."""
    return escaped(" ".join((component.__doc__ or "").strip().partition("\n\n")[0].split()))


def item(option: Option, prefix: str = "") -> str:
    """One option as an item of a list."""
    default = "required" if option.required else f"default `{shown(option.default)}`"
    return f"- `{prefix}{option.path}` · {escaped(option.type)} · {default}: {escaped(option.meaning)}"


def shown(value: Any) -> str:
    """A default as a configuration file would hold it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def presets_page() -> str:
    """The size of every NVAE preset."""
    head = "| preset | images | latent layers, top first | D | parameters |\n|---|---|---|---:|---:|"
    return "\n".join([NOTICE, head, *(f"{preset_row(name)} {parameter_count(name):,} |" for name in PRESETS)]) + "\n"


def preset_row(name: str) -> str:
    """A preset's row but for the number of parameters."""
    spec = PRESET_DATA[name]
    layout = Geometry.of(NvaeSettings(preset=name), spec).layout
    runs = [(shape, len(list(same))) for shape, same in groupby(layout.shapes)]
    layers = ", ".join(f"{count} of {'×'.join(map(str, shape))}" for shape, count in runs)
    return f"| `{name}` | {'×'.join(map(str, spec.shape))} | {layers} | {layout.dim:,} |"


def parameter_count(name: str) -> int:
    """Trainable numbers of a preset, encoder included, without allocating them."""
    with torch.device("meta"):
        network = NVAE(NvaeSettings(preset=name), PRESET_DATA[name])
    return sum(parameter.numel() for parameter in network.parameters())


def features_page() -> str:
    """The feature networks that ship with the package, as their files tell."""
    lines = [NOTICE, "| metric | images | features | weights | training record |\n|---|---|---:|---|---|"]
    for name, kind in FEATURE_SETS.items():
        try:
            recorded = ", ".join(f"{key} {value}" for key, value in sorted(read_metadata(name).items()))
        except FileNotFoundError:
            continue
        shape = "×".join(map(str, kind.shape))
        lines.append(f"| `fd_{name}` | {shape} | {kind.features} | `{feature_network(name).fingerprint}` | {recorded} |")
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "configuration.md": configuration_page,
    "priors.md": priors_page,
    "presets.md": presets_page,
    "features.md": features_page,
}


def main() -> None:
    """Write all pages."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
        print(f"wrote {REFERENCE / name}")


if __name__ == "__main__":
    main()
