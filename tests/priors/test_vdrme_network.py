"""Networks of other packages in the VDRME prior: found by import string, given what they are asked for."""

import sys
from importlib.metadata import version

import pytest
import torch
from linear import space
from priorkit_vdrme import VdrmePrior, VdrmeSettings
from pydantic import ValidationError
from torch import nn

from priorkit.config import RunConfig, resolve
from priorkit.core import Settings
from priorkit.energies.scale_network import ScaleNetwork
from priorkit.errors import UsageError
from priorkit.registry import installed
from priorkit.registry.entry import Entry
from priorkit.registry.selection import Selection


class Options(Settings):
    """The options of the network below."""

    gain: float = 2.0
    """What it multiplies by."""


class Linear(ScaleNetwork):
    """gain times a linear map of all that it reads; the scale and the label add to it."""

    Config = Options
    libraries = ("numpy", "not-installed-here")

    def __init__(self, settings, task):
        super().__init__()
        self.settings, self.task = settings, task
        dim = task.layout.dim
        self.map = nn.Linear(dim * (1 + task.beside), dim if task.outputs is None else task.outputs, bias=False)
        nn.init.zeros_(self.map.weight)

    def forward(self, x, level, labels=None, beside=None):
        """See the class."""
        return self.settings.gain * self.map(x if beside is None else torch.cat([x, beside], dim=1))


@pytest.fixture
def package(monkeypatch):
    """This module, as that of a package that declares a plugin."""
    monkeypatch.setitem(sys.modules, "vendor_networks", sys.modules[__name__])
    entry = Entry("metric", "vendor", "vendor", "1", "vendor_networks:Linear")
    monkeypatch.setattr(installed(), "entries", [*installed().entries, entry])


def test_each_network_is_asked_for_its_task(package):
    net = {"network": "vendor_networks:Linear"}
    made = VdrmePrior(
        VdrmeSettings(scales=3, energy=net, generator=net | {"options": {"gain": 3}}, entropy="jsd", classes=2), space(4)
    )
    tasks = [made.energy.task, made.generator.net.task, made.information.task, made.classifier.task]
    assert [(task.outputs, task.beside, task.classes) for task in tasks] == [(1, 0, 0), (None, 1, 2), (1, 2, 0), (2, 0, 0)]
    # What is generated at a scale is read one scale above.
    assert [task.times for task in tasks] == [(0, 333, 666), (333, 666, 999), (0, 333, 666), (0, 333, 666)]
    assert made.energy.settings.gain == 2 and made.generator.net.settings.gain == 3
    assert made.settings.energy.options == {"gain": 2.0}


def test_the_generator_reads_the_noise_beside_the_point(package):
    net = {"network": "vendor_networks:Linear"}
    made = VdrmePrior(VdrmeSettings(scales=3, generator=net, start="silent", predicts="noise"), space(4))
    nn.init.eye_(made.generator.net.map.weight[:, 4:])
    above, noise = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    level = torch.zeros(5, dtype=torch.int64)
    assert torch.allclose(made.step(above, noise, level), made.schedule.below(above, 2 * noise, level))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("os:system", "that declares an installed plugin"),
        ("unet", "module:Class"),
        ("priorkit_vdrme:Nothing", "cannot be imported"),
        ("priorkit_vdrme:VdrmePrior", "not a subclass"),
    ],
)
def test_other_names_are_refused(name, reason):
    with pytest.raises(UsageError, match=reason):
        VdrmeSettings(energy={"network": name})


def test_options_are_checked(package):
    with pytest.raises(UsageError, match=r"options.gain: .*number.* \(of vendor_networks:Linear\)"):
        VdrmeSettings(energy={"network": "vendor_networks:Linear", "options": {"gain": "much"}})
    with pytest.raises(ValidationError, match="set `network`"):
        VdrmeSettings(energy={"options": {"gain": 1}})


def declare(monkeypatch, target, name="vendor"):
    """A package's plugin, found by its import string."""
    entry = Entry("metric", name, "vendor-kit", "1", target)
    monkeypatch.setattr(installed(), "entries", [*installed().entries, entry])


@pytest.mark.parametrize(
    "name",
    ["priorkit_vdrme.third_party_networks:partial", "vendor_networks.__main__:Linear", "vendor_networks:Linear.Config",
     ".os:system", "vendor_networks:Linear\n", "priorkit.__main__:main"],
)  # fmt: skip
def test_only_the_very_modules_of_plugins_are_imported(package, monkeypatch, name):
    """Another module of such a package may do anything when it is imported, so a third party's configuration names none."""
    monkeypatch.setattr(
        "priorkit_vdrme.third_party_networks.import_module", lambda module: pytest.fail(f"{module} was imported")
    )
    with pytest.raises(UsageError, match="that declares an installed plugin"):
        VdrmeSettings(energy={"network": name})


def test_modules_of_plugins_that_are_switched_off_are_not_imported(package, monkeypatch):
    monkeypatch.setattr(installed(), "selection", Selection(disabled=("vendor",)))
    with pytest.raises(UsageError, match="that declares an installed plugin"):
        VdrmeSettings(energy={"network": "vendor_networks:Linear"})


@pytest.mark.parametrize("code", ["raise RuntimeError('no\\ndriver')", "raise SystemExit(3)", "1 / 0"])
def test_an_import_that_raises_anything_is_one_line(tmp_path, monkeypatch, code):
    module = f"raising_{abs(hash(code))}"
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    declare(monkeypatch, f"{module}:Linear")
    with pytest.raises(UsageError, match="vendor-kit 1 cannot be imported") as refused:
        VdrmeSettings(energy={"network": f"{module}:Linear"})
    assert "\n" not in str(refused.value)


def test_a_module_that_computes_its_attributes_may_raise_too(tmp_path, monkeypatch):
    (tmp_path / "lazy_networks.py").write_text("def here(): pass\ndef __getattr__(name): raise OSError('no library')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    declare(monkeypatch, "lazy_networks:here")
    with pytest.raises(UsageError, match="vendor-kit 1 cannot be imported: OSError: no library"):
        VdrmeSettings(energy={"network": "lazy_networks:Linear"})


class Wide(Linear):
    """Gives a column too many."""

    def forward(self, x, level, labels=None, beside=None):
        """See the class."""
        return super().forward(x, level, labels, beside).repeat(1, 2)


class Unbuilt(Linear):
    """Cannot be made."""

    def __init__(self, settings, task):
        raise KeyError("size")


def test_what_a_network_does_wrong_names_it(package):
    made = VdrmePrior(VdrmeSettings(energy={"network": "vendor_networks:Wide"}), space(4))
    with pytest.raises(UsageError, match=r"vendor_networks:Wide must return the shape \(3, 1\), got \(3, 2\)"):
        made.log_ratio(torch.zeros(3, 4))
    made = VdrmePrior(VdrmeSettings(generator={"network": "vendor_networks:Wide"}), space(4))
    with pytest.raises(UsageError, match=r"must return the shape \(3, 4\), got \(3, 8\)"):
        made.step(torch.zeros(3, 4), torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(UsageError, match=r"vendor_networks:Unbuilt cannot be built: KeyError: 'size'"):
        VdrmePrior(VdrmeSettings(energy={"network": "vendor_networks:Unbuilt"}), space(4))


@pytest.mark.parametrize("part", ["energy", "generator"])
@pytest.mark.parametrize("option", [{"width": 64}, {"depth": 3}, {"features": "plain"}, {"dropout": 0.2}])
def test_options_of_the_mlp_are_refused_beside_another_network(package, part, option):
    (name,) = option
    with pytest.raises(ValidationError, match=f"{name}: options of the mlp, not of vendor_networks:Linear"):
        VdrmeSettings(**{part: {"network": "vendor_networks:Linear", **option}})
    assert getattr(getattr(VdrmeSettings(**{part: option}), part), name) == option[name]


def test_a_run_with_such_a_network_is_read_back_and_notes_its_package(package, tmp_path):
    net = '{"network": "vendor_networks:Linear"}'
    config = resolve(None, [f"prior.energy={net}", f"prior.generator={net}"], backbone="twolayer", prior="vdrme")
    config.write(tmp_path / "config.yaml")
    again = RunConfig.read(tmp_path / "config.yaml")
    assert again == config
    # The last one is what the class says it needs.
    assert again.versions().items() >= {"vendor": "1", "numpy": version("numpy")}.items()
