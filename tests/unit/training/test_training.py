from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from safetensors import SafetensorError

from conftest import REPOSITORY
from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import split_images
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.evaluation.identification import similarity_matrix, two_way_identification
from fmri2img.generation.reconstruct import predict_latents, reconstruct, unsure_places
from fmri2img.generation.renderers.renderer import Inputs
from fmri2img.models.registry import (
    check_settings,
    load_seeds,
    model_class,
    model_names,
    save_encoder,
    save_seeds,
)
from fmri2img.pipeline.training_records import EpochLog, judge_by_latents, write_curve
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError, UnavailableError
from fmri2img.project.files_0_1 import with_facts
from fmri2img.training.checkpoints import Checkpoint, EpochRecord, Progress
from fmri2img.training.data import TrainingResult
from fmri2img.training.fit import fit_encoder, fit_other_seeds, remove_checkpoints
from fmri2img.training.loop import Trainer
from fmri2img.training.population_member import learn_voxel_priors
from fmri2img.training.targets import latent_targets
from fmri2img.training.targets.kinds import Sources
from fmri2img.training.training_set import make_diffusion_set, make_training_set
from fmri2img.training.voxel_populations import pool

SECTIONS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]
FAST = {"epochs": 4, "batch_size": 32, "learning_rate": 0.002}
ONE_REGION = {"takagi": {"z_labels": ["V1"], "c_labels": ["V1"]}}
SMALL = {
    "basic_ae": {"hidden_sizes": [64], "bottleneck": [4, 8, 8], **FAST},
    "upscaling_ae": {"hidden_sizes": [32], "bottleneck": [16, 8, 8], **FAST},
    "low_level": {
        "hidden_size": 64,
        "n_blocks": 1,
        "channels": 8,
        "contrastive_size": 16,
        "input_dropout": 0.1,
        "dropout": 0.0,
        **FAST,
    },
}
SMALL["blend"] = {
    "bayes": SECTIONS["bayes"],
    "low_level": SECTIONS["low_level"] | SMALL["low_level"],
}
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
        voxel_ijk=np.arange(3 * N_VOXELS, dtype=np.int16).reshape(N_VOXELS, 3),
        roi_labels=np.ones(N_VOXELS, np.int16),
        ncsnr=np.ones(N_VOXELS, np.float32),
        training_ncsnr=np.full(N_VOXELS, np.nan, np.float32),
        in_brain=np.ones(N_VOXELS, bool),
        sessions=sessions,
        valid=valid,
        saturated=np.zeros((2, N_VOXELS), np.int16),
        affine=np.eye(4),
        provenance=with_facts(
            {
                "subject": "subj01",
                "data_source": "simulated",
                "func_space": "func1pt8mm",
                "roi_names": {"1": "V1"},
            }
        ),
        image_ids=image_ids,
        images=rng.integers(0, 256, (N_IMAGES, 128, 128, 3), dtype=np.uint8),
        is_shared=np.arange(N_IMAGES) % 4 == 0,
        betas=(300 * betas).round().astype(np.int16),
        trial_image_ids=image_ids[trial_rows],
        trial_session=rng.choice(sessions, len(trial_rows)),
    )
    settings = {"kind": "shared", "validation_fraction": 0.15, "n_train_random": 1}
    split = split_images(image_ids, examples.is_shared, rng=np.random.default_rng(0), **settings)
    energies = rng.normal(size=(N_IMAGES, 2, 4, 4)).astype(np.float32)
    about = {"data_source": "simulated", "autoencoder": {"name": "vae", "sha256": "0"}}
    return examples, split, Latents(image_ids, latents, energies, about)


def training_set(examples, split, latents, name="", teacher=None):
    """With pictures of other people, and the subject's own, test images included, which must be
    left out; for a model that learns from a population, with one of somebody of the same data.
    """
    others = latents.only(split.ids("train")[:40])
    ids = np.concatenate([latents.image_ids, np.arange(80_000, 80_000 + len(others.values))])
    values, energies = (
        np.concatenate([getattr(part, name) for part in (latents, others)])
        for name in ("values", "energies")
    )
    data = with_prompts(
        make_training_set(
            examples, split, latents, Latents(ids, values, energies, latents.provenance)
        ),
        split,
    )
    if model_class(name or "ridge").kind != "population":
        return data
    settings = check_settings(name, SECTIONS[name])
    teacher = teacher or (examples, split, latents)
    population = pool([learn_voxel_priors(*teacher, settings)])
    return replace(data, train=replace(data.train, population=population))


def with_prompts(data, split):
    """What an encoder that steers Stable Diffusion learns beside: noise, the same whatever the
    subject's test trials hold.
    """
    embeddings = (
        np.random.default_rng(5).normal(size=(len(split.train), 77, 768)).astype(np.float16)
    )
    return replace(data, train=replace(data.train, text_embeddings=torch.from_numpy(embeddings)))


def decoder():
    return load_autoencoder(str(REPOSITORY / "models" / "demo-vae"), "main")


def fit(
    data, tmp_path, name="basic_ae", on_epoch=lambda _: None, owner="subj01/basic_ae", **changes
):
    section = SECTIONS[name] | SMALL.get(name, {}) | ONE_REGION.get(name, {})
    if name == "blend":
        changes = {"low_level": section["low_level"] | changes}
    settings = check_settings(name, section | changes)
    checkpoint = tmp_path / "checkpoint.safetensors"
    return fit_encoder(
        model_class(name),
        settings,
        data,
        load_decoder=decoder,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        owner=owner,
    )


def weights_of(encoder):
    return torch.cat([value.flatten().float() for value in encoder.state_dict().values()])


def identification(encoder, subject):
    examples, split, latents = subject
    test = split.ids("test")
    mean = latents.of(split.ids("train")).mean(0).ravel()
    predicted = predict_latents(encoder, examples, test).reshape(len(test), -1)
    return two_way_identification(
        similarity_matrix(latents.of(test).reshape(len(test), -1) - mean, predicted - mean)
    ).mean()


@pytest.mark.parametrize("name", model_names())
def test_signal_is_found(name, subject, tmp_path):
    changes = (
        {"epochs": 60, "patience": 60}
        | ({"learning_rate": 0.005} if name in ("low_level", "blend") else {})
        if name in SMALL
        else {}
    )
    encoder, result = fit(training_set(*subject, name), tmp_path, name, **changes)
    assert identification(encoder, subject) > 0.85
    assert result.validation_pattern_correlation > 0.2


@pytest.mark.parametrize("name", model_names())
def test_shuffled_image_labels_give_chance(name, subject, tmp_path, rng):
    examples, split, latents = subject
    train = split.ids("train")
    rows = np.searchsorted(latents.image_ids, train)
    values = latents.values.copy()
    values[rows] = values[rng.permutation(rows)]
    data = training_set(examples, split, replace(latents, values=values), name)
    encoder, _ = fit(data, tmp_path, name)
    assert identification(encoder, subject) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("name", model_names())
def test_nothing_fitted_sees_a_test_trial(name, subject, tmp_path):
    examples, split, latents = subject
    trials = examples.trials_of(split.ids("test"))
    betas, values, images = examples.betas.copy(), latents.values.copy(), examples.images.copy()
    betas[trials] = 12_345
    rows = np.searchsorted(latents.image_ids, split.ids("test"))
    energies = latents.energies.copy()
    values[rows], energies[rows], images[rows] = 1e3, 1e3, 0
    altered = (
        replace(examples, betas=betas, images=images),
        split,
        replace(latents, values=values, energies=energies),
    )
    first, first_result = fit(training_set(*subject, name), tmp_path / "a", name)
    second, second_result = fit(training_set(*altered, name), tmp_path / "b", name)
    assert torch.equal(weights_of(first), weights_of(second))
    assert first_result == second_result


def test_no_test_image_is_among_the_training_tensors(subject):
    examples, split, latents = subject
    data = training_set(*subject)
    assert len(data.train.latents) + len(data.validation.latents) == N_IMAGES - len(split.test)
    test_latents = {values.tobytes() for values in latents.of(split.ids("test"))}
    seen = torch.cat([data.train.latents, data.validation.latents]).numpy()
    assert not test_latents & {values.tobytes() for values in seen}
    assert len(data.train.betas) == len(examples.trials_of(split.ids("train")))


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    "changes",
    [{}, {"ema_decay": 0.9, "schedule": "one_cycle", "repetitions": "mixup", "dropout": 0.2}],
    ids=["plain", "all"],
)
def test_a_training_that_breaks_off_within_an_epoch_ends_with_the_same_weights(
    changes, subject, tmp_path, monkeypatch
):
    monkeypatch.setattr("fmri2img.training.loop.STORE_SECONDS", 0)
    data = training_set(*subject)
    whole, whole_result = fit(data, tmp_path / "a", **changes)
    steps = []

    def step(trainer, batch, take=Trainer._step):
        steps.append((trainer.progress.epoch, trainer.progress.step))
        if steps[-1] == (1, 3) and len(steps) == steps.index((1, 3)) + 1:
            raise KilledError
        return take(trainer, batch)

    monkeypatch.setattr(Trainer, "_step", step)
    with pytest.raises(KilledError):
        fit(data, tmp_path / "b", **changes)
    n_before = len(steps)
    resumed, resumed_result = fit(data, tmp_path / "b", **changes)
    assert steps[n_before] == (1, 3)  # not from the beginning
    assert torch.equal(weights_of(whole), weights_of(resumed))
    assert whole_result == resumed_result


def test_checkpoints_are_not_written_after_every_short_epoch(subject, tmp_path, monkeypatch):
    stored = []
    monkeypatch.setattr(Checkpoint, "store", lambda _, progress, *__: stored.append(progress.epoch))
    _, result = fit(training_set(*subject), tmp_path)
    assert stored == [len(result.history)]


def test_a_full_disk_names_the_checkpoint(tmp_path, monkeypatch):
    def fail(tensors, path, metadata):
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr("fmri2img.training.checkpoints.save_file", fail)
    checkpoint = Checkpoint(tmp_path / "checkpoint.safetensors", "subj01/ridge", "x")
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint.store(Progress(), {}, {})
    assert caught.value.filename == str(tmp_path / "checkpoint.safetensors")


def test_a_checkpoint_of_another_encoder_is_refused(subject, tmp_path):
    data = training_set(*subject)
    fit(data, tmp_path, owner="subj01/basic_ae on 90 voxels of V1")
    with pytest.raises(
        MismatchError,
        match=r"got a checkpoint of subj01/basic_ae on 90 voxels of V1, expected one of "
        r"subj02/low_level.*delete",
    ):
        fit(data, tmp_path, "low_level", owner="subj02/low_level on 80 voxels of V2")
    (tmp_path / "checkpoint.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(FormatError, match="not a checkpoint of this project"):
        fit(data, tmp_path)


def test_other_seeds_are_trained_in_the_same_way(subject, tmp_path):
    data = training_set(*subject)
    kind, settings = (
        model_class("basic_ae"),
        check_settings(
            "basic_ae", SECTIONS["basic_ae"] | SMALL["basic_ae"] | {"seed": 5, "n_seeds": 3}
        ),
    )
    how = {
        "load_decoder": None,
        "checkpoint": tmp_path / "basic_ae.safetensors",
        "on_epoch": lambda _: None,
    }
    others = fit_other_seeds(kind, settings, data, **how)
    alone, _ = fit(data, tmp_path / "alone", seed=7)
    assert len(others) == 2
    assert torch.equal(weights_of(others[1]), weights_of(alone))
    save_encoder(alone, "basic_ae", tmp_path / "kept", {})
    save_seeds(others, tmp_path / "kept")
    assert [
        torch.equal(weights_of(a), weights_of(b))
        for a, b in zip(load_seeds(tmp_path / "kept"), others, strict=True)
    ] == [True, True]
    ridge = check_settings("ridge", SECTIONS["ridge"])
    assert fit_other_seeds(model_class("ridge"), ridge, data, **how) == []  # in closed form
    save_seeds([], tmp_path / "kept")
    assert load_seeds(tmp_path / "kept") == []


def test_a_checkpoint_of_other_settings_is_not_used(subject, tmp_path):
    data = training_set(*subject)
    fit(data, tmp_path / "a", seed=1)
    fresh, _ = fit(data, tmp_path / "b", seed=2)
    other, _ = fit(data, tmp_path / "a", seed=2)
    assert torch.equal(weights_of(fresh), weights_of(other))


def test_the_best_epoch_on_validation_is_kept(subject, tmp_path):
    data = training_set(*subject)
    encoder, result = fit(data, tmp_path, epochs=12, learning_rate=0.02, patience=3)
    losses = [record.validation_loss for record in result.history]
    with torch.no_grad():
        loss = torch.nn.functional.mse_loss(
            encoder(data.validation.image_betas), data.validation.latents
        )
    assert loss.item() == pytest.approx(min(losses), rel=1e-5)
    assert len(losses) - np.argmin(losses) - 1 <= 3


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize(
    ("n_images", "voxels"),
    [
        pytest.param(8, slice(0, 1), id="one voxel"),
        pytest.param(1, slice(None), id="one image"),
        pytest.param(30, slice(None), id="voxels of NaN or one value"),
    ],
)
def test_poor_data_is_no_crash(name, n_images, voxels, subject, tmp_path):
    examples, split, latents = subject
    betas, valid = examples.betas[:, voxels].copy(), examples.valid[:, voxels].copy()
    if n_images == 30:
        betas[:, 2], valid[:, 3] = 77, False
    per_voxel = ("voxel_ijk", "roi_labels", "ncsnr", "training_ncsnr", "in_brain")
    poor = {field: getattr(examples, field)[voxels] for field in per_voxel} | {
        "saturated": examples.saturated[:, voxels]
    }
    few = replace(split, train=split.train[:n_images])
    data = training_set(
        replace(examples, betas=betas, valid=valid, **poor), few, latents, name, subject
    )
    changes = {"epochs": 2, "batch_size": 1000} if name in SMALL else {}
    encoder, result = fit(data, tmp_path, name, **changes)
    assert np.isfinite(result.validation_loss)
    with torch.no_grad():
        assert torch.isfinite(encoder(data.validation.image_betas)).all()
    assert torch.isfinite(encoder.spread(2)).all()


def test_a_brain_that_never_varies_is_refused(subject):
    examples, split, latents = subject
    nothing = replace(examples, valid=np.zeros_like(examples.valid))
    with pytest.raises(
        MismatchError, match=r"no voxel varies over the .* training trials, expected"
    ):
        training_set(nothing, split, latents)


def test_weights_that_are_no_numbers_are_not_kept(subject, tmp_path, monkeypatch):
    """Closed forms have no loss over epochs that would tell."""
    kind = model_class("ridge")

    def overflow(encoder, data):
        encoder.linear.weight.data.fill_(float("nan"))
        return {}

    monkeypatch.setattr(kind, "solve", overflow)
    with pytest.raises(
        MismatchError, match=r"linear\.weight of the trained encoder holds NaN or infinity"
    ):
        fit(training_set(*subject), tmp_path, "ridge")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_settings_are_finite(value):
    with pytest.raises(ConfigError, match=r"train\.ridge\.penalties.*finite number"):
        check_settings("ridge", SECTIONS["ridge"] | {"penalties": [value]})


def test_a_batch_larger_than_the_data_is_one_step(subject, tmp_path, caplog):
    with caplog.at_level("INFO"):
        fit(training_set(*subject), tmp_path, batch_size=5000, epochs=1)
    assert "batch_size 5000 is more than the" in caplog.text


def test_an_unknown_loss_names_the_known_ones():
    with pytest.raises(
        ConfigError,
        match=r"train.basic_ae.loss: got 'hinge'; input should be 'latents', 'pixels' or 'both'",
    ):
        check_settings("basic_ae", SECTIONS["basic_ae"] | {"loss": "hinge"})
    with pytest.raises(
        ConfigError,
        match="there is no model 'vit'; choose from: basic_ae, bayes, bayes_independent, "
        "bayes_population, blend, low_level",
    ):
        model_class("vit")
    with pytest.raises(ConfigError, match="blur and zoom change the pictures of a pixel loss"):
        check_settings("basic_ae", SECTIONS["basic_ae"] | {"blur": 0.5})


def test_no_memory_says_which_knob(subject, tmp_path, monkeypatch):
    def refuse(*_):
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."
        )

    monkeypatch.setattr(Trainer, "_step", refuse)
    with pytest.raises(
        UnavailableError,
        match=r"no memory left for one step.*lower batch_size, set decoder_batch to 1",
    ):
        fit(training_set(*subject), tmp_path)


def no_memory(*_):
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")


@pytest.mark.parametrize("error", [no_memory, lambda *_: np.empty(1 << 52)])
def test_no_memory_for_a_closed_form_says_which_knob(error, subject, tmp_path, monkeypatch):
    line = "not enough memory to solve for 90 voxels in closed form; select fewer voxels"
    data = training_set(*subject)
    monkeypatch.setattr(model_class("ridge"), "solve", error)
    with pytest.raises(UnavailableError, match=line):
        fit(data, tmp_path, "ridge")
    monkeypatch.setattr("fmri2img.training.population_member.learn_priors", error)
    settings = check_settings("bayes_population", SECTIONS["bayes_population"])
    with pytest.raises(UnavailableError, match=line):
        learn_voxel_priors(*subject, settings)


@pytest.mark.parametrize("name", ["bayes", "bayes_independent", "bayes_population"])
def test_too_few_images_to_learn_from_give_the_mean_picture_and_that_is_said(
    name, subject, tmp_path, caplog
):
    examples, split, latents = subject
    fewest = 2 * SECTIONS[name]["n_folds"]
    few = replace(split, train=split.train[: fewest - 1])
    data = training_set(examples, few, latents, name, subject)
    encoder, result = fit(data, tmp_path, name)
    assert result.facts["predicts_the_mean"] == 1
    said = f"{fewest - 1} training images, expected {fewest} at least to learn anything"
    assert said in caplog.text
    with torch.no_grad():
        predicted = encoder(data.validation.image_betas)
    assert torch.equal(predicted, predicted[:1].expand_as(predicted))
    caplog.clear()
    enough = replace(split, train=split.train[:fewest])
    encoder, result = fit(
        training_set(examples, enough, latents, name, subject), tmp_path / "enough", name
    )
    assert "predicts_the_mean" not in result.facts
    assert not caplog.text


def test_how_many_betas_were_clipped_is_recorded_where_betas_are(subject, tmp_path):
    examples, split, latents = subject
    betas = examples.betas.copy()
    betas[examples.trials_of(split.ids("train"))[0], 7] = 32_767
    data = training_set(replace(examples, betas=betas), split, latents)
    _, clipped = fit(data, tmp_path / "a", "ridge")
    assert clipped.facts["clipped_betas"] >= 1
    _, as_they_are = fit(data, tmp_path / "b", "ridge", clip_mads=0)
    assert "clipped_betas" not in as_they_are.facts
    assert not hasattr(check_settings("takagi", SECTIONS["takagi"]), "clip_mads")  # reproduces


def test_divergence_is_told(subject, tmp_path):
    with pytest.raises(MismatchError, match=r"training diverged.*lower learning_rate, now 1e"):
        fit(training_set(*subject), tmp_path, learning_rate=1e30)


def test_validation_says_how_many_trials_were_averaged(subject, tmp_path):
    data = training_set(*subject)
    assert (
        data.validation.repetitions.tolist()
        == subject[0].repetitions_of(subject[1].ids("validation")).tolist()
    )
    encoder, result = fit(data, tmp_path, "bayes")
    with torch.no_grad():
        right = encoder(data.validation.image_betas, data.validation.repetitions)
    assert result.validation_loss == pytest.approx(
        torch.nn.functional.mse_loss(right, data.validation.latents).item(), rel=1e-5
    )


def test_a_blend_is_the_mean_of_encoders_trained_alone(subject, tmp_path):
    data = training_set(*subject)
    blend, result = fit(data, tmp_path, "blend")
    validation = data.validation
    given = validation.image_betas, validation.repetitions
    encoders = [fit(data, tmp_path / name, name)[0] for name in ("bayes", "low_level")]
    alone = [encoder(*given).detach() for encoder in encoders]
    share = result.facts["share_of_bayes"]
    assert 0 < share < 1
    torch.testing.assert_close(blend(*given).detach(), share * alone[0] + (1 - share) * alone[1])
    errors = [float(((latents - validation.latents) ** 2).mean()) for latents in alone]
    assert result.validation_loss < min(errors)


def test_checkpoints_go_when_all_is_saved(tmp_path):
    names = ["basic_ae.safetensors", "basic_ae-seed1.safetensors", "low_level.safetensors"]
    for name in names:
        (tmp_path / name).write_text("")
    remove_checkpoints(tmp_path / "basic_ae.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == names[2:]


@pytest.mark.parametrize("name", SMALL)
def test_the_stated_spread_is_the_error_on_validation_images(name, subject, tmp_path):
    data = training_set(*subject)
    encoder, _ = fit(data, tmp_path, name)
    with torch.no_grad():
        predicted = encoder(data.validation.image_betas, data.validation.repetitions)
        errors = predicted - data.validation.latents
    torch.testing.assert_close(encoder.spread(3)[1], errors.square().mean(0).sqrt())


def test_training_through_the_decoder_lowers_the_pixel_error(subject, tmp_path):
    examples, split, latents = subject
    few = replace(split, train=split.train[:16], validation=split.validation[:2])
    data = training_set(examples, few, latents)
    _, result = fit(
        data, tmp_path, loss="pixels", epochs=3, batch_size=8, pixel_window=8, blur=0.9, zoom=1.2
    )
    assert result.history[-1].train_loss < result.history[0].train_loss


def test_the_training_loss_is_a_mean_over_samples_though_the_last_step_has_fewer(subject, tmp_path):
    data = training_set(*subject)
    still = {
        "learning_rate": 1e-12,
        "epochs": 1,
        "input_dropout": 0.0,
        "contrastive_weight": 0.0,
        "repetitions": "single",
    }
    losses = []
    for batch_size in (
        len(data.train.betas),
        len(data.train.betas) - 1,
    ):  # the second: one large step, and one of a single trial
        _, result = fit(data, tmp_path, "low_level", **still | {"batch_size": batch_size})
        losses.append(result.history[0].train_loss)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_output_of_another_shape_is_refused(subject, tmp_path):
    with pytest.raises(
        MismatchError, match=r"latents of shape \(4, 8, 8\), expected \(4, 16, 16\)"
    ):
        fit(training_set(*subject), tmp_path, bottleneck=[4, 4, 4])


@pytest.mark.parametrize("name", ["bayes", "ridge"])
def test_predictions_carry_the_spread_that_the_encoder_states(name, subject, tmp_path, monkeypatch):
    def grey(latents, *_, progress=None, **__):  # decoding takes ten times as long as the rest
        shown.append(progress)
        return np.full((len(latents), 128, 128, 3), 128, np.uint8)

    shown, count = [], lambda items: iter(items)
    for module in ("reconstruct", "renderers.renderer"):
        monkeypatch.setattr(f"fmri2img.generation.{module}.decode_latents", grey)
    examples, split, latents = subject
    autoencoder = decoder()
    made = {**latents.provenance, "autoencoder": autoencoder.identity}
    latents = replace(latents, provenance=made)
    encoder, _ = fit(training_set(examples, split, latents), tmp_path, name)
    inputs = Inputs(
        encoder=encoder,
        examples=examples,
        split=split,
        latents=latents,
        autoencoder=autoencoder,
        encode_pictures=lambda pictures: np.zeros((len(pictures), 4, 16, 16), np.float32),
        n_train_images=2,
        batch_size=8,
        seed=0,
        progress=count,
    )
    found = reconstruct(inputs)
    assert count in shown
    assert found.posterior_images is None
    drawn = reconstruct(replace(inputs, n_posterior_images=3, n_posterior_samples=2))
    if name == "bayes":  # from the first to the last, whatever their scores
        test_ids = split.ids("test")
        middle = test_ids[round((len(test_ids) - 1) / 2)]
        assert drawn.posterior_image_ids.tolist() == [test_ids[0], middle, test_ids[-1]]
        assert drawn.posterior_images.shape == (3, 2, 128, 128, 3)
    else:
        assert drawn.posterior_images is None
    repetitions = torch.from_numpy(examples.repetitions_of(found.image_ids))
    assert repetitions.tolist() == [
        np.count_nonzero(examples.trial_image_ids == image_id) for image_id in found.image_ids
    ]
    np.testing.assert_array_equal(
        found.latent_sd, encoder.spread(len(found.image_ids), repetitions)
    )
    maps = unsure_places(encoder, examples, split, latents)
    assert list(maps) == (
        ["2 repetitions"]
        if name == "bayes" and len(set(repetitions.tolist())) > 1
        else ["all pictures"]
    )
    shares = next(iter(maps.values()))
    assert shares.shape == (16, 16)
    assert 0.2 < shares.mean() < 1.2
    over_voxels = ("voxel_ijk", "roi_labels", "ncsnr", "training_ncsnr", "in_brain")
    fewer = {field: getattr(examples, field)[:80] for field in over_voxels}
    fewer |= {field: getattr(examples, field)[:, :80] for field in ("betas", "valid", "saturated")}
    with pytest.raises(
        MismatchError,
        match=r"trained on 90 voxels, the examples of subj01 have 80; run: dvc repro train",
    ):
        reconstruct(replace(inputs, examples=replace(examples, **fewer)))


def test_log_and_curve_hold_every_epoch(subject, tmp_path):
    _, result = fit(
        training_set(*subject), tmp_path, on_epoch=EpochLog(tmp_path / "log.jsonl", "test")
    )
    write_curve(tmp_path / "curve.csv", result.history)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4
    header, *rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert header == "epoch,train_loss,validation_loss,validation_pattern_correlation"
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3", "4"]


def test_what_steers_diffusion_never_comes_from_a_test_image(subject, tmp_path):
    """z and c of test images, and their trials, change no bit of either ridge; those of training
    images do.
    """
    examples, split, _ = subject
    rng = np.random.default_rng(8)
    ids = examples.image_ids
    z_latents = rng.normal(size=(len(ids), 4, 40, 40)).astype(np.float16)
    embeddings = rng.normal(size=(len(ids), 77, 768)).astype(np.float16)
    targets = DiffusionTargets(ids, z_latents, embeddings, np.zeros((77, 768), np.float16), {})
    weights = []
    for name in ("", "test", "train"):
        values, texts, betas = z_latents.copy(), embeddings.copy(), examples.betas.copy()
        if name:
            rows = np.searchsorted(ids, split.ids(name))
            values[rows], texts[rows] = 50, -50
        if name == "test":
            betas[examples.trials_of(split.ids("test"))] = 12_345
        data = make_diffusion_set(
            replace(examples, betas=betas),
            split,
            replace(targets, z_latents=values, text_embeddings=texts),
        )
        encoder, _ = fit(data, tmp_path / f"takagi-{name}", "takagi")
        weights.append(
            [
                encoder.z_weights,
                encoder.c_weights,
                encoder.z_bias,
                encoder.c_bias,
                encoder.normalizer.mean,
            ]
        )
    assert all(
        torch.equal(ours, theirs) for ours, theirs in zip(weights[0], weights[1], strict=True)
    )
    assert not torch.equal(weights[0][2], weights[2][2])
    assert not torch.equal(weights[0][3], weights[2][3])


def test_an_encoder_of_z_is_judged_by_the_latents_of_its_pictures():
    truth, mean = torch.randn(5, 4, 16, 16).numpy(), torch.randn(4, 16, 16).numpy()
    own = TrainingResult([EpochRecord(0, 8.0, 9.0, 0.9)], {"z_voxels": 3.0}, 9.0, 0.9)
    result, scores = judge_by_latents(own, truth, truth + 0.5 * (truth - mean), mean)
    torch.testing.assert_close(scores, torch.ones(5))
    assert result.validation_pattern_correlation == pytest.approx(1)
    assert result.validation_loss == pytest.approx(0.25 * ((truth - mean) ** 2).mean(), rel=1e-5)
    (record,) = result.history  # what the curve shows
    assert record.validation_loss == result.validation_loss
    assert result.facts == {
        "z_voxels": 3.0,
        "own_validation_loss": 9.0,
        "own_validation_pattern_correlation": 0.9,
    }


def test_latents_of_another_size_than_the_pictures_are_refused(subject):
    examples, split, latents = subject
    half = replace(latents, values=latents.values[..., ::2, ::2])
    sources = Sources(examples, split, half, None, lambda: half, None)
    with pytest.raises(
        MismatchError,
        match="latents of 8 x 8 cells, expected 16 x 16 for pictures of 128 x 128; run: dvc repro",
    ):
        latent_targets.collect(sources)


def test_latents_of_somebody_else_serve_if_they_are_of_the_same_pictures(subject):
    """Latents belong to pictures, and name no subject: they are joined by image."""
    examples, split, latents = subject
    ids = np.append(latents.image_ids, latents.image_ids.max() + 1)
    more = replace(
        latents,
        image_ids=ids,
        values=np.concatenate([latents.values, latents.values[:1] + 1]),
        energies=np.concatenate([latents.energies, latents.energies[:1]]),
    )
    nothing = latents.only(latents.image_ids[:0])
    own, others = (
        make_training_set(examples, split, one, nothing).train.latents for one in (latents, more)
    )
    assert torch.equal(own, others)
    fewer = latents.only(np.setdiff1d(latents.image_ids, split.ids("train")[:1]))
    with pytest.raises(MismatchError, match=r"image id \d+ is not among the latents; rebuild both"):
        make_training_set(examples, split, fewer, nothing)


def test_the_split_of_somebody_else_is_refused(subject):
    examples, split, latents = subject
    other = replace(split, train=(*split.train[:-1], 80_000))
    with pytest.raises(MismatchError, match="image id 80000 is not among the examples"):
        make_training_set(examples, other, latents, latents)
