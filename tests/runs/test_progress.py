"""Progress: occasional lines on a pipe; on a terminal a bar with position, rate, remaining time and losses."""

import io

import pytest
import torch
from rich.console import Console
from rich.progress import Progress as Bar

from priorkit.mcmc import ChainRecorder
from priorkit.report.progress import PlainProgress, TerminalProgress, _Line, showing


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def work(steps, count, clock, seconds):
    """Do the step that was given out and take the next one, `count` times; each takes that long."""
    for _ in range(count):
        clock.now += seconds
        next(steps)


def shown(progress):
    """What a terminal shows at this moment, as lines."""
    console = Console(file=io.StringIO(), width=progress.bar.console.width, record=True)
    console.print(progress.bar.get_renderable())
    return [line.rstrip() for line in console.export_text().splitlines()]


def bars(width, clock):
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    return TerminalProgress(Bar(_Line(console), console=console), clock)


def test_lines_on_a_pipe():
    stream = io.StringIO()
    progress = PlainProgress(Console(file=stream), every=0.0)
    assert list(progress(range(4), 4, "prior.1")) == [0, 1, 2, 3]
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("prior.1  2/4  ")
    assert lines[1].endswith(" left")


def test_a_short_run_says_nothing_and_quiet_never_does():
    for quiet in (False, True):
        stream = io.StringIO()
        with showing(Console(file=stream), quiet=quiet) as progress:
            assert list(progress(range(4), 4, "prior.1")) == [0, 1, 2, 3]
        assert stream.getvalue() == ""


@pytest.mark.parametrize("seconds", [10.0, 45.0])
def test_slow_steps_of_a_resumed_phase_have_a_rate_and_a_time_left(seconds):
    """Of 400 steps 350 were done before; after 3 of 50 more, 47 are left."""
    clock = Clock()
    progress = bars(100, clock)
    steps = progress(range(350, 400), 50, "prior.1", start=350)
    next(steps)
    assert "350/400" in shown(progress)[0] and "left" not in shown(progress)[0]
    work(steps, 3, clock, seconds)
    (line,) = shown(progress)
    left = int(47 * seconds)
    assert "353/400" in line and f"{seconds:.1f} s each" in line and f"0:{left // 60:02}:{left % 60:02} left" in line
    clock.now += 7.0  # within a step the time left goes down, and something moves
    (later,) = shown(progress)
    assert f"0:{(left - 7) // 60:02}:{(left - 7) % 60:02} left" in later
    clock.now += 0.25
    assert shown(progress)[0][0] != later[0]


def chains(clock, count, seconds):
    """Chains of so many steps, each of which takes that long."""
    record = ChainRecorder(torch.zeros(2, 3))
    for _ in range(count):
        clock.now += seconds
        record.note(torch.zeros(2, 3), energy=torch.zeros(2))


def test_slow_samples_count_the_steps_of_their_chains():
    """Eight times chains of 400 steps of 0.1 s: after the first the number of steps is known."""
    clock = Clock()
    progress = bars(120, clock)
    tasks = progress(range(8), 8, "sampling the prior")
    next(tasks)
    chains(clock, 20, 0.1)
    assert "0/8  2 s" in shown(progress)[0]  # not slow yet
    chains(clock, 100, 0.1)
    assert "0/8, chain step 120  12 s" in shown(progress)[0]
    chains(clock, 280, 0.1)
    next(tasks)
    assert "1/8  40.0 s each  0:04:40 left" in shown(progress)[0]
    empty = shown(progress)[0].count("━")
    chains(clock, 200, 0.1)
    assert "1/8, chain step 200/400  40.0 s each  0:04:20 left" in shown(progress)[0]
    assert shown(progress)[0].count("━") > empty
    chains(clock, 300, 0.1)
    assert "1/8, chain step 500/500" in shown(progress)[0]
    inner = progress(range(2), 2, "pictures")
    next(inner)
    chains(clock, 50, 0.1)
    told = shown(progress)
    assert "1/8, chain step 500/500" in told[0] and "0/2, chain step 50" in told[1]
    inner.close()
    chains(clock, 1, 0.1)
    assert "chain step 501/501" in shown(progress)[0]
    tasks.close()
    chains(clock, 1, 0.1)  # nobody listens any more


def test_quick_samples_count_no_steps():
    clock = Clock()
    progress = bars(120, clock)
    for _ in progress(range(8), 8, "sampling the prior"):
        chains(clock, 40, 0.01)
        assert "chain step" not in shown(progress)[0]


def test_lines_on_a_pipe_tell_of_slow_samples_too():
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(Console(file=stream, width=80), clock=clock)
    for _ in progress(range(2), 2, "negatives after 1 stages"):
        chains(clock, 100, 1.0)
    told = stream.getvalue().splitlines()
    assert told[0] == "negatives after 1 stages  0/2, chain step 30  30 s"
    assert told[3] == "negatives after 1 stages  1/2, chain step 20/100  100.0 s each  0:01:20 left"


def test_lines_of_a_resumed_phase_count_the_whole_phase():
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(Console(file=stream, width=80), clock=clock)
    progress.note("prior.1", {"loss": 0.75})
    for _ in progress(range(350, 400), 50, "prior.1", start=350):
        clock.now += 20.0
    lines = stream.getvalue().splitlines()
    assert len(lines) == 25  # one each 30 s or more, so after every second step
    assert lines[0] == "prior.1  352/400  20.0 s each  0:16:00 left  loss 0.75"


@pytest.mark.parametrize("width", [120, 80, 40])
def test_a_bar_shows_all_at_every_width(width):
    clock = Clock()
    progress = bars(width, clock)
    steps = progress(range(1000), 1000, "prior.1")
    next(steps)
    work(steps, 12, clock, 10.0)
    progress.note("another phase", {"loss": 9.0})
    progress.note("prior.1", {"loss": 0.75, "held-out loss": 0.8})
    progress.note("prior.1", {"loss": 0.7})
    lines = shown(progress)
    told = " ".join(" ".join(lines).split())
    for part in ("prior.1", "12/1000", "10.0 s each", "2:44:40 left", "loss 0.7 held-out loss 0.8"):
        assert part in told, lines
    assert "…" not in told and max(map(len, lines)) <= width
    assert ("━" in told or "╌" in told) == (width == 120)


def test_bars_are_ascii_where_the_terminal_is():
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    console = Console(file=out, width=80, force_terminal=True)
    with showing(console) as progress:
        for _ in progress(range(3), 3, "prior.1"):
            progress.bar.refresh()
    out.flush()
    assert b"prior.1" in out.buffer.getvalue()
