"""Several metrics in one measurement: their order, and figures of one name."""

from types import SimpleNamespace

import pytest

from priorkit.core import Metric
from priorkit.workflows.measuring import metric_entries
from priorkit.workflows.measuring.metric_entries import measured_figures
from priorkit.workflows.measuring.shared_work import SharedWork, sharing

measured_in_order = []


def giving(order, name, value):
    """A metric of ours whose one figure has that name."""

    @sharing(order=order)
    def measured(work):
        measured_in_order.append((order, work))
        yield name, Metric(value, None, "made up")

    return measured


def theirs(model, data, *, samples, seed):
    return {"shared": Metric(3.0, None, "made up")}


@pytest.fixture
def work(monkeypatch):
    """The work of a measurement where the registry knows a late and an early metric of ours, and one of a third party's."""
    measured_in_order.clear()
    known = {"late": giving(2, "shared", 2.0), "early": giving(1, "shared", 1.0), "vendor": theirs}

    def resolve(kind, name):
        return SimpleNamespace(name=name, key=f"{kind}.{name}", origin="its package", own=name != "vendor")

    registry = SimpleNamespace(resolve=resolve, load_entry=lambda entry: known[entry.name])
    monkeypatch.setattr(metric_entries, "installed", lambda: registry)
    return SharedWork(None, None, samples=2, seed=0)


def test_of_two_figures_of_one_name_the_first_one_in_order_stands(work):
    assert measured_figures(["late", "early"], work)["shared"].value == 1.0
    assert measured_in_order == [(1, work), (2, work)]


def test_a_metric_named_twice_is_measured_once(work):
    measured_figures(["late", "late"], work)
    assert len(measured_in_order) == 1


def test_a_third_party_replaces_no_figure(work, caplog):
    assert measured_figures(["vendor", "late"], work)["shared"].value == 2.0
    (line,) = caplog.messages
    assert line.startswith("metric vendor is left out") and "names others have: shared" in line
