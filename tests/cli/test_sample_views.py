"""`priorkit sample --interpolate` and `--layers`."""

import numpy as np
import pytest
from PIL import Image


def test_paths_end_in_reconstructions_of_held_out_images(finished, call, tmp_path):
    import torch

    from priorkit.workflows.session import open_run

    assert call("sample", finished, "--interpolate", "--n", 2, "--seed", 5, "--out", tmp_path / "paths.npy").exit_code == 0
    paths = np.load(tmp_path / "paths.npy", allow_pickle=False)
    session = open_run(finished)
    x = session.data.heldout.batch(torch.arange(4))
    again = session.model.decode(session.model.infer(x, seed=5).u, seed=5)
    assert paths.shape == (18, *x.shape[1:])
    # Other batches, other sums: equal to rounding.
    np.testing.assert_allclose(paths[[0, 8, 9, 17]], again.numpy(), atol=1e-5)


@pytest.mark.parametrize("option", ["--interpolate", "--layers"])
def test_a_picture_is_written(finished, call, tmp_path, option):
    result = call("sample", finished, option, "--out", tmp_path / "view.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "view.png") as picture:
        assert min(picture.size) > 200
        assert np.asarray(picture.convert("L")).std() > 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--interpolate", "--layers"], "give only one of them"),
        (["--progressive", "--trajectory"], "give only one of them"),
        (["--interpolate", "--keep-top", 1], "plain samples"),
        (["--interpolate", "--n", 5_000], "lower --n"),
        (["--interpolate", "--temperature", 0.5], "--interpolate: does not use --temperature"),
        (["--trajectory", "--n", 3], "--trajectory: does not use --n;"),
        (["--layers", "--n", 3, "--temperature", 2], "--layers: does not use --n and --temperature"),
    ],
)
def test_what_does_not_go_together_is_refused(finished, call, tmp_path, options, told):
    result = call("sample", finished, *options, "--out", tmp_path / "x.png")
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
    assert not (tmp_path / "x.png").exists()


def test_a_figure_is_no_array(finished, call, tmp_path):
    result = call("sample", finished, "--layers", "--out", tmp_path / "x.npy")
    assert result.exit_code == 2
    assert ".svg" in result.output
