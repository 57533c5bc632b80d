"""From when on more minutes of scanning gain nothing that could be shown."""

import itertools

import numpy as np
import pytest

from fmri2img.pipeline.new_person import Duration, _enough, _gain

NAME = "pattern_correlation"


def durations(*means):
    """After 5, 10, 20, 40 minutes; single images differ by what is the same every time."""
    noise = np.random.default_rng(0).normal(size=(len(means), 60))
    return [
        Duration(5.0 * 2**step, 75, {NAME: mean + 0.05 * noise[step]}, {}, noise[0], noise[0])
        for step, mean in enumerate(means)
    ]


@pytest.mark.parametrize(
    ("means", "minutes"),
    [
        ((0.2, 0.3, 0.4, 0.5), None),  # it still pays
        ((0.2, 0.3, 0.4, 0.4), 20),
        ((0.2, 0.4, 0.4, 0.4), 10),
        ((0.4, 0.4, 0.4, 0.4), 5),
        ((0.2, 0.3, 0.1, 0.1), 10),
        ((0.3, 0.3, 0.4, 0.4), 20),  # the second step was none, the third one was
        ((0.3,), None),
    ],
)
def test_scanning_pays_up_to_the_last_gain(means, minutes):
    all_of_them = durations(*means)
    rng = np.random.default_rng(1)
    gains = [_gain(one, other, rng) for one, other in itertools.pairwise(all_of_them)]
    assert _enough(all_of_them, gains) == minutes
