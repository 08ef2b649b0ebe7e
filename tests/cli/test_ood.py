"""`priorkit ood` and the density figures of `evaluate` on the tiny run."""

import json

import pytest

from priorkit.metrics.detection import MEASURES


@pytest.fixture(scope="module")
def found(call, finished):
    result = call("ood", finished, "--ood", "ood:constant", "--ood", "digits", "--images", 120, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_object(found):
    assert found["prior"] == "multistage" and set(found["ood"]) == {"ood:constant", "digits"}
    scores = found["ood"]["ood:constant"]["scores"]
    assert set(scores["log_ratio"]) == {"all", "top:1"}
    assert set(scores["classifier_stage_2"]) == {"all", "top:1"}
    assert set(scores["llr"]) == {"top:1"} and set(scores["elbo"]) == {"all", "top:1"}
    assert {"denoised", "gaussian", "log_joint", "log_prob"} <= set(scores)
    figures = scores["elbo"]["all"]
    assert set(figures) == set(MEASURES)
    assert all(0 <= one["low"] <= one["high"] <= 1 for name, one in figures.items() if name != "cohen_d")
    assert "120 held-out" in found["ood"]["digits"]["protocol"]


def test_the_runs_own_data_are_at_chance(found):
    """Other posterior samples of images of the same split: intervals of 95 %, and 0.5 +- 4 standard errors of 0.037."""
    for name in ("log_ratio", "elbo", "gaussian", "log_joint"):
        assert abs(found["ood"]["digits"]["scores"][name]["all"]["auroc"]["value"] - 0.5) < 0.15


def test_the_first_classifier_is_the_first_stage(found):
    """Stage 1 starts from the Gaussian prior, whose log ratio is 0."""
    scores = found["ood"]["ood:constant"]["scores"]
    for layers in ("all", "top:1"):
        first, classifier = (scores[name][layers]["auroc"]["value"] for name in ("log_ratio_stage_1", "classifier_stage_1"))
        assert first == classifier


def test_the_nearest_training_image(found):
    """Images of one grey value are no digits; the protocol says what the features are and that they saw labels."""
    for data, told in (("ood:constant", 0.9), ("digits", None)):
        auroc = found["ood"][data]["scores"]["nearest"]["all"]["auroc"]["value"]
        assert auroc > told if told else abs(auroc - 0.5) < 0.15
    protocol = found["ood"]["digits"]["protocol"]
    assert "distance to the nearest of" in protocol and "'digits' classifier" in protocol and "class labels" in protocol


def test_a_score_is_the_same_whichever_others_are_asked_for(call, finished, found):
    for asked in ("log_ratio,denoised", "elbo,nearest", "classifier_stage"):
        options = ("--ood", "ood:constant", "--ood", "digits", "--images", 120, "--scores", asked, "--json")
        result = call("ood", finished, *options)
        assert result.exit_code == 0, result.output
        scores = json.loads(result.stdout)["ood"]["ood:constant"]["scores"]
        assert {name.removesuffix("_1").removesuffix("_2") for name in scores} == set(asked.split(","))
        for name, by_layers in scores.items():
            for layers, figures in by_layers.items():
                assert figures["auroc"]["value"] == found["ood"]["ood:constant"]["scores"][name][layers]["auroc"]["value"]


def test_the_second_nearest(call, finished):
    options = ("--ood", "ood:blurred", "--images", 60, "--scores", "nearest", "--neighbours")
    for k, told in ((2, "2nd nearest"), (3, "3rd nearest"), (12, "12th nearest")):
        result = call("ood", finished, *options, k, "--json")
        assert told in json.loads(result.stdout)["ood"]["ood:blurred"]["protocol"]
    result = call("ood", finished, *options, 10**6)
    assert result.exit_code == 2 and "--neighbours" in result.output


def test_tables_and_curves(call, finished, tmp_path):
    out = tmp_path / "curves.png"
    result = call("ood", finished, "--ood", "ood:blurred", "--images", 60, "--layers", "bottom:1", "--out", out)
    assert result.exit_code == 0, result.output
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "bottom:1" in result.output and "AUROC against ood:blurred" in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--ood", "ood:sepia"], "ood:interpolated"),
        (["--ood", "toy:moons"], "shape"),
        (["--ood", "ood:blurred", "--layers", "top:9"], "top:k"),
        (["--ood", "ood:blurred", "--out", "curves.txt"], ".png"),
        (["--ood", "ood:blurred", "--scores", "elbo,sharpness"], "nearest"),
    ],
)
def test_refused(call, finished, arguments, told):
    result = call("ood", finished, *arguments)
    assert result.exit_code == 2
    assert told in result.output


def test_density_figures(call, finished):
    result = call("evaluate", finished, "--metrics", "logz", "--json")
    assert result.exit_code == 0, result.output
    metrics = json.loads(result.stdout)["metrics"]
    assert {"log_z", "log_z_lower", "log_z_upper", "log_z_stage_1", "log_z_stage_2", "elbo_prior_nats", "iw_nats"} <= set(
        metrics
    )
    assert metrics["log_z"]["value"] == metrics["log_z_stage_2"]["value"]
    assert metrics["iw_prior_nats"]["value"] >= metrics["elbo_prior_nats"]["value"]


def test_json_is_json_whatever_a_plugin_prints(call, finished, monkeypatch):
    from priorkit_twolayer import TwoLayer

    infer = TwoLayer.infer
    monkeypatch.setattr(TwoLayer, "infer", lambda *a, **b: print("a plugin speaks") or infer(*a, **b))
    result = call("ood", finished, "--ood", "ood:constant", "--images", 50, "--json")
    assert result.exit_code == 0 and set(json.loads(result.stdout)["ood"]) == {"ood:constant"}
    assert "a plugin speaks" in result.stderr


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_curves_that_cannot_be_written_cost_no_figure(call, finished, tmp_path, options):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "curves.png"
    asked = ["--ood", "ood:blurred", "--images", 30, "--layers", "bottom:1", "--scores", "elbo", *options]
    result = call("ood", finished, *asked, "--out", out)
    assert result.exit_code == 2 and f"{out}: could not be written" in result.output
    assert ('"auroc"' if options else "AUROC against") in result.stdout
