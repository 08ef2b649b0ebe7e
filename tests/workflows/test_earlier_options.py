"""Options that were added after a run was made: its configuration means what it meant then."""

import pytest
import yaml

from priorkit.config import RunConfig, resolve
from priorkit.config.versions import VERSIONS
from priorkit.core import DataSpec


@pytest.fixture(params=["nvae", "twolayer"])
def written(request, tmp_path):
    """A run's config.yaml as it was before `backbone.mixture_edges`."""
    file = tmp_path / "config.yaml"
    resolve(None, [f"backbone={request.param}"]).for_data(DataSpec("digits", (1, 8, 8), 17)).write(file)
    tree = yaml.safe_load(file.read_text())
    assert tree["backbone"].pop("mixture_edges") == "half-bin"
    file.write_text(yaml.safe_dump(tree))
    return file


def test_a_run_without_the_option_keeps_the_rule_it_was_trained_with(written):
    assert RunConfig.read(written).backbone.options["mixture_edges"] == "nvae"
    assert resolve(written).backbone.options["mixture_edges"] == "nvae"


def test_what_is_said_goes_first(written):
    assert resolve(written, ["backbone.mixture_edges=half-bin"]).backbone.options["mixture_edges"] == "half-bin"
    other = {"nvae": "twolayer", "twolayer": "nvae"}[RunConfig.read(written).backbone.name]
    assert resolve(written, backbone=other).component("backbone")[1].mixture_edges == "half-bin"


def test_a_file_that_no_run_wrote_has_the_default(written):
    tree = yaml.safe_load(written.read_text())
    del tree[VERSIONS]
    written.write_text(yaml.safe_dump(tree))
    assert RunConfig.read(written).backbone.options["mixture_edges"] == "half-bin"
