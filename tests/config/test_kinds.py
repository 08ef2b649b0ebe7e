"""A boolean, a number and a text are three kinds of value; none is taken for another."""

import json
import time

import numpy as np
import pytest

from priorkit.config import EngineSettings, resolve
from priorkit.config.sections import DEFAULTS
from priorkit.errors import PluginError, UsageError
from priorkit.workflows.training.options import as_overrides


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("seed=true", "seed: expected integer >= 0 and <= 18446744073709551615, got True"),
        ("seed='3'", "seed: expected integer >= 0 and <= 18446744073709551615, got '3'"),
        ("data.holdout=false", "data.holdout: expected number | none >= 0 and < 1, got False"),
        ("engine.share_moments=1", "engine.share_moments: expected true | false, got 1"),
        ("engine.share_moments=no", "engine.share_moments: expected true | false, got 'no'"),
        ("engine.accumulate=true", "engine.accumulate: expected integer >= 1 | auto, got True"),
        ("engine.loggers=[true]", "engine.loggers"),
        ("prior.flip=on", "prior.flip: expected true | false, got 'on'"),
        ("prior.flip=0", "prior.flip: expected true | false, got 0"),
        ("prior.stages=true", "prior.stages: expected integer >= 1, got True"),
        ("prior.rates.lr=true", "prior.rates.lr: expected number > 0, got True"),
        ("prior.rates.clip=yes", "prior.rates.clip: expected number | none, got 'yes'"),
        ("prior.widths=[8, true]", "prior.widths"),
        ("prior.widths=['8']", "prior.widths"),
        ("prior.pair=[0.5, false]", "prior.pair"),
        ("prior.rates={lr: false}", "prior.rates.lr: expected number > 0, got False"),
    ],
)
def test_no_kind_is_taken_for_another(argument, told):
    with pytest.raises(UsageError) as error:
        resolve(None, [argument])
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("prior.stages=2.0", 2), ("prior.stages=1e1", 10), ("prior.rates.lr=1", 1.0), ("prior.pair=[0, 0.5]", [0.0, 0.5])],
)
def test_whole_numbers_and_lists_are_read_as_before(argument, value):
    section, *path = argument.partition("=")[0].split(".")[1:]
    found = resolve(None, [argument]).prior.options[section]
    assert (found[path[0]] if path else found) == value


@pytest.mark.parametrize("key", ["threads", "devices"])
def test_a_number_of_threads_or_processes_has_an_end(key):
    with pytest.raises(UsageError, match=f"engine.{key}: expected integer .*<= 1024, got 100000000"):
        resolve(None, [f"engine.{key}=100000000"])
    assert getattr(EngineSettings(**{key: 1024}), key) == 1024


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e999"])
@pytest.mark.parametrize("key", ["fidelity.temperature", "engine.checkpoint_seconds", "data.holdout"])
def test_a_number_is_finite(key, value):
    """An infinite temperature made pictures of which no figure could be taken."""
    with pytest.raises(UsageError, match=f"{key}: (input should be a finite number|expected number.*), got -?(inf|nan)"):
        resolve(None, [f"{key}={value}"])


def test_an_option_may_ask_for_infinities():
    assert resolve(None, ["prior.rates.lr=.inf"]).prior.options["rates"]["lr"] == float("inf")


@pytest.mark.parametrize("seed", [-1, 2**64, 10**40])
def test_a_seed_is_an_unsigned_integer_of_64_bits(seed):
    told = f"--seed {seed}: seed: expected integer >= 0 and <= 18446744073709551615, got {seed}"
    with pytest.raises(UsageError, match=told):
        resolve(None, seed=seed)
    assert resolve(None, seed=2**64 - 1).seed == 2**64 - 1


def test_numbers_of_numpy_are_numbers():
    given = {
        "prior.stages": np.int64(2),
        "prior.rates.lr": np.float32(0.5),
        "prior.widths": np.arange(2),
        "prior.flip": np.True_,
    }
    assert as_overrides(given) == ["prior.stages=2", "prior.rates.lr=0.5", "prior.widths=[0, 1]", "prior.flip=true"]
    assert resolve(None, as_overrides(given)).prior.options["stages"] == 2


def test_a_large_file_is_refused_at_once(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"prior": {"widths": [1] * 4_000_000}}))
    begun = time.process_time()
    with pytest.raises(UsageError, match="a configuration has at most 262,144"):
        resolve(file)
    assert time.process_time() - begun < 2


def test_a_validator_that_fails_is_told_as_the_plugins(monkeypatch, registry):
    model = registry.load("prior", DEFAULTS["prior"]).Config

    def failing(options):
        raise KeyError("unhashable")

    monkeypatch.setattr(model, "model_validate", failing)
    with pytest.raises(
        PluginError, match=r"--set backbone\.stages=2: backbone: .* failed on these options with KeyError: 'unhashable'"
    ):
        resolve(None, ["backbone.stages=2"])
