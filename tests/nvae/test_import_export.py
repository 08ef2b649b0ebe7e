"""Published checkpoints in and out, bit for bit, and runs that other commands take.

The reference vectors are files of the published script; the other tests write small files of their own.
"""

import argparse
import json

import numpy as np
import pytest
import torch
from official import NAMES, VECTORS
from PIL import Image
from priorkit_nvae import NVAE, NvaeCheckpoint, NvaeSettings
from priorkit_nvae.checkpoint_args import DEFAULTS
from priorkit_nvae.checkpoint_state import official_state
from published import ALIAS, SPEC, content, load, network, save
from typer.testing import CliRunner

import priorkit
from priorkit.cli import app
from priorkit.config import RunConfig, resolve
from priorkit.core import DataSpec
from priorkit.errors import UsageError
from priorkit.registry import installed
from priorkit.workflows.sharing.import_run import Readjustment, import_run
from priorkit.workflows.training.train import fit, from_run


def call(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def rebuilt(found):
    backbone = NVAE(NvaeSettings(**found.options), found.spec)
    backbone.load_state_dict(found.state)
    return backbone.eval()


def there_and_back(path, tmp_path, spec=None):
    """(what was read, what stands in a file written from it)."""
    found = NvaeCheckpoint().read(path, spec)
    (tmp_path / "again.pt").write_bytes(NvaeCheckpoint().write(rebuilt(found), found.kept))
    return found, load(tmp_path / "again.pt")


def same_bits(ours, theirs):
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype
        assert ours[key].numpy().tobytes() == value.numpy().tobytes(), key


@pytest.mark.parametrize("name", NAMES)
def test_every_vector_goes_in_and_out_unchanged(name, tmp_path):
    path = VECTORS / f"{name}.pt"
    if not path.exists():
        pytest.skip("the reference vectors (../shared/vectors/nvae) are not here")
    stored = load(path)
    found, written = there_and_back(path, tmp_path)
    same_bits(written["state_dict"], stored["state_dict"])
    assert vars(written["args"]) == vars(stored["args"])
    assert [type(value) for value in vars(written["args"]).values()] == [type(v) for v in vars(stored["args"]).values()]
    assert [written[key] for key in ("epoch", "global_step", "arch_instance")] == [
        stored[key] for key in ("epoch", "global_step", "arch_instance")
    ]
    assert not found.notes


@pytest.mark.parametrize("old", [False, True])
def test_old_and_new_containers_hold_the_same(tmp_path, old):
    stored = content()
    _, written = there_and_back(save(stored, tmp_path / "file.pt", old=old), tmp_path)
    same_bits(written["state_dict"], stored["state_dict"])
    assert written["args"] == stored["args"]


def test_duplicate_names_are_not_kept_in_memory_but_written(tmp_path):
    stored = content()
    aliases = {key for key in stored["state_dict"] if key.endswith(ALIAS)}
    assert aliases
    found, written = there_and_back(save(stored, tmp_path / "file.pt"), tmp_path)
    assert set(found.state) == set(stored["state_dict"]) - aliases
    for key in aliases:
        twin = written["state_dict"][key.replace(ALIAS, ".weight")]
        assert written["state_dict"][key].data_ptr() == twin.data_ptr()


def test_missing_duplicates_are_written_and_strays_dropped(tmp_path):
    stored = content()
    whole = dict(stored["state_dict"])
    stored["state_dict"] = {key: value for key, value in whole.items() if not key.endswith(ALIAS)}
    stored["state_dict"]["stem.weight_normalized"] = torch.rand(4, 3, 3, 3)
    found, written = there_and_back(save(stored, tmp_path / "file.pt"), tmp_path)
    same_bits(written["state_dict"], whole)
    assert len(found.notes) == 2


def test_missing_arguments_have_the_parser_s_defaults(tmp_path):
    stored = content(ada_groups=False, min_groups_per_scale=1)
    for name in ("ada_groups", "min_groups_per_scale", "weight_decay", "epochs"):
        delattr(stored["args"], name)
    found, written = there_and_back(save(stored, tmp_path / "file.pt"), tmp_path)
    assert found.options["weight_decay"] == DEFAULTS["weight_decay"]
    assert found.options["ada_groups"] is False
    assert written["args"] == stored["args"]


@pytest.mark.parametrize(
    ("dataset", "side", "name"),
    [("celeba_64", 64, "celeba"), ("imagenet_32", 32, "imagenet_32"), ("lsun_church_64", 64, "lsun-church")],
)
def test_the_data_set_s_name_tells_the_size(tmp_path, dataset, side, name):
    spec = DataSpec(dataset, (3, side, side), 256)
    found = NvaeCheckpoint().read(save(content(spec, dataset=dataset), tmp_path / "file.pt"))
    assert (found.spec.name, found.spec.shape, found.spec.levels) == (name, spec.shape, 256)


def test_binary_digits(tmp_path):
    spec = DataSpec("mnist", (1, 28, 28), 256)
    path = save(content(spec, dataset="mnist", options={"decoder": "bernoulli"}), tmp_path / "file.pt")
    found = NvaeCheckpoint().read(path)
    assert (found.options["decoder"], found.spec.shape) == ("bernoulli", (1, 28, 28))
    with pytest.raises(UsageError, match="shape"):
        NvaeCheckpoint().read(path, SPEC)


def test_a_data_set_of_one_s_own_is_named_by_the_user(tmp_path):
    path = save(content(dataset="flowers"), tmp_path / "file.pt")
    with pytest.raises(UsageError, match="--data"):
        NvaeCheckpoint().read(path)
    assert NvaeCheckpoint().read(path, SPEC).spec is SPEC
    with pytest.raises(UsageError, match="17 grey levels"):
        NvaeCheckpoint().read(path, DataSpec("few", (3, 32, 32), 17))


@pytest.mark.parametrize("decoder", ["logistic", "normal"])
def test_a_network_trained_here_goes_out_and_comes_back(tmp_path, decoder):
    ours = network(options={"decoder": decoder, "num_nf": 1})
    (tmp_path / "file.pt").write_bytes(NvaeCheckpoint().write(ours, {}))
    assert vars(load(tmp_path / "file.pt")["args"]).keys() >= DEFAULTS.keys()
    theirs = rebuilt(NvaeCheckpoint().read(tmp_path / "file.pt"))
    u = torch.randn(2, ours.layout.dim)
    with torch.no_grad():
        before, after = ours.generate(u).likelihood, theirs.generate(u).likelihood
        assert torch.equal(before.mean, after.mean)
    if decoder == "logistic":
        assert "half-bin" in before.protocol and "NVAE's edges" in after.protocol, "a file means the published rule"


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (DataSpec("digits", (1, 8, 8), 17), {"num_preprocess_blocks": 1}),
        (SPEC, {"num_mixture_dec": 1}),
        (DataSpec("few", (3, 32, 32), 17), {}),
        (SPEC, {"decoder": "bernoulli"}),
    ],
)
def test_what_the_format_cannot_say_is_refused(spec, options):
    with pytest.raises(UsageError, match="published format"):
        NvaeCheckpoint().write(network(spec, options=options), {})


def test_the_cifar10_preset_has_the_published_size(monkeypatch):
    """3,838 names in a file, 3,658 in memory, 153,600 latents, 130.852 million parameters; without storage."""
    monkeypatch.setattr(torch.nn.Conv2d, "reset_parameters", lambda layer: None)
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda layer: None)
    with torch.device("meta"):
        ours = NVAE(NvaeSettings(preset="cifar10"), SPEC)
    names = list(official_state(ours))
    assert (len(names), len(ours.state_dict())) == (3838, 3658)
    assert sum(name.endswith(ALIAS) for name in names) == 180
    assert ours.layout.dim == 153_600
    assert round(sum(p.numel() for p in ours.parameters()) / 1e6, 3) == 130.852


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number in range(60):
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def imported(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    path = save(content(dataset="imagenet_32"), folder / "file.pt")
    result = call("import", "nvae", path, "--data", pictures, "--out", folder / "run")
    assert "train --from" in result.output
    return folder


def test_an_imported_run_holds_what_a_run_holds(imported):
    run = imported / "run"
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {"config.yaml", "metrics.jsonl", "summary.json", "data.json", "weights/backbone.safetensors"} <= names
    model = priorkit.load(run)
    means, drawn, colder = model.sample(2), model.sample(2, mean=False), model.sample(2, temperature=0.7)
    assert means.shape == drawn.shape == (2, 3, 32, 32)
    assert not torch.equal(means, drawn)
    assert not torch.equal(means, colder)
    assert json.loads((run / "summary.json").read_text())["metrics"] == {}


def test_other_commands_take_an_imported_run(imported, tmp_path, caplog):
    call("sample", imported / "run", "--n", 3, "--out", tmp_path / "samples.npy")
    call("evaluate", imported / "run", "--metrics", "elbo", "--samples", 10, "--json")
    assert "has changed since" not in caplog.text
    sizes = ["prior.stages=1", "prior.energy.width=8", "prior.pool_size=20", "sampler.steps=1", "trainer.prior_steps=3"]
    sizes += ["trainer.posterior_samples=1", "trainer.prior_batch=8", "sampler.pilot_steps=1", "engine.threads=1"]
    config = resolve(None, from_run(imported / "run", sizes), prior="multistage")
    assert fit(config, tmp_path / "learned", source=imported / "run") is not None
    ours, theirs = (priorkit.load(path).backbone.state_dict() for path in (tmp_path / "learned", imported / "run"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    call("export", "nvae", tmp_path / "learned", "--out", tmp_path / "out.pt")
    same_bits(load(tmp_path / "out.pt")["state_dict"], load(imported / "file.pt")["state_dict"])


def test_export_writes_what_was_imported(imported, tmp_path):
    call("export", "nvae", imported / "run", "--out", tmp_path / "out.pt")
    theirs, ours = load(imported / "file.pt"), load(tmp_path / "out.pt")
    same_bits(ours["state_dict"], theirs["state_dict"])
    assert ours["args"] == theirs["args"]


def test_resuming_an_imported_run_keeps_its_weights(imported, pictures, tmp_path):
    import_run("nvae", imported / "file.pt", tmp_path / "run", data=pictures)
    before = (tmp_path / "run" / "weights" / "backbone.safetensors").read_bytes()
    assert fit(RunConfig.read(tmp_path / "run" / "config.yaml"), tmp_path / "run", resume=True) is not None
    assert (tmp_path / "run" / "weights" / "backbone.safetensors").read_bytes() == before


def test_readjusting_moves_the_statistics_of_the_decoder_alone(imported, tmp_path):
    for name in ("one", "two"):
        wanted = Readjustment(passes=2, temperature=0.6, batch=4)
        import_run("nvae", imported / "file.pt", tmp_path / name, readjust=wanted)
    one, two = (priorkit.load(tmp_path / name).backbone.state_dict() for name in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    before = priorkit.load(imported / "run").backbone.state_dict()
    moved = {key for key in one if not torch.equal(one[key], before[key])}
    assert any("running_mean" in key for key in moved)
    assert all(key.split(".")[0] in ("dec_tower", "post_process") for key in moved)
    assert all("running_" in key or key.endswith("num_batches_tracked") for key in moved)


def test_a_run_is_not_overwritten(imported):
    with pytest.raises(UsageError, match="never overwritten"):
        import_run("nvae", imported / "file.pt", imported / "run")


def test_a_data_set_that_cannot_be_opened_is_told_of(imported, tmp_path):
    (note,) = import_run("nvae", imported / "file.pt", tmp_path / "run")
    assert "imagenet_32" in note
    assert priorkit.load(tmp_path / "run").sample(1).shape == (1, 3, 32, 32)


def test_formats_are_plugins():
    assert installed().load("format", "nvae") is NvaeCheckpoint
    assert [installed().find(name).kind for name in ("nvae", "format.nvae")] == ["backbone", "format"]
    result = CliRunner().invoke(app, ["import", "nvea", "file.pt", "--out", "run"])
    assert result.exit_code == 2
    assert "nvae" in result.output


def test_an_edited_origin_is_not_believed(imported, tmp_path):
    found = NvaeCheckpoint().read(imported / "file.pt", SPEC)
    found.kept["args"]["num_x_bits"] = 5
    with pytest.raises(UsageError, match="do not describe"):
        NvaeCheckpoint().write(rebuilt(found), found.kept)


def test_arguments_that_are_no_plain_values_are_told_of(tmp_path):
    stored = content()
    stored["args"] = argparse.Namespace(**vars(stored["args"]), shape=torch.Size([1]))
    found = NvaeCheckpoint().read(save(stored, tmp_path / "file.pt"))
    assert "shape" in found.notes[0]


def test_an_import_that_was_killed_is_in_nobodys_way(tmp_path, monkeypatch):
    from priorkit.workflows.sharing import import_run as module

    out = tmp_path / "run"

    def killed(folder):
        (folder.path / "weights").mkdir(parents=True)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        module._publish(out, killed)
    assert not out.exists()
    module._publish(out, lambda folder: folder.path.mkdir() or (folder.path / "config.yaml").write_text("seed: 0"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"] and [path.name for path in out.iterdir()] == ["config.yaml"]
