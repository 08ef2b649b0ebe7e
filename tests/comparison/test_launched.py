"""The processes of torchrun divide a comparison's jobs: each is one process's, and all hear of all failures."""

import pytest

from priorkit.config import resolve
from priorkit.engine.world import World
from priorkit.workflows.comparing.launched import Launched
from priorkit.workflows.comparing.plan import Job


@pytest.fixture
def jobs(tmp_path):
    config = resolve(None, ["backbone=twolayer", "prior=gaussian"])
    return [Job(tmp_path / f"{number}", config) for number in range(7)]


@pytest.fixture
def ranks(monkeypatch):
    """Three processes; `gathered` holds what they gather from each other, by type."""
    gathered = {}
    monkeypatch.setattr(Launched, "_gathered", lambda self, value: gathered[type(value)])
    return gathered, [Launched(World(rank, 3)) for rank in range(3)]


def test_every_job_is_one_processs_and_no_process_always_has_the_same_place(ranks, jobs):
    gathered, three = ranks
    gathered[list] = [[job.folder for job in jobs]] * 3
    parts = [[int(job.folder.name) for job in one.divide(jobs)] for one in three]
    assert parts == [[0, 5], [1, 3], [2, 4, 6]]


def test_the_main_process_says_what_is_unfinished(ranks, jobs):
    gathered, three = ranks
    gathered[list] = [[job.folder for job in jobs[2:4]], [job.folder for job in jobs], []]
    assert [one.divide(jobs) for one in three] == [jobs[2:3], jobs[3:4], []]


def test_all_hear_of_all_failures(ranks, jobs):
    gathered, three = ranks
    gathered[dict] = [{jobs[0].folder: "one"}, {}, {jobs[2].folder: "two"}]
    assert three[1].merge({}) == {jobs[0].folder: "one", jobs[2].folder: "two"}


def test_alone_all_jobs_are_its_own(jobs):
    with Launched.joined() as alone:
        assert alone.divide(jobs) == jobs and alone.is_main
        assert alone.merge({jobs[0].folder: "why"}) == {jobs[0].folder: "why"}
