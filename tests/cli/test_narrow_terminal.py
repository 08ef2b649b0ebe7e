"""Commands at 80 and at 40 columns: no word is broken, no cell ends in an ellipsis."""

import os
import re
import struct
import subprocess
import sys

import pytest
from tiny_run import TINY

fcntl = pytest.importorskip("fcntl", reason="the system has no terminals of this kind")
import pty  # noqa: E402
import termios  # noqa: E402


def on_terminal(columns, *arguments):
    """What a command prints on a terminal of that width, as lines."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-m", "priorkit", *map(str, arguments)]
    with subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env={**environment, "TERM": "xterm"}):
        os.close(other)
        told = b""
        while True:
            try:
                part = os.read(main, 65_536)
            except OSError:  # the command has ended
                break
            if not part:
                break
            told += part
    os.close(main)
    # What a carriage return overwrites, such as a bar, is not what is left to read.
    return [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in plain(told.decode()).split("\n")]


def plain(text):
    """The text without colours and movements of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def whole(lines, columns):
    """Whether all lines but single long words fit, and nothing is cut off."""
    wide = [line for line in lines if len(line) > columns and " " in line.strip() and not line.startswith("Usage:")]
    return not wide and not any("…" in line for line in lines)


@pytest.mark.parametrize("columns", [80, 40])
def test_plugins_and_errors(columns, tmp_path):
    (tmp_path / "file").write_text("")
    errors = [["train", "--out", tmp_path], ["train", "--priro", "x"]] if columns == 40 else []  # a narrower one is enough
    for arguments in (["plugins", "list"], *errors, ["trian"]):
        lines = on_terminal(columns, *arguments)
        assert whole(lines, columns), lines
    assert "mean 'train'?" in " ".join(lines)


def test_a_training_ends_with_headline_table_and_paths(tmp_path, columns=40):
    lines = on_terminal(columns, "train", *TINY, "--figures", "quick", "--out", tmp_path / "run")
    assert whole(lines, columns), lines
    told = " ".join(" ".join(lines).split())
    beginnings = ("The prior", "There is", "It cannot", "The learned")
    first = next(i for i, line in enumerate(lines) if line.startswith(beginnings))
    result = " ".join(" ".join(lines[first:]).split())
    assert "to held-out images" in result and "fd to held-out" in result and "overview.png" in result
    assert "squared Fréchet distance" not in told  # protocols are for --protocols


@pytest.mark.parametrize("columns", ["80", "40"])
def test_evaluate_ood_and_compare(call, finished, tmp_path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")  # so that rich takes the output for a terminal's
    few = ["--metrics", "reconstruction,elbo,fd,hole", "--samples", 50]
    for arguments, known in (
        (["evaluate", finished, *few], "fd to held-out"),
        (["evaluate", finished, *few, "--protocols"], "fd_digits_heldout"),
        (["ood", finished, "--ood", "ood:blurred", "--images", 20], "AUROC"),
        (["compare", finished, "--out", tmp_path / "compared"], "fd to held-out"),
    ):
        done = call(*arguments)
        assert done.exit_code == 0, done.output
        lines = [line.rstrip() for line in plain(done.stdout).splitlines() if not line.startswith("wrote ")]
        assert known in " ".join(" ".join(lines).split())
        assert whole(lines, int(columns)), lines
