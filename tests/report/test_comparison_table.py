"""The terminal's tables and the page's markup, without a browser."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from fabricated import COMPARISON, page, value
from rich.console import Console

from priorkit.core.metric import Metric
from priorkit.report.charts import against_cost
from priorkit.report.comparison import Row, Value
from priorkit.report.comparison_headline import comparison_headline
from priorkit.report.comparison_table import comparison_tables, in_order, shown_cost, shown_value
from priorkit.report.direction import badness, direction
from priorkit.report.ranking import Behind, Rank
from priorkit.report.stacking import LOWER, WIDEST, stack
from priorkit.report.table import prior_table


def printed(**options):
    console = Console(width=140, record=True, force_terminal=True, color_system="truecolor", file=io.StringIO())
    for table in comparison_tables(COMPARISON):
        console.print(table)
    return console.export_text(**options)


def test_the_best_of_each_column_is_bold():
    bold = re.findall(r"\x1b\[1m *([^\x1b]+?) *\x1b", printed(styles=True))
    assert {"1.00 ±0.10", "0.48 ±0.10", "80", "900"} <= set(bold)
    assert not {"6.00 ±0.10", "2.00 ±0.10", "10.00 ±0.10"} & set(bold)


def test_headings_say_which_way_is_better_and_failures_are_told():
    text = printed()
    headings = ("images ↓", "gap AUC → 0.5", "samples/s ↑", "training s ↓")
    for told in (*headings, "vdrme: failed, seed 0: it exploded"):
        assert told in text


@pytest.mark.parametrize(
    ("mean", "spread", "text"),
    [
        (1.2345, 0.0561, "1.234 ±0.056"),
        (-4821.4, 0.6, "-4,821.40 ±0.60"),
        (4821.4, 32.0, "4,821 ±32"),
        (0.5, None, "0.5"),
        (0.7583, 4.7e-5, "0.7583 ±5e-05"),
        (0.0012, 4.7e-5, "0.001200 ±0.000047"),
    ],
)
def test_a_figure_is_rounded_to_its_spread(mean, spread, text):
    assert shown_value("fd", Value(mean, spread, "runs", 2)) == text


def test_memory_is_told_in_mebibytes():
    assert shown_cost("peak_memory", value(2.0**25)) == "32"


def test_directions():
    assert badness("gap_auc", 0.45) == pytest.approx(badness("gap_auc", 0.55))
    assert badness("elbo_prior_nats", -90.0) < badness("elbo_prior_nats", -91.0)
    assert badness("elbo_prior_bpd", 2.0) < badness("elbo_prior_bpd", 2.1)
    assert direction("log_z") is None


class Markup(HTMLParser):
    """Notes identifiers and whatever would be fetched."""

    def __init__(self):
        super().__init__()
        self.identifiers, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        for name, content in attrs:
            if name == "id":
                self.identifiers.append(content)
            if name in ("src", "href", "xlink:href") and not content.startswith(("data:", "#")):
                self.fetched.append(content)


def test_the_page_fetches_nothing_and_escapes_what_it_is_told():
    text, markup = page(), Markup()
    markup.feed(text)
    assert markup.fetched == []
    assert len(markup.identifiers) == len(set(markup.identifiers))
    assert "Not compared: &lt;nothing&gt;." in text
    assert "exploded &amp; stopped" in text
    assert not re.search(r"url\((?!#)", text)


def test_charts_are_whole_and_take_the_text_s_colour():
    found = re.findall(r"<svg.*?</svg>", page(), flags=re.DOTALL)
    assert len(found) == 4 + 3  # three are wider than a telephone, and drawn for it too
    for chart in found:
        ElementTree.fromstring(chart)
        assert "currentColor" in chart
        assert "#000000" not in chart


def test_no_value_of_a_run_s_table_is_cut_off_at_80_columns():
    """Of five priors with spreads; names are folded."""
    endings = ("_gaussian", "_stage_1", "_stage_2", "_stage_3", "", "_posterior")
    figures = {f"clipped_coverage_digits_heldout{end}": Metric(0.1234, 0.056, "") for end in endings}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(prior_table(figures))
    text = console.export_text()
    assert "…" not in text and text.count("0.123 ±0.06") == 5


def test_charts_of_a_page_have_narrow_twins_with_the_same_panels():
    figure = against_cost(COMPARISON, "fd_digits_heldout")
    panels, height = len(figure.axes), figure.get_figheight()
    assert panels > 1 and stack(figure) and len(figure.axes) == panels
    assert figure.get_figwidth() <= WIDEST and figure.get_figheight() == pytest.approx(LOWER * panels * height)
    places = [axis.get_position() for axis in figure.axes]
    assert all(a.y0 > b.y0 and a.x0 == pytest.approx(b.x0, abs=0.1) for a, b in pairwise(places))
    assert {axis.get_ylabel() for axis in figure.axes} == {"Fréchet distance to held-out images ↓"}
    assert not stack(figure)  # which is narrow now


def test_the_headline_tells_the_first_and_who_shares_its_place():
    ranks = {
        "multistage": Rank(1, True, None),
        "ncp": Rank(1, True, Behind(1.0, 2.0, "")),
        "diffusion": Rank(3, False, None),
    }
    alike = replace(COMPARISON, ranks={"fd_digits_heldout": ranks})
    assert comparison_headline(alike) == (
        "By Fréchet distance to held-out images, multistage is first with 1.00 ±0.10, and ncp with 2.00 ±0.10 cannot be "
        "told from it; Gaussian 6.00 ±0.10."
    )
    apart = replace(COMPARISON, ranks={"fd_digits_heldout": ranks | {"ncp": Rank(2, False, None)}})
    assert "first with 1.00 ±0.10, before ncp with 2.00 ±0.10; Gaussian" in comparison_headline(apart)
    assert comparison_headline(COMPARISON).startswith("No metric ranks these priors")
    assert "One prior alone" in comparison_headline(replace(COMPARISON, rows=COMPARISON.rows[:2]))


def test_rows_are_by_rank_then_mean_and_posterior_samples_are_last():
    floor = Row("posterior samples", "reference", {"fd_digits_heldout": value(0.1)})
    ranks = {
        "multistage": Rank(1, True, None),
        "ncp": Rank(1, True, Behind(1.0, 2.0, "")),
        "diffusion": Rank(3, False, None),
    }
    unranked = Row("other", "prior")
    found = replace(COMPARISON, rows=(floor, unranked, *COMPARISON.rows), ranks={"fd_digits_heldout": ranks})
    names = ["multistage", "ncp", "diffusion", "other", "vdrme", "Gaussian", "posterior samples"]
    assert [row.label for row in in_order(found)] == names
    first = list(comparison_tables(found)[0].columns[0].cells)
    assert [str(cell).partition(":")[0] for cell in first] == names


def idle(label, seconds):
    costs = {"seconds": value(seconds), "samples_per_second": value(9000.0), "parameters": value(0.0)}
    return Row(label, "prior", {"fd_digits_heldout": value(6.0)}, costs)


def test_a_prior_that_learns_nothing_is_not_the_best_in_cost():
    found = replace(COMPARISON, rows=(*COMPARISON.rows, idle("gaussian", 0.0)))
    assert found.best("seconds").label == "multistage" and found.best("samples_per_second").label == "multistage"
    fitted = replace(COMPARISON, rows=(*COMPARISON.rows, idle("mixture", 5.0)))
    assert fitted.best("seconds").label == "mixture"


def test_a_fitted_prior_has_no_zero_for_its_parameters():
    assert shown_cost("parameters", value(0.0)) == "fitted"
    assert shown_cost("parameters", value(0.0), learns=False) == "0"
    assert shown_cost("parameters", value(12.0)) == "12"


def test_a_cost_that_all_priors_share_has_no_panel_and_the_front_is_steps():
    figure = against_cost(COMPARISON, "fd_digits_heldout")
    assert [axis.get_xlabel() for axis in figure.axes] == ["training s ↓", "samples/s ↑"]
    dashed = [[line.get_drawstyle() for line in axis.lines if line.get_linestyle() == "--"] for axis in figure.axes]
    assert dashed == [["steps-post"], ["steps-pre"]]
    alike = [replace(row, costs=row.costs | {"seconds": value(3.0)}) for row in COMPARISON.priors]
    (panel,) = against_cost(replace(COMPARISON, rows=tuple(alike)), "fd_digits_heldout").axes
    assert panel.get_xlabel() == "samples/s ↑"
