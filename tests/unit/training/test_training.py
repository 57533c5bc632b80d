from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from conftest import REPOSITORY
from fmri2img.containers import Examples, Latents
from fmri2img.evaluation.identification import similarity_matrix, two_way_identification
from fmri2img.exceptions import MismatchError
from fmri2img.generation.predict import predict_latents
from fmri2img.models.registry import check_settings, load_seeds, model_class, model_names, save_encoder, save_seeds
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.responses.splits import split_images
from fmri2img.training.fit import fit_encoder, fit_other_seeds, make_training_set
from fmri2img.training.loop import _train_epoch
from fmri2img.training.objectives import latent_objective, pixel_objective, weighted_sum
from fmri2img.training.report import EpochLog, write_curve

SECTIONS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]
SMALL = {"hidden_sizes": [64], "bottleneck": [4, 8, 8], "epochs": 4, "batch_size": 32, "learning_rate": 0.002}
N_IMAGES, N_VOXELS = 160, 90


@pytest.fixture
def subject(rng):
    """Examples and latents in which betas depend linearly on the latents of the image."""
    image_ids = np.sort(rng.choice(73_000, N_IMAGES, replace=False))
    coarse = rng.normal(size=(N_IMAGES, 4, 4, 4)).astype(np.float32)
    latents = coarse.repeat(4, 2).repeat(4, 3)
    trial_rows = np.sort(rng.permutation(np.tile(np.arange(N_IMAGES), 2)))
    signal = coarse.reshape(N_IMAGES, -1) @ rng.normal(size=(64, N_VOXELS)) / 8
    betas = signal[trial_rows] + rng.normal(size=(len(trial_rows), N_VOXELS))
    sessions = np.array([1, 2], np.int16)
    valid = np.ones((2, N_VOXELS), bool)
    valid[1, 4] = False
    examples = Examples(
        voxel_ijk=np.zeros((N_VOXELS, 3), np.int16),
        roi_labels=np.ones(N_VOXELS, np.int16),
        ncsnr=np.ones(N_VOXELS, np.float32),
        training_ncsnr=np.full(N_VOXELS, np.nan, np.float32),
        in_brain=np.ones(N_VOXELS, bool),
        sessions=sessions,
        valid=valid,
        saturated=np.zeros((2, N_VOXELS), np.int16),
        affine=np.eye(4),
        provenance={"subject": "subj01", "data_source": "simulated"},
        image_ids=image_ids,
        images=rng.integers(0, 256, (N_IMAGES, 128, 128, 3), dtype=np.uint8),
        is_shared=np.arange(N_IMAGES) % 4 == 0,
        betas=(300 * betas).round().astype(np.int16),
        trial_image_ids=image_ids[trial_rows],
        trial_session=rng.choice(sessions, len(trial_rows)),
    )
    settings = {"kind": "shared", "validation_fraction": 0.15, "n_train_random": 1}
    split = split_images(image_ids, examples.is_shared, rng=np.random.default_rng(0), **settings)
    return examples, split, Latents(image_ids, latents, {"data_source": "simulated"})


def fit(data, tmp_path, name="basic_ae", on_epoch=lambda _: None, **changes):
    settings = check_settings(name, SECTIONS[name] | (SMALL if name == "basic_ae" else {}) | changes)
    decoder = load_autoencoder(str(REPOSITORY / "models" / "demo-vae"), "main")
    return fit_encoder(
        model_class(name), settings, data, load_decoder=lambda: decoder, checkpoint=tmp_path / "checkpoint.safetensors", on_epoch=on_epoch
    )


def weights_of(encoder):
    return torch.cat([value.flatten().float() for value in encoder.state_dict().values()])


def identification(encoder, subject):
    examples, split, latents = subject
    test = split.ids("test")
    mean = latents.of(split.ids("train")).mean(0).ravel()
    predicted = predict_latents(encoder, examples, test).reshape(len(test), -1)
    return two_way_identification(similarity_matrix(latents.of(test).reshape(len(test), -1) - mean, predicted - mean)).mean()


@pytest.mark.parametrize("name", model_names())
def test_signal_is_found(name, subject, tmp_path):
    changes = {"epochs": 30, "patience": 30} if name == "basic_ae" else {}
    encoder, result = fit(make_training_set(*subject), tmp_path, name, **changes)
    assert identification(encoder, subject) > 0.85
    assert result.validation_pattern_correlation > 0.3


@pytest.mark.parametrize("name", model_names())
def test_shuffled_image_labels_give_chance(name, subject, tmp_path, rng):
    examples, split, latents = subject
    train = split.ids("train")
    rows = np.searchsorted(latents.image_ids, train)
    values = latents.values.copy()
    values[rows] = values[rng.permutation(rows)]
    data = make_training_set(examples, split, replace(latents, values=values))
    encoder, _ = fit(data, tmp_path, name)
    assert identification(encoder, subject) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("name", model_names())
def test_nothing_fitted_sees_a_test_trial(name, subject, tmp_path):
    examples, split, latents = subject
    trials = examples.trials_of(split.ids("test"))
    betas, values, images = examples.betas.copy(), latents.values.copy(), examples.images.copy()
    betas[trials] = 12_345
    rows = np.searchsorted(latents.image_ids, split.ids("test"))
    values[rows], images[rows] = 1e3, 0
    altered = (replace(examples, betas=betas, images=images), split, replace(latents, values=values))
    first, first_result = fit(make_training_set(*subject), tmp_path / "a", name)
    second, second_result = fit(make_training_set(*altered), tmp_path / "b", name)
    assert torch.equal(weights_of(first), weights_of(second))
    assert first_result == second_result


def test_no_test_image_is_among_the_training_tensors(subject):
    examples, split, latents = subject
    data = make_training_set(*subject)
    assert len(data.train.latents) + len(data.validation.latents) == N_IMAGES - len(split.test)
    test_latents = {values.tobytes() for values in latents.of(split.ids("test"))}
    seen = torch.cat([data.train.latents, data.validation.latents]).numpy()
    assert not test_latents & {values.tobytes() for values in seen}
    assert len(data.train.betas) == len(examples.trials_of(split.ids("train")))


class KilledError(Exception):
    pass


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(subject, tmp_path, monkeypatch):
    monkeypatch.setattr("fmri2img.training.loop._STORE_SECONDS", 0)
    data = make_training_set(*subject)
    whole, whole_result = fit(data, tmp_path / "a")

    def kill(record):
        if record.epoch == 2:
            raise KilledError

    with pytest.raises(KilledError):
        fit(data, tmp_path / "b", on_epoch=kill)
    trained = []
    monkeypatch.setattr("fmri2img.training.loop._train_epoch", lambda *args, train=_train_epoch: trained.append(args[-1]) or train(*args))
    resumed, resumed_result = fit(data, tmp_path / "b")
    assert trained == list(range(2, len(resumed_result.history)))  # the first two were not trained again
    assert torch.equal(weights_of(whole), weights_of(resumed))
    assert whole_result == resumed_result


def test_checkpoints_are_not_written_after_every_short_epoch(subject, tmp_path, monkeypatch):
    stored = []
    monkeypatch.setattr("fmri2img.training.loop._store", lambda *args: stored.append(args[2].epoch))
    _, result = fit(make_training_set(*subject), tmp_path)
    assert stored == [len(result.history)]


def test_other_seeds_are_trained_in_the_same_way(subject, tmp_path):
    data = make_training_set(*subject)
    kind, settings = model_class("basic_ae"), check_settings("basic_ae", SECTIONS["basic_ae"] | SMALL | {"seed": 5, "n_seeds": 3})
    how = {"load_decoder": None, "checkpoint": tmp_path / "basic_ae.safetensors", "on_epoch": lambda _: None}
    others = fit_other_seeds(kind, settings, data, **how)
    alone, _ = fit(data, tmp_path / "alone", seed=7)
    assert len(others) == 2
    assert torch.equal(weights_of(others[1]), weights_of(alone))
    save_encoder(alone, "basic_ae", tmp_path / "kept", {})
    save_seeds(others, tmp_path / "kept")
    assert [torch.equal(weights_of(a), weights_of(b)) for a, b in zip(load_seeds(tmp_path / "kept"), others, strict=True)] == [True, True]
    ridge = check_settings("ridge", SECTIONS["ridge"])
    assert fit_other_seeds(model_class("ridge"), ridge, data, **how) == []  # in closed form
    save_seeds([], tmp_path / "kept")
    assert load_seeds(tmp_path / "kept") == []


def test_a_checkpoint_of_other_settings_is_not_used(subject, tmp_path):
    data = make_training_set(*subject)
    fit(data, tmp_path / "a", seed=1)
    fresh, _ = fit(data, tmp_path / "b", seed=2)
    other, _ = fit(data, tmp_path / "a", seed=2)
    assert torch.equal(weights_of(fresh), weights_of(other))


def test_the_best_epoch_on_validation_is_kept(subject, tmp_path):
    data = make_training_set(*subject)
    encoder, result = fit(data, tmp_path, epochs=12, learning_rate=0.02, patience=3)
    losses = [record.validation_loss for record in result.history]
    with torch.no_grad():
        loss = latent_objective(data.validation.latents)(encoder(data.validation.image_betas), torch.arange(len(data.validation.latents)))
    assert loss.item() == pytest.approx(min(losses), rel=1e-5)
    assert len(losses) - np.argmin(losses) - 1 <= 3


def test_training_through_the_decoder_lowers_the_pixel_error(subject, tmp_path):
    examples, split, latents = subject
    few = replace(split, train=split.train[:24], validation=split.validation[:4])
    data = make_training_set(examples, few, latents)
    _, result = fit(data, tmp_path, loss="pixels", epochs=3, batch_size=8)
    assert result.history[-1].train_loss < result.history[0].train_loss


def test_objectives_agree_with_their_formulas():
    autoencoder = load_autoencoder(str(REPOSITORY / "models" / "demo-vae"), "main")
    latents = torch.randn(3, 4, 4, 4)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    rows, predicted = torch.tensor([2, 0]), torch.randn(2, 4, 4, 4, requires_grad=True)
    by_latents, by_pixels = latent_objective(latents)(predicted, rows), pixel_objective(images, autoencoder)(predicted, rows)
    torch.testing.assert_close(by_latents, ((predicted - latents[rows]) ** 2).mean())
    decoded = autoencoder.decode(predicted)
    torch.testing.assert_close(by_pixels, ((decoded - (images[rows] / 127.5 - 1)) ** 2).mean())
    both = weighted_sum([(1.0, latent_objective(latents)), (0.5, pixel_objective(images, autoencoder))])(predicted, rows)
    torch.testing.assert_close(both, by_latents + 0.5 * by_pixels)
    both.backward()
    assert predicted.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in autoencoder.network.parameters())


def test_output_of_another_shape_is_refused(subject, tmp_path):
    with pytest.raises(MismatchError, match=r"latents of shape \(4, 8, 8\), expected \(4, 16, 16\)"):
        fit(make_training_set(*subject), tmp_path, bottleneck=[4, 4, 4])


def test_log_and_curve_hold_every_epoch(subject, tmp_path):
    _, result = fit(make_training_set(*subject), tmp_path, on_epoch=EpochLog(tmp_path / "log.jsonl", "test"))
    write_curve(tmp_path / "curve.csv", result.history)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4
    header, *rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert header == "epoch,train_loss,validation_loss,validation_pattern_correlation"
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3", "4"]
