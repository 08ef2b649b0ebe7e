"""What only tells about priorkit must not wait for torch."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "pydantic", "matplotlib", "sklearn")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plugins", "list"], ["plugins", "list", "--json"]])
def test_no_heavy_import(arguments):
    code = (
        "import sys\n"
        f"sys.argv = ['priorkit', *{arguments!r}]\n"
        "from priorkit.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    # Third-party plugins are imported to tell their health; this is about priorkit alone.
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PRIORKIT_PLUGINS": ""}, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


def test_errors_and_the_registry_do_not_import_torch():
    code = "import sys, priorkit.errors, priorkit.registry; print('torch' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
