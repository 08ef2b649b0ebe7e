"""What every sampler must do."""

import pytest
from priorkit_torchebm import TorchEbmHmc

from priorkit.testing import checks


@pytest.mark.parametrize("check", checks("sampler"), ids=str)
def test_conformance(check):
    check(TorchEbmHmc)
