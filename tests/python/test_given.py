"""What a user hands to a model is what it says, converted where that is plain, or refused in one line."""

import re
import warnings

import numpy as np
import pytest
import torch

import priorkit
from priorkit.core import DataSpec
from priorkit.data import load
from priorkit.data.cache import cache_folder
from priorkit.errors import UsageError
from priorkit.runs.input_checks import checked_data, checked_latents, checked_scale, checked_whole
from priorkit.runs.memory_check import see_room

IMAGES = DataSpec("set", (3, 2, 2), 256)
POINTS = DataSpec("toy:moons", (2,), None)
X = torch.linspace(0, 1, 24).view(2, 3, 2, 2)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_integers_are_shares_of_the_largest_level(levels):
    whole = torch.randint(0, levels, (4, 3, 2, 2), generator=torch.Generator().manual_seed(0))
    expected = whole.float() / (levels - 1)
    for kind in (torch.uint8, torch.int16, torch.int64):
        assert torch.equal(checked_data(whole.to(kind), DataSpec("set", (3, 2, 2), levels)), expected)
        array = whole.to(kind).numpy()
        assert torch.equal(checked_data(array, DataSpec("set", (3, 2, 2), levels)), expected)
        assert torch.equal(
            checked_data(array.astype(array.dtype.newbyteorder(">")), DataSpec("set", (3, 2, 2), levels)), expected
        )


@pytest.mark.parametrize(
    "x", [X, X.double(), X.numpy(), X.numpy().astype(">f8"), X.half().float(), X.numpy()[:, :, ::-1].copy()]
)
def test_other_floating_point_numbers_become_float32(x):
    found = checked_data(x, IMAGES)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), np.asarray(x, dtype=np.float32), atol=1e-7)


def unusual():
    """Tensors of kinds that torch warns of: they are new, or deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "compressed": (X[:, 0, 0].to_sparse_csr(), "got a sparse tensor"),
            "nested": (torch.nested.nested_tensor([X[0], X[1]]), "got a nested tensor"),
            "quantized": (torch.quantize_per_tensor(X, 1 / 16, 0, torch.quint8), "got a quantized tensor"),
        }


WRONG = {
    "levels for shares": (X * 255, "the entries are between 0 and 255"),
    "-1 to 1": (2 * X - 1, "the entries are between -1 and 1"),
    "beyond the levels": ((X * 256).int(), "integers from 0 to 255; the entries are between 0 and 256"),
    "NaN": (X * torch.nan, "NaN or infinite"),
    "infinite": (X / 0, "NaN or infinite"),
    "one datum": (X[0], r"got \(3, 2, 2\); one datum alone is x\[None\], of the shape \(1, 3, 2, 2\)"),
    "another shape": (torch.rand(2, 1, 2, 2), r"with shape \(B, 3, 2, 2\), got \(2, 1, 2, 2\)"),
    "channels last": (X.permute(0, 2, 3, 1), r"got \(2, 2, 2, 3\)"),
    "none": (X[:0], r"got \(0, 3, 2, 2\)"),
    "booleans": (X > 0.5, "got torch.bool"),
    "complex": (X.to(torch.complex64), "got torch.complex64"),
    "a list": ([[0.0]], "got list"),
    "texts": (np.array(["a"]), "got <U1"),
    "nothing": (None, "got NoneType"),
    "sparse": (X.to_sparse(), "got a sparse tensor"),
    "without numbers": (X.to("meta"), "got a meta tensor"),
    **unusual(),
    "numbers left out": (np.ma.masked_array(X.numpy(), X.numpy() > 0.5), "got a masked array"),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_data_are_refused(case):
    x, told = WRONG[case]
    with pytest.raises(UsageError, match=told) as error:
        checked_data(x, IMAGES)
    assert "\n" not in str(error.value)


def test_points_have_no_range_but_are_finite():
    assert torch.equal(checked_data(np.array([[-5, 7]]), POINTS), torch.tensor([[-5.0, 7.0]]))
    for wrong in (torch.tensor([[1.0, torch.inf]]), torch.rand(2), torch.rand(2, 3)):
        with pytest.raises(UsageError, match=r"^x: expected"):
            checked_data(wrong, POINTS)


def test_rounding_out_of_the_range_is_taken_back():
    found = checked_data(X * (1 + 2e-6) - 1e-6, IMAGES)
    assert float(found.min()) == 0 and float(found.max()) == 1


@pytest.mark.parametrize("value", [None, 0.5, "3", True, np.True_, -1, torch.tensor(0.5), float("nan"), [1]])
def test_what_is_no_whole_number(value):
    with pytest.raises(UsageError, match="seed: expected an integer of at least 0, got"):
        checked_whole("seed", value)


def test_whole_numbers_of_other_libraries():
    assert [checked_whole("n", value) for value in (3, np.int64(3), np.uint8(3), torch.tensor(3), 2**70)] == [
        3,
        3,
        3,
        3,
        2**70,
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, -1e-9, None, "1", True])
def test_what_is_no_scale(value):
    with pytest.raises(UsageError, match="temperature: expected a finite number"):
        checked_scale("temperature", value)
    assert [checked_scale("temperature", good) for good in (0, 0.5, np.float32(0.5))] == [0, 0.5, 0.5]


def test_more_samples_than_memory_can_hold():
    with pytest.raises(UsageError, match=r"999,999,999,999 samples would take .* GiB"):
        see_room(999_999_999_999, 64)
    see_room(10_000, 64)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_latents_that_are_not_finite(value):
    u = torch.zeros(3, 4)
    u[1, 2] = value
    for given in (u, u.double(), u.numpy()):
        with pytest.raises(UsageError, match=r"^u: .*some entries are NaN or infinite"):
            checked_latents(given, 4)


def test_nothing_masked_is_an_array():
    assert torch.equal(checked_data(np.ma.masked_array(X.numpy()), IMAGES), X)


def test_latents_of_another_shape():
    for wrong in (torch.rand(3), torch.rand(2, 5), "u", None):
        with pytest.raises(UsageError, match=r"^u: expected"):
            checked_latents(wrong, 4)


TINY_STEPS = {
    "backbone": {"hidden": 8, "latents": [2, 2]},
    "prior": {"energy.width": 8, "pool_size": 200, "stages": 1},
    "trainer": {"backbone_steps": 2, "prior_steps": 2, "posterior_samples": 1},
    "sampler.steps": 2,
    "engine.threads": 1,
}


NO_PATHS = {
    "load": lambda: priorkit.load(3),
    "load bytes": lambda: priorkit.load(b"runs/mine"),
    "load none": lambda: priorkit.load(None),
    "from_pretrained": lambda: priorkit.from_pretrained(3),
    "cache": lambda: priorkit.from_pretrained("mine", cache=3),
    "push": lambda: priorkit.push(3, "owner/name"),
    "out": lambda: priorkit.train(out=3),
    "config": lambda: priorkit.train(config=3),
    "source": lambda: priorkit.train(source=3),
    "compare": lambda: priorkit.compare(3, out="x"),
    "compared": lambda: priorkit.compare([3], out="x"),
    "page": lambda: priorkit.compare(["mine"], out=3),
    "base": lambda: priorkit.compare(priors="gaussian", source=3, out="x"),
    "root": lambda: load("mnist", root=3),
    "decoded": lambda: cache_folder(3),
}


@pytest.mark.parametrize("case", NO_PATHS)
def test_what_is_no_path(case, tmp_path, monkeypatch):
    """`priorkit.load(3)` ended in a bare TypeError."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^(The cache would be )?[a-z]+: expected a path, as text or as pathlib.Path, got"):
        NO_PATHS[case]()
    assert not list(tmp_path.iterdir())


def test_what_is_no_name():
    with pytest.raises(UsageError, match=r"^data: expected a name"):
        load(3)
    with pytest.raises(UsageError, match=r"^3: is neither a folder here nor a repository's name"):
        priorkit.push("mine", 3)


REFUSED = {
    "score": lambda model, x: model.score(x * 255),
    "infer": lambda model, x: model.infer(x[0]),
    "layers": lambda model, x: model.score(x, layers=1),
    "decode": lambda model, x: model.decode(torch.rand(2, 3)),
    "log_ratio": lambda model, x: model.log_ratio(torch.rand(2, 3)),
    "n": lambda model, x: model.sample(2.5),
    "many": lambda model, x: model.sample(10**12),
    "many latents": lambda model, x: model.sample_latents(10**12),
    "temperature": lambda model, x: model.sample(2, temperature=float("nan")),
    "cold": lambda model, x: model.decode(torch.rand(2, 10), temperature=-1),
    "seed": lambda model, x: model.sample(2, seed=None),
    "long seed": lambda model, x: model.sample(2, seed=2**64),
    "half a seed": lambda model, x: model.infer(x, seed=0.5),
    "stages": lambda model, x: model.sample_latents(2, stages=7),
    "keep_top": lambda model, x: model.sample(2, keep_top=1.5),
    "show": lambda model, x: model.show(0),
    "columns": lambda model, x: model.show(4, columns=0),
    "overview": lambda model, x: model.overview(0),
    "samples": lambda model, x: priorkit.train(out=model.folder, samples=1),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_refuses_what_means_nothing(model, case):
    with pytest.raises(UsageError) as error:
        REFUSED[case](model, model.data.heldout.batch(torch.arange(2)))
    assert re.match(r"[a-z_]+: ", str(error.value)) and "\n" not in str(error.value)


def test_a_model_scores_the_same_data_alike_however_they_are_given(model):
    x, whole = (read(torch.arange(3)) for read in (model.data.heldout.batch, model.data.heldout.integers))
    expected = model.score(x)
    for given in (x.double(), x.numpy(), whole, whole.numpy()):
        assert torch.equal(model.score(given), expected)
    u = model.infer(x).u
    assert torch.equal(model.log_ratio(u.double()), model.log_ratio(u))


def test_a_default_type_of_the_users_own_changes_nothing(model, train, tmp_path):
    x = model.data.heldout.batch(torch.arange(3))
    work = {
        "sample": lambda of: of.sample(3, seed=1),
        "noisy": lambda of: of.sample(2, seed=1, mean=False),
        "infer": lambda of: of.infer(x).u,
        "score": lambda of: of.score(x),
    }
    before = {name: call(model) for name, call in work.items()}
    torch.set_default_dtype(torch.float64)
    try:
        again = priorkit.load(model.folder)
        found = [{name: call(of) for name, call in work.items()} for of in (model, again)]
        fresh = train(out=tmp_path / "run", options=TINY_STEPS)
        toy = load("toy:moons").train.batch(torch.arange(5))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    for of in found:
        assert all(value.dtype == torch.float32 and torch.equal(value, before[name]) for name, value in of.items())
    assert {parameter.dtype for parameter in fresh.backbone.parameters()} == {torch.float32}
    assert torch.equal(toy, load("toy:moons").train.batch(torch.arange(5)))
