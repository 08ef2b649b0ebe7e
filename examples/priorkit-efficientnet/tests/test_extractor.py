"""What every extractor must do, and what is particular to this one."""

import pytest
import torch
from priorkit_efficientnet import EfficientNetLite0, EfficientNetLite0At96

from priorkit.errors import UsageError
from priorkit.testing import checks


@pytest.mark.parametrize("check", checks("extractor"), ids=str)
@pytest.mark.parametrize("kind", [EfficientNetLite0, EfficientNetLite0At96])
def test_conformance(check, kind):
    check(kind)


def pictures(count, channels=3):
    return torch.randint(0, 256, (count, channels, 32, 32), generator=torch.Generator().manual_seed(0)).byte()


def test_the_features_are_those_that_the_network_itself_classifies():
    extractor = EfficientNetLite0()
    images = pictures(2)
    resized = torch.nn.functional.interpolate(images.float(), (224, 224), mode="bicubic", antialias=True).clamp(0, 255)
    found = extractor(images)
    assert found.vectors.shape == (2, 1280) and found.logits.shape == (2, 1000)
    torch.testing.assert_close(found.logits, extractor.network((resized - 127) / 128), rtol=1e-4, atol=1e-4)


def test_grey_images_are_three_equal_channels_and_others_are_refused():
    extractor = EfficientNetLite0At96()
    grey = pictures(1, channels=1)
    assert torch.equal(extractor(grey).vectors, extractor(grey.expand(-1, 3, -1, -1)).vectors)
    with pytest.raises(UsageError, match="1 or 3 channels, got 2"):
        extractor(pictures(1, channels=2))


def test_other_weights_are_refused(tmp_path):
    with pytest.raises(UsageError, match="their own weights"):
        EfficientNetLite0(weights=tmp_path / "other.pth")


def test_both_sizes_have_fingerprints_of_their_own():
    assert EfficientNetLite0().fingerprint != EfficientNetLite0At96().fingerprint
