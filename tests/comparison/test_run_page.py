"""What the page of a run leaves out or says in other words than the run's files."""

import io

import pytest
from PIL import Image

from priorkit.workflows.comparing.run_page import write_run_page


def shares(copied, authentic):
    endings = {"_gaussian": 0.0, "": 0.1, "_heldout": 0.2}
    told = {"spread": 0.01, "protocol": "a share"}
    found = {f"copied{end}": {"value": copied + more} | told for end, more in endings.items()}
    return found | {f"authenticity{end}": {"value": authentic - more} | told for end, more in endings.items()}


@pytest.fixture
def page(tmp_path):
    """The page's text of a record."""

    def text(run):
        write_run_page(run, tmp_path / "page.html")
        return (tmp_path / "page.html").read_text()

    return text


def test_the_sampler_of_a_prior_with_exact_samples_is_not_named(fabricate, page):
    facts = "<dt>sampler</dt><dd>{}</dd>"
    assert facts.format("mala") in page(fabricate("chains"))
    assert facts.format("exact") in page(fabricate("exact", cost={"calls_per_sample": 0}))


def test_a_fitted_prior_is_said_to_be_fitted(fabricate, page):
    none = {"parameters": {"backbone": 9, "prior": 0}}
    assert "fitted, no gradients" in page(fabricate("mixture", cost=none))
    assert "fitted" not in page(fabricate("gaussian", cost=none | {"seconds": {"backbone": 5.0}}))


def test_authentic_images_are_left_out_where_they_are_the_rest(fabricate, page):
    assert "authentic" not in page(fabricate("a", more=shares(0.3, 0.7))).split("<details>")[0]
    assert "authentic images" in page(fabricate("b", more=shares(0.3, 0.6))).split("<details>")[0]


def test_copied_tells_the_level_of_held_out_images(fabricate, page):
    assert "of held-out images 0.500" in page(fabricate("a", more=shares(0.3, 0.7)))


@pytest.mark.parametrize("stages", [1, 2])
def test_one_stage_has_no_picture_of_stages(fabricate, page, stages):
    seconds = {"backbone": 1.0} | {f"prior.{number + 1}": 1.0 for number in range(stages)}
    run = fabricate("run", cost={"seconds": seconds})
    del run.summary["metrics"]["fd_digits_stage_1"]
    run.folder.samples.mkdir()
    picture = io.BytesIO()
    Image.new("RGB", (880, 440), "white").save(picture, "PNG")
    (run.folder.samples / "stages.png").write_bytes(picture.getvalue())
    text = page(run)
    assert ("samples after each stage" in text) == (stages > 1)
    assert text.count("samples after each stage, from the same seeds, ") == (2 if stages > 1 else 0)  # its two panels


def test_headings_speak_of_metrics_and_posterior_samples(fabricate, page):
    text = page(fabricate("run"))
    assert "<h2>Metrics</h2>" in text and ">posterior samples (best reachable)</th>" in text
    assert "igure<" not in text and "floor" not in text
    assert "Fréchet distance to held-out images<small>how far" in text
