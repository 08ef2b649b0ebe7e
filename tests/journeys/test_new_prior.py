"""The author of a new prior writes a package, changes its formula, checks it, and trains with it, all from the shell.

`tests/cli/test_plugins_new.py` has the packages of all other kinds.
"""

import json
import sys

import pytest
from editable_install import installed_like
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.registry import installed

NEW = {
    "self.log_scale = nn.Parameter(torch.zeros(space.layout.dim))": "self.log_scale = nn.Parameter(torch.zeros(()))",
    "- self.log_scale.sum()": "- self.layout.dim * self.log_scale",
}
"""N(m, s^2 I) in place of the example: one scale for all latents."""
DRAW, WRONG_DRAW = "self.mean + torch.exp(self.log_scale) * u", "self.mean + 2 * u"
SHORT = [
    "--backbone", "twolayer", "--set", "backbone.hidden=16", "--set", "backbone.latents=[2, 3]",
    "--set", "trainer.backbone_steps=30", "--set", "trainer.prior_steps=50", "--set", "trainer.posterior_samples=1",
    "--set", "engine.threads=1",
]  # fmt: skip


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run a command in the author's folder; each sees the package as a new process would."""
    monkeypatch.chdir(tmp_path)
    for variable in ("PRIORKIT_PLUGINS", "PRIORKIT_DISABLE_PLUGINS"):
        monkeypatch.delenv(variable, raising=False)

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] == "priorkit_isotropic"]:
            del sys.modules[name]
        installed.cache_clear()

    def run(*arguments):
        forget()
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    yield run
    forget()


def test_a_new_prior_from_an_empty_folder_to_a_trained_run(command, tmp_path, monkeypatch):
    written = command("plugins", "new", "isotropic", "--kind", "prior")
    assert written.exit_code == 0 and "priorkit plugins check prior.isotropic" in written.stdout
    package = tmp_path / "priorkit-isotropic"
    monkeypatch.syspath_prepend(str(installed_like(package)))
    code = package / "src" / "priorkit_isotropic" / "prior.py"
    text = code.read_text()
    for old, new in NEW.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    assert text.count(DRAW) == 1

    # First with a mistake, which the checks name.
    code.write_text(text.replace(DRAW, WRONG_DRAW))
    checked = command("plugins", "check", "prior.isotropic")
    assert checked.exit_code == 1 and "failed  draws_have_the_stated_density" in checked.stdout
    code.write_text(text)
    checked = command("plugins", "check", "prior.isotropic")
    assert checked.exit_code == 0 and " 0 failed" in checked.stdout, checked.stdout

    trained = command("train", "--prior", "isotropic", *SHORT, "--out", "runs/isotropic")
    assert trained.exit_code == 0, trained.output
    summary = json.loads((tmp_path / "runs" / "isotropic" / "summary.json").read_text())
    assert summary["prior"] == "isotropic" and "gap_auc" in summary["metrics"]
    assert command("sample", "runs/isotropic", "--n", 4, "--out", "samples.png").exit_code == 0
