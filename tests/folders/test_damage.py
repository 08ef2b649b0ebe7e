"""Any damage to any file of a run: no traceback, and nothing silent that changes a figure or a sample."""

import os
import random
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

import priorkit
from priorkit.config import RunConfig, resolve
from priorkit.errors import PriorkitError
from priorkit.runs.folder import RunFolder
from priorkit.workflows.training import train as workflow

DAMAGES = 200
LONGEST = 120
"""Seconds that a command may take before it is said to hang."""
SHORT = ("trainer.prior_steps=2", "prior.stages=1", "prior.energy.width=4", "prior.pool_size=20", "sampler.steps=1")

ALL = ("sample", "evaluate", "ood", "report", "compare", "from", "python")
OPENED = ("sample", "evaluate", "ood", "compare", "python")
READERS = {
    "config.yaml": ALL,
    "data.json": ALL,
    "MANIFEST.json": ALL,
    "weights/backbone.safetensors": (*OPENED, "from"),
    "weights/prior.safetensors": OPENED,
    "weights/MANIFEST.json": ALL,
    "summary.json": ("report", "compare", "python"),
    "metrics.jsonl": ("report", "compare"),
    "ood.json": ("report",),
    "samples/overview.png": ("report",),
    "samples/losses.png": (),
}
"""Files of a finished run and the commands that read them."""


def sample(run, work):
    out = work / "samples.npy"
    return ["sample", run, "--n", 4, "--out", out], out


def evaluate(run, work):
    return ["evaluate", run, "--metrics", "reconstruction", "--samples", 10, "--json"], None


def ood(run, work):
    return ["ood", run, "--ood", "ood:constant", "--images", 10, "--layers", "0", "--json"], None


def report(run, work):
    return ["report", run, "--out", work / "page.html"], work / "page.html"


def compare(run, work):
    return ["compare", run, run.parent / "twin", "--out", work / "compared"], work / "compared" / "compare.json"


COMMANDS = {"sample": sample, "evaluate": evaluate, "ood": ood, "report": report, "compare": compare}


def outcome(name, run, work, call, caplog):
    """(refusal, warnings, result) of a command on a run."""
    caplog.clear()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    if name in COMMANDS:
        arguments, out = COMMANDS[name](run, work)
        done = call(*arguments)
        if done.exit_code:
            assert done.exit_code in (2, 3) and isinstance(done.exception, SystemExit), (done.output, done.exception)
            return done.stderr, caplog.text, None
        return "", caplog.text + done.stderr, done.stdout if out is None else out.read_bytes()
    try:
        result = IN_PROCESS[name](run, work)
        return "", caplog.text, result
    except PriorkitError as error:
        return f"priorkit: {error}", caplog.text, None


def load(run, work):
    model = priorkit.load(run)
    return str(model.sample(2).tolist()), model.figures


def begin(run, work):
    config = resolve(None, workflow.from_run(run, list(SHORT)))
    workflow.fit(config, work / "new", source=run)
    return written(work / "new")


def resume(run, work):
    folder = RunFolder.existing(shutil.copytree(run, work / "copy", symlinks=True, copy_function=copied))
    workflow.fit(RunConfig.read(folder.config), folder.path, resume=True)
    return written(folder.path)


def copied(source, target):
    """A FIFO is made again: to copy one would wait for its writer."""
    if Path(source).is_fifo():
        os.mkfifo(target)
    else:
        shutil.copy2(source, target)


def written(folder):
    return {path.name: path.read_bytes() for path in [*folder.glob("weights/*.safetensors"), folder / "metrics.jsonl"]}


IN_PROCESS = {"python": load, "from": begin, "resume": resume}


@contextmanager
def damaged(path, kind, chance, foreign):
    """The file damaged in that way while the block runs."""
    content = path.read_bytes()
    path.unlink()
    try:
        DAMAGE[kind](path, content, chance, foreign)
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(content)


def flipped(path, content, chance, foreign):
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 3])):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    path.write_bytes(changed)


def mistaken(path, content, chance, foreign):
    """A digit becomes another one: the damage that a parser does not see."""
    digits = [i for i, byte in enumerate(content) if chr(byte).isdigit()]
    changed = bytearray(content)
    place = chance.choice(digits)
    changed[place] = ord(chance.choice([digit for digit in "123456789" if ord(digit) != changed[place]]))
    path.write_bytes(changed)


def unreadable(path, content, chance, foreign):
    if os.geteuid() == 0:  # who reads whatever the permissions say, but no link to itself
        path.symlink_to(path.name)
    else:
        path.write_bytes(content)
        path.chmod(0)


RUBBISH = (b"{}", b"[3]\n", b"\0" * 99)
DAMAGE = {
    "flipped": flipped,
    "mistaken": mistaken,
    "truncated": lambda path, content, chance, foreign: path.write_bytes(content[: chance.randrange(len(content))]),
    "deleted": lambda path, content, chance, foreign: None,
    "a folder": lambda path, content, chance, foreign: path.mkdir(),
    "a FIFO": lambda path, content, chance, foreign: os.mkfifo(path),
    "unreadable": unreadable,
    "foreign": lambda path, content, chance, foreign: path.write_bytes(chance.choice([foreign, *RUBBISH])),
}


def plan(runs, chance):
    """Damages: the run, the file, the kind, and a command that reads it."""
    finished = [(runs.finished, name, readers) for name, readers in READERS.items() if readers]
    stopped = [
        (runs.stopped, path.relative_to(runs.stopped).as_posix(), ("resume",))
        for path in sorted(runs.stopped.rglob("*")) if path.is_file()
    ]  # fmt: skip
    places = finished * 2 + stopped
    for number in range(DAMAGES):
        run, name, readers = places[number % len(places)]
        # What `ood --json` printed is the user's own file: it may be missing, or be other JSON.
        kinds = [kind for kind in DAMAGE if name != "ood.json" or kind not in ("deleted", "foreign")]
        yield run, name, chance.choice(kinds), chance.choice(readers)


def hangs(number, frame):
    raise AssertionError("the command hangs")


def test_every_file_of_a_run_is_among_those_that_are_damaged(runs):
    names = {path.relative_to(runs.finished).as_posix() for path in runs.finished.rglob("*") if path.is_file()}
    others = {name for name in names if name.startswith(("resume/", "initial/", "samples/"))}
    assert names - others == {name for name in READERS if not name.startswith("samples/")}


def test_damage_is_refused_told_of_or_without_effect(runs, call, caplog, tmp_path):
    chance = random.Random(0)
    before = {
        (run, name): outcome(name, run, tmp_path / "work", call, caplog)
        for run, names in ((runs.finished, ALL), (runs.stopped, ("resume",)))
        for name in names
    }
    assert all(not refusal and not warned for refusal, warned, _ in before.values()), before
    previous = signal.signal(signal.SIGALRM, hangs)
    wrong, refused = [], 0
    try:
        for number, (run, name, kind, command) in enumerate(plan(runs, chance)):
            told = f"{number}: {run.name}/{name}, {kind}, {command}"
            other = runs.twin / name
            content = (other if other.is_file() else runs.finished / "config.yaml").read_bytes()
            with damaged(run / name, kind, chance, content):
                signal.alarm(LONGEST)
                try:
                    refusal, warned, result = outcome(command, run, tmp_path / "work", call, caplog)
                except Exception as error:  # of whatever kind: it would have been a traceback
                    wrong.append(f"{told}: {type(error).__name__}: {str(error)[:300]}")
                    continue
                finally:
                    signal.alarm(0)
            refused += bool(refusal)
            if refusal and not (refusal.startswith("priorkit: ") and len(refusal.strip().splitlines()) == 1):
                wrong.append(f"{told}: {refusal}")
            if not refusal and not warned and result != before[run, command][2]:
                wrong.append(f"{told}: silently another result")
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert not wrong, "\n".join(wrong)
    assert refused > DAMAGES // 2, "hardly anything was damaged"


@pytest.mark.parametrize("name", ["weights", "samples", "resume", "initial"])
def test_a_folder_that_is_a_file(runs, call, caplog, tmp_path, name):
    run = shutil.copytree(runs.finished, tmp_path / "finished")
    shutil.copytree(runs.twin, tmp_path / "twin")
    shutil.rmtree(run / name)
    (run / name).write_bytes(b"no folder")
    for command in ("sample", "report", "compare"):
        refusal, warned, result = outcome(command, run, tmp_path / "work", call, caplog)
        assert bool(refusal) == (name == "weights" and command != "report") or warned or result


@pytest.mark.parametrize("name", ["config.yaml", "initial/backbone.safetensors", "data.json"])
def test_what_is_damaged_while_the_run_trains_is_not_sealed(runs, tmp_path, name):
    """The checksums are those of what was written, and not of what lies there when the run ends."""
    folder = RunFolder(shutil.copytree(runs.stopped, tmp_path / "run"))
    config = RunConfig.read(folder.config)

    def damage(phase, step, figures):
        if step != 6:
            return
        content = bytearray((folder.path / name).read_bytes())
        content[-1] = 0
        (folder.path / name).write_bytes(content)

    workflow.fit(config, folder.path, resume=True, on_log=damage)
    with pytest.raises(PriorkitError, match="checksum"):
        workflow.fit(config, folder.path, resume=True)
