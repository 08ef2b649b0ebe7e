"""Messages on a terminal of 80 and of 40 columns."""

import pytest

from priorkit.cli.wrapping import wrapped

RESUME = "priorkit train --resume runs/fashion-nvae-multistage"
MESSAGE = (
    f"runs/fashion-nvae-multistage: the folder is not empty, and a run is never overwritten. Resume it with `{RESUME}`, or "
    "choose another folder with --out."
)
STOPPED = f"priorkit: Stopped; a checkpoint is saved. Continue with: {RESUME}"


@pytest.mark.parametrize("message", [MESSAGE, STOPPED])
@pytest.mark.parametrize("width", [120, 80, 40])
def test_no_word_is_broken_and_a_command_can_be_copied(message, width):
    lines = wrapped(message, width).splitlines()
    assert max(map(len, lines)) <= width
    joined = " ".join(lines).replace("\\ ", "")
    assert joined == message
    if width > len(RESUME) + 3:
        assert any(RESUME in line for line in lines)
    else:  # a shell joins the lines of a command
        assert " ".join(lines).replace(" \\ ", " ") == message and "\\" in " ".join(lines)


def test_short_lines_and_long_words_stay_as_they_are():
    assert wrapped("wrote  a b.npy\nand  more", 40) == "wrote  a b.npy\nand  more"
    path = "/" + "x" * 60
    assert wrapped(f"cannot read {path} at all", 40) == f"cannot read\n{path}\nat all"
