import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from sklearn.linear_model import Ridge

from conftest import REPOSITORY
from fmri2img.models import ridge
from fmri2img.models._normalizer import VoxelNormalizer
from fmri2img.models.base import TrainingTensors
from fmri2img.models.registry import (
    check_settings,
    current_name,
    load_encoder,
    model_class,
    model_names,
    save_encoder,
)
from fmri2img.project.exceptions import FormatError, MismatchError, MissingDataError

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
    tensors = [torch.from_numpy(values) for values in (betas, trial_images, latents)]
    energies, none = rng.normal(size=(60, 2, 8, 8)).astype(np.float32), torch.zeros(0, 4, 16, 16)
    regions = torch.from_numpy(np.array([3, 7])[(np.arange(N_VOXELS) % 5 == 0).astype(int)])
    parts = [values.float() if values.is_floating_point() else values for values in tensors]
    return TrainingTensors(
        *parts, regions, torch.from_numpy(energies), none, torch.zeros(0, 2, 8, 8)
    )


@pytest.mark.parametrize("name", model_names())
def test_contract(name):
    betas = torch.randn(3, N_VOXELS)
    latents = build(name)(betas)
    assert latents.shape == (3, *LATENT_SHAPE)
    assert latents.dtype == torch.float32


@pytest.mark.parametrize("name", model_names())
def test_missing_voxels_count_as_the_training_mean(name, data):
    encoder = build(name)
    for part in encoder.modules():  # a blend has encoders within
        if isinstance(part, VoxelNormalizer):
            part.fit(data.betas)
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
    assert config["about"] == {"subject": "subj01", "n_repetitions": 3}
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (
        tmp_path / "b" / "model.safetensors"
    ).read_bytes()


def test_a_missing_encoder_names_the_command(tmp_path):
    with pytest.raises(MissingDataError, match=r"config\.json not found; run: dvc repro train"):
        load_encoder(tmp_path)


def saved_ridge(folder, data, **about):
    encoder = build("ridge")
    encoder.normalizer.fit(data.betas)
    save_encoder(encoder, "ridge", folder, {"subject": "subj01"} | about)
    return encoder


def test_an_encoder_of_somebody_else_is_refused(tmp_path, data):
    saved_ridge(tmp_path, data)
    assert load_encoder(tmp_path, subject="subj01", model="ridge")
    for expected, names in (
        ({"subject": "subj02"}, "subject subj01, expected subj02"),
        ({"model": "basic_ae"}, "model ridge, expected basic_ae"),
    ):
        with pytest.raises(MismatchError, match=f"holds an encoder of {names}; train it again"):
            load_encoder(tmp_path, **expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, data, value):
    encoder = saved_ridge(tmp_path, data)
    name = next(iter(dict(encoder.named_parameters()) or dict(encoder.named_buffers())))
    encoder.state_dict()[name].view(-1)[3] = value
    save_encoder(encoder, "ridge", tmp_path, {})
    with pytest.raises(FormatError, match=f"{name} holds NaN or infinity, expected finite numbers"):
        load_encoder(tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def link(path):
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def rename(path):
    save_file({"other": torch.zeros(3)}, path)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (cut, r"not readable weights \(.*\); train it again"),
        (link, "is a pointer of git-lfs, not the file itself; run: git lfs pull"),
        (rename, r"does not fit the encoder \(.*\); train it again"),
    ],
)
def test_damaged_weights_are_one_line(tmp_path, data, damage, line):
    saved_ridge(tmp_path, data)
    damage(tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match=rf"model\.safetensors: {line}"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model": None}, "model: None, expected a str"),
        ({"model": "vit"}, "model: 'vit', expected one of basic_ae, bayes, "),
        ({"n_voxels": 10**12}, "1000000000000 voxels and latents of shape"),
        ({"n_voxels": "many"}, "n_voxels: 'many', expected a int"),
        ({"n_voxels": 0}, "0 voxels and latents of shape"),
        ({"latent_shape": [4, 16]}, r"latents of shape \[4, 16\], expected"),
        ({"settings": {"penalties": [1]}}, "settings.n_folds: Field required; it is of another"),
        ({"settings": []}, r"settings: \[\], expected a dict"),
        ({"about": None}, "about: None, expected a dict"),
    ],
)
def test_a_config_of_another_form_is_one_line(tmp_path, data, changes, line):
    saved_ridge(tmp_path, data)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(FormatError, match=rf"config\.json: .*{line}.*; train it again"):
        load_encoder(tmp_path)
    path.write_text("[]")
    with pytest.raises(FormatError, match="JSON holds a list, expected names and values"):
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
    assert encoder.solve(replace(data, latents=noise))["median_penalty"] == pytest.approx(1e5)


@pytest.mark.parametrize("bands", ["none", "roi"])
def test_ridge_from_the_gram_matrix_is_himalayas(bands, data):
    settings = {"penalties": [10.0, 100.0, 1000.0], "bands": bands, "n_band_draws": 4}
    encoders = []
    for limit in (1 << 31, 0):
        encoder = build("ridge", **settings)
        encoder.normalizer.fit(data.betas)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fmri2img.models.ridge._HIMALAYA_BYTES", limit)
            facts = encoder.solve(data)
        encoders.append((encoder, facts))
    (first, facts), (second, others) = encoders
    torch.testing.assert_close(first.linear.weight, second.linear.weight, atol=2e-3, rtol=2e-3)
    assert facts["cross_validated_mse"] == pytest.approx(others["cross_validated_mse"], rel=1e-3)
    if bands == "none":
        assert facts["median_penalty"] == pytest.approx(others["median_penalty"], rel=1e-3)


def test_who_solves_a_ridge_may_be_named_and_is_not_recorded_else(data, tmp_path, monkeypatch):
    asked = []
    for name in ("solve_by_himalaya", "solve_by_gram"):
        solve = getattr(ridge, name)
        monkeypatch.setattr(
            ridge, name, lambda *a, _s=solve, _n=name, **k: asked.append(_n) or _s(*a, **k)
        )
    for solver in ("auto", "himalaya", "gram"):
        encoder = build("ridge", penalties=[10.0], solver=solver)
        encoder.normalizer.fit(data.betas)
        encoder.solve(data)
        save_encoder(encoder, "ridge", tmp_path / solver, {"subject": "subj01"})
    assert asked == ["solve_by_himalaya", "solve_by_himalaya", "solve_by_gram"]
    recorded = {
        solver: json.loads((tmp_path / solver / "config.json").read_text())["settings"]
        for solver in ("auto", "gram")
    }
    assert "solver" not in recorded["auto"]
    assert recorded["gram"]["solver"] == "gram"
    assert load_encoder(tmp_path / "auto", subject="subj01", model="ridge")


def solved_from_gram(data, monkeypatch, **replaced):
    """Weights, and the penalties that were tried, of penalties from far too small to far too
    large.
    """
    encoder = build("ridge", penalties=[1e4, 1.0, 1e9, 10.0, 100.0, 1e6, 1e8])
    encoder.normalizer.fit(data.betas)
    tried, solve = [], ridge._solve
    with monkeypatch.context() as patch:
        for name, value in {"_HIMALAYA_BYTES": 0, **replaced}.items():
            patch.setattr(ridge, name, value)
        patch.setattr(ridge, "_solve", lambda *given: tried.append(given[3]) or solve(*given))
        encoder.solve(data)
    return encoder.linear.weight, tried


def test_ridge_skips_penalties_that_are_nobodys_best(data, monkeypatch):
    """The weights are those of trying all."""
    every = {
        "_worth_trying": lambda errors: torch.ones(errors.shape[1], dtype=torch.bool),
        "_worse_for_all": lambda _: False,
    }
    weights, tried = solved_from_gram(data, monkeypatch)
    expected, all_of_them = solved_from_gram(data, monkeypatch, **every)
    torch.testing.assert_close(weights, expected, rtol=0, atol=0)
    assert tried.count(1e9) == 1  # in the first fold
    assert all_of_them.count(1e9) == 5
    assert len(tried) < len(all_of_them) - 10


def test_ridge_adds_products_of_a_few_rows_and_columns_at_a_time(data, monkeypatch):
    whole, _ = solved_from_gram(data, monkeypatch)
    parts, _ = solved_from_gram(data, monkeypatch, _COLUMNS_AT_ONCE=7, _ROWS_AT_ONCE=11)
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-4)


def test_banded_ridge_finds_the_region_that_matters(data, rng):
    latents = data.latents.clone()
    mute = data.roi_labels == 7
    betas = data.betas.clone()
    betas[:, mute] = torch.from_numpy(20 * rng.normal(size=(len(betas), int(mute.sum())))).float()
    noisy = replace(data, betas=betas, latents=latents)
    found = {}
    for bands in ("none", "roi"):
        encoder = build("ridge", bands=bands, n_band_draws=20)
        encoder.normalizer.fit(noisy.betas)
        found[bands] = encoder.solve(noisy)["cross_validated_mse"]
    assert found["roi"] < 0.98 * found["none"]


def test_low_level_has_the_parts_of_mindeyes(data):
    encoder = build("low_level", hidden_size=4096, channels=64)
    sizes = [
        (layer[0].in_features, layer[0].out_features, layer[3].p)
        for layer in (encoder.first, *encoder.blocks)
    ]
    assert sizes == [(N_VOXELS, 4096, 0.5)] + [(4096, 4096, 0.25)] * 4
    assert encoder.to_grid.out_features == 64 * 4 * 4
    latents, embeddings = encoder.training_outputs(torch.randn(2, N_VOXELS))
    assert (latents.shape, embeddings.shape) == ((2, *LATENT_SHAPE), (2, 128))
    assert encoder.embed_latents(data.latents[:2]).shape == (2, 128)
    assert not hasattr(build("low_level", contrastive_weight=0.0), "voxel_head")


def test_basic_ae_has_the_layers_of_the_original():
    encoder = build("basic_ae")
    sizes = [
        (layer.in_features, layer.out_features)
        for layer in encoder.layers
        if isinstance(layer, torch.nn.Linear)
    ]
    assert sizes == [(N_VOXELS, 2048), (2048, 2048), (2048, 1024)]
    assert sum(isinstance(layer, torch.nn.GELU) for layer in encoder.layers) == 3
    assert (encoder.upsample.in_channels, encoder.upsample.out_channels) == (16, 4)


def test_bayes_of_version_0_2_0_is_bayes_independent():
    assert current_name("bayes", ["penalties", "seed"]) == "bayes_independent"
    assert current_name("bayes", ["seed"]) == current_name("bayes") == "bayes"
    assert current_name("default", ["penalties"]) == "bayes_independent"


def test_one_saturated_trial_of_a_voxel_is_clipped_and_counted(rng):
    betas = rng.normal(4, 2, (200, 3)).astype(np.float32)
    betas[::7, 1] = np.nan
    betas[:, 2] = 5  # has no limits: its MAD is 0
    clean = betas.copy()
    betas[[3, 9], 0], betas[5, 1], betas[0, 2] = 100, -100, 40
    normalizer = VoxelNormalizer(3, clip_mads=8)
    assert normalizer.fit(torch.from_numpy(betas)) == 3
    for voxel in (0, 1):
        values = betas[:, voxel][np.isfinite(betas[:, voxel])]
        middle = np.sort(values)[(len(values) - 1) // 2]
        mad = np.sort(np.abs(values - middle))[(len(values) - 1) // 2]
        low, high = middle - 8 * mad, middle + 8 * mad
        assert normalizer.lowest[voxel] == pytest.approx(low, rel=1e-5)
        assert normalizer.highest[voxel] == pytest.approx(high, rel=1e-5)
        clipped = np.clip(values, low, high)
        assert normalizer.mean[voxel] == pytest.approx(clipped.mean(), rel=1e-5)
        assert normalizer.std[voxel] == pytest.approx(clipped.std(), rel=1e-5)
    # The voxels that vary are scaled nearly as if nothing had been saturated.
    np.testing.assert_allclose(normalizer.std[:2], np.nanstd(clean[:, :2], 0), rtol=0.15)
    far = normalizer(torch.tensor([[1e6, -1e6, 45.0]]))
    limits = torch.stack([normalizer.highest[0], normalizer.lowest[1]])
    torch.testing.assert_close(far[0, :2], (limits - normalizer.mean[:2]) / normalizer.std[:2])
    assert far[0, 2] > 10
    assert torch.equal(normalizer(torch.full((1, 3), torch.nan)), torch.zeros(1, 3))


def test_encoders_of_earlier_versions_clip_nothing(tmp_path, data):
    encoder = build("ridge", penalties=[50.0], clip_mads=0)
    assert encoder.normalizer.clip_mads == 0
    assert set(encoder.normalizer.state_dict()) == {"mean", "std"}
    clipping = build("ridge", penalties=[50.0], clip_mads=5)
    clipping.normalizer.fit(data.betas)
    clipping.solve(data)
    save_encoder(clipping, "ridge", tmp_path, {"subject": "subj01"})
    again, _ = load_encoder(tmp_path)
    far = data.betas[:3] * 1e4
    assert torch.equal(again(far), clipping.eval()(far))
    assert not torch.equal(again(far), again(far / 1e4))


def test_saturated_trials_do_not_spoil_a_ridge(data):
    generator = torch.Generator().manual_seed(1)
    truth = data.latents.flatten(1)[data.trial_images]
    broken = data.betas.clone()
    broken[torch.rand(broken.shape, generator=generator) < 0.005] = 300.0

    def error(betas, **settings):
        encoder = build("ridge", penalties=[1.0, 100.0, 1e4], **settings)
        train = replace(data, betas=betas)
        encoder.normalizer.fit(betas)
        encoder.solve(train)
        with torch.no_grad():
            return float(((encoder(data.betas).flatten(1) - truth) ** 2).mean() / truth.var())

    clean = error(data.betas, clip_mads=0)
    spoilt, clipped = error(broken, clip_mads=0), error(broken, clip_mads=5)
    assert clipped < (clean + spoilt) / 2


def test_sds_of_zero_would_make_infinite_voxels(tmp_path, data):
    encoder = build("ridge")
    encoder.normalizer.fit(data.betas)
    encoder.normalizer.std[2] = 0
    save_encoder(encoder, "ridge", tmp_path, {"subject": "subj01"})
    with pytest.raises(FormatError, match=r"normalizer.std: SDs from 0.0, expected numbers above"):
        load_encoder(tmp_path)


def test_the_config_of_an_encoder_that_clips_nothing_is_that_of_earlier_versions(tmp_path, data):
    settings = []
    for clip in (0, 5.0):
        encoder = build("ridge", clip_mads=clip)
        encoder.normalizer.fit(data.betas)
        save_encoder(encoder, "ridge", tmp_path, {"subject": "subj01"})
        settings.append(json.loads((tmp_path / "config.json").read_text())["settings"])
    assert settings[1].pop("clip_mads") == 5
    assert settings[0] == settings[1]
