"""`priorkit.train` again: the run that the same options made is read."""

import pytest

import priorkit
from priorkit.config import resolve
from priorkit.errors import UsageError
from priorkit.workflows.measuring.evaluate import Evaluation
from priorkit.workflows.training.train import train

OPTIONS = ["backbone.num_channels_enc=4", "backbone.num_channels_dec=4", "trainer.backbone_steps=2", "engine.threads=1"]


def test_a_run_whose_preset_was_chosen_by_its_data_is_read_again(tmp_path):
    train(resolve(None, OPTIONS, backbone="nvae", prior="gaussian"), tmp_path / "run", evaluation=Evaluation((), 2_000))
    given = {"backbone": "nvae", "prior": "gaussian", "out": tmp_path / "run"}
    model = priorkit.train(**given, options=OPTIONS)
    assert model.sample(2).shape == (2, 1, 8, 8)
    with pytest.raises(UsageError, match="differs in backbone"):
        priorkit.train(**given, options=[*OPTIONS, "backbone.preset=small"])
