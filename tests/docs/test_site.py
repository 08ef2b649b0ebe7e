"""The built site in headless Chromium, on a laptop and on a telephone: whole without another host, readable, searchable."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request

import pytest
from doc_pages import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = {"laptop": 1366, "telephone": 390}
PAGES = ("index", "methods/multistage", "methods/vdrme", "reference/core", "reference/priors", "ood", "gallery", "results")
RAW = "() => document.querySelector('article').innerText.match(/:math:|:class:`|\\$\\$|\\\\(frac|sim|log)\\b/g) || []"
BROKEN = "() => [...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"
HEIGHTS = "() => [...document.querySelectorAll('article math')].map(formula => formula.getBoundingClientRect().height)"
SPLIT_NAMES = """() => [...document.querySelectorAll('article td code')].filter(
    code => !/[\\s-]/.test(code.textContent) && code.getClientRects().length > 1).map(code => code.textContent)"""

if CHROMIUM is None:
    pytest.skip("no Chromium is installed", allow_module_level=True)
api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("material", reason="the extra docs is not installed")
pytest.importorskip("latex2mathml", reason="the extra docs is not installed")
pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, format, *arguments):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The site, built with --strict."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stderr[-3_000:]
    return folder


@pytest.fixture(scope="module")
def site(folder):
    """The address of the site."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser():
    # Root, as in a container, is refused Chromium's sandbox.
    arguments = ["--disable-gpu", *(["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else [])]
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=120_000)
        yield chromium
        chromium.close()


@pytest.fixture(params=WIDTHS.values(), ids=WIDTHS)
def view(request, browser, site):
    """A window; after the test, that it asked no other host for anything and complained of nothing."""
    window = browser.new_page(viewport={"width": request.param, "height": 900})
    window.set_default_timeout(60_000)
    asked, told = [], []
    window.on("request", lambda one: asked.append(one.url))
    window.on("response", lambda one: told.append(f"{one.status} {one.url}") if one.status >= 400 else None)
    window.on("console", lambda one: told.append(one.text))
    window.on("pageerror", lambda one: told.append(str(one)))
    yield window
    assert asked
    assert [url for url in asked if not url.startswith((site, "data:", f"blob:{site}"))] == []
    assert told == []
    window.close()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_is_whole_and_no_wider_than_the_screen(view, site, page):
    view.goto(f"{site}{page}.html", wait_until="load")
    assert view.evaluate("() => document.documentElement.scrollWidth") <= view.viewport_size["width"]
    assert view.evaluate(BROKEN) == []
    assert view.evaluate(RAW) == []
    assert view.evaluate(SPLIT_NAMES) == []


@pytest.mark.parametrize("page", ["index", "methods/vdrme"])
def test_formulas_are_mathml_that_the_browser_sets(view, site, page):
    view.goto(f"{site}{page}.html", wait_until="load")
    heights = view.evaluate(HEIGHTS)
    # Without MathML the two rows would be one, and no higher than a letter.
    assert all(heights)
    assert max(heights) > 40
    assert view.evaluate("() => document.querySelectorAll('article .arithmatex, article merror').length") == 0


def test_llms_txt_lists_every_page_of_the_site(site):
    with urllib.request.urlopen(f"{site}llms.txt", timeout=60) as answer:
        listed = set(re.findall(r"\]\(([^)]*)\)", answer.read().decode()))
    with urllib.request.urlopen(f"{site}search/search_index.json", timeout=60) as answer:
        pages = {place["location"].partition("#")[0] for place in json.load(answer)["docs"]}
    assert listed == pages


def found_by_search(window, text):
    """The addresses that the site's search gives."""
    field = window.locator("input.md-search__input")
    field.click()
    field.press_sequentially(text)
    found = window.locator(".md-search-result__item a")
    found.first.wait_for()
    return found.evaluate_all("links => links.map(link => link.href)")


def test_links_and_search_work_from_disk_without_another_host(browser, folder):
    window, asked = browser.new_page(viewport={"width": 1366, "height": 900}), []
    window.set_default_timeout(60_000)
    window.on("request", lambda one: asked.append(one.url))
    window.goto((folder / "index.html").as_uri(), wait_until="load")
    window.locator("article a[href='start.html']").first.click()
    window.wait_for_url("**/start.html")
    addresses = found_by_search(window, "multistage")
    assert (folder / "methods" / "multistage.html").as_uri() in [address.partition("?")[0] for address in addresses]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))] == []
    window.close()


def test_a_search_finds_the_method(view, site):
    view.goto(site, wait_until="load")
    if view.viewport_size["width"] < 960:
        view.locator("header label[for='__search']").first.click()
    addresses = found_by_search(view, "multistage")
    assert any("methods/multistage.html" in address for address in addresses)
    # Parts that other pages include are no pages of their own.
    assert not [address for address in addresses if re.search(r"/results/\w", address)]
