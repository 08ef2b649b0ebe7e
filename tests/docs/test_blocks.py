"""Every code block of every page is followed from the top of the page to its end.

Training is cut to two steps per phase and measuring to few samples (`doc_shortening`); a benchmark's command is only read by
the benchmark's own parser.  Files that a page takes for granted are small stand-ins, made here.  A block that cannot be run
says why in a comment above it, `<!-- not run: REASON -->`; one that the reader saves names the file, `<!-- file: PATH -->`.
"""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from doc_pages import PAGES, ROOT, blocks
from doc_reader import SHELL, Reader
from doc_shortening import shortened
from PIL import Image
from typer.testing import CliRunner

from priorkit.cli import app
from priorkit.registry import installed

MAX_NOT_RUN = 14
RUN = "runs/digits-nvae-multistage"
CACHE = "cache"
OWN_RUN = {"docs/start.md"}
"""Pages that train that run themselves; all others find it there."""
MORE_RUNS = {"docs/compare.md": ("runs/my-run", "runs/a", "runs/b"), "docs/ood.md": ("RUN",), "docs/evaluation.md": ("RUN",)}
ARCHIVES = {
    "images.zip": (8, (32, 32, 3)),
    "cifar10-train.zip": (8, (32, 32, 3)),
    "train.zip": (8, (32, 32, 3)),
    "test.zip": (4, (32, 32, 3)),
    "mnist-test.zip": (12, (8, 8)),
    "clothing.zip": (8, (28, 28)),
}
RAN = ("python", "yaml", "json", "toml", *SHELL)


def page_name(page):
    return page.relative_to(ROOT).as_posix()


FOLLOWED = [page for page in PAGES if any(block.language in RAN for block in blocks(page))]


def test_few_blocks_are_left_out_and_each_says_why(capsys):
    marked = [block for page in PAGES for block in blocks(page) if block.note.startswith("not run")]
    with capsys.disabled():
        for block in marked:
            print(f"\nnot run: {block.place}: {block.reason}", end="")
    assert all(len(block.reason.split()) > 2 for block in marked)
    assert len(marked) <= MAX_NOT_RUN


def test_no_block_hides_behind_a_language_that_is_not_run():
    known = {*RAN, "text", "pyi", "math"}
    strange = [block.place for page in PAGES for block in blocks(page) if block.language not in known]
    assert not strange, f"name the language of {', '.join(strange)}: one of {', '.join(sorted(known))}"
    shown = [block for page in PAGES for block in blocks(page) if block.language == "text" and page.name != "commands.md"]
    assert not [block.place for block in shown if block.code.lstrip().startswith(("priorkit ", "pip ", "import priorkit"))]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """A folder with the small files and the run that pages take for granted."""
    folder = tmp_path_factory.mktemp("stand-ins")
    random = np.random.default_rng(0)
    (folder / "images").mkdir()
    for name, (count, shape) in ARCHIVES.items():
        pictures = folder / "images" if name == "images.zip" else folder / Path(name).stem
        pictures.mkdir(exist_ok=True)
        for i in range(count):
            Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(pictures / f"{i}.png")
        shutil.make_archive(str(folder / Path(name).stem), "zip", pictures)
    published = ROOT / "tests" / "nvae" / "published.py"
    spec = importlib.util.spec_from_file_location("published_file", published)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.save(module.content(), folder / "checkpoint.pt")
    with shortened(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIORKIT_CACHE", str(folder / CACHE))
        done = CliRunner().invoke(app, ["train", "--quiet", "--out", str(folder / RUN)])
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize("page", FOLLOWED, ids=page_name)
def test_a_page_can_be_followed(page, stand_ins, tmp_path, monkeypatch):
    name, place = page_name(page), tmp_path / "here"
    shutil.copytree(stand_ins, place, ignore=shutil.ignore_patterns(CACHE, *(["runs"] if name in OWN_RUN else [])))
    for run in MORE_RUNS.get(name, ()):
        shutil.copytree(stand_ins / RUN, place / run)
    shutil.copytree(ROOT / "examples" / "recipes", place / "examples" / "recipes")
    monkeypatch.chdir(place)
    # One for all pages, as a reader has: what is known of a data set is computed once.
    monkeypatch.setenv("PRIORKIT_CACHE", str(stand_ins / CACHE))
    reader = Reader(monkeypatch)
    try:
        with shortened():
            for block in blocks(page):
                reader.follow(block)
    finally:
        reader.forget()
        monkeypatch.undo()
        installed.cache_clear()


def test_a_wrong_block_would_be_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    wrong = {
        "```sh\npriorkit sample no-such-run --out a.png\n```\n": AssertionError,
        "```sh\nmake coffee\n```\n": pytest.fail.Exception,
        "```sh\npython benchmarks/toys.py --no-such-option\n```\n": SystemExit,
        "```python\nraise ZeroDivisionError\n```\n": ZeroDivisionError,
        "```json\n{\n```\n": ValueError,
    }
    monkeypatch.setattr("doc_pages.ROOT", tmp_path)
    for text, error in wrong.items():
        page.write_text(f"Words.\n\n{text}", encoding="utf-8")
        (block,) = blocks(page)
        with pytest.raises(error):
            Reader(monkeypatch).follow(block)
        page.write_text(f"<!-- not run: it is wrong -->\n{text}", encoding="utf-8")
        (block,) = blocks(page)
        Reader(monkeypatch).follow(block)
