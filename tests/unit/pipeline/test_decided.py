"""How much of a latent's variance the response decided, as an encoder states it."""

from types import SimpleNamespace

import numpy as np
import pytest

from fmri2img.pipeline.evaluate_subject import _decided

TRUTH = SimpleNamespace(train_sd=np.full(4 * 2 * 3, 2.0))


def stating(sd, of_its_own=True):
    """Reconstructions of two test images and a training image."""
    facts = {"states_its_spread": of_its_own}
    return SimpleNamespace(latent_sd=sd, rows=lambda _: np.array([0, 1]), provenance=facts)


def test_what_is_not_left_was_decided():
    sd = np.full((3, 4, 2, 3), 2.0)
    sd[:2, :, 0, 0] = 1.0  # a quarter of the variance is left
    sd[2] = 0.0  # no test image
    shares = _decided(stating(sd), TRUTH)
    assert shares.shape == (2, 3)
    assert shares[0, 0] == pytest.approx(0.75)
    np.testing.assert_allclose(np.delete(shares.ravel(), 0), 0, atol=1e-12)


def test_an_encoder_that_states_more_than_the_variance_is_below_0():
    shares = _decided(stating(np.full((3, 4, 2, 3), 4.0)), TRUTH)
    np.testing.assert_allclose(shares, 1 - 16 / 4)


@pytest.mark.parametrize("sd", [None, np.full((3, 4, 2, 3), np.nan)])
def test_an_encoder_that_states_nothing_has_no_map(sd):
    assert _decided(stating(sd), TRUTH) is None


def test_errors_on_validation_images_say_nothing_of_a_prior():
    assert _decided(stating(np.ones((3, 4, 2, 3)), of_its_own=False), TRUTH) is None
