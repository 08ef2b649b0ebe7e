"""The breakdown of a run counts the time of a part within another for the inner one only."""

import breakdown
import pytest


class Clock:
    now = 0.0

    def process_time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(breakdown, "time", clock := Clock())
    return clock


def test_parts_inside_parts(clock):
    found = breakdown.Breakdown()

    class Worker:
        def inner(self):
            clock.now += 2

        @classmethod
        def outer(cls, number):
            clock.now += 3
            cls().inner()
            clock.now += number

    found.time(Worker, "inner", lambda *_: "inner")
    found.time(Worker, "outer", lambda kind, number: f"outer {number}")
    clock.now = 1
    Worker.outer(4)
    assert dict(found.seconds) == {"imports and all else": 1, "outer 4": 7, "inner": 2}


def test_the_parts_exist():
    for _, place, names in breakdown.PARTS:
        module, _, kind = place.partition(":")
        owner = breakdown.import_module(module)
        assert all(name in vars(getattr(owner, kind) if kind else owner) for name in names.split())
