"""Carrying out: what is there is read, what fails is told, a signal stops everything with its state saved."""

import signal

import pytest

from priorkit.config import resolve
from priorkit.engine.signals import StopRequest
from priorkit.errors import DivergedError, InterruptedRunError
from priorkit.workflows.comparison import execute as execution
from priorkit.workflows.comparison.plan import Job


def job(folder, *options, samples=50):
    return Job(folder, resolve(None, ["backbone=twolayer", "prior=gaussian", *options]), samples=samples)


def done(folder):
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text("{}")
    return job(folder)


def test_finished_runs_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "carry_out", lambda *given: pytest.fail("it is finished"))
    assert execution.execute([done(tmp_path / "a")], workers=0) == {}
    assert execution.execute([done(tmp_path / "b")], workers=2) == {}


def test_a_failure_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    begun = []

    def carry_out(asked, progress):
        begun.append(asked.folder.name)
        if asked.folder.name == "a":
            raise DivergedError("it exploded")

    monkeypatch.setattr(execution, "carry_out", carry_out)
    failed = execution.execute([job(tmp_path / "a"), job(tmp_path / "b")], workers=0)
    assert failed == {tmp_path / "a": "it exploded"}
    assert begun == ["a", "b"]


def test_an_interruption_is_no_failure(tmp_path, monkeypatch):
    def carry_out(asked, progress):
        raise InterruptedRunError("saved", signal.SIGTERM)

    monkeypatch.setattr(execution, "carry_out", carry_out)
    with pytest.raises(InterruptedRunError):
        execution.execute([job(tmp_path / "a"), job(tmp_path / "b")], workers=0)


def test_another_process_tells_what_is_wrong(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "stray.txt").write_text("in the way")
    failed = execution.execute([job(tmp_path / "a")], workers=1)
    assert "the folder is not empty" in failed[tmp_path / "a"]


def test_after_a_signal_nothing_is_begun(tmp_path):
    stop = StopRequest()
    stop(signal.SIGINT, None)
    with pytest.raises(InterruptedRunError) as stopped:
        list(execution._outcomes([job(tmp_path / "a")], 1, stop))
    assert stopped.value.exit_code == 130
    assert not (tmp_path / "a").exists()


def test_threads_are_shared_unless_they_are_set(tmp_path):
    assert execution.with_threads(job(tmp_path), 3).config.engine.threads == 3
    assert execution.with_threads(job(tmp_path, "engine.threads=1"), 3).config.engine.threads == 1
