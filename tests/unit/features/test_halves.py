"""Features of the halves of pictures: each half knows its own pixels only."""

import numpy as np

from fmri2img.features.halves import half_features


def test_each_half_describes_its_side_alone(rng):
    pictures = rng.integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    values, n_left = half_features([pictures[:30], pictures[30:]])
    assert values.shape == (40, 256)
    assert values.dtype == np.float32
    assert n_left == 128
    other = pictures.copy()
    other[:, :, 48:] = 255 - other[:, :, 48:]  # far from the middle: filters are not that wide
    changed, _ = half_features([other])
    left = np.abs(np.corrcoef(values[:, 0], changed[:, 0])[0, 1])
    right = np.abs(np.corrcoef(values[:, n_left], changed[:, n_left])[0, 1])
    assert left > 0.9
    assert right < 0.5


def test_it_does_not_depend_on_the_blocks(rng):
    pictures = rng.integers(0, 256, (24, 80, 80, 3), dtype=np.uint8)
    whole, _ = half_features([pictures])
    parts, _ = half_features([pictures[:7], pictures[7:]])
    np.testing.assert_allclose(whole, parts, atol=1e-4)


def test_pictures_that_are_all_alike_have_no_features(rng):
    values, _ = half_features([np.full((5, 64, 64, 3), 9, np.uint8)])
    assert not values.any()
