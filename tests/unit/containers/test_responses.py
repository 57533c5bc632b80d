import numpy as np
import pandas as pd
import pytest
import scipy.stats

from fmri2img.containers.ncsnr import (
    common_repetitions,
    estimate_ncsnr,
    noise_ceiling,
    zscore_sessions,
)
from fmri2img.containers.repetitions import average_repetitions
from fmri2img.containers.splits import Split, split_images
from fmri2img.project.exceptions import MismatchError


def test_zscore_agrees_with_scipy_and_marks_constant_voxels(rng):
    betas = rng.normal(3, 7, (20, 4)).astype(np.float32)
    betas[:10, 2] = 0
    sessions = np.repeat([4, 9], 10)
    scored = zscore_sessions(betas, sessions)
    np.testing.assert_allclose(scored[10:], scipy.stats.zscore(betas[10:], ddof=1), rtol=1e-4)
    assert np.isnan(scored[:10, 2]).all()


def ncsnr_by_hand(betas, sessions, image_ids):
    """The published definition, written as loops over voxels and images."""
    result = []
    for voxel in betas.T:
        scored = np.concatenate(
            [scipy.stats.zscore(voxel[sessions == s], ddof=1) for s in np.unique(sessions)]
        )
        complete = [image for image in np.unique(image_ids) if (image_ids == image).sum() == 3]
        noise = np.mean([np.var(scored[image_ids == image], ddof=1) for image in complete])
        result.append(np.sqrt(max(0, 1 - noise)) / np.sqrt(noise))
    return result


def test_ncsnr_agrees_with_loops(rng):
    image_ids = rng.permutation(np.r_[np.repeat(np.arange(12), 3), 90, 90, 91])
    signal = rng.normal(size=(100, 5))[image_ids]
    betas = 2 * signal + rng.normal(size=signal.shape)
    sessions = np.repeat([1, 2, 3], 13)
    np.testing.assert_allclose(
        estimate_ncsnr(betas, sessions, image_ids, n_repetitions=3),
        ncsnr_by_hand(betas, sessions, image_ids),
        rtol=1e-4,
    )


def test_noise_ceiling_is_that_of_known_signal_and_noise(rng):
    true = np.array([0.3, 0.6, 1.0, 1.6])
    image_ids = np.tile(np.arange(4000), 3)
    signal = rng.normal(size=(4000, 4, 15))[image_ids]
    betas = true[:, None] * signal + rng.normal(size=signal.shape)
    found = estimate_ncsnr(
        betas.reshape(12_000, -1), np.repeat([1, 2, 3], 4000), image_ids, n_repetitions=3
    )
    ceilings = noise_ceiling(found, 3).reshape(4, 15).mean(1)  # fifteen voxels of each kind
    np.testing.assert_allclose(ceilings, 100 * true**2 / (true**2 + 1 / 3), atol=2)


def test_noise_ceiling_grows_with_repetitions_and_mixes():
    one, two, three = (noise_ceiling(np.array([0.4]), n)[0] for n in (1, 2, 3))
    assert one < two < three
    # 1/n is averaged: (A/3 + B/2 + C) / (A + B + C).
    mixed = noise_ceiling(np.array([0.4]), np.array([3, 3, 2, 1]))[0]
    assert mixed == pytest.approx(100 * 0.16 / (0.16 + (2 / 3 + 1 / 2 + 1) / 4))
    with pytest.raises(ValueError, match="n_repetitions must be at least 1, got 0"):
        noise_ceiling(np.array([0.4]), 0)


def test_ncsnr_without_complete_images_is_nan(rng):
    assert np.isnan(
        estimate_ncsnr(rng.normal(size=(6, 2)), np.ones(6), np.arange(6), n_repetitions=3)
    ).all()


def test_averages_agree_with_pandas(rng):
    ids = np.sort(rng.integers(0, 9, 40))
    betas = rng.normal(size=(40, 5)).astype(np.float32)
    betas[rng.random(betas.shape) < 0.3] = np.nan
    wanted = np.unique(ids)[1:5]
    expected = pd.DataFrame(betas).groupby(ids).mean().loc[wanted]
    np.testing.assert_allclose(average_repetitions(betas, ids, wanted), expected, rtol=1e-5)


def test_an_image_without_trials_is_refused(rng):
    with pytest.raises(ValueError, match="1 of 2 images have no trial"):
        average_repetitions(
            rng.normal(size=(3, 2)).astype(np.float32), np.array([1, 1, 4]), np.array([1, 2])
        )


@pytest.fixture
def images(rng):
    ids = rng.choice(73_000, 50, replace=False)
    return ids, np.arange(50) < 8


def make_split(images, kind="shared", seed=0):
    settings = {"validation_fraction": 0.1, "n_train_random": 30}
    return split_images(*images, kind=kind, rng=np.random.default_rng(seed), **settings)


def test_shared_images_are_the_test_set(images):
    split = make_split(images)
    assert set(split.test) == set(images[0][images[1]])
    assert (len(split.train), len(split.validation)) == (38, 4)


@pytest.mark.parametrize("kind", ["shared", "random"])
def test_parts_are_disjoint_and_complete(images, kind):
    split = make_split(images, kind)
    parts = [set(split.train), set(split.validation), set(split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 50


def test_random_split_tests_on_what_is_left(images):
    split = make_split(images, "random")
    assert len(split.test) == 20
    assert len(split.train) + len(split.validation) == 30


def test_pictures_that_look_alike_are_on_one_side_of_a_random_split(images):
    plain = make_split(images, "random")
    groups = dict.fromkeys(images[0].tolist(), 0)
    groups = {image_id: number for number, image_id in enumerate(groups)}
    # A test image like a training image, one like a validation image that is like a third.
    groups[plain.test[0]] = groups[plain.train[0]]
    groups[plain.test[1]] = groups[plain.test[2]] = groups[plain.validation[0]]
    groups[plain.test[3]] = groups[plain.test[4]]
    settings = {"validation_fraction": 0.1, "n_train_random": 30}
    numbers = np.array([groups[image_id] for image_id in images[0].tolist()])
    split = split_images(
        *images, kind="random", rng=np.random.default_rng(0), groups=numbers, **settings
    )
    parts = [{groups[one] for one in part} for part in (split.train, split.validation, split.test)]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    assert set(split.test) == set(plain.test[3:])
    assert set(split.train) >= {*plain.train, *plain.test[:3], plain.validation[0]}
    nothing = split_images(
        *images, kind="random", rng=np.random.default_rng(0), groups=np.arange(50), **settings
    )
    assert nothing == plain


def test_split_depends_on_the_seed_not_on_the_order(images, rng):
    order = rng.permutation(50)
    assert make_split((images[0][order], images[1][order])) == make_split(images)
    assert make_split(images, seed=1) != make_split(images)


def test_split_round_trip_and_checks(images, tmp_path):
    make_split(images).save(tmp_path / "split.json")
    assert Split.open(tmp_path / "split.json", remedy="") == make_split(images)
    with pytest.raises(MismatchError, match="an image is in two parts"):
        Split("shared", (1, 2), (3,), (2,))
    with pytest.raises(MismatchError, match=r"a part of the split is empty: .*'test': 0"):
        Split("shared", (1, 2), (3,), ())


@pytest.mark.parametrize(
    ("shown", "expected"),
    [([3, 3, 2], 3), ([2, 2, 12], 2), ([1, 1, 1], 0), ([1, 1, 1, 4], 4), ([], 0)],
)
def test_the_number_of_repetitions_that_most_images_have(shown, expected):
    image_ids = np.repeat(np.arange(len(shown)), shown)
    assert common_repetitions(image_ids) == expected
