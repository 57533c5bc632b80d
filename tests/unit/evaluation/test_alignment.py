"""What fits is found, every mistake is named, and trials of test images take no part."""

from dataclasses import replace

import numpy as np
import pytest

from fmri2img.evaluation.alignment import (
    FEWEST_TRIALS,
    Features,
    check_alignment,
)
from fmri2img.evaluation.shown_trials import ShownTrials

N_PICTURES, N_VOXELS, N_SESSIONS, N_RUNS, PER_RUN = 240, 40, 4, 5, 16
N_TRIALS = N_SESSIONS * N_RUNS * PER_RUN
TEST = 12  # the first pictures


@pytest.fixture
def features(rng):
    return Features(rng.normal(size=(N_PICTURES, 16)).astype(np.float32), 8)


@pytest.fixture
def shown(rng, features):
    """Voxels of the left hemisphere see the right half of the picture, and the other way round."""
    pictures = rng.integers(N_PICTURES, size=N_TRIALS)
    is_left = np.arange(N_VOXELS) % 2 == 0
    weights = rng.normal(size=(16, N_VOXELS))
    weights[:8, is_left] = weights[8:, ~is_left] = 0
    responses = features.values[pictures] @ weights + 4 * rng.normal(size=(N_TRIALS, N_VOXELS))
    return ShownTrials(
        responses.astype(np.float32),
        np.where(pictures < TEST, -1, pictures),
        np.repeat(np.arange(1, N_SESSIONS + 1), N_RUNS * PER_RUN),
        np.tile(np.repeat(np.arange(1, N_RUNS + 1), PER_RUN), N_SESSIONS),
        is_left,
    )


def planted(shown, by):
    """The same with another table: each trial has the picture of the trial ``by`` says."""
    return replace(shown, pictures=shown.pictures[by])


def roll_each(shown, by, of):
    order = np.arange(N_TRIALS)
    for one in np.unique(of):
        rows = np.flatnonzero(of == one)
        order[rows] = np.roll(rows, by)
    return order


def test_what_belongs_together_fits(shown, features):
    finding = check_alignment(shown, features, {})
    assert finding.fault == ""
    assert finding.matches[0].name == "as given"
    assert finding.side > 5
    assert finding.sessions == {}
    assert abs(finding.match("shuffled").standard_errors) < 5
    assert 5 < finding.explained.mean() < 60


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (1, "the pictures of the next trial fit better"),
        (-1, "the pictures of the trial before fit better"),
    ],
)
def test_a_table_that_is_off_by_one(shown, features, by, words):
    order = roll_each(shown, by, shown.session)
    assert words in check_alignment(planted(shown, order), features, {}).fault


def test_runs_that_are_off_by_one(shown, features):
    order = roll_each(shown, PER_RUN, shown.session)
    fault = check_alignment(planted(shown, order), features, {}).fault
    assert "the pictures of the next run fit better" in fault


def test_two_sessions_that_are_exchanged(shown, features):
    order = np.arange(N_TRIALS)
    one, two = (np.flatnonzero(shown.session == number) for number in (2, 4))
    order[one], order[two] = two, one
    finding = check_alignment(planted(shown, order), features, {})
    assert finding.fault == "the tables of sessions 2 and 4 are exchanged"
    assert finding.sessions == {2: "of session 4", 4: "of session 2"}


def test_one_session_whose_table_is_off_by_one(shown, features):
    order = roll_each(shown, 1, shown.session)
    order = np.where(shown.session == 3, order, np.arange(N_TRIALS))
    fault = check_alignment(planted(shown, order), features, {}).fault
    assert fault == (
        "in session 3 the pictures of the next trial fit better than those of the table"
    )


def test_two_sessions_alone_that_are_exchanged(shown, features):
    two = shown.session <= 2
    half = ShownTrials(
        shown.responses[two],
        shown.pictures[two][roll_each(shown, 0, shown.session)[two]],
        shown.session[two],
        shown.run[two],
        shown.is_left,
    )
    n = two.sum() // 2
    swapped = replace(half, pictures=np.roll(half.pictures, n))
    fault = check_alignment(swapped, features, {}).fault
    assert "the pictures of the other session fit better" in fault


def test_the_table_of_another_subject(shown, features, rng):
    wrong = replace(shown, pictures=rng.permutation(shown.pictures))
    fault = check_alignment(wrong, features, {"anna": shown.pictures}).fault
    assert "the pictures of anna fit better" in fault


def test_left_and_right(shown, features):
    finding = check_alignment(replace(shown, is_left=~shown.is_left), features, {})
    assert finding.side < -5
    assert "left and right are exchanged" in finding.fault


def test_nothing_fits(shown, features, rng):
    wrong = replace(shown, pictures=rng.permutation(shown.pictures))
    finding = check_alignment(wrong, features, {})
    assert finding.fault.startswith("nothing fits")
    assert not finding.explained.any()


def test_too_few_trials(shown, features):
    few = replace(shown, pictures=np.where(np.arange(N_TRIALS) < 40, shown.pictures, -1))
    n_usable = (few.pictures >= 0).sum()
    assert 30 < n_usable <= 40
    assert check_alignment(few, features, {}).fault == (
        f"{n_usable} trials can be used, expected {FEWEST_TRIALS} at least"
    )


def test_half_of_the_sessions_off_by_one(shown, features):
    """As many sessions fit one assumption as the other: those that do not fit are named."""
    order = roll_each(shown, 1, shown.session)
    order = np.where(shown.session > 2, order, np.arange(N_TRIALS))
    fault = check_alignment(planted(shown, order), features, {}).fault
    assert fault == (
        "in sessions 3, 4 the pictures of the next trial fit better than those of the table"
    )


def test_hemispheres_that_are_not_known(shown, features):
    finding = check_alignment(replace(shown, is_left=None), features, {})
    assert (finding.side, finding.fault) == (0.0, "")


def test_trials_of_test_images_change_nothing(shown, features, rng):
    changed = shown.responses.copy()
    changed[shown.pictures < 0] = rng.normal(size=changed[shown.pictures < 0].shape)
    values = features.values.copy()
    values[:TEST] = 7
    one = check_alignment(shown, features, {})
    two = check_alignment(replace(shown, responses=changed), replace(features, values=values), {})
    for match, other in zip(one.matches, two.matches, strict=True):
        np.testing.assert_array_equal(match.trials, other.trials)
    np.testing.assert_array_equal(one.explained, two.explained)
