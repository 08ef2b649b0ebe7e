"""Without a terminal progress is told in lines, rarely."""

import io

from rich.console import Console

from priorkit.report.progress import PlainProgress, showing


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
