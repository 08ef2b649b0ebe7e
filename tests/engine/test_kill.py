"""A run killed at any moment and resumed is bit for bit the run that was not killed."""

import kill

SHORT = ("trainer.backbone_steps=30", "trainer.prior_steps=60", "trainer.validate_every=10")
"""A run's phases and checkpoints are as many as the benchmark's; only its steps are fewer."""


def test_random_kills(tmp_path, capsys):
    assert kill.trials(10, seed=1, root=tmp_path, more=SHORT) == []
    kills = int(capsys.readouterr().out.split("trials, ")[1].split(" kills")[0])
    assert kills >= 10, "too few of the runs were alive when the kill came"
