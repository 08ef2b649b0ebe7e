"""Pictures of panels side by side are cut between their panels, and only there."""

import io

import numpy as np
import torch
from PIL import Image

from priorkit.report.pictures import panels, write_figure
from priorkit.report.sheet_cutting import cut


def written(path, parts):
    write_figure(panels(parts), path)
    return path.read_bytes()


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_each_panel_is_whole_and_nothing_is_lost(tmp_path):
    whole = written(tmp_path / "a.png", {f"panel {shade}": torch.full((4, 1, 8, 8), shade) for shade in (0.1, 0.4, 0.8)})
    found = [pixels(part) for part in cut(whole)]
    assert len(found) == 3
    assert np.array_equal(np.concatenate(found, 1), pixels(whole))
    for part, shade in zip(found, (0.1, 0.4, 0.8), strict=True):
        assert abs(float(np.median(part)) - 255 * shade) < 2  # its own images
        assert (part[:, [0, -1]] == 255).all()  # which do not reach its edges


def test_panels_of_points_are_cut_too(tmp_path):
    generator = torch.Generator().manual_seed(0)
    points = {str(number): torch.randn(50, 2, generator=generator) for number in range(2)}
    assert len(cut(written(tmp_path / "a.png", points))) == 2


def test_a_single_panel_and_a_picture_without_gaps_stay_whole(tmp_path):
    alone = written(tmp_path / "a.png", {"one": torch.zeros(4, 1, 8, 8)})
    assert cut(alone) == [alone]
    dark = io.BytesIO()
    Image.new("RGB", (880, 440)).save(dark, "PNG")
    assert cut(dark.getvalue()) == [dark.getvalue()]
