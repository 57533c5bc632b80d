import numpy as np
import pytest
import scipy.spatial.distance

from fmri2img.evaluation.identification import (
    cosine_matrix,
    drawn_top1,
    exact_top1,
    n_higher,
    retrieval_scores,
    similarity_matrix,
    two_way_identification,
    two_way_table,
)


def test_two_way_equals_the_published_formula_as_a_double_loop_to_the_last_digit(rng):
    truth, predicted = rng.normal(size=(2, 40, 300))
    expected = []
    for j in range(40):
        own = np.corrcoef(truth[j], predicted[j])[0, 1]
        expected.append(
            sum(np.corrcoef(truth[i], predicted[j])[0, 1] < own for i in range(40) if i != j) / 39
        )
    assert two_way_identification(similarity_matrix(truth, predicted)).tolist() == expected
    single = similarity_matrix(truth.astype(np.float32), predicted.astype(np.float32))
    assert two_way_identification(single).tolist() == expected


def test_directions_differ():
    # Prediction 1 resembles truth 0 more than its own; prediction 0 resembles none but its own.
    lopsided = np.array([[0.9, 0.8], [0.1, 0.5]])
    assert two_way_identification(lopsided).tolist() == [1, 0]
    assert two_way_identification(lopsided, "ground_truth").tolist() == [1, 1]
    found = n_higher(lopsided)
    assert found["image_to_brain"].tolist() == [0, 0]
    assert found["brain_to_image"].tolist() == [0, 1]


def test_cosine_is_not_centred(rng):
    truth, predicted = rng.normal(size=(2, 6, 20)) + 3
    expected = [[1 - scipy.spatial.distance.cosine(a, b) for b in predicted] for a in truth]
    np.testing.assert_allclose(cosine_matrix(truth, predicted), expected)
    assert cosine_matrix(truth, predicted).min() > similarity_matrix(truth, predicted).max()
    assert (cosine_matrix(truth, 0 * predicted) == 0).all()


def test_ties_are_wrong():
    np.testing.assert_array_equal(two_way_identification(np.ones((4, 4))), 0)
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        two_way_identification(np.ones((1, 1)))


def test_a_constant_prediction_is_at_chance(rng):
    truth = rng.normal(size=(30, 50))
    constant = np.repeat(rng.normal(size=(1, 50)), 30, axis=0)
    assert two_way_identification(similarity_matrix(truth, constant)).mean() == pytest.approx(0.5)


def test_identity_is_found_and_shuffled_predictions_are_not(rng):
    features = rng.normal(size=(400, 60))
    assert (two_way_identification(similarity_matrix(features, features)) == 1).all()
    scores = retrieval_scores(similarity_matrix(features, features), rng)
    assert (
        scores["brain_to_image_top1"]
        == scores["image_to_brain_top1_of_300"]
        == scores["image_to_brain_median_rank"]
        == 1
    )
    shuffled = similarity_matrix(features, np.roll(features, 7, axis=0))
    assert two_way_identification(shuffled).mean() == pytest.approx(0.5, abs=0.03)
    assert retrieval_scores(shuffled, rng)["brain_to_image_top1_of_300"] < 0.02


def test_blocks_give_the_matrix_of_the_whole(rng):
    truth, predicted = rng.normal(size=(2, 10, 70))
    whole = similarity_matrix(truth, predicted)
    np.testing.assert_allclose(
        similarity_matrix(truth, iter([predicted[:3], predicted[3:]])), whole, atol=1e-14
    )
    np.testing.assert_allclose(whole, np.corrcoef(truth, predicted)[:10, 10:], atol=1e-14)


def test_the_table_holds_each_image_as_the_right_one(rng):
    similarity = rng.normal(size=(9, 9))
    table = two_way_table(similarity)
    np.testing.assert_array_equal(np.diag(table), two_way_identification(similarity))
    order = rng.permutation(9)
    np.testing.assert_allclose(
        table[order, np.arange(9)], two_way_identification(similarity[order])
    )


def test_drawn_pools_scatter_around_the_exact_value(rng):
    truth = rng.normal(size=(60, 20))
    similarity = similarity_matrix(truth, truth + 2 * rng.normal(size=(60, 20)))
    for direction, above in n_higher(similarity).items():
        drawn = drawn_top1(similarity, direction, rng, pool=10, n_draws=300)
        assert drawn.mean() == pytest.approx(
            exact_top1(above, 10).mean(), abs=4 * drawn.std() / np.sqrt(300)
        )


def test_a_pool_larger_than_the_test_set(rng):
    with pytest.raises(ValueError, match="a pool of 300 needs as many images, got 8"):
        exact_top1(np.zeros(8, dtype=int))
    assert "image_to_brain_top1_of_8" in retrieval_scores(rng.normal(size=(8, 8)), rng)


def test_predictions_with_a_shared_offset_lower_one_direction_only(rng):
    truth = rng.normal(size=(200, 100))
    predicted = truth + 2 * rng.normal(size=truth.shape) + 6 * rng.normal(size=(1, 100))
    similarity = similarity_matrix(truth, predicted)
    assert two_way_identification(similarity).mean() != pytest.approx(
        two_way_identification(similarity, "ground_truth").mean(), abs=0.01
    )
