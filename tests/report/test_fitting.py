"""Tables on narrow terminals, and the titles of their rows."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from priorkit.core.metric import Metric
from priorkit.report.fitting import Fitting
from priorkit.report.table import backbone_line, prior_table, protocol_table
from priorkit.report.titles import RULES, title, titles, without_prior

ENDINGS = ("_gaussian", "_stage_1", "_stage_2", "_stage_3", "", "_posterior")
BASES = ("clipped_coverage_digits_heldout", "fd_digits_heldout", "gap_auc", "elbo_prior_nats", "share_closed", "copied")
FIGURES = {f"{base}{end}": Metric(0.1234, 0.056, f"how {base}") for base in BASES for end in ENDINGS}


def printed(table, width, **options):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(Fitting(table, **options))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    return lines


@pytest.mark.parametrize("width", [120, 80, 40])
def test_no_word_and_no_value_of_a_table_is_broken(width):
    lines = printed(prior_table(FIGURES), width)
    words = " ".join(lines).split()
    assert not any("…" in word for word in words)
    assert words.count("0.123") == words.count("±0.06") == 5 * len(BASES)  # the last stage is the learned prior
    known = {word for base in BASES for word in title(base).split()}
    assert known <= set(words)


def test_a_row_without_room_is_a_block_of_whole_cells():
    table = Table("kind", "name", "origin", "health")
    table.add_row("prior", "ncp", "priorkit_ncp:NcpPrior", "ok")
    assert len(printed(table, 60)) > 3  # the table itself, with its borders
    assert printed(table, 30, heads=2) == ["prior ncp", "  origin priorkit_ncp:NcpPrior", "  health ok"]


def test_protocols_are_told_once_for_all_priors():
    text = " ".join(" ".join(printed(protocol_table(FIGURES), 80)).split())
    for base in BASES:
        assert text.count(f"how {base}") == 1 and base in text


def test_the_backbone_has_a_line():
    figures = {"reconstruction": Metric(0.005, 0.0001, ""), "elbo_nats": Metric(-1727.2, 12.0, "")}
    figures |= {"kl_layer_0": Metric(4.5, 0.1, ""), "kl_layer_1": Metric(27.9, 0.1, ""), "gap_auc": Metric(0.5, 0.1, "")}
    told = "backbone: reconstruction error 0.005 ±0.0001; ELBO under N(0, I), nats -1,727 ±12; KL of 2 layers 32.4 nats"
    assert backbone_line(figures) == told
    assert backbone_line({"gap_auc": Metric(0.5, 0.1, "")}) == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fd_digits_heldout", "fd to held-out images"),
        ("fd_digits", "fd to training images"),
        ("rfd_digits", "fd of reconstructions"),
        ("fid", "FID"),
        ("gap_auc_layer_12", "gap AUC, layer 12"),
        ("energy_distance_top_2", "energy distance, top 2"),
        ("energy_distance_layer_1_p", "energy distance layer 1, p"),
        ("precision_digits_heldout", "precision"),
        ("elbo_prior_bpd", "ELBO, bits/dim"),
        ("heldout_validation_loss", "held-out loss"),
        ("hole_nats_lower", "hole in nats, lower"),
        ("of_a_plugin", "of a plugin"),
    ],
)
def test_titles(name, told):
    assert title(name) == told


def test_every_rule_has_a_word_for_each_of_its_marks():
    for pattern, told in RULES:
        assert "{" not in told or "(" in pattern, pattern


def test_titles_are_in_the_order_of_the_table_and_tell_two_features_apart():
    names = ["fd_vgg_heldout", "gap_auc_layer_10", "gap_auc_layer_9", "fd_digits_heldout", "share_closed"]
    assert list(titles(names).values()) == [
        "share closed",
        "fd to held-out images (fd_digits_heldout)",
        "fd to held-out images (fd_vgg_heldout)",
        "gap AUC, layer 9",
        "gap AUC, layer 10",
    ]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("fd_digits_stage_1", ("fd_digits", "_stage_1")),
        ("gap_auc_gaussian_layer_0", ("gap_auc_layer_0", "_gaussian")),
        ("fd_digits_heldout_posterior", ("fd_digits_heldout", "_posterior")),
        ("gap_auc_stage_12_layer_3", ("gap_auc_layer_3", "_stage_12")),
        ("share_closed", ("share_closed", "")),
    ],
)
def test_a_name_without_its_prior(name, parts):
    assert without_prior(name) == parts
