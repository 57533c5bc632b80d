"""The page about an encoder of a new person: how good it is after how many minutes of scanning."""

from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from fmri2img.evaluation.metrics.catalogue import ADAPTATION_METRICS, title_of
from fmri2img.viz.rendering import render
from fmri2img.viz.score_figures import figure_uri

_BLUE, _GREY = "#3b6fb6", "#98a2b3"


def adaptation_page(numbers: dict[str, Any]) -> str:
    """Return the page as HTML, in one file that works offline.

    Parameters
    ----------
    numbers : dict
        As `pipeline.new_person.describe` returns them.
    """
    durations = numbers["durations"]
    return render(
        "adaptation.html.jinja",
        data_source=numbers["data_source"],
        links={},  # it may lie anywhere
        origin=numbers.get("origin", ""),
        numbers=numbers,
        verdict=verdict(numbers),
        main=ADAPTATION_METRICS[0],
        titles={name: title_of(name) for name in ADAPTATION_METRICS},
        figure=figure_uri(quality_curve(durations)) if len(durations) > 1 else None,
    )


def verdict(numbers: dict[str, Any]) -> str:
    """Return what the numbers say, in sentences."""
    durations = numbers["durations"]
    if not durations:
        return (
            f"{numbers['n_images']} images are too few to hold any out, so nothing can be said of "
            f"the encoder's quality: it {_little(numbers)}."
        )
    last = durations[-1]
    score = last[ADAPTATION_METRICS[0]]
    kind = "above" if score["low"] > score["floor"] else "not above"
    sentences = [
        f"After {_minutes(last)} the latents of held-out images are predicted with r = "
        f"{score['value']:z.3f} [{score['low']:z.3f}, {score['high']:z.3f}], {kind} the floor of "
        f"{score['floor']:z.3f}."
    ]
    if numbers["gains"]:
        gain = numbers["gains"][-1]
        words = (
            f"from {gain['from_minutes']:.3g} to {gain['to_minutes']:.3g} minutes: "
            f"{gain[ADAPTATION_METRICS[0]]:+z.3f} [{gain['low']:+z.3f}, {gain['high']:+z.3f}]"
        )
        enough = numbers["stops_paying_after"]
        sentences.append(
            f"More scanning still pays ({words})."
            if enough is None
            else f"After {enough:.3g} minutes no further gain could be shown ({words})."
        )
    return " ".join(sentences)


def _little(numbers: dict[str, Any]) -> str:
    """Say what an encoder of a few images does."""
    if numbers.get("predicts_the_mean"):
        return "decodes every response to the mean picture"
    return "is what the population knows, and little else"


def quality_curve(durations: list[dict[str, Any]]) -> Figure:
    """Draw scores with their intervals and floors by minutes of scanning."""
    minutes = [one["minutes"] for one in durations]
    figure, axes = plt.subplots(
        1,
        len(ADAPTATION_METRICS),
        figsize=(4.4 * len(ADAPTATION_METRICS), 3.0),
        layout="constrained",
    )
    for axis, name in zip(axes, ADAPTATION_METRICS, strict=True):
        values = [one[name] for one in durations]
        ends = [
            [value["value"] - value["low"] for value in values],
            [value["high"] - value["value"] for value in values],
        ]
        floors = [value["floor"] for value in values]
        means = [value["value"] for value in values]
        axis.errorbar(minutes, means, ends, fmt="o-", color=_BLUE, capsize=3, label="encoder")
        axis.plot(minutes, floors, "--", color=_GREY, label="floor: predictions for other images")
        axis.set_title(title_of(name), fontsize=10)
        axis.set_xlabel("minutes of scanning", fontsize=9)
        axis.set_xticks(minutes, [f"{one:.3g}" for one in minutes])
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=8, frameon=False)
    return figure


def _minutes(duration: dict[str, Any]) -> str:
    return f"{duration['minutes']:.3g} minutes ({duration['n_trials']} trials)"
