import numpy as np
import pytest
import torch
import yaml
from sklearn.linear_model import Ridge

from conftest import REPOSITORY
from fmri2img.exceptions import MissingDataError
from fmri2img.models.base import TrainingTensors, VoxelNormalizer
from fmri2img.models.registry import check_settings, load_encoder, model_class, model_names, save_encoder

SECTIONS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]
N_VOXELS, LATENT_SHAPE = 23, (4, 16, 16)


def build(name, **changes):
    settings = check_settings(name, SECTIONS[name] | changes)
    torch.manual_seed(0)
    return model_class(name)(N_VOXELS, LATENT_SHAPE, settings).eval()


@pytest.fixture
def data(rng):
    """Sixty images, three trials each, with a linear relation."""
    weights = rng.normal(size=(N_VOXELS, 1024))
    trial_images = np.sort(np.tile(np.arange(60), 3))
    image_betas = rng.normal(2, 3, (60, N_VOXELS))
    betas = image_betas[trial_images] + rng.normal(size=(180, N_VOXELS))
    latents = (image_betas @ weights + rng.normal(size=(60, 1024))).reshape(60, *LATENT_SHAPE)
    tensors = [torch.from_numpy(values) for values in (betas, trial_images, image_betas, latents)]
    return TrainingTensors(*(values.float() if values.is_floating_point() else values for values in tensors))


@pytest.mark.parametrize("name", model_names())
def test_contract(name):
    betas = torch.randn(3, N_VOXELS)
    latents = build(name)(betas)
    assert latents.shape == (3, *LATENT_SHAPE)
    assert latents.dtype == torch.float32


@pytest.mark.parametrize("name", model_names())
def test_missing_voxels_count_as_the_training_mean(name, data):
    encoder = build(name)
    encoder.normalizer.fit(data.betas)
    betas = data.betas[:2].clone()
    betas[:, 5] = encoder.normalizer.mean[5]
    with_nan = betas.clone()
    with_nan[:, 5] = torch.nan
    torch.testing.assert_close(encoder(with_nan), encoder(betas), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", model_names())
def test_weights_and_config_rebuild_the_encoder(name, tmp_path, data):
    encoder = build(name)
    encoder.normalizer.fit(data.betas)
    save_encoder(encoder, name, tmp_path / "a", {"subject": "subj01"})
    save_encoder(encoder, name, tmp_path / "b", {"subject": "subj01"})
    again, config = load_encoder(tmp_path / "a")
    assert torch.equal(again(data.betas), encoder(data.betas))
    assert config["about"] == {"subject": "subj01"}
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_a_missing_encoder_names_the_command(tmp_path):
    with pytest.raises(MissingDataError, match=r"config\.json not found; run: dvc repro train"):
        load_encoder(tmp_path)


def test_normalizer_agrees_with_numpy_and_ignores_missing(rng):
    betas = rng.normal(4, 2, (50, 3)).astype(np.float32)
    betas[::7, 1] = np.nan
    betas[:, 2] = 5
    normalizer = VoxelNormalizer(3)
    normalizer.fit(torch.from_numpy(betas))
    np.testing.assert_allclose(normalizer.mean, np.nanmean(betas, 0), rtol=1e-5)
    np.testing.assert_allclose(normalizer.std[:2], np.nanstd(betas[:, :2], 0), rtol=1e-5)
    assert torch.equal(normalizer(torch.tensor([[torch.nan, torch.nan, 5.0]])), torch.zeros(1, 3))


@pytest.mark.parametrize("unit", ["trials", "images"])
def test_ridge_agrees_with_scikit_learn(unit, data):
    encoder = build("ridge", penalties=[50.0], unit=unit)
    encoder.normalizer.fit(data.betas)
    encoder.solve(data)
    if unit == "trials":
        voxels, targets = encoder.normalizer(data.betas), data.latents.flatten(1)[data.trial_images]
    else:
        voxels, targets = encoder.normalizer(data.image_betas), data.latents.flatten(1)
    expected = Ridge(50.0).fit(voxels.numpy(), targets.numpy()).predict(voxels[:7].numpy())
    betas = (data.betas if unit == "trials" else data.image_betas)[:7]
    np.testing.assert_allclose(encoder(betas).detach().flatten(1), expected, rtol=1e-3, atol=1e-2)


def test_ridge_chooses_small_penalties_for_signal_and_large_for_noise(data):
    encoder = build("ridge", penalties=[1.0, 1e5])
    encoder.normalizer.fit(data.betas)
    assert encoder.solve(data)["median_penalty"] == pytest.approx(1.0)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(data.latents.shape, generator=generator)
    shuffled = TrainingTensors(data.betas, data.trial_images, data.image_betas, noise)
    assert encoder.solve(shuffled)["median_penalty"] == pytest.approx(1e5)


def test_basic_ae_has_the_layers_of_the_original():
    encoder = build("basic_ae")
    sizes = [(layer.in_features, layer.out_features) for layer in encoder.layers if isinstance(layer, torch.nn.Linear)]
    assert sizes == [(N_VOXELS, 2048), (2048, 2048), (2048, 1024)]
    assert sum(isinstance(layer, torch.nn.GELU) for layer in encoder.layers) == 3
    assert (encoder.upsample.in_channels, encoder.upsample.out_channels) == (16, 4)
