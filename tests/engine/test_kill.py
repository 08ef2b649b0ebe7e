"""A run killed at any moment and resumed is bit for bit the run that was not killed."""

import kill


def test_twenty_random_kills(tmp_path, capsys):
    assert kill.trials(20, seed=1, root=tmp_path) == []
    kills = int(capsys.readouterr().out.split("trials, ")[1].split(" kills")[0])
    assert kills >= 20, "too few of the runs were alive when the kill came"
