"""The packages in examples/, installed in an environment that sees this one's torch: checked, trained, compared, evaluated.

The environment needs pip and a package index for the libraries that they stand on.  Where they cannot be had, the test is
skipped with pip's last line; PRIORKIT_REQUIRE_EXAMPLES=1 makes that a failure, as in CI.
"""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "priorkit-coupling": "prior.coupling",
    "priorkit-efficientnet": "extractor.efficientnet-lite0",
    "priorkit-torchebm": "sampler.torchebm-hmc",
}
SMALL = ["--set", "backbone.latents=[2,3]", "--set", "backbone.hidden=16", "--set", "trainer.backbone_steps=20"]
SHORT = ["--set", "trainer.prior_steps=20", "--set", "trainer.posterior_samples=1", "--set", "engine.threads=1"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The Python of an environment with all packages; what is installed beside this test is seen there too."""
    folder = tmp_path_factory.mktemp("examples") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    )
    here = sysconfig.get_path("purelib")
    # addsitedir reads the .pth files there, by which an editable priorkit is found.
    Path(own.stdout.strip(), "beside.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    command = [python, "-m", "pip", "install", "--quiet", *(str(ROOT / "examples" / name) for name in PACKAGES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"the example packages could not be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
        if os.environ.get("PRIORKIT_REQUIRE_EXAMPLES"):
            pytest.fail(reason)
        pytest.skip(reason)
    return python


@pytest.fixture
def priorkit(environment):
    """Run a command there; gives its standard output."""

    def run(*arguments):
        variables = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [environment, "-m", "priorkit", *map(str, arguments)]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_the_packages_are_listed_checked_trained_and_compared(priorkit, environment, tmp_path):
    assert sys.prefix != str(environment.parents[1])
    plugins = json.loads(priorkit("plugins", "list", "--json"))["plugins"]
    listed = {f"{item['kind']}.{item['name']}": item for item in plugins}
    for package, key in PACKAGES.items():
        assert (listed[key]["distribution"], listed[key]["health"]) == (package, "ok")
        assert " 0 failed" in priorkit("plugins", "check", key)
    common = ["--backbone", "twolayer", *SMALL, *SHORT]
    run = tmp_path / "run"
    priorkit("train", *common, "--prior", "coupling", "--sampler", "torchebm-hmc", "--figures", "quick", "--out", run)
    assert json.loads((run / "summary.json").read_text())["prior"] == "coupling"
    features = ["--features", "efficientnet-lite0-96", "--samples", "20", "--json"]
    figures = json.loads(priorkit("evaluate", run, "--metrics", "kernel", *features))["metrics"]
    assert "1,280 features of EfficientNet-Lite0" in figures["kd_efficientnet_lite0_96_heldout"]["protocol"]
    table = tmp_path / "comparison"
    told = priorkit(
        "compare", *common, "--priors", "gaussian,coupling", "--sampler", "torchebm-hmc",
        "--samples", "100", "--jobs", "0", "--out", table, "--json",
    )  # fmt: skip
    assert "coupling" in told and (table / "compare.html").is_file()


@pytest.mark.slow
def test_the_extractor_s_own_tests_pass(environment):
    folder = ROOT / "examples" / "priorkit-efficientnet"
    command = [environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
