"""The configuration of one run: one seed, one data set, one component of each kind."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from pydantic import Field, ValidationError

from priorkit.config.added_options import completed
from priorkit.config.document import dump
from priorkit.config.layers import read_file
from priorkit.config.nested import over_defaults
from priorkit.config.problems import Origins, located, problems
from priorkit.config.sections import (
    DEFAULTS,
    Component,
    DataSettings,
    EngineSettings,
    EvaluationSettings,
    FidelitySettings,
)
from priorkit.config.versions import VERSIONS, absent, versions
from priorkit.core.data_spec import DataSpec
from priorkit.core.settings import Settings
from priorkit.errors import PluginError, UsageError, said
from priorkit.registry import installed
from priorkit.runtime.streams import LARGEST_SEED

if TYPE_CHECKING:
    from priorkit.core import Backbone, Prior, Sampler, Trainer

__all__ = ["RunConfig"]


class RunConfig(Settings):
    """Everything that decides a run."""

    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Random seed."""
    minutes: float | None = Field(default=None, gt=0, lt=1e6)
    """Minutes for the whole of `priorkit train` or `priorkit.train`: pilot runs choose the numbers of training steps that
    fit, which replace the trainer's; none: the trainer's steps. A run's configuration has the steps, and none here."""
    data: DataSettings = DataSettings()
    """The data set."""
    backbone: Component = Component(name=DEFAULTS["backbone"])
    """The hierarchical generator."""
    prior: Component = Component(name=DEFAULTS["prior"])
    """The distribution over u."""
    sampler: Component = Component(name=DEFAULTS["sampler"])
    """The sampler of the prior."""
    trainer: Component = Component(name=DEFAULTS["trainer"])
    """The training scheme."""
    engine: EngineSettings = EngineSettings()
    """How training steps are executed."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """What is computed at the end of a run."""
    fidelity: FidelitySettings = FidelitySettings()
    """How generated images are compared with real ones."""

    @classmethod
    def build(cls, tree: Mapping[str, Any], origins: Origins | None = None) -> Self:
        """Build a configuration from nested keys; check every option of every component and fill in its default.

        Raises UsageError with one line per problem, each with the origin of its key; PluginError for a broken plugin.
        """
        origins = origins or {}
        content = {key: value for key, value in tree.items() if key != VERSIONS}
        for kind, name in DEFAULTS.items():
            if isinstance(content.get(kind), Mapping):
                content[kind] = {"name": name, **content[kind]}
        try:
            config = cls.model_validate(content)
        except ValidationError as error:
            raise UsageError(problems(error, cls, (), content, origins)) from error
        for kind in DEFAULTS:
            if told := absent(tree, kind, getattr(config, kind).name):
                raise UsageError(located((kind, "name"), told, origins))
        return config.resolved(origins)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file that `write` wrote, or any other configuration file. Raises as `build`."""
        tree, origins = read_file(file)
        return cls.build(completed(tree), origins)

    def resolved(self, origins: Origins | None = None) -> Self:
        """The same configuration with the defaults of all options filled in."""
        components = {}
        for kind in DEFAULTS:
            _, settings = self._component(kind, origins or {})
            components[kind] = Component(name=getattr(self, kind).name, **settings.model_dump(mode="json"))
        return self.model_copy(update=components)

    def for_data(self, spec: DataSpec) -> Self:
        """Return the configuration with the backbone's options for these data."""
        settings = self.component("backbone")[1].for_data(spec)
        backbone = Component(name=self.backbone.name, **settings.model_dump(mode="json"))
        return self.model_copy(update={"backbone": backbone})

    @overload
    def component(self, kind: Literal["backbone"]) -> "tuple[type[Backbone], Settings]": ...
    @overload
    def component(self, kind: Literal["prior"]) -> "tuple[type[Prior], Settings]": ...
    @overload
    def component(self, kind: Literal["sampler"]) -> "tuple[type[Sampler], Settings]": ...
    @overload
    def component(self, kind: Literal["trainer"]) -> "tuple[type[Trainer], Settings]": ...
    @overload
    def component(self, kind: str) -> tuple[type[Any], Settings]: ...
    def component(self, kind: str) -> tuple[type[Any], Settings]:
        """Return the class of a component and its checked settings. Raises as `build`."""
        return self._component(kind, {})

    def _component(self, kind: str, origins: Origins) -> tuple[type[Any], Settings]:
        chosen: Component = getattr(self, kind)
        try:
            component = installed().load(kind, chosen.name)
        except UsageError as error:
            raise UsageError(located((kind, "name"), str(error), origins)) from error
        model: type[Settings] = component.Config
        options = over_defaults(model, chosen.options)
        try:
            return component, model.model_validate(options)
        except ValidationError as error:
            raise UsageError(problems(error, model, (kind,), options, origins)) from error
        except UsageError as error:
            raise UsageError(located((kind,), str(error), origins)) from error
        except Exception as error:  # a third-party validator may raise anything
            told = f"the plugin's Config failed on these options with {said(error)}; report it to the plugin's authors"
            raise PluginError(located((kind,), told, origins)) from error

    def versions(self) -> dict[str, str]:
        """Versions of Python, torch, the distributions of all plugins and networks that the run uses, and their
        libraries."""
        used = [(kind, getattr(self, kind).name) for kind in DEFAULTS]
        used += [("logger", name) for name in self.engine.loggers]
        base = self.prior.options.get("base_prior")
        used += [("prior", base)] if isinstance(base, str) and installed().knows("prior", base) else []
        entries = [installed().resolve(kind, name) for kind, name in used]
        components = [self.component(kind)[0] for kind in DEFAULTS]
        return versions(entries, components, [getattr(self, kind).options for kind in DEFAULTS])

    def write(self, file: Path) -> None:
        """Write the resolved configuration and the versions, atomically."""
        text = dump({**self.resolved().model_dump(mode="json"), VERSIONS: self.versions()})
        temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            with temporary.open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(file)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            advice = "free some space or choose another folder"
            raise UsageError(f"{file}: cannot write the file ({error.strerror}); {advice}") from error
