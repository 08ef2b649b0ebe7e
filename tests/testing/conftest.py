"""The plugins that `plugins new` writes, imported from a temporary folder: sound ones, to be broken."""

import importlib.util
import sys

import pytest
import torch

from priorkit.registry.scaffold import TEMPLATES, scaffold

NAME = "sound"


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """The plugin of each kind as its template makes it, by kind."""
    found = {}
    for kind in TEMPLATES:
        file = scaffold(NAME, kind, tmp_path_factory.mktemp("new") / kind) / "src" / f"priorkit_{NAME}" / f"{kind}.py"
        spec = importlib.util.spec_from_file_location(f"sound_{kind}", file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        functions = {"data": f"load_{NAME}", "metric": f"measure_{NAME}"}
        found[kind] = getattr(module, functions.get(kind, f"{NAME.capitalize()}{kind.capitalize()}"))
    return found


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors do not gain from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
