import numpy as np
import pytest
import scipy.stats
from PIL import Image
from skimage.metrics import structural_similarity

from fmri2img.evaluation.correlation import pixel_correlations, row_correlations, unit_rows
from fmri2img.evaluation.metrics.picture_metrics import (
    Moments,
    constant_pictures,
    score_pictures,
    ssim_table,
)
from fmri2img.evaluation.presets import PRESETS, resize_file, resize_tensor

WEIGHTS = np.array([0.2125, 0.7154, 0.0721])
SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}


@pytest.fixture
def pictures(rng):
    smooth = rng.random((6, 5, 5, 3)).repeat(8, 1).repeat(8, 2)
    return ((smooth + 0.2 * rng.random(smooth.shape)) / 1.2 * 255).astype(np.uint8)


def plainly(images, side=None):
    return images.astype(np.float32) / 255


def test_half_a_million_pixels_keep_their_digits(rng):
    one, other = 0.5 + 0.1 * rng.random((2, 1, 425 * 425 * 3))
    assert row_correlations(one.astype(np.float32), other.astype(np.float32)) == pytest.approx(
        np.corrcoef(one, other)[0, 1], abs=1e-7
    )
    assert row_correlations(one.astype(np.float32), one.astype(np.float32)) == pytest.approx(
        1, abs=2e-7
    )


def test_scores_agree_with_scipy_and_scikit_image(pictures):
    other = pictures[::-1].copy()
    found = score_pictures(pictures, {"model": other}, plainly)["model"]
    grey, grey_other = plainly(pictures) @ WEIGHTS, plainly(other) @ WEIGHTS
    pairs = list(zip(plainly(pictures), plainly(other), strict=True))
    np.testing.assert_allclose(
        found["pixcorr"],
        [scipy.stats.pearsonr(a.ravel(), b.ravel())[0] for a, b in pairs],
        atol=1e-6,
    )
    expected = [structural_similarity(a, b, **SSIM) for a, b in zip(grey, grey_other, strict=True)]
    np.testing.assert_allclose(found["ssim"], expected, atol=1e-9)


def test_columnwise_ssim_is_the_mean_of_one_dimensional_ones(pictures):
    found = score_pictures(pictures[:1], {"model": pictures[1:2]}, plainly)["model"][
        "ssim_columnwise"
    ]
    first, second = plainly(pictures[0]) @ WEIGHTS, plainly(pictures[1]) @ WEIGHTS
    columns = [
        structural_similarity(first[:, c], second[:, c], **SSIM) for c in range(first.shape[1])
    ]
    np.testing.assert_allclose(found, np.mean(columns), atol=1e-9)


def test_the_two_ssims_differ_as_they_do_on_photographs(pictures):
    blurred = np.stack(
        [np.asarray(Image.fromarray(one).resize((4, 4)).resize((40, 40))) for one in pictures]
    )
    found = score_pictures(pictures, {"blurred": blurred}, plainly)["blurred"]
    assert found["ssim_columnwise"].mean() > found["ssim"].mean()


def test_identity_scores_one_and_constant_pictures_have_no_correlation(pictures):
    grey = np.full((1, 40, 40, 3), 128, np.uint8)
    found = score_pictures(pictures, {"same": pictures, "grey": grey}, plainly)
    for scores in found["same"].values():
        np.testing.assert_allclose(scores, 1, atol=1e-6)
    np.testing.assert_array_equal(found["grey"]["pixcorr"], 0)
    assert constant_pictures(np.concatenate([pictures, grey])) == 1


def test_the_table_of_all_pairs_agrees_with_scikit_image(pictures):
    other = pictures[::-1].copy()
    found = ssim_table(pictures, other, side=40)
    grey = [plainly(images) @ WEIGHTS for images in (pictures, other)]
    expected = [[structural_similarity(a, b, **SSIM) for b in grey[1]] for a in grey[0]]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert ssim_table(pictures, other, side=32).shape == (6, 6)


def test_a_single_picture_stands_for_all(pictures):
    mean = pictures.mean(axis=0).astype(np.uint8)[None]
    found = score_pictures(
        pictures, {"once": mean, "repeated": mean.repeat(len(pictures), 0)}, plainly
    )
    for metric, scores in found["once"].items():
        np.testing.assert_array_equal(scores, found["repeated"][metric])


def test_scores_do_not_depend_on_the_order_of_images(pictures, rng):
    order = rng.permutation(len(pictures))
    other = pictures[::-1].copy()
    found = score_pictures(pictures, {"model": other}, plainly)["model"]
    shuffled = score_pictures(pictures[order], {"model": other[order]}, plainly)["model"]
    for metric, scores in found.items():
        np.testing.assert_array_equal(scores[order], shuffled[metric])


def test_mindeye_takes_fine_detail_from_the_truth_and_brain_diffuser_does_not(rng):
    noise = rng.integers(0, 256, (1, 425, 425, 3), dtype=np.uint8)
    assert (
        PRESETS["mindeye"].bring(noise, 425).std()
        < 0.8 * PRESETS["brain_diffuser"].bring(noise, 425).std()
    )
    np.testing.assert_array_equal(PRESETS["brain_diffuser"].bring(noise, 425), plainly(noise, 425))
    for preset in PRESETS.values():
        assert preset.bring(noise[:, :128, :128], 425).shape == (1, 425, 425, 3)


def test_shrinking_by_three_without_antialias_picks_single_pixels(rng):
    noise = rng.integers(0, 256, (1, 30, 30, 3), dtype=np.uint8)
    np.testing.assert_allclose(resize_tensor(noise, 10), plainly(noise)[:, 1::3, 1::3], atol=1e-6)
    averaged = resize_tensor(noise, 10, antialias=True)
    assert averaged.std() < 0.7 * plainly(noise).std()
    assert resize_file(noise, 10).std() < 0.8 * plainly(noise).std()


def test_unit_rows_keep_double_precision(rng):
    values = rng.normal(size=(3, 50))
    units = unit_rows(values)
    assert units.dtype == np.float64
    np.testing.assert_allclose(units @ units.T, np.corrcoef(values), atol=1e-14)
    assert unit_rows(values.astype(np.float32)).dtype == np.float32


def test_unit_rows_do_not_depend_on_scale(rng):
    values = rng.normal(size=(4, 30)).astype(np.float32)
    for scale in (1e-7, 1e5):
        np.testing.assert_allclose(
            unit_rows(values * np.float32(scale)), unit_rows(values), atol=1e-5
        )
    assert (unit_rows(np.full((2, 9), 0.3, np.float32)) == 0).all()
    assert (unit_rows(np.zeros((2, 9))) == 0).all()


def test_pixcorr_of_pairs_as_they_are(pictures):
    expected = [
        scipy.stats.pearsonr(a.ravel(), b.ravel())[0]
        for a, b in zip(pictures, pictures[::-1], strict=True)
    ]
    np.testing.assert_allclose(pixel_correlations(pictures, pictures[::-1]), expected, atol=1e-5)


def test_moments_of_a_picture_with_itself_are_one(pictures):
    moments = Moments.of(plainly(pictures[0]))
    np.testing.assert_allclose(moments.scores(moments), 1, atol=1e-6)
