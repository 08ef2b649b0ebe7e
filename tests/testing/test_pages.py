"""The pages on writing plugins: their code is what `plugins new` writes or passes the checks, and an author gets through."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.registry import installed
from priorkit.registry.scaffold import scaffold
from priorkit.testing import NotApplicable, checks

PAGES = Path(__file__).resolve().parents[2] / "docs" / "plugins"
SMALL = ["backbone.latents=[2,3]", "backbone.hidden=16", "trainer.backbone_steps=30", "trainer.prior_steps=60"]
SHORT = ["trainer.posterior_samples=1", "engine.threads=1"]


def code(kind):
    """The first block of the page, or the first that the reader saves: the package's module in full."""
    page = (PAGES / f"{kind}.md").read_text()
    blocks = re.findall(r"^(<!-- file: .*-->\n)?```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return next((block for saved, block in blocks if saved), blocks[0][1])


@pytest.mark.parametrize(
    ("kind", "name"), [("sampler", "walker"), ("backbone", "pca"), ("data", "stripes"), ("metric", "distance")]
)
def test_a_page_shows_what_is_written(tmp_path, kind, name):
    folder = scaffold(name, kind, tmp_path / "package")
    assert code(kind) == (folder / "src" / f"priorkit_{name}" / f"{kind}.py").read_text()


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """What an author has after following the page on priors: the package, its code replaced, installed."""
    folder = scaffold("blobs", "prior", tmp_path_factory.mktemp("author") / "package")
    package = folder / "src" / "priorkit_blobs"
    package.joinpath("prior.py").write_text(code("prior"))
    points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]["priorkit"]
    info = folder / "src" / "priorkit_blobs-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: priorkit-blobs\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[priorkit]\n" + "".join(f"{key} = {value}\n" for key, value in points.items()))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "src"))
        installed.cache_clear()
        yield installed().load("prior", "blobs")
    installed.cache_clear()


def test_the_mixture_passes_every_check(mixture):
    for check in checks("prior"):
        try:
            check(mixture)
        except NotApplicable:
            continue


def test_the_mixture_gets_a_row_in_a_comparison(mixture, tmp_path):
    options = [word for option in (*SMALL, *SHORT) for word in ("--set", option)]
    common = ["--backbone", "twolayer", "--priors", "gaussian,blobs", "--samples", "100", "--jobs", "0"]
    done = CliRunner().invoke(app, ["compare", *common, *options, "--out", str(tmp_path / "comparison")])
    assert done.exit_code == 0, done.output
    assert any(line.lstrip().startswith("blobs") for line in done.output.splitlines())
