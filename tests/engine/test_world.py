"""A launcher's environment that makes no sense costs one line at once, and a process that is lost costs no traceback."""

import json
import re
import socket
import sys

import pytest
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.engine import ProcessContext, launch
from priorkit.engine import world as worlds
from priorkit.engine.launch import run_ranks
from priorkit.engine.world import World
from priorkit.errors import FellowError, UsageError
from priorkit.workflows.session import use_threads

PLACE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
TWO = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", **PLACE}
SENSELESS = {
    "no size": ({"RANK": "0"}, "RANK is set without WORLD_SIZE"),
    "no rank": ({"WORLD_SIZE": "2", **PLACE}, "WORLD_SIZE is set without RANK"),
    "local alone": ({"LOCAL_WORLD_SIZE": "2"}, "LOCAL_WORLD_SIZE is set without RANK and WORLD_SIZE"),
    "no port": ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}, "MASTER_PORT is not set"),
    "no address": ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT is not set"),
    "word": ({**TWO, "RANK": "one"}, "RANK is 'one'"),
    "empty": ({**TWO, "WORLD_SIZE": ""}, "WORLD_SIZE is ''"),
    "negative": ({**TWO, "RANK": "-1"}, "RANK is '-1'"),
    "fifth of two": ({**TWO, "RANK": "5"}, "RANK=5, WORLD_SIZE=2"),
    "none": ({**TWO, "RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
    "none here": ({**TWO, "LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE=0"),
    "more here than there are": ({**TWO, "LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE=3"),
    "local rank": ({**TWO, "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "2"}, "LOCAL_RANK=2"),
    "port": ({**TWO, "MASTER_PORT": "99999"}, "MASTER_PORT is 99999"),
    "port in words": ({**TWO, "MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
    "address": ({**TWO, "MASTER_ADDR": "no such machine"}, "MASTER_ADDR is 'no such machine'"),
}


OOD = ["ood", "run", "--ood", "digits"]


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in TWO:
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch, environ):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("case", SENSELESS)
@pytest.mark.parametrize("command", [["train"], ["sample", "run", "--out", "x.png"], ["evaluate", "run"], OOD])
def test_a_senseless_environment_costs_one_line_and_no_time(monkeypatch, tmp_path, case, command):
    monkeypatch.chdir(tmp_path)
    environ, told = SENSELESS[case]
    set_all(monkeypatch, environ)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2, done.exception
    (line,) = done.stderr.splitlines()
    assert told in line and not list(tmp_path.iterdir())


@pytest.mark.parametrize("case", SENSELESS)
def test_no_part_reads_it_otherwise(monkeypatch, case):
    environ, told = SENSELESS[case]
    set_all(monkeypatch, environ)
    readers = (
        World.read,
        launch.leading,
        lambda: ProcessContext.find("cpu"),
        lambda: use_threads(None),
        lambda: launch.launch(2),
    )
    for reader in readers:
        with pytest.raises(UsageError, match=re.escape(told)):
            reader()


@pytest.mark.parametrize(
    ("threads", "environ", "found"),
    [
        (None, {"OMP_NUM_THREADS": "3"}, 3),
        (5, {"OMP_NUM_THREADS": "3"}, 5),
        (None, {"OMP_NUM_THREADS": "many"}, 8),
        (None, {}, 8),
        (None, {**TWO, "OMP_NUM_THREADS": "1"}, 4),  # torchrun's own value
    ],
)
def test_threads_follow_what_was_asked_for(monkeypatch, threads, environ, found):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    set_all(monkeypatch, environ)
    taken = []
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(8), raising=False)
    monkeypatch.setattr("torch.set_num_threads", taken.append)
    use_threads(threads)
    assert taken == [found]


def test_what_torchrun_sets_is_read():
    assert World.read({}) == World(0, 1, 0, 1)
    assert World.read(TWO) == World(1, 2, 1, 2)
    assert World.read({**TWO, "RANK": "3", "WORLD_SIZE": "4"}) == World(3, 4, 1, 2)
    assert World.read({"RANK": "0", "WORLD_SIZE": "1"}) == World(0, 1, 0, 1)
    assert World.read({"RANK": "1", "WORLD_SIZE": "2", **PLACE}) == World(1, 2, 0, 1)


def test_a_process_that_works_alone_sees_its_own_gpu():
    alone = World(1, 2, 1, 2).apart({**TWO, "PATH": "/bin"})
    assert alone == {**PLACE, "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1"}
    assert World.read(alone) == World()
    for visible, own in (("4,7", "7"), ("4", "4"), ("", "")):
        assert World(1, 2, 1, 2).apart({"CUDA_VISIBLE_DEVICES": visible}) == {"CUDA_VISIBLE_DEVICES": own}
    assert World(1, 2, 0, 1).apart({**TWO, "CUDA_VISIBLE_DEVICES": "4,7"}) == {**PLACE, "CUDA_VISIBLE_DEVICES": "4,7"}


def test_a_port_in_use_is_told_at_once(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        set_all(monkeypatch, {**TWO, "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": str(taken.getsockname()[1])})
        told = "process 0 of 2 does not find the others .*in use"
        with pytest.raises(UsageError, match=told) as error, World.read().joined("gloo"):
            pass
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_that_never_come_are_not_waited_for_without_end(monkeypatch, rank):
    monkeypatch.setattr(worlds, "JOIN", worlds.timedelta(seconds=1))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    set_all(monkeypatch, {**TWO, "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)})
    with pytest.raises(UsageError, match=f"process {rank} of 2 does not find the others"), World.read().joined("gloo"):
        pass


LOST = """
import json, sys, torch
from priorkit.engine import ProcessContext
from priorkit.errors import FellowError, PriorkitError
process = ProcessContext.find("cpu")
try:
    with process.joined():
        process.barrier()
        if process.rank == 1:
            raise SystemExit("the reason")
        while True:
            process.all_reduce_mean([torch.ones(3)])
except PriorkitError as error:
    print(json.dumps([type(error).__name__, str(error)]), file=open(sys.argv[1], "w"))
    raise SystemExit(error.exit_code)
"""


def test_a_process_that_lost_another_says_so_and_the_others_reason_is_shown(tmp_path, capsys):
    code = run_ranks([sys.executable, "-c", LOST, str(tmp_path / "told")], 2)
    assert code == 1
    assert json.loads((tmp_path / "told").read_text())[0] == "FellowError"
    assert "the reason" in capsys.readouterr().err


@pytest.mark.parametrize("cause", [1, 2, 3])
def test_a_process_that_lost_another_is_no_cause(capsys, cause):
    told = "import os, sys; rank = os.environ['RANK']; print('mine' + rank, file=sys.stderr)"
    code = f"{told}; sys.exit(({FellowError.exit_code}, {cause})[int(rank)])"
    assert run_ranks([sys.executable, "-c", code], 2) == cause
    assert "mine1" in capsys.readouterr().err
