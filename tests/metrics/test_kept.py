"""Kept statistics are those of their own extractor and images, whatever lies in the cache."""

import shutil

import pytest
import torch

from priorkit.errors import UsageError
from priorkit.metrics.extractors import FunctionExtractor
from priorkit.metrics.fidelity_library import fidelity_library
from priorkit.metrics.sample_fidelity import SampleFidelity, real_images
from priorkit.metrics.statistics_cache import kept_tensors


class Pictures:
    """Twelve images of two by two."""

    labels = None

    def __len__(self):
        return 12

    def batch(self, indices):
        return torch.rand(12, 1, 2, 2, generator=torch.Generator().manual_seed(0))[indices]


def extractor(scale, fingerprint, numbers=4):
    def function(images):
        return scale * images.flatten(1)[:, :numbers].float()

    return FunctionExtractor("mine", function, "mine", fingerprint=fingerprint, device="cpu")


def test_another_extractor_of_the_same_name_has_statistics_of_its_own(tmp_path):
    first, second = (real_images(extractor(scale, str(scale)), Pictures(), cache=tmp_path) for scale in (1, 2))
    torch.testing.assert_close(second.statistics.mean, 2 * first.statistics.mean)
    again = real_images(extractor(3, "1"), Pictures(), cache=tmp_path)
    assert torch.equal(again.statistics.mean, first.statistics.mean)  # kept: found by the fingerprint, not computed


def test_an_extractor_without_a_fingerprint_is_not_kept(tmp_path):
    for scale in (1, 2):
        found = real_images(extractor(scale, ""), Pictures(), cache=tmp_path)
        torch.testing.assert_close(found.points, extractor(scale, "")(_images()).vectors.float())
    assert not list(tmp_path.iterdir())


def _images():
    return (Pictures().batch(torch.arange(12)) * 255).round().to(torch.uint8)


def test_an_entry_under_another_entrys_name_is_not_believed(tmp_path):
    for key, value in (("a", 1.0), ("b", 2.0)):
        kept_tensors(tmp_path, key, lambda value=value: {"mean": torch.tensor(value)}, ("mean",))
    shutil.copy(tmp_path / "features" / "a.bin", tmp_path / "features" / "b.bin")
    with pytest.warns(UserWarning, match="damaged or a different one"):
        found = kept_tensors(tmp_path, "b", lambda: {"mean": torch.tensor(2.0)}, ("mean",))
    assert found["mean"] == 2


def test_an_extractor_that_changed_under_its_fingerprint_is_told(tmp_path):
    try:
        fidelity_library()
    except UsageError as absent:
        pytest.skip(str(absent))
    real_images(extractor(1, "same", 4), Pictures(), cache=tmp_path)
    changed = extractor(1, "same", 3)
    judge = SampleFidelity(changed, real_images(changed, Pictures(), cache=tmp_path))
    with pytest.raises(UsageError, match=r"3 of a generated image and 4 of a real one.*fingerprint"):
        judge.figures([_images()])
