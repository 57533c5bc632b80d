from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate import Accelerator

from conftest import REPOSITORY
from fmri2img.models.registry import check_settings
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.project.exceptions import ConfigError, UnavailableError
from fmri2img.training.loop import learning_rate_factor
from fmri2img.training.objectives import (
    Objective,
    Targets,
    _draw_window,
    contrastive_loss,
)
from fmri2img.training.precision import pick_precision

SECTION = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]["basic_ae"]
N, SIDE = 6, 4  # images; cells of the latent grid
PLAIN = SimpleNamespace(embed_latents=lambda latents: latents.flatten(1))


@pytest.fixture(scope="module")
def autoencoder():
    return load_autoencoder(str(REPOSITORY / "models" / "demo-vae"), "main")


def settings(**changes):
    return check_settings("basic_ae", SECTION | {"precision": "float32"} | changes)


def objective(autoencoder, **changes):
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(N, 4, SIDE, SIDE, generator=generator)
    images = torch.randint(
        0, 256, (N, 3, 8 * SIDE, 8 * SIDE), dtype=torch.uint8, generator=generator
    )
    return Objective(
        settings(pixel_window=SIDE, **changes),
        Targets(latents, images, latents.mean(0)),
        autoencoder,
    )


def outputs():
    predicted = torch.randn(
        3, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(2)
    ).requires_grad_()
    return predicted, torch.tensor([4, 0, 4])


def step(found, predicted, rows, share=1.0, seed=5):
    predicted.grad = None
    loss = found.backward(
        PLAIN, (predicted, None), rows, share=share, seed=seed, accelerator=Accelerator()
    )
    return loss, predicted.grad


def test_a_window_larger_than_the_latents_is_all_of_them():
    rows, columns = _draw_window((16, 16), 17, torch.Generator().manual_seed(0))
    assert (rows, columns) == (slice(0, 16), slice(0, 16))


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("loss", ["latents", "pixels", "both"])
def test_loss_and_gradient_are_those_of_the_formula(loss, norm, autoencoder):
    found = objective(autoencoder, loss=loss, norm=norm, pixel_weight=0.5)
    predicted, rows = outputs()
    power = 2 if norm == "l2" else 1
    latent = (predicted - found.targets.latents[rows]).abs().pow(power).mean()
    pixel = (
        (autoencoder.decode(predicted) - (found.targets.images[rows] / 127.5 - 1))
        .abs()
        .pow(power)
        .mean()
    )
    expected = {"latents": latent, "pixels": pixel, "both": latent + 0.5 * pixel}[loss]
    gradient = torch.autograd.grad(expected, predicted)[0]
    for decoder_batch in (1, 2, 8):  # in parts or at once: the same step
        found.decoder_batch = decoder_batch
        value, ours = step(found, predicted, rows)
        torch.testing.assert_close(value, expected.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(ours, gradient, rtol=1e-3, atol=1e-7)
        torch.testing.assert_close(
            found.evaluate(predicted.detach(), rows), expected.detach(), rtol=1e-4, atol=1e-6
        )
    assert all(parameter.grad is None for parameter in autoencoder.network.parameters())
    torch.testing.assert_close(
        step(found, predicted, rows, share=0.25)[1], gradient / 4, rtol=1e-3, atol=1e-7
    )


def test_a_window_compares_a_part_of_the_picture(autoencoder):
    found = objective(autoencoder, loss="pixels")
    found.settings = settings(loss="pixels", pixel_window=2)
    predicted, rows = outputs()
    places = [
        step(found, predicted, rows, seed=seed)[1].abs().sum((0, 1)) > 0 for seed in (1, 1, 2, 3, 4)
    ]
    assert all(place.sum() == 4 for place in places)
    assert places[0].equal(places[1])  # all processes of a step draw the same
    assert any(not place.equal(places[0]) for place in places)
    assert found.evaluate(predicted.detach(), rows) == objective(
        autoencoder, loss="pixels"
    ).evaluate(predicted.detach(), rows)


def test_augmentation_changes_training_only_and_follows_the_seed(autoencoder):
    found = objective(autoencoder, loss="pixels", blur=0.9, zoom=1.2)
    plain = objective(autoencoder, loss="pixels")
    predicted, rows = outputs()
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(step(found, predicted, rows)[0].item())
    assert losses[0] == losses[1] != losses[2]
    # Noise, blurred, is nearer to anything.
    assert losses[0] < step(plain, predicted, rows)[0].item()
    assert found.evaluate(predicted.detach(), rows) == plain.evaluate(predicted.detach(), rows)


def test_the_contrastive_loss_is_cross_entropy_where_an_images_trials_share():
    predicted, truth = torch.randn(4, 6), torch.randn(4, 6)
    images = torch.tensor([7, 3, 7, 5])
    similarity = torch.nn.functional.cosine_similarity(predicted[:, None], truth[None], dim=2) / 0.5
    total = 0.0
    for rows in (similarity, similarity.T):
        for i in range(4):
            same = [j for j in range(4) if images[j] == images[i]]
            total -= sum(rows[i].log_softmax(0)[j].item() for j in same) / len(same) / 8
    assert contrastive_loss(predicted, truth, images, 0.5).item() == pytest.approx(total, rel=1e-5)


def test_contrast_looks_from_the_mean_and_counts_in_training_only(autoencoder):
    found = objective(autoencoder, contrastive_weight=2.0, temperature=0.5)
    predicted, rows = outputs()
    centre = found.targets.centre
    expected = contrastive_loss(
        (predicted - centre).flatten(1),
        (found.targets.latents[rows] - centre).flatten(1),
        rows,
        0.5,
    )
    alone = objective(autoencoder)
    value, _ = step(found, predicted, rows)
    torch.testing.assert_close(
        value - step(alone, predicted, rows)[0], 2 * expected.detach(), rtol=1e-4, atol=1e-5
    )
    assert found.evaluate(predicted.detach(), rows) == alone.evaluate(predicted.detach(), rows)


def test_the_decoders_batch_is_halved_until_it_fits(autoencoder, monkeypatch):
    found = objective(autoencoder, loss="pixels")
    monkeypatch.setattr(torch, "tensor", lambda values, **_: torch.as_tensor(values))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    # After each attempt: a minute, among all that other tests have left.
    monkeypatch.setattr("gc.collect", lambda *_: 0)
    gpu = SimpleNamespace(device=torch.device("meta"), scaler=None, gather=lambda tensor: tensor)
    tried, fits = [], 3

    def decode(latents, rows, accelerator, seed):
        tried.append(len(latents))
        assert latents.device.type == "meta"  # where the decoder is
        if len(latents) > fits:
            raise RuntimeError("CUDA out of memory. Tried to allocate 8 GiB.")

    monkeypatch.setattr(found, "_pixel_gradient", decode)
    assert found.find_decoder_batch(gpu, 16) <= 3
    assert tried[0] == 16
    fits = 0
    with pytest.raises(
        UnavailableError,
        match="set decoder_batch to 1 or a smaller pixel_window, or set precision to bf16",
    ):
        found.find_decoder_batch(gpu, 16)

    def fail(*_, **__):
        raise RuntimeError("Input type (float) and bias type (c10::BFloat16) should be the same")

    monkeypatch.setattr(found, "_pixel_gradient", fail)
    with pytest.raises(RuntimeError, match="should be the same"):  # no matter of memory
        found.find_decoder_batch(gpu, 16)


def test_precision_is_asked_for_or_what_pays(monkeypatch):
    cpu = torch.device("cpu")
    assert pick_precision(settings(precision="bf16"), cpu) == torch.bfloat16
    with pytest.raises(ConfigError, match="fp16 loses small gradients on a CPU; set it to auto"):
        pick_precision(settings(precision="fp16"), cpu)
    automatic = settings(precision="auto", loss="pixels")
    for can, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("fmri2img.training.precision._cpu_multiplies_bf16", lambda can=can: can)
        assert pick_precision(automatic, cpu) == wanted
        # A loss on latents needs no decoder.
        assert pick_precision(settings(precision="auto"), cpu) == torch.float32


def test_schedules_are_those_of_torch():
    steps_per_epoch, epochs = 5, 8
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    total = steps_per_epoch * epochs
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=total + 1, pct_start=13 / total, final_div_factor=1e9
    )
    ours = settings(schedule="one_cycle", epochs=epochs)
    rates = []
    for _ in range(total):
        rates.append(one_cycle.get_last_lr()[0])
        optimizer.step()
        one_cycle.step()
    assert [
        learning_rate_factor(number, ours, steps_per_epoch) for number in range(total)
    ] == pytest.approx(rates, abs=0.06)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    ours = settings(schedule="cosine", epochs=epochs)
    for number in range(total):
        assert learning_rate_factor(number, ours, steps_per_epoch) == pytest.approx(
            cosine.get_last_lr()[0], abs=1e-5
        )
        optimizer.step()
        cosine.step()
    warm = settings(warmup_steps=4)
    assert [learning_rate_factor(number, warm, steps_per_epoch) for number in range(6)] == [
        0.25,
        0.5,
        0.75,
        1,
        1,
        1,
    ]
