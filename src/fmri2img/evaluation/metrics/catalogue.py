"""All metrics, collected from the modules of this package that declare a ``FAMILY``."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from fmri2img.evaluation import metrics
from fmri2img.evaluation.metrics.declaration import Family, Metric, Space
from fmri2img.project.exceptions import ConfigError

# Encoders are chosen by this metric on validation images. If one predicts no latents, the
# autoencoder encodes its pictures instead.
CHAMPION_METRIC = "pattern_correlation"
CHAMPION_SCORE = f"validation/{CHAMPION_METRIC}"
VALIDATION_LOSS = "validation/loss"
# Scores of decoded z and c that have intervals and a permutation p.
HALVES_METRICS = ("two_way", "pattern_correlation")
HALVES_OVER_IMAGES = "dimension_correlation"
# Scores of a new person's encoder by minutes of scanning; gains are those of the first.
ADAPTATION_METRICS = ("pattern_correlation", "two_way")
# Metrics drawn as curves over averaged repetitions.
REPETITION_METRICS = ("pattern_correlation", "two_way", "pixcorr_small")


@cache
def families() -> tuple[Family, ...]:
    """Return the families of metrics, in the order of tables.

    Raises
    ------
    ConfigError
        If two metrics share a name.
    """
    declared: list[tuple[Family, str]] = []
    for module in sorted(item.name for item in iter_modules(metrics.__path__)):
        family = getattr(import_module(f"fmri2img.evaluation.metrics.{module}"), "FAMILY", None)
        if family is not None:
            declared.append((family, module))
    owners: dict[str, str] = {}
    for family, module in declared:
        for metric in family.metrics:
            if metric.name in owners:
                raise ConfigError(
                    f"two metrics are called {metric.name!r}: in evaluation/metrics/"
                    f"{owners[metric.name]}.py and evaluation/metrics/{module}.py; rename one"
                )
            owners[metric.name] = module
    return tuple(family for family, _ in sorted(declared, key=lambda item: item[0].place))


@cache
def all_metrics() -> dict[str, Metric]:
    """Return every metric by name, in the order of tables."""
    return {metric.name: metric for family in families() for metric in family.metrics}


def plain_metrics(*spaces: Space) -> dict[str, Metric]:
    """Return the metrics that are not variants of others, in the given spaces or in all."""
    return {
        name: metric
        for name, metric in all_metrics().items()
        if metric.level != "variant" and (not spaces or metric.space in spaces)
    }


def headline_metrics() -> dict[str, Metric]:
    """Return the scores that every table, page, chart and summary shows."""
    return {name: metric for name, metric in all_metrics().items() if metric.level == "headline"}


def shown_in_comparison() -> dict[str, Metric]:
    """Return the metrics that the comparison of encoders shows."""
    shown = ("headline", "main")
    return {name: metric for name, metric in all_metrics().items() if metric.level in shown}


def paired_metrics() -> dict[str, Metric]:
    """Return the metrics on which encoders are compared image by image."""
    return {name: metric for name, metric in plain_metrics().items() if metric.of_each_image}


def published_metrics() -> dict[str, Metric]:
    """Return the metrics that published tables report, in their usual order."""
    return {name: metric for name, metric in all_metrics().items() if metric.published}


def title_of(metric: str) -> str:
    """Return the heading of a metric, or its name in words if it is not declared."""
    declared = all_metrics().get(metric)
    return declared.heading if declared else metric.replace("_", " ")
