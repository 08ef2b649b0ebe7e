"""Precedence, and errors that name the place."""

import pytest

from priorkit.config import RunConfig, resolve
from priorkit.errors import PluginError, UsageError
from priorkit.registry.entry import Entry


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return file

    return write


def test_defaults_are_those_of_the_model_and_spelled_out():
    config = resolve()
    assert (config.seed, config.data.name, config.backbone.name, config.trainer.name) == (0, "digits", "nvae", "two-phase")
    assert config.prior.options["rates"] == {"lr": 1e-3, "schedule": "cosine", "clip": 10.0}
    assert RunConfig().resolved() == config


def test_set_goes_over_flags_and_flags_over_the_file(write):
    file = write("seed: 1\nprior:\n  stages: 5\n  label: x\nengine: {devices: 2, log_every: 7}\n")
    assert resolve(file).seed == 1
    assert resolve(file, seed=2).seed == 2
    assert resolve(file, ["seed=3"], seed=2, backbone=None).seed == 3
    config = resolve(file, ["prior.stages=6", "prior.stages=7"], devices=3)
    assert (config.prior.options["stages"], config.prior.options["label"]) == (7, "x")
    assert (config.engine.devices, config.engine.log_every) == (3, 7)


def test_another_component_drops_the_files_options_and_the_same_one_keeps_them(write):
    file = write("prior:\n  name: multistage\n  stages: 5\n")
    assert resolve(file, prior="multistage").prior.options["stages"] == 5
    assert resolve(file, prior="plain").prior.options == {}
    assert resolve(file, ["prior=plain"]).prior.options == {}
    assert resolve(write("prior:\n  stages: 5\n"), ["prior.name=plain"]).prior.options == {}
    other = write("prior: plain\n")
    assert resolve(other, ["prior.stages=4", "prior.name=multistage"]).prior.options["stages"] == 4


def test_one_key_of_a_nested_model_leaves_its_neighbours_as_the_component_has_them(write):
    rates = resolve(write("prior:\n  rates: {lr: 1e-4}\n")).prior.options["rates"]
    assert rates == {"lr": 1e-4, "schedule": "cosine", "clip": 10.0}
    _, settings = resolve(None, ["prior.rates.clip="]).component("prior")
    assert settings.rates.clip is None
    assert settings.rates.schedule == "cosine"


@pytest.mark.parametrize(
    ("argument", "path", "value"),
    [
        ("prior.rates.lr=1e-4", ("rates", "lr"), 1e-4),
        ("prior.widths=[1, 2]", ("widths",), [1, 2]),
        ("prior.label=no", ("label",), "no"),
        ("prior.label=a=b", ("label",), "a=b"),
        ("prior={stages: 9, flip: true}", ("stages",), 9),
    ],
)
def test_set_reads_values_as_the_file_does(argument, path, value):
    found = resolve(None, [argument]).prior.options
    for key in path:
        found = found[key]
    assert found == value


def test_precision_may_be_a_bare_number(write):
    assert resolve(write("engine: {precision: 32}\n")).engine.precision == "32"
    assert resolve(None, ["engine.precision=bf16"]).engine.precision == "bf16"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 0\nprior:\n  stages: three\n", r"config\.yaml, line 3: prior\.stages: expected integer >= 1, got 'three'"),
        ("prior:\n  stages: 0\n", r"line 2: prior\.stages: expected integer >= 1, got 0"),
        ("prior:\n  stagse: 2\n", r"line 2: prior\.stagse: unknown key; did you mean 'stages'\?"),
        ("prior:\n  rates:\n    lr: fast\n", r"line 3: prior\.rates\.lr: expected number > 0, got 'fast'"),
        ("prior:\n  rates:\n    schedule: cosin\n", r"prior\.rates\.schedule: expected constant \| cosine, got 'cosin'"),
        ("prior:\n  widths:\n  - 1\n  - x\n", r"line 4: prior\.widths\.1: expected list of integer, got 'x'"),
        ("prior:\n  label: long\n", r"line 2: prior\.label: a label must be short"),
        ("seed: 1\nprior:\n  preset: lost\n", r"line 2: prior: there is no preset 'lost'"),
        ("sed: 1\n", r"line 1: sed: unknown key; did you mean 'seed'\?"),
        ("engine:\n  accumulate: 0\n", r"line 2: engine\.accumulate: expected integer >= 1 \| auto, got 0"),
        ("engine:\n  zzz: 0\n", r"engine\.zzz: unknown key; the keys here are precision, devices"),
        ("prior: 3\n", r"line 1: prior: expected section, got 3"),
        ("seed: 1\nprior: multistge\n", r"line 2: prior\.name: unknown prior 'multistge': did you mean 'multistage'"),
        ("- 1\n", r"config\.yaml: expected keys and values"),
    ],
)
def test_errors_name_file_line_and_path(write, text, message):
    with pytest.raises(UsageError, match=message):
        resolve(write(text))


@pytest.mark.parametrize(
    ("arguments", "flags", "message"),
    [
        (["prior.stages=three"], {}, r"--set prior\.stages=three: prior\.stages: expected integer >= 1, got 'three'"),
        (["prior.stages"], {}, r"--set prior\.stages: expected KEY=VALUE"),
        (["=3"], {}, "expected KEY=VALUE"),
        (["prior.label=[1"], {}, r"--set prior\.label=\[1"),
        (["prior.rats.lr=1"], {}, r"prior\.rats: unknown key; did you mean 'rates'"),
        ([], {"backbone": "nvea"}, r"--backbone nvea: backbone\.name: unknown backbone 'nvea': did you mean 'nvae'"),
        ([], {"devices": 0}, r"--devices 0: engine\.devices: expected integer >= 1 and <= 1024, got 0"),
        (["seed.deep=1"], {}, r"--set seed\.deep=1: seed: expected integer"),
    ],
)
def test_errors_name_the_argument(arguments, flags, message):
    with pytest.raises(UsageError, match=message):
        resolve(None, arguments, **flags)


def test_all_problems_are_told_at_once(write):
    with pytest.raises(UsageError) as caught:
        resolve(write("prior:\n  stages: 0\n  pair: 3\n  rates: {lr: -1}\n"))
    assert len(str(caught.value).splitlines()) == 3


def test_unreadable_files(tmp_path):
    with pytest.raises(UsageError, match="no such configuration file"):
        resolve(tmp_path / "absent.yaml")
    with pytest.raises(UsageError, match="not readable"):
        resolve(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not readable"):
        resolve(tmp_path / "bytes.yaml")


def test_a_broken_plugin_stays_a_plugin_error(registry):
    registry.entries.append(Entry("prior", "broken", "vendor", "1", "no_such_module_at_all:X"))
    with pytest.raises(PluginError, match="vendor 1"):
        resolve(prior="broken")


def test_an_unknown_flag_is_a_defect():
    with pytest.raises(TypeError):
        resolve(colour="red")


def test_a_validators_own_error_names_the_only_argument_it_can_come_from():
    with pytest.raises(UsageError, match=r"^--set prior\.preset=lost: prior: there is no preset 'lost'"):
        resolve(None, ["prior.preset=lost"])
