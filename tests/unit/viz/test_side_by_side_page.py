"""The page of all encoders, image by image."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmri2img.viz.side_by_side import SubjectPictures, picture_strips, side_by_side_page

SIDE = 8


def pictures(rng, subject, ids, models, with_scores=True):
    n = len(ids)
    draw = lambda: rng.integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)  # noqa: E731
    scores = {model: np.linspace(-0.5, 0.5, n) for model in models} if with_scores else {}
    stated = {models[0]: np.full(n, 0.7)} if models else {}
    made = {model: draw() for model in models}
    return SubjectPictures(subject, np.array(ids), draw(), draw(), made, scores, stated)


def test_a_strip_holds_what_was_seen_the_ceiling_and_every_encoder(rng, tmp_path):
    one = pictures(rng, "subj01", [3, 9], ["ridge", "bayes"])
    one.truth[:], one.reconstructed["bayes"][:] = 255, 0
    strips = picture_strips(one)
    assert [path.as_posix() for path in strips] == [
        "reports/pictures/subj01/00000.jpg",
        "reports/pictures/subj01/00001.jpg",
    ]
    (tmp_path / "strip.jpg").write_bytes(next(iter(strips.values())))
    strip = np.asarray(Image.open(tmp_path / "strip.jpg"))
    assert strip.shape == (SIDE, 4 * SIDE, 3)
    assert strip[:, :SIDE].mean() > 240
    assert strip[:, -SIDE:].mean() < 15


def test_an_image_that_several_people_saw_stands_once(rng):
    people = [
        pictures(rng, "subj01", [3, 9], ["ridge", "bayes"]),
        pictures(rng, "subj02", [9, 12], ["ridge"]),
    ]
    page = side_by_side_page(people, "simulated", "")
    assert re.findall(r"<h2>image (\d+)</h2>", page) == ["3", "9", "12"]
    section = page.split("<h2>image 9</h2>")[1].split("</section>")[0]
    assert section.count('class="strip"') == 2
    assert "Simulated data" in page
    assert "0.50 (0.70)" in section


@pytest.mark.parametrize("models", [[], ["ridge"]])
def test_few_encoders_or_none_make_a_page_too(rng, models):
    page = side_by_side_page([pictures(rng, "subj01", [1], models, False)], "nsd", "")
    assert "image 1" in page
    assert 'data-role="model"' not in page


def test_names_with_html_in_them_are_shown_as_they_are(rng):
    page = side_by_side_page([pictures(rng, "subj01", ["<b>x", "a&b"], ["ridge"])], "nsd", "")
    assert "<b>x" not in page
    assert "&lt;b&gt;x" in page
    assert "a&amp;b" in page


def test_addresses_are_relative_to_the_page(rng):
    page = side_by_side_page([pictures(rng, "subj01", [1], ["ridge"])], "nsd", "")
    sources = set(re.findall(r'src="([^"]+)"', page))
    assert sources == {"pictures/subj01/00000.jpg"}
    assert 'href="gallery/subj01/ridge.html"' in page
    assert not any(Path(source).is_absolute() for source in sources)
