"""What the comparison of u and z counts as training, and how it reads its arguments."""

import pytest
import spaces
from spaces import Result, clock, named, over_seeds


def test_the_clock_counts_steps_and_neither_what_precedes_nor_what_ends_a_phase(tmp_path, monkeypatch):
    seconds = iter([100.0, 101.0, 131.0, 140.0])
    monkeypatch.setattr(spaces.time, "process_time", lambda: next(seconds))
    heard = clock(tmp_path / "clock.txt")
    for phase, step in (("prior.1", 10), ("prior.1", 20), ("prior.1", 20), ("prior.2", 15)):
        heard(phase, step, {})
    # The first line's steps follow encoding; a later stage's first steps follow that stage's pool, which is training.
    assert (tmp_path / "clock.txt").read_text().splitlines() == ["10 1.0", "15 39.0"]
    monkeypatch.setattr(spaces.time, "process_time", lambda: 7.0)
    clock(tmp_path / "clock.txt")("prior.2", 20, {})  # of a resumed run: another process's clock
    assert len((tmp_path / "clock.txt").read_text().splitlines()) == 2


def test_spreads():
    runs = [Result({"fd": (value, 0.5)}, 0.1, 0.2) for value in (1.0, 3.0)]
    assert over_seeds(runs[:1], "fd") == (1.0, 0.5)
    assert over_seeds(runs, "fd") == pytest.approx((2.0, 2**0.5))


def test_names_of_data_sets():
    assert named(["cifar=zip:a=b.zip"], "--archives") == {"cifar": "zip:a=b.zip"}
    for wrong in (["zip:a.zip"], ["imagenet=zip:a.zip"], ["cifar=a", "cifar=b"]):
        with pytest.raises(SystemExit):
            named(wrong, "--archives")
