"""Which runs a request means, and which of them are the same."""

import pytest

from priorkit.config import resolve
from priorkit.errors import UsageError
from priorkit.registry import installed
from priorkit.workflows.comparing.plan import Job, Request, bases, config_hash, prior_config, prior_job
from priorkit.workflows.comparing.third_party import third_party

OPTIONS = ("backbone.hidden=16", "multistage:prior.stages=2", "trainer.backbone_steps=7", "sampler.steps=3")


def request_for(out, **changes):
    given = {"priors": ["gaussian", "multistage"], "backbone": "twolayer", "overrides": OPTIONS, **changes}
    return Request(out, **given)


def identity(request):
    return bases(request)[0].identity


def test_the_backbone_is_found_again_whatever_the_priors_do(tmp_path):
    first = identity(request_for(tmp_path))
    assert first == identity(request_for(tmp_path, overrides=(*OPTIONS, "trainer.prior_steps=5", "prior.stages=4")))
    assert first == identity(request_for(tmp_path, overrides=(*OPTIONS, "engine.threads=1", "sampler.steps=9")))
    assert first == identity(request_for(tmp_path / "elsewhere", seeds=3, samples=100))
    for other in ("backbone.hidden=17", "trainer.backbone_steps=8", "data=toy:moons", "engine.precision=bf16"):
        assert first != identity(request_for(tmp_path, overrides=(*OPTIONS, other)))


def test_each_backbone_seed_is_a_backbone(tmp_path):
    found = bases(request_for(tmp_path, backbone_seeds=3))
    assert len({base.identity for base in found}) == 3
    assert [base.config.seed for base in found] == [0, 1, 2]


def test_a_prior_stands_on_its_backbone_and_hears_its_own_options(tmp_path):
    request = request_for(tmp_path)
    base = bases(request)[0]
    config = prior_config(request, base, "multistage", 4, 60)
    assert config.seed == 4
    assert config.prior.options["stages"] == 2
    assert config.trainer.options["backbone_steps"] == 0
    assert config.trainer.options["prior_steps"] == 60
    assert config.backbone == base.config.backbone
    assert config.sampler.options["steps"] == 3


def test_a_prior_has_further_rows_with_options_of_their_own(tmp_path):
    further = (*OPTIONS, "multistage/one:prior.stages=1")
    request = request_for(tmp_path, priors=["multistage", "multistage/one"], overrides=further)
    base = bases(request)[0]
    first, second = (prior_job(request, base, row, 0, 10) for row in request.priors)
    assert (first.config.prior.name, second.config.prior.name) == ("multistage", "multistage")
    assert (first.config.prior.options["stages"], second.config.prior.options["stages"]) == (2, 1)
    assert second.row == "multistage/one"
    assert second.folder.parent == first.folder.parent != second.folder


def test_runs_are_told_apart_by_what_decides_them(tmp_path):
    def folder(seed=0, steps=10, prior="multistage", **changes):
        request = request_for(tmp_path, **changes)
        return prior_job(request, bases(request)[0], prior, seed, steps).folder.name

    same = folder()
    assert same == folder(overrides=(*OPTIONS, "engine.threads=1"))
    assert folder(seed=1).rpartition("-")[0] == same.rpartition("-")[0]
    other_data = folder(overrides=(*OPTIONS, "data=toy:moons"))
    others = [folder(steps=11), folder(prior="gaussian"), folder(samples=50), other_data]
    assert len({same, *others}) == 5


def test_a_job_survives_the_way_to_another_process(tmp_path):
    request = request_for(tmp_path)
    job = prior_job(request, bases(request)[0], "multistage", 2, 10)
    told = Job.of(job.as_dict())
    assert (told.folder, told.config, told.source, told.samples, told.sample_seed) == (
        job.folder, job.config, job.source, job.samples, job.sample_seed,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"priors": []}, "--priors"),
        ({"priors": ["gaussian", "gaussian"]}, "twice"),
        ({"overrides": ("vdrme:prior.width=3",)}, "vdrme"),
        ({"overrides": ("seed=3",)}, "--seeds"),
        ({"source": "somewhere"}, "--backbone"),
    ],
)
def test_requests_that_mean_nothing_are_refused(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        request_for(tmp_path, **changes)


def test_what_cannot_share_a_backbone_is_refused(tmp_path):
    with pytest.raises(UsageError, match="two-phase"):
        bases(request_for(tmp_path, overrides=("trainer=joint",)))
    with pytest.raises(UsageError, match="one device"):
        bases(request_for(tmp_path, overrides=("engine.devices=2",)))


def test_a_data_path_with_colons_names_no_prior(tmp_path):
    assert bases(request_for(tmp_path, overrides=("data=toy:moons", "backbone=identity")))[0].config.data.name == "toy:moons"


def test_the_seed_is_not_in_the_hash():
    assert config_hash(resolve(None, ["seed=1"])) == config_hash(resolve(None, ["seed=2"]))


PRIOR = """
from priorkit.core import Prior
class Mine(Prior):
    stages = 0
    def log_ratio(self, u, *, stages=None):
        return u.new_zeros(len(u))
"""


@pytest.fixture
def vendor(tmp_path, monkeypatch):
    """The folder of an installed package with a prior `mine`."""
    info, package = tmp_path / "vendor-1.0.dist-info", tmp_path / "plan_vendor"
    info.mkdir()
    package.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[priorkit]\nprior.mine = plan_vendor.prior:Mine\n")
    (package / "__init__.py").write_text("")
    (package / "prior.py").write_text(PRIOR)
    monkeypatch.syspath_prepend(str(tmp_path))
    installed.cache_clear()
    yield tmp_path
    installed.cache_clear()


def test_a_third_party_s_code_and_version_decide_too(vendor):
    def found():
        installed.cache_clear()
        return config_hash(resolve(None, ["backbone=twolayer", "prior=mine"]), "backbone")

    first = found()
    assert first == found()
    (vendor / "plan_vendor" / "networks.py").write_text("WIDTH = 3\n")
    second = found()
    (vendor / "plan_vendor" / "networks.py").write_text("WIDTH = 4\n")
    third = found()
    (vendor / "vendor-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor\nVersion: 1.1\n")
    assert len({first, second, third, found()}) == 4


def test_our_own_code_adds_nothing_to_what_is_hashed():
    config = resolve(None, ["backbone=twolayer", "prior=multistage", "data=toy:moons"])
    assert third_party(config, ("data", "backbone", "prior", "sampler", "trainer")) == {}
