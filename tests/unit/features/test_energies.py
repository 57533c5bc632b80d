import numpy as np
import pytest

from fmri2img.containers.latents import Latents
from fmri2img.features.energies import N_CHANNELS, contrast_energies
from fmri2img.features.prior import pool_pictures, without_test_images
from fmri2img.project.exceptions import MismatchError

SIDE = 128


def grating(frequency, degrees, phase=0.0):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    along = columns * np.cos(np.radians(degrees)) + rows * np.sin(np.radians(degrees))
    wave = 128 + 100 * np.sin(2 * np.pi * frequency * along + phase)
    return np.repeat(wave[..., None], 3, axis=2).round().astype(np.uint8)


@pytest.mark.parametrize("scale", [0, 1, 2])
@pytest.mark.parametrize("orientation", [0, 1, 2, 3])
def test_a_grating_speaks_to_its_own_channel(scale, orientation):
    found = contrast_energies(grating((0.06, 0.12, 0.24)[scale], 45 * orientation)[None])[0]
    assert found.shape == (N_CHANNELS, 8, 8)
    assert found.mean((1, 2)).argmax() == 4 * scale + orientation


def test_energy_ignores_sign_and_phase_and_grows_with_contrast():
    plain, shifted = grating(0.12, 0), grating(0.12, 0, phase=np.pi / 2)
    faint = (128 + (plain.astype(float) - 128) / 2).round().astype(np.uint8)
    first, inverted, moved, half = contrast_energies(np.stack([plain, 255 - plain, shifted, faint]))
    inner = np.s_[4, 1:-1, 1:-1]
    np.testing.assert_allclose(inverted, first, atol=2e-3)
    np.testing.assert_allclose(moved[inner], first[inner], rtol=0.03)
    np.testing.assert_allclose(half[inner], first[inner] / 2, rtol=0.03)


def test_energy_lies_where_the_contrast_is():
    picture = np.full((SIDE, SIDE, 3), 128, np.uint8)
    picture[:64, 64:] = grating(0.12, 0)[:64, 64:]
    found = contrast_energies(picture[None])[0, 4]
    assert found[:4, 4:].mean() > 5 * found[4:, :4].mean()
    assert contrast_energies(np.full((1, SIDE, SIDE, 3), 90, np.uint8)).max() < 1e-6
    assert contrast_energies(np.zeros((0, SIDE, SIDE, 3), np.uint8)).shape == (0, N_CHANNELS, 8, 8)


def latents_of(ids, sha256="abc"):
    ids = np.array(ids)
    values = np.full((len(ids), 4, 2, 2), 0.0, np.float32) + ids[:, None, None, None]
    return Latents(
        ids,
        values,
        values[:, :2],
        {"autoencoder": {"name": f"vae-{sha256}", "sha256": sha256}, "data_source": "simulated"},
    )


def test_pooled_pictures_are_there_once_and_no_test_image_among_them():
    parts = [
        without_test_images(latents_of([2, 5, 9, 30]), np.array([9, 77])),
        without_test_images(latents_of([1, 5, 9, 30]), np.array([30])),
    ]
    assert [part.image_ids.tolist() for part in parts] == [[2, 5, 30], [1, 5, 9]]
    pooled = pool_pictures(parts)
    assert set(pooled.provenance) == {"autoencoder", "data_source"}
    np.testing.assert_array_equal(pooled.image_ids, [1, 2, 5])
    np.testing.assert_array_equal(pooled.values[:, 0, 0, 0], [1, 2, 5])
    np.testing.assert_array_equal(pooled.energies[:, 1, 1, 1], [1, 2, 5])


def test_latents_of_different_autoencoders_are_not_pooled():
    with pytest.raises(
        MismatchError,
        match=r"different autoencoders \(vae-abc, vae-xyz\); run: dvc repro --force encode_latents",
    ):
        pool_pictures([latents_of([1]), latents_of([2], "xyz")])
