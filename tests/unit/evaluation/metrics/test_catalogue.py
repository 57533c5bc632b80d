import importlib
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fmri2img.evaluation.metrics import catalogue
from fmri2img.evaluation.metrics.declaration import Family, Metric
from fmri2img.project.exceptions import ConfigError

PUBLISHED = [
    "pixcorr",
    "ssim",
    "two_way_alexnet_2",
    "two_way_alexnet_5",
    "two_way_inception",
    "two_way_clip",
    "effnet_b_distance",
    "swav_distance",
]


def nothing(*_):
    raise NotImplementedError


@pytest.fixture
def with_metrics(monkeypatch):
    """Declare further metrics, as a file more in the package would."""

    def declare(*metrics):
        family = SimpleNamespace(FAMILY=Family(metrics, nothing))
        modules = [*catalogue.iter_modules(catalogue.metrics.__path__)]
        monkeypatch.setattr(
            catalogue, "iter_modules", lambda _: [*modules, SimpleNamespace(name="mine")]
        )
        monkeypatch.setattr(
            catalogue,
            "import_module",
            lambda name: family if name.endswith(".mine") else importlib.import_module(name),
        )
        for cached in (catalogue.families, catalogue.all_metrics):
            cached.cache_clear()

    yield declare
    monkeypatch.undo()
    for cached in (catalogue.families, catalogue.all_metrics):
        cached.cache_clear()


def test_tables_of_the_literature_have_eight_scores_in_their_order():
    assert list(catalogue.published_metrics()) == PUBLISHED


def test_five_scores_are_shown_everywhere():
    assert list(catalogue.headline_metrics()) == [
        *("pixcorr", "ssim", "two_way_effnet_lite0", "pattern_correlation", "two_way"),
    ]


def test_every_metric_says_what_chance_gives_and_in_which_direction():
    for metric in catalogue.all_metrics().values():
        assert isinstance(metric.chance, float) or metric.chance == "shuffled", metric.name
        assert metric.higher_is_better == ("distance" not in metric.name)
        assert metric.heading.endswith("↓") != metric.higher_is_better


def test_variants_are_in_no_plain_table():
    plain = catalogue.plain_metrics()
    assert not [name for name in plain if name.startswith("brain_diffuser_")]
    variant = catalogue.all_metrics()["brain_diffuser_swav_distance"]
    assert variant.heading == "SwAV, Brain-Diffuser ↓"
    assert catalogue.title_of("two_way_ground_truth") == "latent 2-way, fixed truth"
    assert catalogue.title_of("image_to_brain") == "image to brain"


def test_a_declared_metric_stands_with_the_others(with_metrics):
    with_metrics(Metric(name="sharpness", title="sharpness", chance="grey"))
    assert list(catalogue.shown_in_comparison())[-1] == "sharpness"
    assert "sharpness" in catalogue.paired_metrics()
    assert list(catalogue.published_metrics()) == PUBLISHED


def test_two_metrics_of_one_name(with_metrics):
    with_metrics(Metric(name="ssim", title="mine", chance=0.0))
    with pytest.raises(
        ConfigError,
        match=r"two metrics are called 'ssim': in evaluation/metrics/mine.py and "
        r"evaluation/metrics/picture_metrics.py; rename one",
    ):
        catalogue.families()


@pytest.mark.parametrize("chance", [None, float("nan"), "nearest_train", "half"])
def test_a_metric_without_a_chance_level(chance):
    with pytest.raises(
        ConfigError,
        match=r"metric sharpness: expected a chance level, got .*; give chance= a number, or the "
        r"floor that stands for it: grey, train_mean, mean_latent, shuffled",
    ):
        Metric(name="sharpness", title="sharpness", chance=chance)


def test_a_name_that_files_cannot_hold():
    with pytest.raises(ConfigError, match=r"metric 'Two way': expected a name of lower-case"):
        Metric(name="Two way", title="2-way", chance=0.5)


def test_the_best_of_some_values_has_a_direction():
    metric = Metric(name="a", title="A", chance=0.0)
    values = {"grey": 0.2, "shuffled": 0.4}
    assert metric.best(values) == "shuffled"
    assert replace(metric, higher_is_better=False).best(values) == "grey"
