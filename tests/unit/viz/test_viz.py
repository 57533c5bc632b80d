import re

import numpy as np
import pytest

from fmri2img.viz.comparison import ComparedRun, comparison_figure, comparison_markdown
from fmri2img.viz.gallery import GalleryItem, gallery_page
from fmri2img.viz.summary import terminal_summary

METRICS = ("pixcorr", "ssim", "pattern_correlation", "dimension_correlation", "two_way")


@pytest.fixture
def runs(rng):
    def document(score):
        means = dict.fromkeys(METRICS, score)
        rows = {"test": means, "ceiling": dict.fromkeys(METRICS, 1.0), "floor_shuffled": dict.fromkeys(METRICS, 0.1)}
        rows |= {f"floor_{name}": {"pixcorr": 0.2, "ssim": 0.4} for name in ("grey", "train_mean", "mean_latent")}
        interval = {metric: [score - 0.05, score + 0.05] for metric in METRICS}
        return {**rows, "interval": interval, "p": {"pixcorr": 0.001}, "about": {"n_test_images": 37}}

    pictures = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    return [
        ComparedRun.of(subject, model, document(score), score, model == "ridge", pictures)
        for subject in ("subj01", "subj02")
        for model, score in (("ridge", 0.61), ("basic_ae", 0.53))
    ]


def test_markdown_has_floors_ceiling_intervals_and_the_warning(runs):
    text = comparison_markdown(runs, "simulated", "comparison.png")
    assert "**Simulated data.**" in text
    assert "## subj02 (37 test images)" in text
    assert "**0.610** [0.560, 0.660]" in text
    assert r"| **ridge** \* |" in text
    for row in ("floor: grey", "floor: mean picture", "floor: shuffled basic_ae", "ceiling: autoencoder alone"):
        assert text.count(f"| {row} |") == 2
    assert "Simulated" not in comparison_markdown(runs, "s3", "comparison.png")


def test_figure_shows_every_subject_and_model(runs, rng):
    truth = {subject: rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8) for subject in ("subj01", "subj02")}
    figure = comparison_figure(runs, truth, truth, "simulated")
    texts = {text.get_text() for part in figure.subfigs for axis in part.axes for text in axis.texts}
    assert texts >= {"subj01\nseen", "subj02\nseen", "ridge *", "basic_ae"}
    assert "simulated" in figure.get_suptitle()


def test_summary_names_files_and_the_next_command(runs):
    summaries = [run.summary() | {"name": f"{run.subject}/{run.model}"} for run in runs]
    text = terminal_summary(summaries, "simulated", ["reports/comparison.md"])
    assert "subj01/ridge *" in text
    assert "0.610  (floor 0.200)" in text
    assert "SIMULATED DATA" in text
    assert "reports/comparison.md" in text
    assert "make ui" in text
    assert max(map(len, text.splitlines())) < 100


def test_gallery_is_one_file_with_a_banner_and_all_pictures(rng):
    items = [
        GalleryItem(17 + row, split, *rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8), {"PixCorr": 0.1 * row})
        for row, split in enumerate(["test", "test", "train"])
    ]
    page = gallery_page(items, subject="subj01", model="ridge", data_source="simulated", facts={"voxels": "9 <b>"})
    assert "Simulated data" in page
    assert page.count("<img ") == 9
    assert page.count('data-split="test"') == 2
    assert re.search(r"image 19</b>.*PixCorr 0\.20", page)
    assert "9 &lt;b&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "Simulated data" not in gallery_page(items, subject="s", model="m", data_source="s3", facts={})
