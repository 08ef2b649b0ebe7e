"""The notebooks run from the first cell to the last, with next to no training."""

import contextlib
import io
import runpy
from pathlib import Path

import matplotlib
import pytest
import torch

from priorkit.registry import installed

NOTEBOOKS = Path(__file__).resolve().parents[2] / "examples" / "notebooks"


@pytest.fixture(scope="module")
def execute(tmp_path_factory):
    """Run a notebook; gives its names and what it printed.  They share their runs, as a reader's do."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context({"backend": "agg"}):
        patch.setenv("PRIORKIT_SHORT", "1")
        patch.setenv("PRIORKIT_RUNS", str(tmp_path_factory.mktemp("notebooks")))

        def run(name):
            with contextlib.redirect_stdout(io.StringIO()) as told:
                names = runpy.run_path(str(NOTEBOOKS / f"{name}.py"), run_name="__main__")
            return names, told.getvalue()

        yield run
    torch.set_num_threads(threads)
    installed.cache_clear()


def test_every_notebook_is_here():
    assert {path.stem for path in NOTEBOOKS.glob("*.py")} == {"first_run", "out_of_distribution", "new_prior"}


def test_a_first_run_and_its_scores(execute):
    names, told = execute("first_run")
    assert "fd_digits_posterior" in told and "log r(u)" in told
    begun = (names["model"].folder / "summary.json").stat().st_mtime_ns
    scored, told = execute("out_of_distribution")
    # The second reads the run of the first.
    assert scored["model"].folder == names["model"].folder
    assert (names["model"].folder / "summary.json").stat().st_mtime_ns == begun
    pairs = [float(a > b) for a in scored["inside"] for b in scored["outside"]]
    assert f"{100 * sum(pairs) / len(pairs):.1f} % of all pairs" in told
    assert told.count("log_ratio ") == 2


def test_a_new_prior_passes_the_checks_and_gets_a_row(execute):
    names, _ = execute("new_prior")
    assert names["passed"] > 10
    assert [row.label for row in names["comparison"].priors if row.label == "covariance"]
    assert "covariance" in repr(names["comparison"])
    # The closed form against torch's own Gaussian.
    prior = names["model"].prior.double()
    u = torch.randn(5, prior.layout.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = torch.distributions.MultivariateNormal(prior.mean, scale_tril=prior.factor()).log_prob(u)
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(1)
    torch.testing.assert_close(prior.log_ratio(u), exact - standard)
