"""Networks of other packages in the VDRME prior: found by import string, given what they are asked for."""

import sys

import pytest
import torch
from linear import space
from priorkit_vdrme import VdrmePrior, VdrmeSettings
from pydantic import ValidationError
from torch import nn

from priorkit.core import Settings
from priorkit.energies.scale_network import ScaleNetwork
from priorkit.errors import UsageError
from priorkit.plugins import installed
from priorkit.plugins.entry import Entry


class Options(Settings):
    """The options of the network below."""

    gain: float = 2.0
    """What it multiplies by."""


class Linear(ScaleNetwork):
    """gain times a linear map of all that it reads; the scale and the label add to it."""

    Config = Options

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
    monkeypatch.setitem(sys.modules, "stranger_networks", sys.modules[__name__])
    entry = Entry("metric", "stranger", "stranger", "1", "stranger_networks:Linear")
    monkeypatch.setattr(installed(), "entries", [*installed().entries, entry])


def test_each_network_is_asked_for_its_task(package):
    net = {"network": "stranger_networks:Linear"}
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
    net = {"network": "stranger_networks:Linear"}
    made = VdrmePrior(VdrmeSettings(scales=3, generator=net, start="silent", predicts="noise"), space(4))
    nn.init.eye_(made.generator.net.map.weight[:, 4:])
    above, noise = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    level = torch.zeros(5, dtype=torch.int64)
    assert torch.allclose(made.step(above, noise, level), made.schedule.below(above, 2 * noise, level))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("os:system", "package with a plugin"),
        ("unet", "module:Class"),
        ("priorkit_vdrme:Nothing", "cannot be imported"),
        ("priorkit_vdrme:VdrmePrior", "no subclass"),
    ],
)
def test_other_names_are_refused(name, reason):
    with pytest.raises(UsageError, match=reason):
        VdrmeSettings(energy={"network": name})


def test_options_are_checked(package):
    with pytest.raises(UsageError, match=r"options.gain: .*number.* \(of stranger_networks:Linear\)"):
        VdrmeSettings(energy={"network": "stranger_networks:Linear", "options": {"gain": "much"}})
    with pytest.raises(ValidationError, match="name a network"):
        VdrmeSettings(energy={"options": {"gain": 1}})
