"""A diffusers model, loaded from a separate folder at first, later from the run that contains its weights.

The folder is from a third party: `config.json` is treated as data, weights are read from safetensors only, and nothing is
downloaded.
"""

import json
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import nn

from priorkit.core import Settings
from priorkit.errors import UsageError

__all__ = ["Pretrained", "PretrainedSettings"]

MAX_BYTES = 1 << 20
"""Largest size of a config.json; the largest published ones have a few thousand bytes."""
MISFITS = (TypeError, ValueError, ArithmeticError, RuntimeError, LookupError, AttributeError, NotImplementedError)
"""Errors that diffusers raises for an invalid architecture."""


class PretrainedSettings(Settings):
    """The folder of a pretrained model."""

    KIND: ClassVar[str]
    """The model's class in diffusers."""
    ALSO: ClassVar[tuple[str, ...]] = ()
    """Other names of that class in `config.json`."""
    PART: ClassVar[str]
    """The model's folder within a pipeline's."""

    folder: Path | None = None
    """Folder written by diffusers' `save_pretrained` (config.json and safetensors), or the folder of a pipeline that
    contains it. It is read when a run starts; a trained run does not need it any more."""
    architecture: dict[str, Any] = Field(default_factory=dict)
    """Contents of the folder's config.json, stored with the run; filled in from the folder."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        """Store the folder's configuration. A missing folder is an error only when its weights are needed."""
        if not isinstance(given, Mapping) or not isinstance(given.get("folder"), str | Path) or given.get("architecture"):
            return given
        place = cls.place(Path(given["folder"]))
        return given if place is None else {**given, "architecture": cls.described(place)}

    @classmethod
    def place(cls, folder: Path) -> Path | None:
        """Return the folder with the model's config.json: itself, or its part; None if there is none."""
        return next((path for path in (folder, folder / cls.PART) if (path / "config.json").is_file()), None)

    @classmethod
    def described(cls, place: Path) -> dict[str, Any]:
        """Return the architecture in a folder's config.json. Raises UsageError if it is of another class."""
        file = place / "config.json"
        try:
            if file.stat().st_size > MAX_BYTES:
                raise UsageError(
                    f"{file} has more than {MAX_BYTES} bytes, so it is not the configuration of a model. Choose "
                    "another folder."
                )
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"{file}: cannot be read ({error}). Choose a folder written by save_pretrained.") from error
        name = content.get("_class_name") if isinstance(content, dict) else None
        if name not in (cls.KIND, *cls.ALSO):
            raise UsageError(f"{file}: expected the configuration of a diffusers {cls.KIND}, got _class_name {name!r:.60}.")
        if content.get("quantization_config") is not None:
            raise UsageError(f"{file}: this model is quantised; use weights in single or half precision.")
        return {key: value for key, value in content.items() if not key.startswith("_")}


class Pretrained(nn.Module):
    """The model with its folder's weights. A run that is read has its weights in its files, with or without the folder."""

    def __init__(self, settings: PretrainedSettings) -> None:
        super().__init__()
        self.missing = ""
        """Why the weights are not the pretrained ones; empty when they are loaded."""
        self.net = self._built(settings)
        self.register_load_state_dict_post_hook(_arrived)  # type: ignore[no-untyped-call]

    def _built(self, settings: PretrainedSettings) -> Any:
        kind, folder = _class(settings.KIND), settings.folder
        place = None if folder is None else settings.place(folder)
        if place is not None and _agrees(settings, place):
            return _loaded(kind, place, settings.architecture)
        if not settings.architecture:
            told = "folder is not given" if folder is None else f"there is no {settings.KIND} in the folder {folder}"
            raise UsageError(f"{told}: give a folder written by {settings.KIND}.save_pretrained of diffusers.")
        self.missing = (
            f"the folder {folder} does not hold the {settings.KIND} whose architecture the run keeps: put them there, "
            "config.json and weights, to train with it."
        )
        try:
            return kind.from_config(_known(kind, settings.architecture))
        except MISFITS as error:
            raise UsageError(f"architecture: diffusers cannot build a {settings.KIND} from it ({error!s:.200}).") from error

    def required(self) -> Any:
        """Return the model. Raises UsageError if its weights were never loaded."""
        if self.missing:
            raise UsageError(self.missing)
        return self.net


def _class(name: str) -> Any:
    """Return a class of diffusers. Raises UsageError if the library is missing."""
    try:
        import diffusers

        return getattr(diffusers, name)
    except (ImportError, AttributeError, RuntimeError) as error:  # RuntimeError: a part of it cannot be imported
        said = " ".join(str(error).split())[:200]
        raise UsageError(f"{name} needs the library diffusers: pip install 'priorkit[diffusers]' ({said})") from error


def _agrees(settings: PretrainedSettings, place: Path) -> bool:
    """Return whether the folder contains the model of the settings; its contents may have been replaced."""
    try:
        return settings.described(place) == settings.architecture
    except UsageError:
        return False


def _known(kind: Any, architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of an architecture that the class accepts; folders written by other versions may have more."""
    return {key: value for key, value in architecture.items() if key in signature(kind.__init__).parameters}


def _loaded(kind: Any, place: Path, architecture: Mapping[str, Any]) -> Any:
    """Return the model of a folder in single precision; every weight must be in its safetensors files."""
    from safetensors import SafetensorError

    stored = sum(file.stat().st_size for file in place.glob("*.safetensors"))
    try:
        with torch.device("meta"):
            described = sum(parameter.numel() for parameter in kind.from_config(_known(kind, architecture)).parameters())
        # A number needs at least a byte: sizes that the files cannot contain are never allocated.
        if described > stored:
            raise ValueError(f"config.json describes {described:,} numbers, but the files have {stored:,} bytes")
        # Without low_cpu_mem_usage diffusers does not need accelerate.
        net, told = kind.from_pretrained(
            str(place), use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    except (*MISFITS, OSError, SafetensorError) as error:
        raise UsageError(
            f"{place}: no {kind.__name__} can be read from its safetensors files "
            f"({' '.join(str(error).split())[:200]}). Other weight files are not read: convert them with "
            "diffusers' save_pretrained."
        ) from error
    wrong = [*told["missing_keys"], *told["mismatched_keys"], *told["unexpected_keys"]]
    if wrong:
        raise UsageError(f"{place}: its weights do not fit its config.json: {', '.join(map(str, wrong[:3]))}.")
    return net.float().eval()


def _arrived(module: nn.Module, keys: Any) -> None:
    """Record that weights were loaded into the module."""
    if isinstance(module, Pretrained):
        module.missing = ""
