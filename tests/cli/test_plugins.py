"""`priorkit plugins` in fresh processes, with a third party's distribution beside priorkit's own."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from priorkit.cli import app

SOURCE = """
from pydantic import Field
from priorkit.core import Chain, Sampler, Settings
class Options(Settings):
    steps: int = Field(default=3, ge=1)
    \"\"\"How many.\"\"\"
class Still(Sampler):
    \"\"\"Does not move.

    Ever.\"\"\"
    Config = Options
    def run(self, log_prob, start, *, generator=None, keep_every=0): return Chain(start)
"""


@pytest.fixture
def priorkit(tmp_path):
    """Run a command with the distribution `vendor`: one sound sampler, one whose import fails."""
    info = tmp_path / "vendor-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[priorkit]\nsampler.still = vendor_still:Still\nprior.bad = vendor_bad:X\n")
    (tmp_path / "vendor_still.py").write_text(SOURCE)
    (tmp_path / "vendor_bad.py").write_text("print('noise')\nraise OSError('no such library')\n")

    def run(*arguments, **variables):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", **variables}
        return subprocess.run(
            [sys.executable, "-m", "priorkit", *arguments], env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_list_shows_all_and_one_line_for_the_broken_one(priorkit):
    done = priorkit("plugins", "list")
    assert done.returncode == 0
    assert "priorkit_nvae:NVAE" in done.stdout
    broken = [line for line in done.stdout.splitlines() if "no such library" in line]
    assert broken == ["prior.bad of vendor 1.0: its import failed with OSError: no such library"]


def test_list_as_json_is_one_object_whatever_a_plugin_prints(priorkit):
    done = priorkit("plugins", "list", "--json", PRIORKIT_DISABLE_PLUGINS="sampler.still")
    listed = {(item["kind"], item["name"]): item for item in json.loads(done.stdout)["plugins"]}
    assert listed["prior", "bad"]["health"] == "broken"
    assert listed["sampler", "still"]["health"] == "disabled"
    assert listed["prior", "gaussian"]["health"] == "ok"
    assert listed["prior", "gaussian"]["distribution"] == "priorkit"


HOSTILE = """
import os
os.write(1, b'noise')
class Away(BaseException):
    def __str__(self):
        raise ValueError
raise Away
"""


def test_one_plugin_does_not_end_the_list_of_all(priorkit, tmp_path):
    (tmp_path / "vendor_bad.py").write_text(HOSTILE)
    done = priorkit("plugins", "list", "--json")
    listed = {(item["kind"], item["name"]): item for item in json.loads(done.stdout)["plugins"]}
    assert "its import failed with Away" in listed["prior", "bad"]["problem"]
    assert listed["sampler", "still"]["health"] == "ok"


WORDY = """
import os
from pydantic import Field
from priorkit.core import Chain, Sampler, Settings
def noisy():
    os.write(1, b'noise')
    return 3
class Options(Settings):
    steps: int = Field(default_factory=noisy)
class Still(Sampler):
    Config = Options
    def run(self, log_prob, start, *, generator=None, keep_every=0):
        print("noise")
        raise type("Away", (BaseException,), {})
"""


@pytest.mark.parametrize("arguments", [("show", "still"), ("check", "sampler.still")])
def test_json_is_one_object_whatever_a_plugin_does_when_it_is_used(priorkit, tmp_path, arguments):
    (tmp_path / "vendor_still.py").write_text(WORDY)
    done = priorkit("plugins", *arguments, "--json")
    assert json.loads(done.stdout), done.stderr
    assert "Traceback" not in done.stderr


def test_show_lists_options_with_type_default_and_meaning(priorkit):
    done = priorkit("plugins", "show", "still")
    assert done.returncode == 0
    assert "sampler.still: Does not move." in done.stdout
    assert "vendor_still:Still of vendor 1.0" in done.stdout
    described = json.loads(priorkit("plugins", "show", "sampler.still", "--json").stdout)
    assert described["summary"] == "Does not move."
    option = {"path": "steps", "type": "integer >= 1", "default": 3, "required": False, "meaning": "How many."}
    assert described["options"] == [option]


def test_a_broken_plugin_exits_with_3_and_keeps_its_traceback_for_debug(priorkit):
    done = priorkit("plugins", "show", "bad")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "no such library" in done.stderr
    assert "Traceback" not in done.stderr
    debugged = priorkit("--debug", "plugins", "show", "bad")
    assert debugged.returncode == 3
    assert "vendor_bad.py" in debugged.stderr


def test_a_disabled_plugin_can_be_named_but_not_used(priorkit):
    done = priorkit("plugins", "show", "still", PRIORKIT_PLUGINS="")
    assert done.returncode == 2
    assert "PRIORKIT_PLUGINS" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["plugins", "show", "multistge"], 2, "did you mean 'multistage'"),
        (["plugin"], 2, "No such command"),
        (["plugins", "show"], 2, "NAME"),
        (["plugins", "list", "--jsn"], 2, "--jsn"),
        (["--version"], 0, "priorkit "),
        (["plugins", "show", "priorkit:prior.gaussian"], 0, "prior.gaussian"),
    ],
)
def test_exit_codes(arguments, code, text):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code
    assert text in done.output
