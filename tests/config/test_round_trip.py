"""What a run's config.yaml says is what is read back."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from priorkit.config import RunConfig, resolve
from priorkit.errors import UsageError

NUMBERS = st.floats(min_value=1e-300, allow_nan=False, allow_infinity=True)
RICH = st.fixed_dictionaries(
    {},
    optional={
        "stages": st.integers(1, 10**12),
        "rates": st.fixed_dictionaries({}, optional={"lr": NUMBERS, "clip": st.none() | NUMBERS}),
        "widths": st.lists(st.integers(), max_size=3),
        "label": st.text(max_size=10),
        "folder": st.none() | st.sampled_from(["a/b", "zip:x y", "/tmp/é"]),
        "pair": st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
        "flip": st.booleans(),
    },
)
TREE = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**63),
        "data": st.fixed_dictionaries({"name": st.text(max_size=10)}, optional={"holdout": st.floats(0, 0.99)}),
        "prior": RICH,
        "backbone": st.just({"name": "plain"}) | RICH,
        "engine": st.fixed_dictionaries(
            {},
            optional={
                "precision": st.sampled_from(["32", "bf16"]),
                "checkpoint_seconds": st.floats(0, 1e9),
                "threads": st.none() | st.integers(1, 64),
            },
        ),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(TREE)
def test_round_trip(tmp_path_factory, tree):
    config = RunConfig.build(tree)
    file = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    config.write(file)
    back = RunConfig.read(file)
    assert back == config == resolve(file)
    assert back.component("prior")[1] == config.component("prior")[1]


def test_every_option_and_the_versions_are_written(tmp_path):
    file = tmp_path / "config.yaml"
    resolve(None, ["prior.rates.lr=1e-5"]).write(file)
    content = yaml.safe_load(file.read_text())
    assert set(content["prior"]) == {"name", "stages", "rates", "widths", "label", "folder", "pair", "flip", "preset"}
    assert content["prior"]["rates"]["lr"] == 1e-5
    assert {"python", "torch", "priorkit"} <= set(content["versions"])
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot write the file"):
        resolve().write(tmp_path / "absent" / "config.yaml")


def test_a_loggers_distribution_is_among_the_versions(registry):
    from priorkit.registry.entry import Entry

    registry.entries.append(Entry("logger", "mine", "vendor-kit", "4.2", "x:Y"))
    assert resolve(None, ["engine.loggers=[mine]"]).versions()["vendor-kit"] == "4.2"


def test_paths_are_paths():
    _, made = resolve(None, ["prior.folder=a/b"]).component("prior")
    assert made.folder == Path("a/b")
