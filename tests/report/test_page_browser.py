"""The page in headless Chromium: sorted by a click, whole without a network, readable on a laptop and on a telephone."""

import os
import shutil

import pytest
from fabricated import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NAMES = "() => [...document.querySelectorAll('table.sortable tbody th')].map(cell => cell.textContent)"

if CHROMIUM is None:
    pytest.skip("no Chromium is installed", allow_module_level=True)
api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def browser():
    # Root, as in a container, is refused Chromium's sandbox.
    arguments = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=120_000)
        yield chromium
        chromium.close()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["laptop", "telephone"])
def opened(request, browser, tmp_path):
    """The page; after the test, that it asked for nothing and complained of nothing."""
    file = tmp_path / "page.html"
    file.write_text(page())
    width, scheme = request.param
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    view.set_default_timeout(60_000)
    asked, told = [], []
    view.on("request", lambda one: asked.append(one.url))
    view.on("console", lambda one: told.append(one.text))
    view.on("pageerror", lambda one: told.append(str(one)))
    view.goto(file.as_uri())
    yield view
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert told == []
    view.close()


def test_a_click_sorts_by_value_and_another_the_other_way(opened):
    if opened.viewport_size["width"] < 400:
        pytest.skip("the telephone has a list in place of headings")
    heading = opened.get_by_role("button", name="Fréchet distance to held-out images ↓")
    heading.click()
    # By number (1, 2, 6, 10) and not by text; the row without a value stays last.
    assert opened.evaluate(NAMES) == ["multistage", "ncp", "Gaussian", "diffusion", "vdrme"]
    heading.click()
    assert opened.evaluate(NAMES) == ["diffusion", "Gaussian", "ncp", "multistage", "vdrme"]
    assert opened.locator("th[aria-sort]").count() == 1
    opened.get_by_role("button", name="prior").click()
    assert opened.evaluate(NAMES) == ["diffusion", "Gaussian", "multistage", "ncp", "vdrme"]


def test_a_list_sorts_on_a_telephone_the_better_values_first(opened):
    narrow = opened.viewport_size["width"] < 400
    assert opened.locator(".sort-by select").is_visible() == narrow
    assert opened.get_by_role("button", name="rank").count() == 0 or not narrow
    if narrow:
        given = opened.evaluate(NAMES)
        choose = opened.locator(".sort-by select").select_option
        choose(label="Fréchet distance to held-out images ↓")
        assert opened.evaluate(NAMES) == ["multistage", "ncp", "Gaussian", "diffusion", "vdrme"]
        choose(label="samples/s ↑")
        assert opened.evaluate(NAMES)[:3] == ["multistage", "ncp", "diffusion"]
        choose(label="the page's order")
        assert opened.evaluate(NAMES) == given


def test_panels_stand_side_by_side_and_below_one_another_on_a_telephone(opened):
    boxes = [image.bounding_box() for image in opened.locator(".parts img").all()]
    narrow = opened.viewport_size["width"] < 400
    assert len(boxes) == 3 and len({box["y"] for box in boxes}) == (3 if narrow else 1)
    assert all(box["width"] > 300 for box in boxes)


def test_a_link_to_a_folded_section_opens_it(opened):
    opened.get_by_role("link", name="Protocols").click()
    opened.wait_for_function("() => document.querySelector('#protocols details').open")


def test_pictures_and_charts_are_there(opened):
    widths = opened.evaluate("() => [...document.images].map(image => image.complete ? image.naturalWidth : 0)")
    assert len(widths) == 3 + 3
    assert min(widths) >= 30
    boxes = [box for chart in opened.locator(".chart svg").all() if (box := chart.bounding_box()) is not None]
    assert len(boxes) == 4  # of those drawn twice, the one for this width
    assert all(box["width"] > 200 and box["height"] > 100 for box in boxes)


def test_nothing_is_wider_than_the_screen_but_what_scrolls_in_its_box(opened):
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= opened.viewport_size["width"]


def test_nothing_is_cut_off_on_a_telephone(opened):
    """Every cell and chart is inside the screen, without a box that scrolls, also in a section that was opened."""
    if opened.viewport_size["width"] > 400:
        pytest.skip("of the telephone only")
    opened.evaluate("() => document.querySelectorAll('details').forEach(each => each.open = true)")
    outside = (
        "() => [...document.querySelectorAll('td, th, svg, img, p')].filter(e => e.getBoundingClientRect().right > 390)"
    )
    assert opened.evaluate(f"{outside}.map(e => e.outerHTML.slice(0, 80))") == []
    scrolls = "() => [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert opened.evaluate(scrolls) == 0


def test_rows_are_blocks_on_a_telephone_whose_values_have_their_headings(opened):
    shown = opened.evaluate(
        "() => { const td = document.querySelector('td[data-value]'); return [getComputedStyle(td, '::before').content,"
        " getComputedStyle(td.parentElement).display]; }"
    )
    narrow = opened.viewport_size["width"] < 400
    assert shown[1] == ("flex" if narrow else "table-row")
    assert ("distance to held-out" in shown[0]) == narrow


def test_the_headline_is_first_and_protocols_are_folded(opened):
    assert opened.locator("h1 + p.headline").count() == 1
    assert not opened.get_by_text("2,000 samples 2,000 samples").is_visible()


def test_text_stands_out_from_the_ground(opened):
    ink, ground = opened.evaluate(
        "() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor].map(c =>"
        " c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 3); }"
    )
    assert abs(ink - ground) > 150
    chart = opened.evaluate("() => getComputedStyle(document.querySelector('.chart svg')).fill")
    assert chart == opened.evaluate("() => getComputedStyle(document.body).color")
