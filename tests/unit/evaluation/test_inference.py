import numpy as np
import pytest
import scipy.stats

from fmri2img.evaluation.inference import (
    bootstrap_intervals,
    holm,
    p_text,
    permutation_p,
    sign_flip_p,
    too_few_resamples,
)


def test_intervals_agree_with_scipy_metric_by_metric(rng):
    scores = rng.exponential(size=(2, 60))
    found = bootstrap_intervals(scores, 2000, np.random.default_rng(1))
    for row, values in zip(found, scores, strict=True):
        expected = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(2)
        )
        np.testing.assert_allclose(row, expected.confidence_interval, atol=0.03)


def test_intervals_hold_the_mean_19_times_in_20(rng):
    holds = 0
    for _ in range(200):
        ((low, high),) = bootstrap_intervals(rng.normal(size=(1, 40)), 500, rng)
        holds += low <= 0 <= high
    assert 0.87 <= holds / 200 <= 0.99


def test_equal_scores_have_no_width(rng):
    np.testing.assert_array_equal(
        bootstrap_intervals(np.full((1, 5), 0.25), 100, rng), [[0.25, 0.25]]
    )


def test_permutation_p_is_uniform_without_signal_and_small_with_it(rng):
    values = [permutation_p({"r": rng.normal(size=(8, 8))}, 99, rng)["r"] for _ in range(300)]
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.01
    with_signal = permutation_p({"r": np.eye(8), "none": np.ones((8, 8))}, 99, rng)
    assert with_signal["r"] == 0.01  # never 0
    assert with_signal["none"] == 1


def test_permutations_are_those_of_a_loop(rng):
    tables = {"r": rng.normal(size=(9, 9)), "s": rng.normal(size=(9, 9)).astype(np.float32)}
    found = permutation_p(tables, 450, np.random.default_rng(3))
    again = np.random.default_rng(3)
    orders = [again.permutation(9) for _ in range(450)]
    for metric, table in tables.items():
        observed = np.diag(table).mean()
        reached = sum(table[order, np.arange(9)].mean() >= observed for order in orders)
        assert found[metric] == (reached + 1) / 451


def test_a_family_too_large_for_its_resamples_is_told():
    assert too_few_resamples(50, 1000, "set n to") == ""
    told = too_few_resamples(144, 1000, "set n to")
    assert told.startswith("With 144 tests and 1000 resamples no p can fall below 0.144, so this")
    assert told.endswith("set n to at least 2880.")
    assert holm({str(test): 1 / 1001 for test in range(144)})["0"] > 0.05
    assert too_few_resamples(1000, 20_000, "set n to") == ""


def test_sign_flips_find_a_difference_and_no_other(rng):
    noise = rng.normal(size=50)
    assert sign_flip_p(noise + 2, 999, rng) == 0.001
    assert sign_flip_p(-noise - 2, 999, rng) == 0.001
    values = [sign_flip_p(rng.normal(size=12), 199, rng) for _ in range(200)]
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.01
    assert sign_flip_p(np.zeros(5), 99, rng) == 1


def test_sign_flips_agree_with_all_flips_of_scipy(rng):
    differences = rng.normal(0.4, 1, size=12)
    exact = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert sign_flip_p(differences, 20_000, rng) == pytest.approx(exact, abs=0.01)


def test_holm_steps_down():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06}
    )
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1.0000"), (0.0312, "0.0312"), (0.001, "0.0010"), (5e-5, "0.00005")]
)
def test_a_p_is_never_printed_as_zero(value, text):
    assert p_text(value) == text
